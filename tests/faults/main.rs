//! Faults from outside, on real databases, beneath running engines: each test ends with the law checker.
//!
//! `READSIDE_FAULT_KILLS` sets how many processes are killed, `READSIDE_FAULT_STEP` the bytes from one cut of a
//! connection to the next, `READSIDE_FAULT_SEED` makes other choices.
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
