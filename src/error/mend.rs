//! Mending failures.

use super::{StoreError, TriggerError};
use crate::held::FailureClass;
use crate::plain::plain;

/// A failure that was not mended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MendError {
    /// The engine runs no projection of this name.
    #[error("the engine runs no projection {projection:?}")]
    UnknownProjection {
        /// The name.
        projection: String,
    },
    /// No failure of this event is on record; it may have been mended already.
    #[error(
        "projection {projection:?} has no failure of event {position} of instance {instance:?} on record; list those it has"
    )]
    NotHeld {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The event.
        position: i64,
    },
    /// The event waits behind another one.
    #[error(
        "event {position} of instance {instance:?} waits behind event {first} in projection {projection:?}; retry or discard that one"
    )]
    Behind {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The event.
        position: i64,
        /// The event that is parked.
        first: i64,
    },
    /// The event is refused again.
    #[error(
        "event {position} of instance {instance:?} still fails in projection {projection:?} ({class}: {}); {applied} events were applied before",
        plain(error)
    )]
    StillFails {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The event; of a parked aggregate it may be one behind the event that was retried.
        position: i64,
        /// Events that were applied before it.
        applied: u64,
        /// Class of the error.
        class: FailureClass,
        /// Text of the error.
        error: String,
    },
    /// The event store does not have the event any more, or another one in its place.
    #[error(
        "event {position} of instance {instance:?}, recorded as failed in projection {projection:?}, is not in the event store; discard it, or connect the right store"
    )]
    EventGone {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The event.
        position: i64,
    },
    /// Called by a reducer.
    #[error(
        "failures of projection {projection:?} cannot be mended by a reducer: that could wait for the reducer itself; a reducer only makes statements of its event"
    )]
    InsideReducer {
        /// The projection.
        projection: String,
    },
    /// The pass that should have applied it did not come so far.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
