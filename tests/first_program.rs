//! The program that the README shows, run as a reader would run it: twice in one folder.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;
use std::process::Command;

/// The example, in the folder of the test binary. `cargo test` builds both.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    let example = folder.join("examples").join("first_projection");
    assert!(example.exists(), "build it first: cargo build --example first_projection");
    example
}

// Contract: A2, L2: a second run finds what the first run stored.
#[test]
fn the_first_program_runs_twice() {
    let folder = tempfile::tempdir().unwrap();
    for said in ["Ada\n", "Ada is there already\nAda\n"] {
        let output = Command::new(example()).current_dir(&folder).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(String::from_utf8_lossy(&output.stdout), said);
        assert!(output.status.success(), "{:?}", output.status);
    }
}

// A reader of the README runs both programs in one folder, so each keeps its own file.
#[test]
fn the_first_program_leaves_the_other_examples_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Command::new(example()).current_dir(&folder).output().unwrap().status.success());
    assert!(folder.path().join("first.db").exists());
    assert!(!folder.path().join("service.db").exists(), "that is the file of blocking_service");
}

/// Code without spaces and trailing commas, which a formatter decides about.
fn bare(code: &str) -> String {
    let code: String = code.split_whitespace().collect();
    code.replace(",}", "}").replace(",)", ")")
}

#[test]
fn the_readme_shows_the_program_as_it_is() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (readme, program) = (read("README.md"), read("examples/first_projection.rs"));
    let shown = readme.split("```rust,no_run\n").nth(1).and_then(|rest| rest.split("```\n").next()).unwrap();
    let (_, code) = program.split_once("\n\n").unwrap();
    assert_eq!(bare(shown), bare(code));
}
