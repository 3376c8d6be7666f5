//! The state on which a service decides.

use super::Event;
use crate::error::PayloadError;

/// The state of an aggregate, folded from its events: what a decision needs to know, and nothing more. See
/// [`DbStore::decide`](crate::DbStore::decide).
///
/// `default()` is the state before the first event.
pub trait Aggregate: Default {
    /// The type of the aggregate.
    const TYPE: &'static str;

    /// Takes in the next event. The method gets every event of the aggregate and ignores those that it does not need.
    /// An erased event has no payload ([`Event::is_redacted`]).
    ///
    /// # Errors
    /// The error of a payload that cannot be decoded, or [`PayloadError::unfit`].
    fn apply(&mut self, event: &Event) -> Result<(), PayloadError>;
}
