//! The threads of an engine, and the schedule by which they share its pool.
//!
//! `ticker.rs` finds what lags, `subscriber.rs` takes pushed events from the queue, `listener.rs` hears of other
//! processes, `renewal.rs` renews leases, `operator.rs` carries out commands. All of them put instances on the schedule
//! (`schedule.rs`); `jobs.rs` is what the workers of the pool do with it. `control.rs` is what operations need of the
//! engine, or of the command, that carries them out.

pub(crate) mod builder;
pub(crate) mod builds;
pub(crate) mod compare;
pub(crate) mod control;
pub(crate) mod engine;
pub(crate) mod first_run;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod lag;
pub(crate) mod launch;
pub(crate) mod listener;
pub(crate) mod log_memory;
pub(crate) mod members;
pub(crate) mod operator;
pub(crate) mod pass_leases;
pub(crate) mod pauses;
pub(crate) mod progress;
#[cfg(feature = "serve")]
pub(crate) mod readings;
pub(crate) mod renewal;
pub(crate) mod runner;
pub(crate) mod schedule;
pub(crate) mod seen;
pub(crate) mod standstill;
pub(crate) mod standstills;
pub(crate) mod state;
pub(crate) mod subscriber;
pub(crate) mod thread;
pub(crate) mod ticker;
pub(crate) mod unfed;
pub(crate) mod watch;

#[cfg(all(test, shuttle))]
mod shuttled;
