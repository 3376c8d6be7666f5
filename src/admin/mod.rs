//! Operations: what people ask of read models beyond keeping them current.
//!
//! An [`Engine`] has them as methods ([`Engine::rebuild`], [`Engine::verify`], …). A process that reaches the database
//! only asks a running engine by [`Remote`]. Either way the engine that takes the command does the work
//! (`carry_out.rs`): `rebuild` makes a build beside the live one, `part` one instance alone, `change` does what is left
//! to do with builds, `verify` and `explain` apply the log anew to tables that nobody sees. `doctor` and `apart` look at whole databases.

mod apart;
mod api;
mod carry_out;
mod change;
mod doctor;
#[cfg(feature = "sqlite")]
mod explain;
#[cfg(feature = "sqlite")]
pub(crate) mod laws;
mod left_out;
#[cfg(feature = "sqlite")]
mod look;
mod lost;
mod measure;
mod part;
mod rebuild;
mod remote;
mod site;
#[cfg(feature = "sqlite")]
mod verify;
#[cfg(feature = "sqlite")]
mod words;

pub use apart::status_apart;
pub use change::Change;
pub use doctor::Doctor;
#[cfg(feature = "sqlite")]
pub use explain::{Explanation, ExplanationStep};
pub use rebuild::RebuildReport;
pub use remote::Remote;
#[cfg(feature = "sqlite")]
pub use verify::{DifferingInstance, DifferingRow, Verification};

use std::sync::Arc;

use crate::engine::{Engine, EngineBuilder};
use crate::error::Error;

impl EngineBuilder {
    /// Sets up the tables, starts the threads, and returns when they run.
    ///
    /// # Errors
    /// When configuration or projections do not hold together, or the databases cannot be set up.
    pub fn start(self) -> Result<Engine, Error> {
        self.start_with(Arc::new(carry_out::Operations))
    }
}
