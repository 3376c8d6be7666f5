//! External faults on real databases, beneath running engines. Each test ends with the law checker.
//!
//! `READSIDE_FAULT_KILLS` sets how many processes are killed. `READSIDE_FAULT_STEP` sets how many bytes pass between
//! two cuts of a connection. `READSIDE_FAULT_SEED` changes the random choices.
#![cfg(all(feature = "sqlite", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod clock;
mod history;
mod load;
#[cfg(feature = "postgres")]
mod network;
mod processes;
#[cfg(feature = "postgres")]
mod server;
#[cfg(feature = "postgres")]
mod stopped;
mod torn;
#[cfg(feature = "postgres")]
mod values;
