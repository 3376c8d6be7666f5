//! The renewal thread: says that this process is alive, sees who else is, and extends all leases in one statement.

use std::sync::Arc;
use std::time::Instant;

use super::shared::Shared;
use crate::error::{StoreError, full};
use crate::lease::Member;

/// One renewal, then the wait for the next one.
pub(super) fn tick(shared: &Arc<Shared>) {
    if let Err(error) = renew(shared) {
        log::warn!("{}; work goes on as long as its leases are trusted", full(&error));
    }
    shared.stop.wait(shared.config.lease / 3);
}

pub(super) fn renew(shared: &Arc<Shared>) -> Result<(), StoreError> {
    if !shared.holdings.is_empty() {
        let asked = Instant::now();
        let renewals = shared.leases.renew(shared.id, shared.config.lease)?;
        shared.holdings.renewed(&renewals, asked);
    }
    let me = Member { process: shared.id, name: shared.config.name.clone(), projections: shared.projections() };
    let members = shared.leases.heartbeat(&me, shared.config.lease)?;
    let mut known = shared.members.lock();
    if *known != members {
        log::info!("{} processes share the work", members.len());
        *known = members;
        shared.request_tick();
    }
    Ok(())
}
