//! Commands for engines. They are given by a process that does not have the projections, or done by one that has
//! them.

use std::time::Duration;

use readside::admin::{AdminCommand, CommandState, NewCommand, RebuildOptions};
use readside::failure::By;
use readside::store::Member;
use readside::{Engine, EngineConfig, HandlerConfig, NewEvent, Policy};
use serde_json::json;
use uuid::Uuid;

use crate::common::eventually;
use crate::service::{service, users};
use crate::wrong::execute;
use crate::{Place, TestStore, on_both};

const WHY: [&str; 2] = ["--why", "a test"];

/// Pushes three events of `acme`. An engine has applied them and still runs.
fn with_engine(place: &Place, test: impl FnOnce(&Engine)) {
    place.with(|store| {
        let handler = HandlerConfig::default().retries(0).max_failure_count(1).policy(Policy::Park);
        let config = EngineConfig::default().handler(handler);
        let engine = store.engine(users(false), config);
        let commands: Vec<NewEvent> =
            ["u1", "u2", "u1"].iter().map(|id| NewEvent::raw("acme", "user", id, "user.added")).collect();
        let pushed = engine.push(&commands).unwrap();
        engine.await_pushed("users", &pushed, Duration::from_secs(30)).unwrap();
        test(&engine);
        engine.shutdown(Duration::from_secs(30)).unwrap();
    });
}

#[test]
fn a_difference_is_found_and_repaired() {
    on_both(|place| {
        with_engine(place, |_| {
            let clean = place.run(&["verify", "users"]).ok();
            assert_eq!(clean, "users@1: no row differs; looked at 1 instance with 3 rows, from 3 events\n");
            execute(place, "UPDATE users_1 SET event = 'edited' WHERE id = 'u2'");
            let found = place.run(&["verify", "users", "--instance", "acme"]);
            assert_eq!(found.code, 3, "{}{}", found.out, found.err);
            assert!(
                found.out.contains("instance \"acme\" at position 3") && found.out.contains("edited"),
                "{}",
                found.out
            );
            let report = place.run(&["verify", "users", "--json"]);
            assert_eq!(report.code, 3);
            let report: serde_json::Value = serde_json::from_str(&report.out).unwrap();
            assert_eq!(report["differing"][0]["instance"], "acme");
            let repaired = place.run(&["verify", "users", "--repair"]).ok();
            assert!(repaired.contains("; rebuilt"), "{repaired}");
            place.run(&["verify", "users"]).ok();
        });
    });
}

#[test]
fn a_row_is_explained() {
    on_both(|place| {
        with_engine(place, |_| {
            let told = place.run(&["explain", "users", "acme", "u1", "3"]).ok();
            assert!(told.starts_with("users@1, table users, instance \"acme\", row "), "{told}");
            assert!(told.contains("user.added of user u1"), "{told}");
            let told = place.run(&["explain", "users", "acme", "u1", "3", "--json"]).json();
            assert_eq!((&told["steps"][0]["position"], &told["row"]["id"]), (&json!(3), &json!("u1")));
            assert!(told["steps"][0]["created_at"].as_str().unwrap().ends_with('Z'));
            let none = place.run(&["explain", "users", "acme", "u9", "3"]).ok();
            assert!(none.contains("no event made such a row; looked at 3 events"), "{none}");
            let error = place.run(&["explain", "users", "acme", "u1"]).failed();
            assert!(error.contains("primary key"), "{error}");
            let error = place.run(&["explain", "users", "acme", "u1", "3", "--at", "99"]).failed();
            assert!(error.contains("99"), "{error}");
        });
    });
}

// Contract: L11
#[test]
fn one_failed_event_is_told_of_as_one() {
    on_both(|place| {
        with_engine(place, |engine| {
            let bad = NewEvent::raw("acme", "user", "u9", "user.added").payload_json(r#"{"bad":1}"#);
            engine.push(&[bad]).unwrap();
            eventually("the event is parked", || place.run(&["failed", "list"]).ok().contains("parked"));
            let told = place.run(&["explain", "users", "acme", "u1", "3"]).ok();
            assert!(told.contains("\n1 event of the instance failed and was not applied; see "), "{told}");
            assert!(told.contains("`--state discarded`"), "{told}");
            let told = place.run(&["verify", "users"]).ok();
            assert!(told.ends_with("; 1 failed event counts as not applied\n"), "{told}");
        });
    });
}

#[test]
fn a_read_model_is_built_anew_and_back_again() {
    on_both(|place| {
        with_engine(place, |_| {
            let words = |args: &[&str]| place.run(&[args, &WHY[..]].concat()).ok();
            let built = words(&["rebuild", "users", "--switch", "asked"]);
            assert!(built.contains("readers do not see it yet"), "{built}");
            let status = place.run(&["status"]).ok();
            assert!(status.contains("users@1 (next)") && status.contains("ready"), "{status}");
            let switched = words(&["builds", "switch", "users"]);
            assert!(switched.contains("readers see the new build"), "{switched}");
            assert!(place.run(&["builds", "list"]).ok().contains("kept"));
            let status = place.run(&["status"]).ok();
            assert!(status.contains("users@1 (kept)") && !status.contains("(next)"), "{status}");
            assert!(words(&["builds", "back", "users"]).contains("readers see the former build again"));
            words(&["builds", "drop-old", "users"]);
            assert!(!place.run(&["builds", "list"]).ok().contains("kept"));
            let report = place.run(&[&["rebuild", "users", "--json"][..], &WHY].concat()).json();
            assert_eq!(report["switched"], true);
            let one = words(&["rebuild", "users", "--instance", "acme"]);
            assert!(one.contains("instance \"acme\" is rebuilt"), "{one}");
            words(&["reset", "users", "--instance", "acme"]);
        });
    });
}

#[test]
fn engines_mend_failures() {
    on_both(|place| {
        with_engine(place, |engine| {
            let bad = NewEvent::raw("acme", "user", "u7", "user.added").payload_json(r#"{"bad":1}"#);
            engine.push(&[bad]).unwrap();
            while place.run(&["failed", "list", "--json"]).lines().is_empty() {}
            let error = place.run(&["failed", "retry", "users", "acme", "4", "--why", "let us see"]).failed();
            assert!(error.contains("still fails"), "{error}");
            place.run(&["failed", "discard", "users", "acme", "4", "--why", "a test"]).ok();
            assert!(place.run(&["failed", "list", "--json"]).lines().is_empty());
        });
    });
}

#[test]
fn commands_are_on_record() {
    on_both(|place| {
        assert!(place.run(&["commands"]).ok().contains("no engine was asked"));
        with_engine(place, |_| {
            let started =
                place.run(&["verify", "users", "--detach", "--who", "bob", "--why", "to see", "--json"]).json();
            let id = started["command"].as_str().unwrap();
            let answer = place.run(&["commands", "--id", id, "--wait"]).json();
            assert_eq!(answer["instances"], 1);
            let command = place.run(&["commands", "users", "--json"]).json();
            for (field, wanted) in [
                ("id", json!(id)),
                ("projection", json!("users")),
                ("instruction", json!({"kind": "verify", "instance": null, "repair": false})),
                ("state", json!("done")),
                ("who", json!("bob")),
                ("why", json!("to see")),
            ] {
                assert_eq!(command[field], wanted, "{field}");
            }
            assert!(command["asked_at"].as_str().unwrap().ends_with('Z'));
            assert_eq!(place.run(&["commands", "--id", id]).json(), command);
            assert!(place.run(&["commands"]).ok().contains("verify"));
            let nil = "00000000-0000-0000-0000-000000000000";
            let error = place.run(&["commands", "--id", nil]).failed();
            assert!(error.contains("there is no command"), "{error}");
        });
    });
}

/// Announces an engine that other processes see, but that does nothing.
fn announce(store: &dyn TestStore, name: &str, time_to_live: Duration) -> Uuid {
    let process = Uuid::now_v7();
    let member = Member { process, name: name.to_owned(), projections: vec![("users".to_owned(), 1)] };
    store.heartbeat(&member, time_to_live).unwrap();
    process
}

fn rebuild() -> NewCommand {
    let command = AdminCommand::Rebuild(RebuildOptions::default());
    NewCommand { projection: "users".into(), version: None, command, by: By::new("bob", "a column") }
}

// Contract: J3: a wait ends when no process is alive that could end it.
#[test]
fn an_engine_that_dies_is_waited_for_no_longer_than_its_lease() {
    on_both(|place| {
        with_engine(place, |_| {});
        place.with(|store| {
            announce(store, "dead", Duration::from_secs(1));
            let error = place.run(&["verify", "users", "--timeout", "1min"]).failed();
            assert!(error.contains("no engine that could carry out command"), "{error}");
            assert!(error.contains("it was withdrawn"), "{error}");
            announce(store, "dead", Duration::from_secs(2));
            let verified = service(place, true, &["verify", "users", "--timeout", "1min"]).ok();
            assert!(verified.starts_with("users@1: no row differs"), "{verified}");
        });
    });
}

// Contract: J3
#[test]
fn what_nobody_has_begun_is_withdrawn_with_the_time_out() {
    on_both(|place| {
        with_engine(place, |_| {});
        let again = ["rebuild", "users", "--why", "again"];
        let error = service(place, true, &[&again[..], &["--timeout", "0s"]].concat()).failed();
        assert!(error.contains("it was withdrawn"), "{error}");
        place.with(|store| {
            // This engine is alive but takes no command.
            announce(store, "idle", Duration::from_mins(10));
            for _ in 0..2 {
                let error = place.run(&[&again[..], &["--timeout", "10ms"]].concat()).failed();
                assert!(error.contains("it was withdrawn"), "{error}");
            }
            let record = place.run(&["commands", "users", "--json"]).lines();
            let states: Vec<&str> = record.iter().map(|asked| asked["state"].as_str().unwrap()).collect();
            assert_eq!(states, ["failed"; 3], "{record:?}");
            assert!(record[0]["answer"]["error"].as_str().unwrap().starts_with("withdrawn by \"ada\""), "{record:?}");
        });
    });
}

// Contract: J3
#[test]
fn a_command_that_nobody_is_at_is_in_nobodys_way() {
    on_both(|place| {
        with_engine(place, |_| {});
        place.with(|store| {
            let left = store.commands().ask(&rebuild()).unwrap();
            service(place, true, &["rebuild", "users", "--why", "again"]).ok();
            let answer = store.commands().command(left).unwrap().unwrap().answer.unwrap();
            assert!(answer["error"].as_str().unwrap().contains("takes its place"), "{answer}");
            announce(store, "idle", Duration::from_mins(10));
            store.commands().ask(&rebuild()).unwrap();
            let error = place.run(&["rebuild", "users", "--why", "again"]).failed();
            assert!(error.contains("rebuild by \"bob\" goes on"), "one is alive who may take it: {error}");
        });
    });
}

// Contract: J3
#[test]
fn who_has_begun_is_named_when_the_time_is_over() {
    on_both(|place| {
        with_engine(place, |_| {});
        place.with(|store| {
            let worker = announce(store, "worker-7", Duration::from_mins(10));
            let commands = store.commands();
            let id = commands.ask(&rebuild()).unwrap();
            commands.take(worker, &[("users".into(), 1)], Duration::from_mins(10), 1).unwrap();
            let error = place.run(&["commands", "--id", &id.to_string(), "--wait", "--timeout", "0s"]).failed();
            assert!(error.contains("process \"worker-7\"") && error.contains("began it"), "{error}");
            assert!(error.contains(&format!("readside commands --id {id} --wait")), "{error}");
            assert_eq!(commands.command(id).unwrap().unwrap().state, CommandState::Taken);
        });
    });
}

// Contract: L11
#[test]
fn a_reset_without_engines_fills_all_again() {
    on_both(|place| {
        with_engine(place, |_| {});
        place.with(|store| {
            for page in 0..5 {
                let commands = (0..2000).map(|n| NewEvent::raw("acme", "user", &format!("v{page}-{n}"), "user.added"));
                store.push(&commands.collect::<Vec<_>>()).unwrap();
            }
            let done = service(place, true, &["reset", "users", "--why", "x"]).ok();
            assert_eq!(store.rows(&users(true)).len(), 10_003);
            assert_eq!(done, "users: emptied and filled again\n");
        });
    });
}

// Contract: L11
#[test]
fn what_a_rebuild_leaves_out_is_found() {
    on_both(|place| {
        with_engine(place, |engine| {
            let bad = |payload: &str| NewEvent::raw("acme", "user", "u7", "user.added").payload_json(payload);
            let pushed = engine.push(&[bad(r#"{"bad":1}"#), bad("{}")]).unwrap();
            engine.await_position("users", "acme", pushed[1].position(), Duration::from_secs(30)).ok();
            for (args, wanted) in [
                (&["rebuild", "users", "--why", "x"][..], "is rebuilt, and readers see it"),
                (&["builds", "back", "users", "--why", "x"], "readers see the former build again"),
                (&["reset", "users", "--why", "x"], "emptied and filled again"),
            ] {
                let told = place.run(args);
                assert_eq!(told.code, 3, "{}{}", told.out, told.err);
                let left = "left out: 1 failed event is parked, 1 waits behind";
                assert!(told.out.contains(wanted) && told.out.contains(left), "{}", told.out);
                let told = place.run(&[args, &["--json"]].concat());
                let report: serde_json::Value = serde_json::from_str(&told.out).unwrap();
                assert_eq!((told.code, &report["left_out"]["parked"]), (3, &json!(1)), "{report}");
            }
        });
    });
}

#[test]
fn without_an_engine_it_needs_the_code() {
    on_both(|place| {
        with_engine(place, |_| {});
        for args in [&["verify", "users"][..], &["rebuild", "users", "--why", "x"], &["reset", "users", "--why", "x"]] {
            let error = place.run(args).failed();
            assert!(error.contains("no engine that runs it is alive"), "{error}");
        }
        let verified = service(place, true, &["verify", "users"]).ok();
        assert!(verified.starts_with("users@1: no row differs"), "{verified}");
        service(place, true, &["rebuild", "users", "--why", "x"]).ok();
        let error = service(place, true, &["verify", "users", "--detach"]).failed();
        assert!(error.contains("leave --detach out"), "{error}");
        assert!(place.run(&["leases", "--json"]).json()["members"].as_array().unwrap().is_empty(), "it has left");
    });
}
