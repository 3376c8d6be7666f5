//! The pass: fetch events, reduce them, apply statements and checkpoint in one transaction. Traits only, never a
//! database.
//!
//! [`ProjectionHandler::trigger`] (`handler.rs`) runs passes on the caller's thread; `flight.rs` lets callers for the
//! same instance share one. A pass reads what lies above the checkpoints (`fetch.rs`), page after page and ahead of the
//! work (`feed.rs`), and works through it in attempts
//! (`attempt.rs`), each of which is a few transactions (`apply.rs`) that do what was planned under the lock
//! (`plan.rs`). What becomes of an event that fails is decided in `failure.rs`.

mod apply;
mod attempt;
mod careful;
mod config;
mod delay;
mod failure;
mod feed;
mod fetch;
mod flight;
mod handler;
mod mend;
mod plan;
mod work;

mod builder;
mod builds;
mod compare;
mod first_run;
mod health;
mod history;
mod holding;
mod lag;
mod leased;
mod listener;
mod members;
mod operator;
mod pages;
mod progress;
mod reducing;
mod renewal;
mod running;
mod schedule;
mod shared;
mod standstill;
mod stop;
mod subscriber;
mod thread;
mod ticker;
mod unfed;
mod windows;

#[cfg(all(test, shuttle))]
mod shuttled;

pub use builder::{EngineBuilder, EngineConfig, EngineStore};
pub(crate) use builds::NEXT;
pub(crate) use compare::compare;
pub use config::{HandlerConfig, Policy};
pub use fetch::Fetched;
pub use handler::ProjectionHandler;
pub use health::{Health, LoopHealth, ProjectionHealth};
pub(crate) use history::{Astray, astray};
pub(crate) use operator::{Operate, Task};
pub use running::Engine;
pub(crate) use stop::Stop;
pub(crate) use unfed::ITSELF;
pub use work::Processed;
