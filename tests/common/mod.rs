//! What integration tests share.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[cfg(unix)]
pub(crate) mod child;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "postgres")]
pub(crate) mod proxy;
pub(crate) mod random;
#[cfg(all(feature = "postgres", unix))]
pub(crate) mod server;
