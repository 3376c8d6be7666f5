//! Printing events: all conditions, pages, following, and a reader that goes away.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use readside::NewEvent;
use serde_json::json;

use crate::common::child::send;
use crate::{Place, command, on_both};

fn fill(place: &Place) {
    let command = |instance: &str, kind: &str, id: &str, event: &str| {
        NewEvent::raw(instance, kind, id, event).creator(&format!("by-{id}")).owner(&format!("of-{id}"))
    };
    place.with(|store| {
        let commands = [
            command("a", "user", "u1", "user.added")
                .payload_json("{\"n\": 1.10,\n \"big\": 12345678901234567890123}")
                .metadata("trace", "t1"),
            command("a", "user", "u2", "user.added"),
            command("a", "org", "o1", "org.added"),
            command("a", "user", "u1", "user.gone"),
            command("b", "user", "u1", "user.added"),
        ];
        store.push(&commands).unwrap();
    });
}

/// Instance and position of each event that the command finds.
fn found(place: &Place, args: &[&str]) -> Vec<String> {
    let lines = place.run(&[&["events"], args].concat()).lines();
    lines.iter().map(|line| format!("{}{}", line["instance"].as_str().unwrap(), line["position"])).collect()
}

// Contract: A5
#[test]
fn every_condition_filters() {
    on_both(|place| {
        fill(place);
        let cases: [(&[&str], &[&str]); 17] = [
            (&[], &["a1", "a2", "a3", "a4", "b1"]),
            (&["--instance", "b"], &["b1"]),
            (&["--instance", "b", "--instance", "a", "--limit", "1"], &["a1"]),
            (&["--not-instance", "a"], &["b1"]),
            (&["--aggregate-type", "org"], &["a3"]),
            (&["--not-aggregate-type", "user"], &["a3"]),
            (&["--aggregate-id", "u1"], &["a1", "a4", "b1"]),
            (&["--type", "user.gone", "--type", "org.added"], &["a3", "a4"]),
            (&["--not-type", "user.added"], &["a3", "a4"]),
            (&["--creator", "by-u2"], &["a2"]),
            (&["--owner", "of-o1"], &["a3"]),
            (&["--after", "2"], &["a3", "a4"]),
            (&["--before", "2"], &["a1", "b1"]),
            (&["--created-after", "1h"], &["a1", "a2", "a3", "a4", "b1"]),
            (&["--created-before", "2020-01-01"], &[]),
            (&["--desc", "--limit", "2"], &["b1", "a4"]),
            (&["--limit", "0", "--after", "3"], &["a4"]),
        ];
        for (args, wanted) in cases {
            assert_eq!(found(place, args), wanted, "{args:?}");
        }
    });
}

// Contract: A8
#[test]
fn an_event_is_printed_as_it_was_given() {
    on_both(|place| {
        fill(place);
        let out = place.run(&["events", "--limit", "1"]).ok();
        assert_eq!(out.lines().count(), 1);
        assert!(out.contains(r#""payload":{"n": 1.10,  "big": 12345678901234567890123}"#), "{out}");
        let event: serde_json::Value = serde_json::from_str(&out).unwrap();
        let fields: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
        let wanted = [
            "aggregate_id",
            "aggregate_type",
            "created_at",
            "creator",
            "id",
            "instance",
            "metadata",
            "owner",
            "payload",
            "position",
            "revision",
            "type",
            "version",
        ];
        assert_eq!(fields, wanted);
        assert_eq!(event["metadata"], json!({"trace": "t1"}));
        assert_eq!((&event["version"], &event["revision"]), (&json!(1), &json!(1)));
        assert!(event["created_at"].as_str().unwrap().ends_with('Z'));
    });
}

#[test]
fn a_long_list_comes_in_pages() {
    on_both(|place| {
        place.with(|store| {
            let command = |n: usize| NewEvent::raw("a", "user", &format!("u{n}"), "user.added");
            store.push(&(0..1700).map(command).collect::<Vec<_>>()).unwrap();
        });
        assert_eq!(found(place, &[]).len(), 100);
        let all = found(place, &["--limit", "0"]);
        assert_eq!(all.len(), 1700);
        assert_eq!(all[1699], "a1700");
        assert_eq!(found(place, &["--limit", "0", "--desc"])[..2], ["a1700", "a1699"]);
    });
}

/// Ends the pushes, also if the test fails.
struct Set<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn followed_events_come_as_they_are_pushed() {
    on_both(|place| {
        fill(place);
        let mut process = command()
            .args(["-d", &place.name(), "events", "--follow", "--type", "user.added", "--not-instance", "b"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // The command skips the events that exist when it starts. The test cannot know that moment, so pushes go on
        // until it prints an event.
        let ended = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                place.with(|store| {
                    while !ended.load(std::sync::atomic::Ordering::SeqCst) {
                        for (instance, event) in
                            [("b", "user.added"), ("a", "user.gone"), ("a", "user.added"), ("new", "user.added")]
                        {
                            store.push(&[NewEvent::raw(instance, "user", "u9", event)]).unwrap();
                        }
                        std::thread::park_timeout(std::time::Duration::from_millis(20));
                    }
                });
            });
            let _end = Set(&ended);
            let mut last = std::collections::HashMap::new();
            for _ in 0..6 {
                let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
                assert_eq!(line["type"], "user.added");
                assert_ne!(line["instance"], "b");
                let position = line["position"].as_i64();
                assert!(last.insert(line["instance"].to_string(), position) < Some(position), "again: {line}");
                assert!(line["instance"] == "new" || line["position"].as_i64().unwrap() > 4, "{line}");
            }
            send("-INT", i64::from(process.id()));
        });
        assert_eq!(process.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn events_after_a_position_are_followed_too() {
    on_both(|place| {
        fill(place);
        let out = place.run(&["events", "--follow", "--after", "2", "--limit", "2"]).lines();
        let positions: Vec<i64> = out.iter().map(|line| line["position"].as_i64().unwrap()).collect();
        assert_eq!(positions, [3, 4]);
    });
}

// A process that has no memory for two copies of all events prints six events of 9 MB.
#[cfg(target_os = "linux")]
#[test]
fn large_events_are_printed_one_after_the_other() {
    on_both(|place| {
        place.with(|store| {
            let payload = format!("\"{}\"", "x".repeat(9_000_000));
            for n in 0..6 {
                let command = NewEvent::raw("a", "user", &format!("u{n}"), "t").payload_json(payload.as_str());
                store.push(&[command]).unwrap();
            }
        });
        let mut process = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 130000; exec \"$0\" \"$@\""])
            .arg(command().get_program())
            .args(["-d", &place.name(), "events", "--limit", "0"])
            .env("MALLOC_ARENA_MAX", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let count = lines.map_while(Result::ok).filter(|line| line.len() > 9_000_000).count();
        let output = process.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((count, output.status.code(), err.as_str()), (6, Some(0), ""));
    });
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    on_both(|place| {
        place.with(|store| {
            let payload = format!("\"{}\"", "x".repeat(10_000));
            let command = |n: usize| NewEvent::raw("a", "user", &format!("u{n}"), "t").payload_json(payload.as_str());
            store.push(&(0..200).map(command).collect::<Vec<_>>()).unwrap();
        });
        let mut process = command()
            .args(["-d", &place.name(), "events", "--limit", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = process.stdout.take().unwrap();
        out.read_exact(&mut [0; 100]).unwrap();
        drop(out);
        let mut err = String::new();
        process.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((process.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    });
}
