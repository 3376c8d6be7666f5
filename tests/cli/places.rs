//! How the command finds its database, and set-up.

use crate::{Ran, command, fresh, ran, run};

#[test]
fn the_environment_may_name_the_database() {
    for place in fresh() {
        let run = |args: &[&str]| ran(command().env("READSIDE_DATABASE_URL", place.name()).args(args), "");
        assert!(run(&["setup"]).ok().starts_with("the engine's tables are up to date"));
        assert_eq!(run(&["setup", "--json"]).json()["projections"], serde_json::json!([]));
        assert!(run(&["setup", "--quiet"]).ok().is_empty());
        run(&["setup", "--check"]).ok();
        run(&["status"]).ok();
    }
}

// Contract: I1
#[test]
fn what_is_not_set_up_is_found_by_the_check() {
    for place in fresh() {
        let sql = place.run(&["setup", "--sql"]).ok();
        assert!(sql.starts_with("BEGIN;") && sql.contains("CREATE TABLE"), "{sql}");
        let error = place.run(&["setup", "--check"]).failed();
        assert!(error.contains("is missing"), "{error}");
    }
}

/// An SQLite file with one event, and its path.
fn filled() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.db").to_str().unwrap().to_owned();
    run(&["-d", &file, "setup"]).ok();
    let line = r#"{"instance":"acme","aggregate_type":"user","aggregate_id":"u","type":"user.added"}"#;
    ran(command().args(["-d", &file, "push"]), line).ok();
    (folder, file)
}

#[test]
fn an_uri_names_a_file() {
    let (folder, file) = filled();
    for uri in ["file:PATH", "file://PATH?mode=ro", "file:PATH?mode=ro", "file:PATH?immutable=1"] {
        let uri = uri.replace("PATH", &file);
        for args in [&["events"][..], &["status"], &["instances"], &["failed", "list"], &["commands"]] {
            run(&[&["-d", &uri], args].concat()).ok();
        }
    }
    let uri = format!("file:{file}?mode=ro");
    assert!(run(&["-d", &uri, "events"]).ok().contains("user.added"));
    let line = r#"{"instance":"acme","aggregate_type":"user","aggregate_id":"v","type":"user.added"}"#;
    let error = ran(command().args(["-d", &uri, "push"]), line).failed();
    assert!(error.contains("leave mode=ro and immutable=1 out of its path"), "{error}");
    assert!(!error.contains("may write the file"), "{error}");
    assert_eq!(run(&["-d", &uri, "doctor"]).code, 3);
    let missing = format!("file:{}/no.db", folder.path().display());
    assert!(run(&["-d", &missing, "events"]).failed().contains("no.db"));
    assert!(!folder.path().join("no.db").exists());
    let made = format!("file:{}/new.db", folder.path().display());
    run(&["-d", &made, "setup"]).ok();
    assert!(folder.path().join("new.db").exists());
}

#[test]
fn what_a_user_may_not_write_is_named() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    let (folder, file) = filled();
    // Root may write everything, so the command runs as another user.
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let other = |args: &[&str], input: &str| -> Ran {
        let mut command = command();
        if is_root {
            command.uid(65_534).gid(65_534);
        }
        ran(command.args(["-d", &file]).args(args), input)
    };
    let allow = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let line = r#"{"instance":"acme","aggregate_type":"user","aggregate_id":"v","type":"user.added"}"#;
    allow(std::path::Path::new(&file), 0o444);
    allow(folder.path(), 0o777);
    // The command can create the log, but it cannot write the file.
    other(&["events"], "").ok();
    let error = other(&["push"], line).failed();
    assert!(error.contains("f.db\"") && error.contains("its folder") && error.contains("f.db-shm"), "{error}");
    assert!(error.contains("may write the file, its folder"), "{error}");
    // It can do neither.
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{file}{ending}"));
    }
    allow(folder.path(), 0o555);
    let error = other(&["events"], "").failed();
    assert!(error.contains("f.db") && error.contains("-shm") && error.contains("immutable=1"), "{error}");
    let uri = format!("file:{file}?mode=ro&immutable=1");
    let mut command = command();
    if is_root {
        command.uid(65_534).gid(65_534);
    }
    ran(command.args(["-d", &uri, "events"]), "").ok();
    allow(folder.path(), 0o777);
}
