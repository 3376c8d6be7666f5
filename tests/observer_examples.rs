//! The examples of observers, run as a reader would.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::process::Command;

/// What an example beside the tests says; `cargo test` builds both.
fn lines_of(name: &str) -> Vec<String> {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    let example = folder.join("examples").join(name);
    assert!(example.exists(), "build it first: cargo build --example {name}");
    let output = Command::new(example).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

// Contract: S7
#[test]
fn metrics_are_bridged() {
    let lines = lines_of("metrics_bridge");
    for line in [
        "readside_events_applied_total{projection=\"logins\",version=\"1\"} 2",
        "readside_failures_total{projection=\"logins\",state=\"parked\"} 1",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line}: {lines:?}");
    }
    let histograms = ["readside_batch_seconds", "readside_visible_seconds"];
    assert!(histograms.iter().all(|name| lines.iter().any(|line| line.starts_with(name))), "{lines:?}");
}

// Contract: S7: the span of a batch is linked to the one that pushed its events.
#[test]
fn batches_are_linked_to_their_pushes() {
    let lines = lines_of("opentelemetry");
    let push = lines.iter().find_map(|line| line.strip_prefix("push ")?.split(' ').next()).unwrap();
    let apply = lines.iter().find(|line| line.starts_with("apply ")).unwrap();
    assert!(apply.contains(&format!("links to [\"{push}\"]")), "{lines:?}");
}
