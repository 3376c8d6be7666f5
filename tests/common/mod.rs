//! What integration tests and the soak share.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::{Duration, Instant};

#[cfg(unix)]
pub(crate) mod child;
#[cfg(feature = "sqlite")]
pub(crate) mod file;
#[cfg(all(feature = "postgres", unix))]
pub(crate) mod pooler;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "postgres")]
pub(crate) mod proxy;
pub(crate) mod random;
#[cfg(all(feature = "postgres", unix))]
pub(crate) mod server;
#[cfg(all(feature = "postgres", unix))]
pub(crate) mod standby;

/// Longer than anything takes that works.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// The pause between two looks. A test that spins would take CPU time from the work that it waits for.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// True if the condition becomes true within this time. It looks again and again, and parks in between.
pub(crate) fn holds_within(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
    true
}

/// Waits until the condition becomes true.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    assert!(holds_within(LONG, holds), "{what} did not come about");
}

/// Pauses or resumes a projection or one instance of it, without an engine.
pub(crate) fn pause(
    store: &dyn readside::store::ProjectionStore,
    projection: &str,
    instance: Option<&str>,
    on: bool,
    by: &readside::failure::By,
) {
    let instance = instance.map(str::to_owned);
    let command = if on {
        readside::admin::AdminCommand::Pause { instance }
    } else {
        readside::admin::AdminCommand::Resume { instance }
    };
    let (projection, by) = (projection.to_owned(), by.clone());
    let command = readside::admin::NewCommand { projection, version: None, command, by };
    store.commands().ask(&command).unwrap();
}
