//! What integration tests share, and the soak.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

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

/// Pauses a projection or one instance of it, or lets it go on, with no engine at hand.
pub(crate) fn pause(
    store: &dyn readside::ProjectionStore,
    projection: &str,
    instance: Option<&str>,
    on: bool,
    by: &readside::By,
) {
    let instance = instance.map(str::to_owned);
    let command =
        if on { readside::AdminCommand::Pause { instance } } else { readside::AdminCommand::Resume { instance } };
    let (projection, by) = (projection.to_owned(), by.clone());
    let command = readside::NewCommand { projection, version: None, command, by };
    store.commands().ask(&command).unwrap();
}
