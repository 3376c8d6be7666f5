//! `readside` keeps the read models of event-sourced, multi-tenant services up to date, exactly once, on plain threads.

pub mod error;

mod clock;
mod event;
mod query;
mod state;
mod statement;
mod table;
mod value;

mod projection;
mod store;
mod subscription;

mod db;
#[cfg(feature = "postgres")]
mod postgres;
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

pub mod engine;
pub mod testing;

pub use crate::clock::{Clock, ManualClock, SystemClock};
pub use crate::db::{DbStore, EventStream};
pub use crate::engine::{Fetched, HandlerConfig, Policy, Processed, ProjectionHandler};
pub use crate::error::{Error, ReduceError};
pub use crate::event::{Command, Event, Expected, Payload, Unique};
#[cfg(feature = "postgres")]
pub use crate::postgres::{PostgresOptions, PostgresStore};
pub use crate::projection::{Projection, ReduceFailure};
pub use crate::query::{Cursor, Head, HeadsRequest, Query, ReadRequest, Slice, SubQuery, Wanted};
#[cfg(feature = "sqlite")]
pub use crate::sqlite::{SqliteOptions, SqliteStore};
pub use crate::state::{
    Attempt, Blocked, Checkpoint, FailureClass, HeldEvent, HeldState, ProjectionKey, State, StopCause, Stopped,
};
pub use crate::statement::*;
pub use crate::store::{EventSource, EventStore, ProjectionStore, ProjectionTransaction};
pub use crate::subscription::{DirtyToken, PushedIn, Received, Subscription, Topics};
pub use crate::table::{
    Column, Table, boolean, bytes, float, integer, json, text, text_array, timestamp, uuid as uuid_column,
};
pub use crate::value::{ColumnType, Value};

#[cfg(feature = "postgres")]
pub use ::postgres as postgres_driver;
#[cfg(feature = "sqlite")]
pub use ::rusqlite;
