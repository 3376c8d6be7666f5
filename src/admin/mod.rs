//! Operations: what people ask for besides keeping read models current.
//!
//! [`Admin`] (`handle.rs`) has them as methods, for a service with an [`Engine`] and for a process that reaches only
//! the database. Each is a command on record (`ask.rs`), and the engine that takes it does the work (`carry_out.rs`).
//! `rebuild.rs` makes a build beside the live one, `rebuild_instance.rs` rebuilds one instance, and `switch.rs` holds
//! the other commands about builds and failures. `verify.rs` and `explain.rs` apply the log again to tables that nobody
//! sees. `doctor.rs` and `two_databases.rs` look at whole databases.

mod answer;
mod ask;
mod carry_out;
mod compare;
mod context;
mod doctor;
#[cfg(feature = "sqlite")]
mod explain;
#[cfg(feature = "sqlite")]
mod format;
mod handle;
#[cfg(feature = "sqlite")]
pub(crate) mod laws;
mod left_out;
mod lost;
mod own_engine;
mod pace;
mod rebuild;
mod rebuild_instance;
mod running;
mod switch;
mod target;
mod tries;
mod two_databases;
#[cfg(feature = "sqlite")]
mod verify;
#[cfg(not(feature = "sqlite"))]
mod without_scratch;

pub use crate::command::{
    AdminCommand, CommandRecord, CommandState, ExplainRequest, NewCommand, RebuildOptions, Switch,
};
pub use doctor::Doctor;
#[cfg(all(feature = "serve", feature = "sqlite"))]
pub(crate) use explain::explain_within;
#[cfg(feature = "sqlite")]
pub use explain::{Explanation, ExplanationStep};
pub use handle::Admin;
pub use rebuild::RebuildReport;

pub use switch::Change;
pub use two_databases::status_of_two;
#[cfg(feature = "sqlite")]
pub use verify::{DifferingInstance, DifferingRow, Verification};

use std::sync::Arc;

use crate::engine::{Engine, EngineBuilder};
use crate::error::Error;

impl EngineBuilder {
    /// Sets up the tables and starts the threads. Returns when the threads run.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use readside::{Engine, SqliteStore};
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let engine = Engine::builder(SqliteStore::in_memory()?).projection(logins).start()?;
    /// engine.shutdown(Duration::from_secs(10))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When configuration and projections contradict each other, or the databases cannot be set up.
    pub fn start(self) -> Result<Engine, Error> {
        self.start_with(Arc::new(carry_out::AdminHandler))
    }
}
