//! What can go wrong: one enum per family of operations. All of them convert into [`Error`].
//!
//! `Display` says what was being done and what to do about it; the cause is in `source()`. [`chain`] prints the
//! whole chain on one line.

pub(crate) mod any;
mod decide;
mod failure;
pub(crate) mod net;
mod operate;
mod projection;
mod push;
mod query;
mod retention;
mod running;
mod statement;
mod store;

pub(crate) use any::Error;
pub use decide::DecideError;
pub use failure::FailureError;
pub use operate::{OperateError, SwitchError, Unanswered};
pub use projection::{ConfigError, ProjectionError, SetupError};
pub use push::{Holder, InvalidEvent, PayloadError, PushError};
pub use query::{QueryError, RowFault};
pub use retention::RetentionError;
pub use running::{AwaitError, ReduceError, ShutdownError, TriggerError, WatchError};
pub use statement::{NameError, StatementError};
pub use store::{StoreError, StoreErrorKind, TextFault};

use std::error::Error as StdError;

use crate::plain::plain;

/// The whole chain of an error on one line: what was being done, then each cause. The length is bounded, and the
/// function does not panic, whatever the errors do. It escapes line breaks and invisible characters.
///
/// # Examples
/// ```
/// let error = "x".parse::<i32>().unwrap_err();
/// assert_eq!(readside::error::chain(&error), "invalid digit found in string");
/// ```
#[must_use]
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    net::bounded(&plain(&net::chain(error, net::said)))
}

// The table has the errors of all features, so it is compiled with all of them.
#[cfg(test)]
#[cfg(all(feature = "cli", feature = "postgres", feature = "sqlite"))]
mod tests;
