//! `readside` keeps the read models of event-sourced, multi-tenant services up to date, exactly once, on plain threads.
//!
//! It takes events from an event store (an embedded SQLite file, or PostgreSQL), reduces them to statements, and writes
//! read tables and checkpoint in one transaction. Nothing is async: every call blocks until it is done or its time is
//! over.
//!
//! # One event, from push to row
//!
//! 1. A service makes a [`NewEvent`] from a [`Payload`] and pushes it ([`EventStore::push`]). The push locks the counter
//!    row of its instance (a tenant), so that positions of an instance are dense and appear in order, and returns the
//!    stored [`Event`].
//! 2. [`ProjectionHandler::trigger`] reads the checkpoint of the projection in that instance and fetches the events above
//!    it ([`EventSource::read`](store::EventSource::read)).
//! 3. The [`Projection`]'s reducer turns the event into a [`Statement`](statement::Statement), which is data made by
//!    [`create`](statement::create), [`update`](statement::update) and the other builders.
//! 4. One transaction ([`ProjectionStore::transaction`](store::ProjectionStore::transaction)) locks the state row,
//!    compares the checkpoint, applies the statements and moves the checkpoint. Another process that does the same finds
//!    the checkpoint moved, and nothing to do.
//! 5. Readers see the row in the view with the table's plain name; [`Engine::await_pushed`] tells when.
//!
//! An [`Engine`] does steps 2 to 4 on its own threads, alone or together with other processes. A [`ProjectionHandler`]
//! does them on the caller's thread, as here:
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use std::sync::Arc;
//! use readside::prelude::*;
//! use readside::{EventStore, HandlerConfig, NewEvent, ProjectionHandler, SqliteStore};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Added { name: String }
//! impl Payload for Added { const AGGREGATE: &str = "user"; const TYPE: &str = "user.added"; }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Renamed { name: String }
//! impl Payload for Renamed { const AGGREGATE: &str = "user"; const TYPE: &str = "user.renamed"; }
//!
//! let users = Projection::new("users", 1)
//!     .table(Table::new("users").column(text("id")).column(text("name")).primary_key(["id"]))
//!     .on(|e, p: Added| create([set("id", e.aggregate_id()), set("name", p.name)]))
//!     .on(|e, p: Renamed| update([set("name", p.name)], [eq("id", e.aggregate_id())]));
//!
//! let store = Arc::new(SqliteStore::in_memory()?);
//! let handler = ProjectionHandler::new(store.clone(), store.clone(), users.clone(), HandlerConfig::default())?;
//! handler.setup()?;
//! store.push(&[NewEvent::new("main", "u1", &Added { name: "Ada".into() })])?;
//! store.push(&[NewEvent::new("main", "u1", &Renamed { name: "Lady Ada".into() })])?;
//! handler.trigger(&["main"])?;
//! let names: Vec<String> = store.query_as("main", "SELECT name FROM users WHERE instance_id = $instance", &[])?;
//! assert_eq!(names, ["Lady Ada"]);
//! # }
//! # Ok::<(), readside::Error>(())
//! ```
//!
//! # Where to look
//!
//! The root has what most services name. [`prelude`] has what a file with projections uses. The rest is in modules:
//!
//! | Module | What is there |
//! | --- | --- |
//! | [`table`], [`statement`] | what a projection declares, and what its reducers return |
//! | [`query`] | finding events |
//! | [`Reader`], [`Aggregate`] | reading rows of one tenant; deciding about one aggregate |
//! | [`subscription`] | hearing of pushed events; pushing within a transaction of the service |
//! | [`mod@watch`] | hearing of which rows changed |
//! | [`observe`] | hearing of what an engine does: batches, failures, standstills, commands |
//! | [`health`] | how an engine fares, and why it stands still |
//! | [`failure`] | failed events: finding, retrying and discarding them |
//! | [`admin`], [`builds`] | rebuild, switch, verify, explain, doctor; from the engine's process or another one |
//! | [`inspect`] | looking into a store without the code of its projections |
//! | [`retention`] | redacting, removing and archiving events |
//! | [`mod@error`] | what can go wrong; [`Error`] is any of it |
//! | [`testing`] | tests of projections without a service, of stores with planted faults, of custom sources |
//! | [`store`], [`clock`] | what the engine asks of a store; a custom event source; the time |
//!
//! # Features
//!
//! `sqlite` (the default), `postgres`, `tls` for TLS to PostgreSQL, `serve` for the status page and its metrics (the
//! module `serve`), and `cli` for the command `readside` and the module `cli`, which enables `tls` and `serve`. No
//! feature removes anything.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod command;
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, unused_imports, reason = "without PostgreSQL connection strings are only told from paths")
)]
mod conninfo;
mod dialect;
mod event;
mod plain;
mod remedy;
mod sealed;
mod setters;
mod standing;
mod standstill;
mod state;
mod stop_cause;
mod sync;
mod value;

mod lease;
mod projection;

#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, unused_imports, reason = "without a database nothing uses what databases share")
)]
mod db;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, unused_imports, reason = "without a database nothing uses what databases share")
)]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

mod engine;

pub mod admin;
pub mod builds;
#[cfg(feature = "cli")]
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, reason = "without a database there is nothing to look into")
)]
pub mod cli;
pub mod clock;
pub mod error;
pub mod failure;
pub mod inspect;
pub mod query;
pub mod retention;
#[cfg(feature = "serve")]
pub mod serve;
pub mod statement;
pub mod store;
pub mod subscription;
pub mod table;
pub mod testing;

/// How an engine and its projections get on: the answer of [`Engine::health`].
pub mod health {
    pub use crate::engine::{Health, LoopHealth, ProjectionHealth};
    pub use crate::standing::{Standing, Verdict};
    pub use crate::stop_cause::{StopCause, Stopped};
}

/// Hearing of changes of read models: what [`Engine::watch`] returns.
pub mod watch {
    pub use crate::engine::watch::changes::{ChangedRows, Changes, LiveChange, MarkError, Rows, WatchEnd, WatchMark};
}

/// What an engine did and found, as the observer of its service hears it ([`EngineBuilder::observer`]).
pub mod observe {
    pub use crate::engine::observe::observation::{
        AppliedBatch, CommandStep, FailedAttempt, GoesOn, Observation, StandsStill,
    };
}

/// What a file with projections uses: `use readside::prelude::*`.
///
/// # Examples
/// ```
/// use readside::prelude::*;
///
/// fn logins() -> Projection {
///     Projection::new("logins", 1)
///         .table(Table::new("logins").column(text("user")).column(integer("times")).primary_key(["user"]))
///         .on_raw("user", "user.logged_in", |e: &Event| {
///             upsert(["user"], [set("user", e.aggregate_id()), increment("times", 1)])
///         })
/// }
/// assert_eq!(logins().name(), "logins");
/// ```
pub mod prelude {
    pub use crate::error::ReduceError;
    pub use crate::event::{Event, Payload};
    pub use crate::projection::Projection;
    pub use crate::statement::{
        Assignment, Condition, Dialects, ExpectRows, Reduced, Statement, all_of, any_of, are_in, array_append,
        array_intersect, array_remove, contains, copy, copy_column, create, decrement, delete, eq, exec, ge, greatest,
        gt, in_table, increment, is_in, is_null, json_contains, le, least, look_up, lt, multi, ne, noop, not, set,
        set_if, set_json, set_on_insert, source_column, source_value, update, upsert,
    };
    pub use crate::table::{
        Column, ColumnType, ForeignKey, Index, Privilege, Table, boolean, bytes, date, decimal, duration, enumeration,
        float, integer, integer_array, json, text, text_array, time, timestamp, uuid, uuid_array,
    };
    pub use crate::value::{Date, Decimal, Time, Value};
}

pub use crate::db::{DbStore, EventStream, Reader};
pub use crate::engine::{
    Engine, EngineBuilder, EngineConfig, EngineStore, Fetched, HandlerConfig, Policy, Processed, ProjectionHandler,
};
pub use crate::error::any::Error;
pub use crate::event::{Aggregate, Event, Expected, NewEvent, Payload, Unique};
#[cfg(feature = "postgres")]
pub use crate::postgres::{PostgresConnector, PostgresOptions, PostgresStore};
pub use crate::projection::Projection;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use crate::sql::render_for_fuzzing;
#[cfg(feature = "sqlite")]
pub use crate::sqlite::{SqliteOptions, SqliteStore};
pub use crate::store::events::EventStore;
pub use crate::value::{Date, Decimal, Time, Value};

#[cfg(feature = "postgres")]
pub use ::postgres as postgres_driver;
#[cfg(feature = "sqlite")]
pub use ::rusqlite;

/// The code blocks of each page run as documentation tests.
#[cfg(all(doctest, feature = "sqlite"))]
macro_rules! pages {
    ($($name:ident $page:literal),* $(,)?) => { $(#[doc = include_str!($page)] struct $name;)* };
}
#[cfg(all(doctest, feature = "sqlite"))]
pages! {
    Readme "../README.md",
    GettingStarted "../docs/getting-started.md",
    Projections "../docs/projections.md",
    Running "../docs/running.md",
    Deploying "../docs/deploying.md",
    Failures "../docs/failures.md",
    Rebuilding "../docs/rebuilding.md",
    Retention "../docs/retention.md",
    SqlitePage "../docs/sqlite.md",
    CustomSource "../docs/custom-source.md",
    Importing "../docs/importing.md",
    Reading "../docs/reading.md",
    LiveChanges "../docs/live-changes.md",
}
#[cfg(all(doctest, feature = "sqlite", feature = "serve"))]
pages! {
    Seeing "../docs/seeing.md",
}
#[cfg(all(doctest, feature = "sqlite", feature = "cli"))]
pages! {
    Operating "../docs/operating.md",
}
#[cfg(all(doctest, feature = "sqlite", feature = "postgres"))]
pages! {
    PostgresPage "../docs/postgres.md",
}
