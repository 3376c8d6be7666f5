//! The error that every other error converts into.

use crate::error::{
    AwaitError, ConfigError, FailureError, OperateError, PayloadError, ProjectionError, PushError, QueryError,
    RetentionError, SetupError, ShutdownError, StatementError, StoreError, TriggerError, WatchError,
};

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
    /// See [`WatchError`].
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// See [`FailureError`].
    #[error(transparent)]
    Failure(#[from] FailureError),
    /// See [`RetentionError`].
    #[error(transparent)]
    Retention(#[from] RetentionError),
    /// See [`ShutdownError`].
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    /// See [`OperateError`].
    #[error(transparent)]
    Operate(#[from] OperateError),
}
