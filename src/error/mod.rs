//! What can go wrong, one enum per family of operation, all of which turn into [`Error`].
//!
//! `Display` says what was being done and what to do about it; the cause is in `source()`. [`chain`] prints the
//! whole chain on one line.

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

pub use decide::DecideError;
pub use failure::FailureError;
pub use operate::{OperateError, SwitchError, Unanswered};
pub use projection::{ConfigError, ProjectionError, SetupError};
pub use push::{Holder, InvalidEvent, PayloadError, PushError};
pub use query::{QueryError, RowFault};
pub use retention::RetentionError;
pub use running::{AwaitError, ReduceError, ShutdownError, TriggerError};
pub use statement::{NameError, StatementError};
pub use store::{StoreError, StoreErrorKind, TextFault};

use std::error::Error as StdError;

use crate::plain::plain;

/// Any error of this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// See [`PushError`].
    #[error(transparent)]
    Push(#[from] PushError),
    /// See [`QueryError`].
    #[error(transparent)]
    Query(#[from] QueryError),
    /// See [`StatementError`].
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// See [`PayloadError`].
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// See [`ProjectionError`].
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// See [`SetupError`].
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// See [`ConfigError`].
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// See [`TriggerError`].
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    /// See [`AwaitError`].
    #[error(transparent)]
    Await(#[from] AwaitError),
    /// See [`FailureError`].
    #[error(transparent)]
    Mend(#[from] FailureError),
    /// See [`RetentionError`].
    #[error(transparent)]
    Life(#[from] RetentionError),
    /// See [`ShutdownError`].
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    /// See [`OperateError`].
    #[error(transparent)]
    Operate(#[from] OperateError),
}

/// The whole chain of an error on one line: what was being done, then each cause. Its length is bounded, and it does not
/// panic, whatever the errors do; line breaks and characters that are not seen are escaped.
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
