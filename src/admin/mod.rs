//! Operations: what people ask of read models beyond keeping them current.
//!
//! An [`Engine`] has them as methods ([`Engine::rebuild`], [`Engine::verify`], …). A process that reaches the database
//! only asks a running engine by [`Remote`]. Either way the engine that takes the command does the work
//! (`carry_out.rs`): `rebuild` makes a build beside the live one, `part` one instance alone, `change` does what is left
//! to do with builds, `verify` and `explain` apply the log anew to tables that nobody sees. `doctor` and `apart` look at whole databases.

mod carry_out;
mod context;
mod doctor;
mod engine_commands;
#[cfg(feature = "sqlite")]
mod engine_inspect;
#[cfg(feature = "sqlite")]
mod explain;
#[cfg(feature = "sqlite")]
mod format;
#[cfg(feature = "sqlite")]
pub(crate) mod laws;
mod left_out;
mod lost;
mod pace;
mod rebuild;
mod rebuild_instance;
mod remote;
mod running;
mod switch;
mod tries;
mod two_databases;
#[cfg(feature = "sqlite")]
mod verify;
#[cfg(not(feature = "sqlite"))]
mod without_scratch;

pub use doctor::Doctor;
#[cfg(feature = "sqlite")]
pub use explain::{Explanation, ExplanationStep};
pub use rebuild::RebuildReport;
pub use remote::Remote;
pub use switch::Change;
pub use two_databases::status_of_two;
#[cfg(feature = "sqlite")]
pub use verify::{DifferingInstance, DifferingRow, Verification};

use std::sync::Arc;

use crate::engine::{Engine, EngineBuilder};
use crate::error::Error;

impl EngineBuilder {
    /// Sets up the tables, starts the threads, and returns when they run.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use readside::{Engine, SqliteStore};
    /// # use readside::{Projection, Table, create, set, text};
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
    /// When configuration or projections do not hold together, or the databases cannot be set up.
    pub fn start(self) -> Result<Engine, Error> {
        self.start_with(Arc::new(carry_out::AdminHandler))
    }
}
