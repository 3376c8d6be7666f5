//! `push`: storing events from lines.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::common::child::send;
use crate::common::random::{Random, seed};
use crate::{Place, command, fresh, on_both};

fn line(n: usize) -> String {
    format!(
        r#"{{"instance":"t{}","aggregate_type":"user","aggregate_id":"u{}","type":"user.added","payload":{{"n":{n}}}}}"#,
        n % 3,
        n % 40
    )
}

/// Correct lines, except for the line with this number.
fn lines(count: usize, wrong: Option<(usize, &str)>) -> String {
    let line = |n: usize| match wrong {
        Some((number, text)) if number == n => text.to_owned(),
        _ => line(n),
    };
    (1..=count).map(|n| line(n) + "\n").collect()
}

fn stored(place: &Place) -> usize {
    place.run(&["events", "--limit", "0"]).ok().lines().count()
}

#[test]
fn lines_are_stored_in_order() {
    on_both(|place| {
        let out = place.run_with(&["push"], &(lines(2500, None) + "\n  \n")).ok();
        assert_eq!(out, "stored 2,500 events of lines 1 to 2500\n");
        let events = place.run(&["events", "--limit", "0", "--instance", "t1"]).lines();
        let numbers: Vec<u64> = events.iter().map(|event| event["payload"]["n"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted() && numbers.len() == 834, "{}", numbers.len());
    });
}

#[test]
fn a_malformed_line_is_named_and_the_batches_before_it_stay() {
    on_both(|place| {
        let input = lines(20_000, Some((10_001, r#"{"instance":"t1","#)));
        let error = place.run_with(&["push"], &input).failed();
        let wanted = "readside: line 10001: not JSON: EOF while parsing a value, at column 17; an event has to stand on one line: \
                      `jq -c .` makes such lines of objects over several\n\
                      stored: 10,000 events of lines 1 to 10000, and nothing from line 10001 on; --from-line 10001 goes on\n";
        assert_eq!(error, wanted);
        assert_eq!(stored(place), 10_000);
        let ran = place.run_with(&["push", "--from-line", "10001", "--json"], &input);
        assert_eq!(ran.code, 1);
        let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            (&report["events"], &report["wrong_line"], &report["complete"]),
            (&json!(0), &json!(10_001), &json!(false))
        );
        let out = place.run_with(&["push", "--from-line", "10001"], &lines(20_000, None)).ok();
        assert_eq!(out, "stored 10,000 events of lines 10001 to 20000\n");
        assert_eq!(stored(place), 20_000);
    });
}

// Contract: A1
#[test]
fn nothing_of_a_batch_is_stored_when_one_of_its_lines_is_wrong() {
    on_both(|place| {
        for (wrong, why) in [
            (r#"{"aggregate_type":"user"}"#, "line 15: not an event: missing field"),
            (r#"{"aggregate_type":"user","aggregate_id":"u","type":"t"}"#, "line 15: it names no instance"),
            (
                r#"{"instance":"t","aggregate_type":"","aggregate_id":"u","type":"t"}"#,
                "line 15: its aggregate type cannot be stored: it is empty",
            ),
            (
                r#"{"instance":"t","aggregate_type":"u","aggregate_id":"u","type":"t","payload":"\u0000"}"#,
                "line 15: its payload cannot be stored",
            ),
            (
                r#"{"instance":"t1","aggregate_type":"user","aggregate_id":"u1","type":"t","expected":77}"#,
                "line 15: nothing pushed: user \"u1\"",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"u"}"#,
                "line 15: it is a CloudEvent without the extension `aggregatetype`",
            ),
        ] {
            let before = stored(place);
            let error = place.run_with(&["push", "--batch", "10"], &lines(30, Some((15, wrong)))).failed();
            assert!(error.starts_with(&format!("readside: {why}")), "{error}");
            assert!(error.contains("stored: 10 events of lines 1 to 10, and nothing from line 11 on"), "{error}");
            assert_eq!(stored(place), before + 10);
        }
        let mut input = lines(1, None).into_bytes();
        input.extend(b"\"\xff\"\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), input).unwrap();
        let error = place.run(&["push", file.path().to_str().unwrap()]).failed();
        assert!(error.starts_with("readside: line 2: it is not valid UTF-8"), "{error}");
    });
}

// Contract: K1
#[test]
fn a_line_whose_unique_value_is_taken_is_named() {
    on_both(|place| {
        let taking = |value: &str| {
            let unique = format!(r#"{{"add":{{"constraint":"mail","value":"{value}","message":"this is taken"}}}}"#);
            format!("{},\"unique\":[{unique}]}}\n", line(1).trim_end_matches('}').to_owned() + "}")
        };
        let error = place.run_with(&["push"], &[taking("a"), taking("b"), taking("a")].concat()).failed();
        assert!(error.starts_with("readside: line 3: nothing pushed: this is taken (unique constraint"), "{error}");
        assert_eq!(stored(place), 0);
    });
}

// Contract: K1
#[test]
fn a_push_with_a_key_prefix_can_be_repeated_whatever_its_batches() {
    on_both(|place| {
        let push = |count: usize, batch: &str| {
            place.run_with(&["push", "--key-prefix", "import", "--batch", batch], &lines(count, None))
        };
        push(150, "100").ok();
        push(150, "100").ok();
        push(400, "70").ok();
        push(400, "1000").ok();
        assert_eq!(stored(place), 400);
        let changed = lines(400, Some((205, &line(208))));
        let error = place.run_with(&["push", "--key-prefix", "import"], &changed).failed();
        assert!(error.contains("line 205: nothing pushed: push key \"import:205\""), "{error}");
        assert_eq!(stored(place), 400);
    });
}

#[test]
fn what_is_printed_can_be_pushed_elsewhere() {
    let [from, to] = fresh();
    for place in [&from, &to] {
        place.run(&["setup"]).ok();
    }
    from.run_with(&["push"], &lines(300, None)).ok();
    let printed = from.run(&["events", "--limit", "0"]).ok();
    to.run_with(&["push"], &printed).ok();
    assert_eq!(told(&to.run(&["events", "--limit", "0"]).ok()), told(&printed));
}

/// A random event that can be stored. It uses forms of JSON, of texts and of headers that have caused trouble before.
pub(crate) fn any_command(random: &mut Random) -> readside::NewEvent {
    const WORDS: [&str; 9] = ["", "a", "ü\u{202e}\u{1f600}", "a\tb\nc", "null", "{}", "'\"\\", " ", "ce_id"];
    const JSON: [&str; 12] = [
        "null",
        "{}",
        "[]",
        "\"\"",
        "\"null\"",
        "false",
        "-0",
        "[1.10,1E400,12345678901234567890123]",
        "{\"b\":1,\"a\":{\"payload\":null}}",
        "{\"a\":\"\\u00fc\\n\",\"a\":2}",
        "{\"n\": 1.50 }",
        "[null,\n{\"specversion\":\"1.0\"}]",
    ];
    let word = |random: &mut Random| WORDS[random.below(WORDS.len())];
    let id = format!("u{}{}", random.below(20), word(random));
    let instance = ["", "t1", "t 2"][random.below(3)];
    let mut command =
        readside::NewEvent::raw(instance, ["user", "org\""][random.below(2)], &id, &format!("e{}", word(random)))
            .revision(1 + u32::try_from(random.below(3)).unwrap())
            .creator(word(random))
            .owner(word(random));
    if !random.one_in(8) {
        command = command.payload_json(JSON[random.below(JSON.len())]);
    }
    for _ in 0..random.below(3) {
        command = command.metadata(word(random), word(random));
    }
    command
}

/// Lines without ids and times, which each store chooses.
fn told(lines: &str) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let told = |line: &str| {
        // The values stay texts, so that no number is rounded.
        let event: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(line).unwrap();
        event
            .into_iter()
            .filter(|(name, _)| name != "id" && name != "created_at")
            .map(|(name, value)| (name, value.get().into()))
            .collect()
    };
    lines.lines().map(told).collect()
}

// Contract: A8, K2: an erased event stays erased, and null is not the same as absent.
#[test]
fn printing_pushing_and_printing_again_changes_nothing() {
    let [sqlite, postgres] = fresh();
    let [other, another] = fresh();
    let mut random = Random::new(seed());
    let commands: Vec<readside::NewEvent> = (0..400).map(|_| any_command(&mut random)).collect();
    for (from, to) in [(&sqlite, &another), (&postgres, &other)] {
        for place in [from, to] {
            place.run(&["setup"]).ok();
        }
        from.with(|store| drop(store.push(&commands).unwrap()));
        let clouds = [
            r#"{"specversion":"1.0","id":"7","source":"/crm","type":"e","subject":"s","instance":"t1","aggregatetype":"user","data":null}"#,
            r#"{"specversion":"1.0","id":"8","source":"/crm","type":"e","subject":"s","instance":"t1","aggregatetype":"user"}"#,
            r#"{"specversion":"1.0","id":"9","source":"/crm","type":"e","subject":"s","instance":"","aggregatetype":"user","n":1.10,"big":12345678901234567890123,"flag":true,"data":[1.10]}"#,
        ];
        from.run_with(&["push", "--instance", "t9"], &clouds.join("\n")).ok();
        for (position, more) in [("1", &[][..]), ("5", &["--creator-and-owner"][..]), ("9", &[][..])] {
            let redact = ["redact", "--instance", "t1", "--position", position, "--why", "a test"];
            from.run(&[&redact[..], more].concat()).ok();
        }
        let printed = from.run(&["events", "--limit", "0"]).ok();
        assert_eq!(printed.lines().filter(|line| line.contains(r#""payload":null,"metadata":null"#)).count(), 3);
        to.run_with(&["push", "--key-prefix", "import"], &printed).ok();
        for (again, event) in told(&to.run(&["events", "--limit", "0"]).ok()).iter().zip(&told(&printed)) {
            assert_eq!(again, event);
        }
        to.run_with(&["push", "--key-prefix", "import"], &printed).ok();
        assert_eq!(
            told(&to.run(&["events", "--limit", "0"]).ok()),
            told(&printed),
            "a repeated import finds erased events too"
        );
        to.with(|store| {
            let erased = store
                .filter(&readside::query::Query::new())
                .unwrap()
                .iter()
                .filter(|event| event.is_redacted())
                .count();
            assert_eq!(erased, 3);
        });
        let system = told(&to.run(&["events", "--instance", "", "--limit", "0"]).ok());
        let metadata = system.last().unwrap()["metadata"].as_str().unwrap();
        assert!(
            metadata.contains(r#""ce_n":"1.10""#) && metadata.contains(r#""ce_big":"12345678901234567890123""#),
            "{metadata}"
        );
    }
}

#[test]
fn cloud_events_are_stored() {
    on_both(|place| {
        let event = r#"{"specversion":"1.0","id":"7","source":"/crm","type":"user.added","subject":"u1","time":"2026-01-31T12:00:00Z","data":{"name":"Ada"}}"#;
        place.run_with(&["push", "--instance", "acme", "--aggregate-type", "user"], event).ok();
        let stored = place.run(&["events"]).json();
        assert_eq!(stored["aggregate_id"], "u1");
        assert_eq!(stored["creator"], "/crm");
        assert_eq!(stored["payload"], json!({"name": "Ada"}));
        assert_eq!(stored["metadata"]["ce_time"], "2026-01-31T12:00:00Z");
    });
}

// Contract: K1
#[test]
fn a_cloud_event_that_comes_again_is_stored_once() {
    let event = |id: &str, source: &str, n: usize| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"added","subject":"u","data":{n}}}"#)
    };
    on_both(|place| {
        let push = |lines: &[String], batch: &str| {
            let args = ["push", "--instance", "acme", "--aggregate-type", "user", "--batch", batch];
            place.run_with(&args, &lines.join("\n"))
        };
        let some = [event("1", "/a", 1), event("2", "/a", 2), event("1", "/b", 3)];
        push(&some, "1000").ok();
        push(&some, "2").ok();
        assert_eq!(stored(place), 3);
        // The event comes again in one input, among lines without keys and behind new lines.
        let mixed = [&event("3", "/a", 4), &line(1), &event("3", "/a", 4), &event("3", "/a", 4), &some[0], &line(2)];
        let mixed: Vec<String> = mixed.into_iter().cloned().collect();
        assert_eq!(push(&mixed, "1000").ok(), "stored 3 events of lines 1 to 6; 3 more were there already\n");
        assert_eq!(stored(place), 6);
        // In another instance it is another event.
        place.run_with(&["push", "--instance", "other", "--aggregate-type", "user"], &some[0]).ok();
        assert_eq!(stored(place), 7);
        let error = push(&[event("9", "/a", 1), event("2", "/a", 77)], "1000").failed();
        assert!(error.contains(r#"line 2: nothing pushed: push key "ce:[\"/a\",\"2\"]""#), "{error}");
    });
}

// Contract: K1
#[test]
fn large_numbers_of_repeated_events_are_grouped() {
    on_both(|place| {
        let push = |count: usize| place.run_with(&["push", "--key-prefix", "k"], &lines(count, None)).ok();
        assert_eq!(push(1100), "stored 1,100 events of lines 1 to 1100\n");
        assert_eq!(push(1101), "stored 1 event of lines 1 to 1101; 1,100 more were there already\n");
    });
}

// Contract: K1: a report of what was stored does not count what was there.
#[test]
fn a_repeated_import_says_what_is_new() {
    on_both(|place| {
        let push =
            |count: usize| place.run_with(&["push", "--key-prefix", "k", "--batch", "3"], &lines(count, None)).ok();
        assert_eq!(push(2), "stored 2 events of lines 1 to 2\n");
        assert_eq!(push(2), "stored nothing new; 2 events of lines 1 to 2 were there already\n");
        // A part of this batch is stored already.
        assert_eq!(push(7), "stored 5 events of lines 1 to 7; 2 more were there already\n");
        let report = place.run_with(&["push", "--key-prefix", "k", "--json"], &lines(8, None)).json();
        assert_eq!((&report["events"], &report["repeated"]), (&json!(8), &json!(7)));
        assert_eq!(stored(place), 8);
        let wrong = lines(9, None).replace("\"n\":9", "\"n\":10").replace("\"n\":1}", "\"n\":11}");
        let error = place.run_with(&["push", "--key-prefix", "k", "--batch", "1", "--from-line", "2"], &wrong);
        assert!(error.ok().starts_with("stored 1 event of lines 2 to 9; 7 more were there already"));
    });
}

// Contract: A8: if a member stands twice in an object, nobody can tell which one counts.
#[test]
fn a_member_that_stands_there_twice_is_refused_by_name() {
    on_both(|place| {
        let cloud = |more: &str| {
            let begin =
                r#"{"specversion":"1.0","id":"7","source":"/crm","type":"added","subject":"u","aggregatetype":"user""#;
            format!(r#"{begin},"instance":"acme"{more}}}"#)
        };
        let native = |more: &str| {
            format!(r#"{{"instance":"acme","aggregate_type":"user","aggregate_id":"u","type":"added"{more}}}"#)
        };
        for (line, named) in [
            (cloud(r#","subject":"v""#), "`subject` stands there twice"),
            (cloud(r#","\u0073ubject":"v""#), "`subject` stands there twice"),
            (cloud(r#","specversion":"0.3""#), "`specversion` stands there twice"),
            (cloud(r#","data":{"a":1,"b":{"c":1,"c":2}}"#), "`c` of `data.b` stands there twice"),
            (native(r#","owner":"a","owner":"b""#), "`owner` stands there twice"),
            (cloud(r#","data":[1,[{"a":1,"\u0061":1}]]"#), "`a` of `data` stands there twice"),
            (native(r#","payload":1,"payload":2"#), "`payload` stands there twice"),
            (native(r#","metadata":{"a":"1","a":"2"}"#), "`a` of `metadata` stands there twice"),
            (
                native(r#","unique":[{"add":{"constraint":"c","value":"v","value":"w"}}]"#),
                "`value` of `unique.add` stands",
            ),
        ] {
            let error = place.run_with(&["push"], &line).failed();
            assert!(error.starts_with("readside: line 1: not an event: member ") && error.contains(named), "{error}");
        }
        assert_eq!(stored(place), 0);
        let deep = native(&format!(r#","payload":{}1{}"#, "[".repeat(200), "]".repeat(200)));
        assert!(place.run_with(&["push"], &deep).failed().contains("nested deeper"));
        place.run_with(&["push"], &cloud(r#","data":[{"a":1},{"a":{"a":2}}]"#)).ok();
        // Inside a payload, duplicates concern only the service.
        place.run_with(&["push"], &native(r#","payload":{"a":1,"a":2}"#)).ok();
    });
}

#[test]
fn a_cloud_event_whose_key_is_too_long_is_told_the_way_out() {
    on_both(|place| {
        let (begin, long) = (
            r#"{"specversion":"1.0","type":"added","subject":"u","aggregatetype":"user","instance":"a""#,
            "x".repeat(3000),
        );
        let event = format!(r#"{begin},"id":"{long}","source":"/crm"}}"#);
        let error = place.run_with(&["push"], &event).failed();
        assert!(error.contains("its `source` and `id` make a push key") && error.contains("--key-prefix"), "{error}");
        place.run_with(&["push", "--key-prefix", "k"], &event).ok();
        // If the prefix itself is too long, the error does not blame `source` and `id`.
        let error = place.run_with(&["push", "--key-prefix", &long], &event).failed();
        assert!(error.contains("its push key cannot be stored") && !error.contains("`source`"), "{error}");
    });
}

#[test]
fn what_stands_on_several_lines_is_refused_with_the_cause() {
    on_both(|place| {
        let array = format!("[\n{},\n{}\n]\n", line(1), line(2));
        let error = place.run_with(&["push"], &array).failed();
        assert!(error.starts_with("readside: line 1: not an event: it begins a JSON array"), "{error}");
        let object = line(1).replace(',', ",\n");
        let error = place.run_with(&["push"], &object).failed();
        assert!(error.starts_with("readside: line 1: not JSON") && error.contains("`jq -c .`"), "{error}");
        assert_eq!(stored(place), 0);
        // This input is two files, concatenated.
        place.run_with(&["push"], &format!("\u{feff}{}\n\u{feff}{}\n", line(1), line(2))).ok();
        assert_eq!(stored(place), 2);
    });
}

#[test]
fn a_dry_run_stores_nothing() {
    on_both(|place| {
        let out = place.run_with(&["push", "--dry-run"], &lines(30, None)).ok();
        assert_eq!(out, "30 events of lines 1 to 30 can be read; nothing was stored\n");
        let error = place.run_with(&["push", "--dry-run"], &lines(30, Some((7, "x")))).failed();
        assert!(error.contains("line 7: not JSON") && error.contains("stored: nothing"), "{error}");
        assert_eq!(stored(place), 0);
    });
}

#[test]
fn a_signal_ends_it_between_batches() {
    on_both(|place| {
        let mut process = command()
            .args(["-d", &place.name(), "push", "--batch", "10"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        input.write_all(lines(25, None).as_bytes()).unwrap();
        input.flush().unwrap();
        // Two stored batches show that the command runs and handles signals.
        while stored(place) < 20 {
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        send("-INT", i64::from(process.id()));
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, "stored 25 events of lines 1 to 25\na signal ended it; --from-line 26 goes on\n");
        assert_eq!(stored(place), 25);
        drop(input);
    });
}

#[test]
fn a_file_that_is_not_there_is_named() {
    on_both(|place| {
        let error = place.run(&["push", "no-such-file.jsonl"]).failed();
        assert!(error.contains("opening \"no-such-file.jsonl\""), "{error}");
    });
}
