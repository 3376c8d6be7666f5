//! Storing events, inside a transaction that is open already.
//!
//! The order is the law (L1), and `transaction.rs` keeps it. First it locks the counters of all instances. Then, in a
//! later statement, it reads versions, unique values and push keys (`read.rs`). Then it decides (`ledger.rs`), and
//! writes events and counters. Only the holder of a counter gives positions until its commit, so the order of commits
//! is the order of positions. Pushes of one process that wait for each other share a transaction (`line.rs`,
//! `group.rs`).

mod draft;
mod group;
mod known;
mod ledger;
mod line;
mod read;
#[cfg(all(test, shuttle))]
mod shuttled;
mod transaction;
mod unique;

#[cfg(feature = "cli")]
pub(crate) use draft::Continued;
pub(crate) use draft::{Push, instances};
pub(crate) use group::{Pushes, explained};
pub(crate) use ledger::{Accepted, Counter, Counters};

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Holder, PushError};
use crate::event::Event;

/// What the log says before an import makes the indexes of event ids.
pub(crate) const INDEXING: &str =
    "the first import makes the indexes of event ids; pushes wait until it has stored its first events";

/// What a backend writes for some pushes.
#[derive(Debug)]
pub struct Append<'l> {
    /// The events with their push keys.
    pub(crate) events: Vec<(&'l Event, Option<&'l str>)>,
    /// The counter of each instance after these events.
    pub(crate) counters: Vec<(&'l Arc<str>, &'l Counter)>,
    /// The highest position of each instance and aggregate type.
    pub(crate) heads: Vec<(&'l Arc<str>, &'l Arc<str>, i64)>,
}

/// The error of a push that has waited since then. The caller finds the holder, because that takes another connection.
pub(crate) fn busy(instances: &[Arc<str>], since: Instant, holder: Option<Holder>) -> PushError {
    let instance = instances.first().map(ToString::to_string).unwrap_or_default();
    let waited = Duration::from_millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
    PushError::Busy { instance, waited, holder }
}
