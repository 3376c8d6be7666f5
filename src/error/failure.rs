//! Retrying and giving up failed events.

use super::{StoreError, TriggerError};
use crate::failure::{FailureClass, RetryOutcome};
use crate::plain::{listed_of_more, plain};

/// Refused events that the text of an error names.
const NAMED: usize = 5;

/// A failure that could not be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FailureError {
    /// The engine runs no projection of this name.
    #[error("the engine runs no projection {projection:?}; check the spelling, or give it to the engine")]
    UnknownProjection {
        /// The name.
        projection: String,
    },
    /// No failure of this event is on record. It may have been resolved already.
    #[error(
        "projection {projection:?} has no failure of event {position} of instance {instance:?} on record; list those it has"
    )]
    NotOnRecord {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The event.
        position: i64,
    },
    /// The event fails again.
    #[error(
        "event {position} of instance {instance:?} still fails in projection {projection:?} ({class}: {}); {} before it",
        plain(error), applied_events(*applied)
    )]
    StillFails {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The event. For a parked aggregate it may be a later event than the one that was retried.
        position: i64,
        /// Events that were applied before it.
        applied: u64,
        /// Class of the error.
        class: FailureClass,
        /// Text of the error.
        error: String,
    },
    /// All failed events were tried again, and some of them fail again.
    #[error("projection {projection:?}: {}, {} of {} are still on record; refused again: {}", applied_events(mended.applied), mended.after, mended.before, refused(mended))]
    SomeStillFail {
        /// The projection.
        projection: String,
        /// What was applied and what still fails.
        mended: Box<RetryOutcome>,
    },
    /// The event store no longer has the event, or has another one in its place.
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
    /// A reducer made the call.
    #[error(
        "a reducer cannot retry or discard failures of projection {projection:?}: it could wait for itself; a reducer only makes statements of its event"
    )]
    InsideReducer {
        /// The projection.
        projection: String,
    },
    /// The pass that should have applied the event did not get that far.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn applied_events(applied: u64) -> String {
    match applied {
        0 => "no event was applied".to_owned(),
        1 => "1 event was applied".to_owned(),
        more => format!("{more} events were applied"),
    }
}

fn refused(mended: &RetryOutcome) -> String {
    let named = mended.refused.iter().take(NAMED);
    let words = named.map(|one| format!("event {} of instance {:?} ({})", one.position, one.instance, one.error));
    let more = (mended.refused.len().saturating_sub(NAMED) as u64).saturating_add(mended.not_named);
    listed_of_more(words, ", ", more)
}
