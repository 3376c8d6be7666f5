//! Keeps read models up to date. Traits only, never a database.
//!
//! Four storeys, each of which uses only those below it:
//!
//! 1. `pass`: one transaction's worth of work on one projection.
//! 2. `read`: how pages of events come.
//! 3. `handler`: one projection on the caller's thread ([`ProjectionHandler`]).
//! 4. `run`: threads, schedule and leases ([`Engine`]).

mod config;
pub(crate) mod observe;
mod stop;
pub(crate) mod watch;

mod pass;

mod read;

mod handler;

mod run;

pub use config::{EngineConfig, HandlerConfig, Policy};
pub use handler::ProjectionHandler;
pub(crate) use handler::failures::in_all;
pub(crate) use observe::Hook;
pub(crate) use pass::history::{Astray, astray};
#[cfg(feature = "serve")]
pub(crate) use pass::meter::{BOUNDS, Spread};
pub(crate) use pass::reducing::Reducing;
#[cfg(feature = "serve")]
pub(crate) use pass::sightings::{Seen, Sighting};
pub use pass::work::Processed;
pub use read::fetch::Fetched;
pub use run::builder::{EngineBuilder, EngineStore};
pub(crate) use run::builds::NEXT;
pub(crate) use run::compare::compare;
pub(crate) use run::control::Control;
pub use run::engine::Engine;
pub use run::health::{Health, LoopHealth, ProjectionHealth};
pub(crate) use run::operator::{CommandHandler, Task};
#[cfg(feature = "serve")]
#[allow(unused_imports, reason = "rows are explained by a database that a build may leave out")]
pub(crate) use run::readings::Desk;
#[cfg(feature = "serve")]
pub(crate) use run::readings::{Onlooker, Readings};
pub(crate) use run::unfed::ITSELF;
pub(crate) use stop::Stop;
#[cfg(feature = "serve")]
pub(crate) use watch::changes::{Changes, LiveChange, Rows, WatchEnd, WatchMark};
#[cfg(feature = "serve")]
pub(crate) use watch::hub::Hub;
