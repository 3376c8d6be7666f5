//! Outputs that cannot be written: a full disk, and a reader that is gone.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use readside::{HandlerConfig, NewEvent};

use crate::service::users;
use crate::{Place, command, on_both};

/// Outputs that nobody can read.
fn outputs() -> [Stdio; 2] {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    [File::options().write(true).open("/dev/full").unwrap().into(), writer.into()]
}

/// The exit code and the error output of a command with such an output.
fn untold(place: &Place, args: &[&str], input: &str, output: Stdio) -> (i32, String) {
    let mut process = command()
        .args(["-d", &place.name()])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let mut err = String::new();
    process.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (process.wait().unwrap().code().unwrap(), err)
}

const LINE: &str = r#"{"instance":"acme","aggregate_type":"user","aggregate_id":"u","type":"user.added"}"#;

// Contract: A4
#[test]
fn what_was_changed_is_said_whatever_becomes_of_the_output() {
    on_both(|place| {
        place.with(|store| {
            store.handler(users(true), HandlerConfig::default());
            store.push(&[NewEvent::raw("acme", "user", "u", "user.added")]).unwrap();
        });
        let cases: [(&[&str], &str); 11] = [
            (&["setup"], "the tables are set up"),
            (&["pause", "users", "--why", "a test"], "projection \"users\" "),
            (&["pause", "users", "--why", "a test", "--json"], "projection \"users\" was paused already"),
            (&["resume", "users", "--why", "a test"], "projection \"users\" "),
            (&["push"], "stored 1 event of line 1"),
            (&["push", "--json"], "stored 1 event of line 1"),
            (&["redact", "--instance", "acme", "--position", "1", "--why", "a test"], "what was asked for is erased"),
            (&["archive", "--before", "0s", "--why", "a test"], "what was asked for is archived"),
            (&["remove-instance", "acme", "--why", "a test"], "instance \"acme\" is removed"),
            (&["reopen-instance", "acme", "--why", "a test"], "instance \"acme\" is opened again"),
            (&["reopen-instance", "acme", "--why", "a test", "--json"], "is opened again"),
        ];
        for (args, wanted) in cases {
            for output in outputs() {
                if args[0] == "reopen-instance" {
                    place.run(&["remove-instance", "acme", "--why", "a test"]).ok();
                }
                let (code, err) = untold(place, args, LINE, output);
                assert_eq!(code, 0, "{args:?}: {err}");
                assert!(
                    err.contains(wanted) && err.contains(", but the output did not take that: "),
                    "{args:?}: {err}"
                );
                if args[0] == "remove-instance" {
                    place.run(&["reopen-instance", "acme", "--why", "a test"]).ok();
                }
            }
        }
    });
}

#[test]
fn what_was_not_stored_is_an_error_whatever_becomes_of_the_output() {
    on_both(|place| {
        for (args, json) in [(&["push", "--batch", "1"][..], false), (&["push", "--batch", "1", "--json"], true)] {
            for output in outputs() {
                let (code, err) = untold(place, args, &format!("{LINE}\nx\n"), output);
                assert_eq!(code, 1, "{json}: {err}");
                assert!(
                    err.starts_with("readside: line 2: not JSON") && err.contains("stored: 1 event of line 1"),
                    "{err}"
                );
            }
        }
    });
}

#[test]
fn the_sql_of_a_set_up_is_json_where_that_is_asked_for() {
    on_both(|place| {
        let told = place.run(&["setup", "--sql", "--json"]).json();
        assert!(told["sql"].as_str().unwrap().starts_with("BEGIN;\nCREATE "));
    });
}

// No events are pushed, so only the lost reader can end the command.
#[cfg(target_os = "linux")]
#[test]
fn following_ends_when_its_reader_is_gone() {
    on_both(|place| {
        place.with(|store| {
            store.push(&[NewEvent::raw("acme", "user", "u", "user.added")]).unwrap();
        });
        let mut process = command()
            .args(["-d", &place.name(), "events", "--follow", "--after", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = process.stdout.take().unwrap();
        out.read_exact(&mut [0; 10]).unwrap();
        drop(out);
        let until = Instant::now() + Duration::from_mins(1);
        while process.try_wait().unwrap().is_none() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        // If the command still ran, this would end it, and the test would show it.
        process.kill().unwrap();
        let mut err = String::new();
        process.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((process.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    });
}
