//! The renewal thread: extends all leases in one statement, reports that this process is alive, reads which others are,
//! and keeps the leads of first runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::engine::observe::observation::Observation;
use crate::engine::run::runner::Runner;
use crate::engine::run::standstills::Looker;
use crate::engine::run::state::Shared;
use crate::error::{StoreError, chain};
use crate::lease::Member;
use crate::standstill::bounded;
use crate::state::ProjectionKey;
use crate::store::Notifications;

/// One renewal, then the wait for the next one.
pub(crate) fn tick(shared: &Arc<Shared>) {
    match renew(shared) {
        Ok(()) => shared.look_succeeded(Looker::Renewal),
        Err(error) => {
            let text = format!("{}; work goes on until its leases run out", chain(&error));
            shared.look_failed(Looker::Renewal, Some(error.kind()), &text);
        }
    }
    shared.tick_if_unfed();
    shared.stop.wait(shared.config.lease / 3);
}

/// Does every part even if another one fails. Returns the first error.
pub(crate) fn renew(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let (leases, alive, leads) = (renew_leases(shared), announce(shared), renew_leads(shared));
    leases.and(alive).and(leads)
}

fn renew_leases(shared: &Shared) -> Result<(), StoreError> {
    if shared.lease_registry.is_empty() {
        return Ok(());
    }
    let asked = Instant::now();
    let renewals = shared.stores.leases.renew(shared.id, shared.config.lease)?;
    shared.lease_registry.renewed(&renewals, asked);
    Ok(())
}

/// Renews the leads here, because ticks may come less often than a lead lasts.
fn renew_leads(shared: &Shared) -> Result<(), StoreError> {
    for runner in shared.runners.iter().filter(|runner| runner.state().leads) {
        if !shared.stores.leases.lead(runner.key(), shared.id, shared.config.lease)? {
            runner.change(|state| state.leads = false);
        }
    }
    Ok(())
}

/// The store writes only what does not stand there.
fn tell(shared: &Shared) -> Result<(), StoreError> {
    let of_runner = |runner: &Runner| (runner.key().clone(), runner.handler.inner.missed.load(Ordering::Relaxed));
    let missed: Vec<(ProjectionKey, u64)> = shared.runners.iter().map(of_runner).collect();
    let deaf = shared.fleet.deaf.lock().as_deref().map(bounded);
    shared.stores.leases.tell(shared.id, &missed, deaf.as_deref())
}

fn announce(shared: &Shared) -> Result<(), StoreError> {
    let me = Member { process: shared.id, name: shared.config.name.clone(), projections: shared.projections() };
    let members = shared.stores.leases.heartbeat(&me, shared.config.lease)?;
    tell(shared)?;
    if shared.know(members) {
        shared.tell_fleet();
    }
    Ok(())
}

impl Shared {
    /// Reads which processes are alive, because one of them may have come or gone. It keeps what it knows while its own
    /// heartbeat is late.
    pub(crate) fn look_at_fleet(&self) {
        match self.stores.models.commands().members() {
            Ok(members) if members.iter().any(|member| member.process == self.id) => {
                self.know(members);
            }
            Ok(_) => {}
            Err(error) => log::debug!("{}; the next heartbeat looks again", chain(&error)),
        }
    }

    /// Notes which processes are alive. Returns true if these are the first that it knows.
    fn know(&self, members: Vec<Member>) -> bool {
        let mut known = self.fleet.members.lock();
        if *known == members {
            return false;
        }
        log::info!(event = "hand-over", processes = members.len(); "{}", shares(members.len()));
        self.hook.tell(|| Observation::HandOver { processes: members.len() });
        let is_first = known.is_empty();
        *known = members;
        self.request_tick();
        is_first
    }

    /// Makes all processes look which of them are alive. Those that hear nothing see it at their next heartbeat.
    pub(crate) fn tell_fleet(&self) {
        if let Err(error) = self.stores.notifier.announce(&Notifications { instances: Vec::new(), all: true }) {
            log::debug!("{}; other processes see it at their next heartbeat", chain(&error));
        }
    }
}

fn shares(processes: usize) -> String {
    if processes == 1 {
        "this process does all the work".to_owned()
    } else {
        format!("{processes} processes share the work")
    }
}
