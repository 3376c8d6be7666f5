//! Decisions.

use std::error::Error as StdError;

use super::{PayloadError, PushError, StoreError};
use crate::plain::plain;

/// A decision of which nothing was stored, unless it says otherwise. `E` is the error of the service's own by which it
/// refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError<E: StdError + 'static> {
    /// The service refused.
    #[error(transparent)]
    Refused(E),
    /// Others stored events of the aggregate each time in between.
    #[error(
        "nothing pushed: others changed the aggregate during each of {tries} tries to decide; try again later, or have fewer \
         writers of one aggregate"
    )]
    Contended {
        /// How often it was decided.
        tries: u32,
        /// The last conflict.
        source: Box<PushError>,
    },
    /// The decision brought an event of something else, which the version of the aggregate does not guard.
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
        /// The same of what was decided about.
        wanted: String,
    },
    /// An event of the aggregate could not be taken in.
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
    /// The events were not stored, for another reason than a conflict; see there what may be stored nevertheless.
    #[error(transparent)]
    Push(Box<PushError>),
}
