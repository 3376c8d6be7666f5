//! What decisions are made on.

use super::Event;
use crate::error::PayloadError;

/// The state of an aggregate, folded from its own events: what a decision needs to know, and nothing more. See
/// [`DbStore::decide`](crate::DbStore::decide).
///
/// `default()` is the state before the first event.
pub trait Aggregate: Default {
    /// The type of the aggregate.
    const TYPE: &'static str;

    /// Takes in the next event. It gets every event of the aggregate: those that it does not need it passes over, and an
    /// erased one has no payload ([`Event::is_redacted`]).
    ///
    /// # Errors
    /// That of a payload which is not what it should be, or [`PayloadError::unfit`].
    fn apply(&mut self, event: &Event) -> Result<(), PayloadError>;
}
