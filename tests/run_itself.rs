//! What `tests/run` says at its end. The test replaces cargo by its own script.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Runs it with this script as `cargo`. Returns its output, and the arguments of each call. Nothing has to be
/// installed.
fn run(cargo: &str, arguments: &[&str]) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let said = format!("#!/bin/sh\necho \"$@\" >>{}\n{cargo}\n", calls.display());
    let others = ["promtool", "chromium", "pgbouncer"].map(|name| (name, "#!/bin/sh\n".to_owned()));
    for (name, text) in others.into_iter().chain([("cargo", said)]) {
        let program = folder.path().join(name);
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run"))
        .args(arguments)
        .env("PATH", path)
        .env("READSIDE_TEST_DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .output()
        .unwrap();
    (output, std::fs::read_to_string(calls).unwrap())
}

fn last_lines(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.split_once("tests/run: failed:\n").map_or(said.clone(), |(_, last)| last.to_owned())
}

#[test]
fn its_last_lines_name_what_failed() {
    let cargo = r#"
case "$*" in
*shuttled*) echo "     Running unittests src/lib.rs (target/x)"; echo "test bus::shuttled::stops ... FAILED" ;;
*)
  echo "     Running tests/cli/main.rs (target/a)" >&2
  echo "test help::fits ... ok"; echo "test failed::lists ... FAILED"; echo "test result: FAILED. 1 passed; 1 failed"
  echo "   Doc-tests readside" >&2
  echo "test docs/running.md - (line 10) ... FAILED"
  echo 'error: 2 targets failed:' >&2 ;;
esac
exit 101"#;
    let (output, calls) = run(cargo, &[]);
    assert!(!output.status.success());
    assert_eq!(calls.lines().count(), 2, "the second part runs after a first that failed: {calls}");
    assert_eq!(
        last_lines(&output),
        "  tests/cli/main.rs: failed::lists\n  doc-tests: docs/running.md - (line 10)\n  src/lib.rs: bus::shuttled::stops\n"
    );
}

#[test]
fn what_does_not_build_is_named_and_a_filter_runs_one_part() {
    let (output, calls) = run("echo 'error[E0425]: cannot find value `x`'; exit 101", &["--test", "cli"]);
    assert!(!output.status.success());
    assert_eq!(calls, "test --locked --all-features --no-fail-fast --test cli\n");
    assert_eq!(last_lines(&output), "  all tests: error[E0425]: cannot find value `x`\n");

    let (output, calls) = run("echo 'test a ... ok'", &[]);
    assert!(output.status.success());
    assert_eq!(calls.lines().count(), 2);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("failed"));
}
