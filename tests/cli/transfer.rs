//! A whole tenant as a file: an import restores what the export wrote.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use readside::NewEvent;
use readside::query::{Query, SubQuery};
use serde_json::json;
use serde_json::value::RawValue;

use crate::common::eventually;
use crate::common::random::{Random, seed};
use crate::push::any_command;
use crate::{Place, command, fresh, on_both};

fn file(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn export(place: &Place, instance: &str, file: &str) -> String {
    place.run(&["export", "--instance", instance, "--file", file]).ok();
    fs::read_to_string(file).unwrap()
}

/// The lines, each with the texts of its members. Leaves out the members in `but`.
fn told(lines: &str, but: &[&str]) -> Vec<BTreeMap<String, String>> {
    let told = |line: &str| {
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).unwrap();
        let members = members.into_iter().map(|(name, value)| (name, value.get().to_owned()));
        members.filter(|(name, _)| !but.contains(&name.as_str())).collect()
    };
    lines.lines().map(told).collect()
}

/// Pushes this many events of a tenant, with unique values.
fn fill(place: &Place, instance: &str, count: usize) {
    let event = |n: usize| {
        NewEvent::raw(instance, "user", &format!("u{n}"), "user.added")
            .payload(&json!({ "n": n }))
            .push_key(&format!("k{}", n / 3))
            .add_unique("mail", &format!("{n}@example.com"), "taken")
    };
    let events: Vec<NewEvent> = (0..count).map(event).collect();
    place.with(|store| {
        events.chunks(900).for_each(|part| drop(store.push(part).unwrap()));
    });
}

fn events(place: &Place, instance: &str) -> Vec<readside::Event> {
    let mut found = Vec::new();
    place.with(|store| found = store.filter(&Query::new().or(SubQuery::new().instance(instance))).unwrap());
    found
}

// Contract: A8, K1, K2: ids, times, versions, metadata, push keys, unique values, erased events, and exact payloads.
#[test]
fn export_import_and_export_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed());
    for round in 0..2 {
        let [sqlite, postgres] = fresh();
        let [other, another] = fresh();
        for place in [&sqlite, &postgres, &other, &another] {
            place.run(&["setup"]).ok();
        }
        for (which, (from, to)) in [(&sqlite, &another), (&postgres, &other)].into_iter().enumerate() {
            for _ in 0..40 {
                let mut some: Vec<NewEvent> = (0..=random.below(8)).map(|_| any_command(&mut random)).collect();
                if random.one_in(3) {
                    let key = format!("key-{}", random.below(1_000_000_000));
                    some = some.into_iter().map(|event| event.push_key(&key)).collect();
                } else {
                    let value = format!("\"{}\u{fc}", random.below(1_000_000_000));
                    some.push(any_command(&mut random).add_unique(["mail", "na me"][random.below(2)], &value, "taken"));
                }
                from.with(|store| drop(store.push(&some).unwrap()));
            }
            for position in ["1", "7", "8"] {
                from.run(&["redact", "--instance", "t1", "--position", position, "--why", "a test"]).ok();
            }
            if random.one_in(2) {
                from.run(&["archive", "--before", "0s", "--instance", "t1", "--why", "a test"]).ok();
            }
            // The positions of the other store continue behind the ones that it had.
            let shifted = round == 1;
            if shifted {
                fill(to, "t1", 5);
                to.run(&["remove-instance", "t1", "--why", "a test"]).ok();
                to.run(&["reopen-instance", "t1", "--why", "a test"]).ok();
            }
            let names = ["one", "two", "three"].map(|name| file(&folder, &format!("{name}-{round}-{which}")));
            let first = export(from, "t1", &names[0]);
            to.run(&["import", &names[0]]).ok();
            let second = export(to, "t1", &names[1]);
            let but = if shifted { &["export", "position"][..] } else { &["export"] };
            assert_eq!(told(&second, but), told(&first, but));
            assert_eq!(first.lines().filter(|line| line.contains(r#""payload":null,"metadata":null"#)).count(), 3);
            let place = |event: &readside::Event| event.clone().with_position(0);
            let stored: Vec<readside::Event> = events(to, "t1").iter().map(place).collect();
            assert_eq!(stored, events(from, "t1").iter().map(place).collect::<Vec<_>>());
            // The same store also takes a copy under another name.
            to.run(&["import", &names[1], "--instance", "t1 copy"]).ok();
            let third = export(to, "t1 copy", &names[2]);
            let but = ["export", "position", "instance"];
            assert_eq!(told(&third, &but), told(&first, &but));
        }
    }
}

// Contract: A1, K2
#[test]
fn what_is_printed_can_be_pushed_elsewhere_with_its_times() {
    let [sqlite, postgres] = fresh();
    let [other, another] = fresh();
    for (from, to) in [(&sqlite, &another), (&postgres, &other)] {
        for place in [from, to] {
            place.run(&["setup"]).ok();
        }
        fill(from, "acme", 40);
        from.run(&["redact", "--instance", "acme", "--position", "3", "--why", "a test"]).ok();
        let printed = from.run(&["events", "--instance", "acme", "--limit", "0"]).ok();
        to.run_with(&["push", "--keep-times"], &printed).ok();
        assert_eq!(to.run(&["events", "--instance", "acme", "--limit", "0"]).ok(), printed);
        let again = to.run_with(&["push", "--keep-times"], &printed).failed();
        assert!(again.contains("line 1: nothing pushed") && again.contains("stored: nothing"), "{again}");
        let last = printed.lines().last().unwrap();
        let twice = last.replace(r#""version":1"#, r#""version":2"#);
        let refused = to.run_with(&["push", "--keep-times"], &twice).failed();
        assert!(refused.contains("exists in instance \"acme\" already"), "{refused}");
        let other_id = last.replace(r#""id":"0"#, r#""id":"1"#);
        let refused = to.run_with(&["push", "--keep-times"], &other_id).failed();
        assert!(refused.contains("was expected at no version"), "{refused}");
    }
}

#[test]
fn lines_that_go_back_in_time_are_named() {
    let line = |id: &str, at: &str| {
        format!(r#"{{"instance":"a","aggregate_type":"t","aggregate_id":"{id}","type":"t","created_at":"{at}"}}"#)
    };
    on_both(|place| {
        let input = [line("1", "2023-01-02T00:00:00Z"), line("2", "2023-01-01T00:00:00Z")].join("\n");
        let error = place.run_with(&["push", "--keep-times"], &input).failed();
        let wanted = "readside: line 2: nothing pushed: event 1 was created at 2023-01-01T00:00:00.000000Z, but the one in \
                      front of it in instance \"a\" at 2023-01-02T00:00:00.000000Z";
        assert!(error.starts_with(wanted), "{error}");
        let ahead = place.run_with(&["push", "--keep-times"], &line("1", "2900-01-01T00:00:00Z")).failed();
        assert!(ahead.contains("line 1: nothing pushed") && ahead.contains("set the clocks right"), "{ahead}");
        let none = place.run_with(
            &["push", "--keep-times"],
            r#"{"instance":"a","aggregate_type":"t","aggregate_id":"1","type":"t"}"#,
        );
        assert!(none.failed().starts_with("readside: line 1: it has no `created_at`"));
        assert!(events(place, "a").is_empty());
    });
}

// Contract: A1: either the whole file is stored, or nothing.
#[test]
fn a_file_that_is_wrong_is_refused_before_anything_is_stored() {
    on_both(|place| {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "acme");
        fill(place, "acme", 1200);
        let whole = export(place, "acme", &path);
        let lines: Vec<&str> = whole.lines().collect();
        let changed = |at: usize, from: &str, to: &str| {
            let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            assert!(lines[at].contains(from), "{}", lines[at]);
            lines[at] = lines[at].replace(from, to);
            lines.join("\n")
        };
        let end = lines.len() - 1;
        let schema = lines[0].split_once(r#""schema":"#).unwrap().1.split_once(',').unwrap().0;
        let swapped = {
            let mut lines = lines.clone();
            lines.swap(400, 1100);
            lines.join("\n")
        };
        for (text, said) in [
            (String::new(), "it is empty"),
            (lines[1..].join("\n"), "its first line names no format"),
            (changed(0, r#""readside_export":1"#, r#""readside_export":2"#), "the form 2 of an export"),
            (changed(0, &format!(r#""schema":{schema}"#), r#""schema":999"#), "a store with the schema 999"),
            (changed(0, r#""events":1200"#, r#""events":1199"#), "line 1201: it is not a unique value"),
            (changed(end, r#""events":1200"#, r#""events":1199"#), "it is not the last line of this export"),
            (lines[..end].join("\n"), "was cut short"),
            (lines[..700].join("\n"), "was cut short"),
            (whole[..whole.len() / 2].to_owned(), "not JSON: EOF"),
            (format!("{whole}{}", lines[1]), "more was written behind it"),
            (changed(1150, "\"type\":\"user.added\"", "\"type\":\"\""), "line 1151"),
            (changed(1150, r#""instance":"acme""#, r#""instance":"other""#), "line 1151: it is of instance \"other\""),
            (swapped, "times never go back"),
        ] {
            let wrong = file(&folder, "wrong");
            fs::write(&wrong, text).unwrap();
            let error = place.run(&["import", &wrong, "--instance", "new"]).failed();
            assert!(error.contains(said), "{said}: {error}");
            assert!(events(place, "new").is_empty(), "{said}");
        }
        let error = place.run(&["import", "-"]).failed();
        assert!(error.contains("reads its file twice"), "{error}");
        let error = place.run(&["import", &path]).failed();
        assert!(error.contains("instance \"acme\" exists here already, with 1200 events"), "{error}");
        let error = place.run(&["import", &path, "--instance", ""]).failed();
        assert!(error.contains("system instance"), "{error}");
        let error = place.run(&["export", "--instance", "acme", "--file", &path]).failed();
        assert!(error.contains("name another one, or remove this one first"), "a file that exists is kept: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        let other = file(&folder, "none");
        let error = place.run(&["export", "--instance", "nobody", "--file", &other]).failed();
        assert!(error.contains("there is no instance \"nobody\"") && !Path::new(&other).exists(), "{error}");
        // The original file, of which many wrong variants were refused, is accepted.
        let out = place.run(&["import", &path, "--instance", "new", "--why", "moving"]).ok();
        assert_eq!(out, "imported 1,200 events and 1,200 unique values as instance \"new\"\n");
        let taken = place.run_with(
            &["push"],
            r#"{"instance":"new","aggregate_type":"u","aggregate_id":"1","type":"t","unique":[{"add":{"constraint":"mail","value":"7@example.com"}}]}"#,
        );
        assert!(taken.failed().contains("unique constraint \"mail\""));
        let records = place.run(&["operations", "--json"]).lines();
        assert!(
            records.iter().any(|record| record["kind"] == "import" && record["by"]["why"] == "moving"),
            "{records:?}"
        );
        place.run(&["import", &path, "--instance", "silent"]).ok();
        let table = place.run(&["operations"]).ok();
        assert!(!table.contains("\"\""), "a reason that nobody gave is a dash: {table}");
    });
}

/// An import that stops after this many lines of its second look at the file, and the pipe that feeds it.
fn standing(place: &Place, folder: &tempfile::TempDir, whole: &str, lines: usize) -> (std::process::Child, fs::File) {
    let [pipe, next] = ["pipe", "next"].map(|name| file(folder, name));
    for name in [&pipe, &next] {
        assert!(std::process::Command::new("mkfifo").arg(name).status().unwrap().success());
    }
    let child = command()
        .args(["-d", &place.name(), "import", &pipe, "--instance", "new"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    first.write_all(whole.as_bytes()).unwrap();
    // The pipe is in place before the first look ends, so that the second look opens it.
    fs::rename(&next, &pipe).unwrap();
    drop(first);
    let mut again = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let begin: String = whole.split_inclusive('\n').take(lines).collect();
    again.write_all(begin.as_bytes()).unwrap();
    eventually("part of it is stored", || !events(place, "new").is_empty());
    (child, again)
}

// Contract: A1: stored events stay, and nothing is stored twice.
#[test]
fn an_import_that_was_killed_goes_on() {
    on_both(|place| {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "acme");
        fill(place, "acme", 2500);
        let whole = export(place, "acme", &path);
        let (mut child, _feed) = standing(place, &folder, &whole, 1800);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(events(place, "new").len(), 1000, "one transaction");
        let report = place.run(&["import", &path, "--instance", "new", "--json"]).json();
        assert_eq!(
            report,
            json!({"instance": "new", "events": 2500, "repeated": 1000, "unique_values": 2500, "complete": true})
        );
        let again = export(place, "new", &file(&folder, "again"));
        assert_eq!(told(&again, &["export", "instance"]), told(&whole, &["export", "instance"]));
        let out = place.run(&["import", &path, "--instance", "new"]).ok();
        assert_eq!(out, "instance \"new\" holds all of this file already: 2,500 events\n");
        let line = r#"{"instance":"new","aggregate_type":"u","aggregate_id":"x","type":"t"}"#;
        place.run_with(&["push"], line).ok();
        let error = place.run(&["import", &path, "--instance", "new"]).failed();
        assert!(error.contains("exists here already, with 2501 events"), "{error}");
    });
}

// Contract: L1: a stored instance is an exact copy, or the import fails.
#[test]
fn who_pushes_during_an_import_ends_it() {
    on_both(|place| {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "acme");
        fill(place, "acme", 2500);
        let whole = export(place, "acme", &path);
        let (child, mut feed) = standing(place, &folder, &whole, 1800);
        let line = r#"{"instance":"new","aggregate_type":"u","aggregate_id":"x","type":"t"}"#;
        place.run_with(&["push"], line).ok();
        let rest: String = whole.split_inclusive('\n').skip(1800).collect();
        // The import ends before it has read everything.
        let _ = feed.write_all(rest.as_bytes());
        drop(feed);
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("1,000") || error.contains("1000 of 2,500 events are stored"), "{error}");
        assert!(error.contains("somebody else pushed to instance \"new\" while it was imported"), "{error}");
        let error = place.run(&["import", &path, "--instance", "new"]).failed();
        assert!(error.contains("exists here already, with 1001 events"), "{error}");
        place.run(&["remove-instance", "new", "--why", "a test"]).ok();
        let error = place.run(&["import", &path, "--instance", "new"]).failed();
        assert!(error.contains("was removed; open it again first"), "{error}");
        place.run(&["reopen-instance", "new", "--why", "a test"]).ok();
        place.run(&["import", &path, "--instance", "new"]).ok();
        assert_eq!(events(place, "new").len(), 2500);
    });
}
