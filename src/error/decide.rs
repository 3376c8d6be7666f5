//! Decisions.

use std::error::Error as StdError;

use super::{PayloadError, PushError, StoreError};
use crate::plain::plain;

/// A decision that failed. Nothing was stored, unless the variant says otherwise. `E` is the error with which the
/// service refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError<E: StdError + 'static> {
    /// The service refused.
    #[error(transparent)]
    Refused(E),
    /// Other writers stored events of the aggregate during each attempt.
    #[error(
        "nothing pushed: others changed the aggregate during each of {tries} tries to decide; try again later, or have fewer \
         writers of one aggregate"
    )]
    Contended {
        /// How many attempts were made.
        tries: u32,
        /// The last conflict.
        source: Box<PushError>,
    },
    /// The decision returned an event of another aggregate, which the version does not guard.
    #[error(
        "nothing pushed: event {index} of the decision is about {}, and the decision about {}; push events of others \
         by themselves",
        plain(found),
        plain(wanted)
    )]
    Foreign {
        /// Which event, from 0.
        index: usize,
        /// Type, id and tenant of its aggregate, for people.
        found: String,
        /// Type, id and tenant of the aggregate that was decided on.
        wanted: String,
    },
    /// An event of the aggregate could not be applied to its state.
    #[error("folding {} failed at position {position}", plain(aggregate))]
    Fold {
        /// Type, id and tenant of the aggregate, for people.
        aggregate: String,
        /// Position of the event.
        position: i64,
        /// Why.
        source: Box<PayloadError>,
    },
    /// The events of the aggregate could not be read.
    #[error(transparent)]
    Read(StoreError),
    /// The events were not stored, for another reason than a conflict. See [`PushError`] for what may be stored
    /// nevertheless.
    #[error(transparent)]
    Push(Box<PushError>),
}
