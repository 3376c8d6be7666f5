//! What integration tests share.
#![allow(dead_code, reason = "each test binary uses its own part")]

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
