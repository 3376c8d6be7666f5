//! One transaction's worth of work on one projection: events are reduced, applied, and the checkpoint moves. No threads.
//!
//! A pass works in attempts (`attempt.rs`), each of which is a few transactions (`apply.rs`) that do what was planned
//! under the lock (`plan.rs`). `failure.rs` decides what becomes of an event that fails.

pub(crate) mod apply;
pub(crate) mod attempt;
pub(crate) mod backoff;
pub(crate) mod failure;
pub(crate) mod history;
pub(crate) mod lease;
#[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "nobody reads what is measured"))]
pub(crate) mod meter;
pub(crate) mod plan;
pub(crate) mod probe;
pub(crate) mod read_position;
pub(crate) mod reducing;
#[cfg(feature = "serve")]
pub(crate) mod sightings;
pub(crate) mod work;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use crate::engine::config::HandlerConfig;
use crate::engine::observe::Hook;
use crate::engine::pass::meter::Meter;
use crate::engine::pass::reducing::Reducing;
#[cfg(feature = "serve")]
use crate::engine::pass::sightings::Sightings;
use crate::engine::stop::Stop;
use crate::engine::watch::hub::Hub;
use crate::error::StoreError;
use crate::projection::Projection;
use crate::state::{Log, ProjectionKey};
use crate::stop_cause::{StopCause, Stopped};
use crate::store::{EventSource, ProjectionStore};

/// What the parts of a pass share.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) source: Arc<dyn EventSource>,
    pub(crate) models: Arc<dyn ProjectionStore>,
    pub(crate) projection: Projection,
    pub(crate) key: ProjectionKey,
    pub(crate) config: HandlerConfig,
    pub(crate) cancel: Arc<Stop>,
    pub(crate) log: OnceLock<Log>,
    /// Which events its reducers work on. Several passes may share it.
    pub(crate) reducing: Arc<Reducing>,
    /// True while readers do not see its tables.
    pub(crate) is_hidden: AtomicBool,
    /// How often a batch was refused and its events were applied one by one.
    pub(crate) single_steps: AtomicU64,
    /// Updates and deletes that met no row.
    pub(crate) missed: AtomicU64,
    pub(crate) meter: Meter,
    #[cfg(feature = "serve")]
    pub(crate) sightings: Sightings,
    /// The watches of the rows that it changes.
    pub(crate) hub: Arc<Hub>,
    /// Who hears what it does.
    pub(crate) hook: Hook,
}

impl Pass {
    /// True while readers do not see what it writes.
    pub(crate) fn is_unseen(&self) -> bool {
        self.is_hidden.load(Ordering::Relaxed) || self.projection.is_shadow()
    }

    /// The id of the event store, and where its log is. Where that is does not change: a database that holds another event
    /// store than before was exchanged.
    pub(crate) fn origin(&self) -> Result<LogIdentity, StoreError> {
        let store = self.source.store_id()?;
        if let Some(log) = self.log.get() {
            return Ok(LogIdentity { store, log: *log });
        }
        let log = if self.models.holds(store)? { Log::Here } else { Log::Elsewhere };
        Ok(LogIdentity { store, log: *self.log.get_or_init(|| log) })
    }
}

/// Where events come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogIdentity {
    /// The id of the event store.
    pub(crate) store: Uuid,
    pub(crate) log: Log,
}

pub(crate) fn cancelled(instance: Arc<str>) -> Stopped {
    Stopped { instance, position: 0, cause: StopCause::Cancelled }
}
