//! TLS to a real server, with authorities made here. For each of libpq's cases, the test also asks what `psql` does
//! with the same string.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod authority;
mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod front;
mod modes;
mod secure;
mod strings;
mod ways;

use readside::error::{StoreError, chain};
use readside::{PostgresOptions, PostgresStore};

/// Longer than a handshake takes on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

fn open(url: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::connect_with(url, PostgresOptions::default().connect_timeout(PATIENCE))
}

/// Checks that a connection is refused for this reason, and that neither a path nor a password is shown.
#[track_caller]
fn refused(url: &str, kind: readside::error::StoreErrorKind, words: &[&str]) {
    let error = open(url).expect_err(url);
    let text = format!("{} {error:?}", chain(&error));
    assert_eq!(error.kind(), kind, "{url}: {text}");
    for words in words {
        assert!(text.contains(words), "{url}: {words}: {text}");
    }
    for secret in ["zecret", "/tmp/"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}
