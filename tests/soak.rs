//! A short soak on each database, as a person would run it: processes are killed and stopped, with poison and
//! rollbacks.
#![cfg(all(unix, feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::process::Command;

/// The example, in the folder of the test binary. `cargo test` builds both.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    let example = folder.join("examples").join("soak");
    assert!(example.exists(), "build it first: cargo build --example soak");
    example
}

/// How many minutes a soak takes: `READSIDE_SOAK_MINUTES`, or a default.
fn minutes() -> f64 {
    std::env::var("READSIDE_SOAK_MINUTES").map_or(0.2, |minutes| minutes.parse().unwrap())
}

fn soak(arguments: &[&str]) {
    soak_for(minutes(), arguments);
}

fn soak_for(minutes: f64, arguments: &[&str]) {
    let output = Command::new(example()).args(["--minutes", &minutes.to_string()]).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    assert!(
        output.status.success() && last.ends_with(" lost=0 doubled=0 stuck=0"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(last.starts_with("soak: events=") && !last.contains("events=0 ") && !last.contains("faults=0 "), "{last}");
}

// Contract: L2, L4, L7, F4, F7, H2, H3
#[test]
fn a_short_soak_on_sqlite_loses_nothing() {
    soak(&["--seed", "1"]);
}

// Contract: L2, L4, L6, L7, F4, F7, F8, H2, H3
#[cfg(feature = "postgres")]
#[test]
fn a_short_soak_on_postgres_loses_nothing() {
    let database = common::postgres::database();
    soak(&["--seed", "2", "--database", database.url()]);
}

// Contract: L10: an older copy is restored in place, and another file replaces the open file.
#[test]
fn a_short_soak_survives_restores_on_sqlite() {
    soak(&["--seed", "3", "--restores", "sqlite"]);
}

// Contract: L10: an older copy of the server's folder is restored, and a lagging standby is promoted.
#[cfg(feature = "postgres")]
#[test]
fn a_short_soak_survives_restores_on_postgres() {
    // Stopping, copying and following a server takes a while.
    soak_for(2.0 * minutes(), &["--seed", "4", "--restores", "postgres"]);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_database_that_is_used_already_is_refused() {
    use readside::{EventStore, SqliteStore};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("used.db");
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    store.push(&[readside::NewEvent::raw("a", "item", "1", "item.changed")]).unwrap();
    drop(store);
    let output = Command::new(example()).args(["--minutes", "0.01", "--database"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("give an empty one"), "{said}");
}
