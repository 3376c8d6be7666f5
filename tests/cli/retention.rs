//! Erasing, removing and archiving.

use readside::{HandlerConfig, NewEvent};
use serde_json::json;

use crate::service::{service, users};
use crate::{Place, on_both};

fn fill(place: &Place) {
    place.with(|store| {
        let handler = store.handler(users(true), HandlerConfig::default());
        let command = |instance: &str, id: &str| {
            NewEvent::raw(instance, "user", id, "user.added").payload(&"ada lovelace").creator("ada").owner("ada")
        };
        let claim = command("acme", "u1").add_unique("email", "ada@x", "taken");
        store.push(&[claim, command("acme", "u2"), command("other", "u1")]).unwrap();
        handler.trigger(&["acme", "other"]).unwrap();
    });
}

fn payloads(place: &Place) -> Vec<serde_json::Value> {
    place.run(&["events"]).lines().into_iter().map(|event| event["payload"].clone()).collect()
}

// Contract: K2
#[test]
fn a_person_is_forgotten() {
    on_both(|place| {
        fill(place);
        let who = [
            "redact",
            "--instance",
            "acme",
            "--aggregate-type",
            "user",
            "--aggregate-id",
            "u1",
            "--unique",
            "email=ada@x",
        ];
        let dry = place.run(&[&who[..], &["--dry-run", "--json"]].concat()).json();
        assert_eq!((&dry["dry_run"], &dry["rebuild"][0]["projection"]), (&json!(true), &json!("users")));
        assert_eq!(payloads(place), [json!("ada lovelace"), json!("ada lovelace"), json!("ada lovelace")]);
        assert_eq!(place.run(&who).code, 2, "a reason is needed");
        let said = place.run(&[&who[..], &["--creator-and-owner", "--why", "her request"]].concat()).ok();
        let run = "users@1 may still show it; run: readside rebuild users --instance acme --why 'an event was erased'";
        assert!(said.contains("erased") && said.lines().any(|line| line == run), "{said}");
        assert_eq!(payloads(place), [json!(null), json!("ada lovelace"), json!("ada lovelace")]);
        assert_eq!(place.run(&["events", "--creator", "ada", "--json"]).lines().len(), 2);
        place.run(&["redact", "--instance", "acme", "--position", "2", "--why", "too"]).ok();
        assert_eq!(payloads(place)[1], json!(null));
        let error = place.run(&["redact", "--instance", "acme", "--position", "9", "--why", "x"]).failed();
        assert!(error.contains("no event at position 9"), "{error}");
        assert_eq!(place.run(&["redact", "--instance", "acme", "--why", "x"]).code, 2, "nothing is named");
    });
}

// Contract: K2: a read model that may still show the event is rebuilt if the user asks for it.
#[test]
fn what_showed_an_erased_event_is_rebuilt() {
    on_both(|place| {
        fill(place);
        let args =
            ["redact", "--instance", "acme", "--position", "1", "--rebuild", "--who", "eve", "--why", "her request"];
        let said = service(place, true, &args).ok();
        assert!(said.contains("users@1, instance \"acme\" is rebuilt, and readers see it"), "{said}");
        let asked = &place.run(&["commands", "--json"]).lines()[0];
        assert_eq!((&asked["who"], &asked["why"]), (&json!("eve"), &json!("what it shows was erased: her request")));
        let mut rows = 0;
        place.with(|store| rows = store.rows(&users(true)).len());
        assert_eq!(rows, 2, "the erased event is passed over");
        let said = place.run(&["redact", "--instance", "acme", "--position", "2", "--why", "too"]).ok();
        let told = |line: &str| line.contains("commands") && line.ends_with("erased (old answers of commands)");
        assert!(said.lines().any(told), "{said}");
        let dry = ["redact", "--instance", "acme", "--position", "1", "--rebuild", "--dry-run"];
        assert_eq!(place.run(&dry).code, 2, "nothing is erased then");
    });
}

// Contract: K5
#[test]
fn a_projection_that_nobody_keeps_is_removed() {
    on_both(|place| {
        fill(place);
        let remove = ["projections", "remove", "users"];
        let dry = place.run(&[&remove[..], &["--dry-run", "--json"]].concat()).json();
        assert_eq!((&dry["dry_run"], &dry["projection"]), (&json!(true), &json!("users")));
        assert_eq!(place.run(&remove).code, 2, "a reason is needed");
        let said = place.run(&[&remove[..], &["--why", "nobody reads it"]].concat()).ok();
        let table = said.lines().find(|line| line.contains("users_1")).unwrap();
        assert_eq!(table.split_whitespace().collect::<Vec<_>>()[1..], ["3", "removed"], "{said}");
        assert!(place.run(&["status"]).ok().contains("no projection is registered"));
        let operation = &place.run(&["operations", "--json"]).lines()[0];
        let of = (&operation["kind"], &operation["subject"], &operation["by"]["why"]);
        assert_eq!(of, (&json!("remove-projection"), &json!(r#"{"projection":"users"}"#), &json!("nobody reads it")));
        let error = place.run(&[&remove[..], &["--why", "again"]].concat()).failed();
        assert!(error.contains("there is no projection \"users\" here"), "{error}");
    });
}

// Contract: K3
#[test]
fn a_tenant_is_removed_and_opened_again() {
    on_both(|place| {
        fill(place);
        let dry = place.run(&["remove-instance", "acme", "--dry-run"]).ok();
        assert!(dry.contains("would be removed"), "{dry}");
        assert_eq!(payloads(place).len(), 3);
        let removed = place.run(&["remove-instance", "acme", "--why", "contract ended", "--json"]).json();
        assert_eq!(
            (&removed["instance"], &removed["head"], &removed["dry_run"]),
            (&json!("acme"), &json!(2), &json!(false))
        );
        assert_eq!(payloads(place).len(), 1);
        let line = r#"{"instance":"acme","aggregate_type":"user","aggregate_id":"u9","type":"user.added"}"#;
        let error = place.run_with(&["push"], line).failed();
        assert!(error.contains("removed"), "{error}");
        place.run(&["reopen-instance", "acme", "--why", "they came back"]).ok();
        place.run_with(&["push"], line).ok();
        assert_eq!(place.run(&["events", "--instance", "acme"]).json()["position"], 3);
        let error = place.run(&["remove-instance", "nobody", "--why", "x"]).failed();
        assert!(error.contains("there is no instance \"nobody\""), "{error}");
    });
}

// Contract: K4
#[test]
fn old_events_move_and_are_read_as_before() {
    on_both(|place| {
        fill(place);
        let none = place.run(&["archive", "--before", "2020-01-01", "--why", "x", "--json"]).json();
        assert_eq!(none["events"], 0);
        let dry = place.run(&["archive", "--before", "0s", "--dry-run", "--json"]).json();
        assert_eq!((&dry["events"], &dry["instances"]), (&json!(3), &json!(2)));
        let said = place.run(&["archive", "--before", "0s", "--instance", "acme", "--why", "old"]).ok();
        assert!(said.starts_with("2 events of 1 instance, stored before "), "{said}");
        assert_eq!(payloads(place).len(), 3);
    });
}

#[test]
fn archived_events_that_are_not_handled_are_lag_too() {
    on_both(|place| {
        place.with(|store| {
            store.handler(users(true), HandlerConfig::default());
            store.push(&[NewEvent::raw("acme", "user", "u", "user.added")]).unwrap();
        });
        place.run(&["archive", "--before", "0s", "--why", "old"]).ok();
        let status = place.run(&["status", "--json"]).json();
        assert_eq!(status["projections"][0]["lag_events"], 1);
        assert!(status["projections"][0]["lag_seconds"].is_number(), "{status}");
    });
}

#[test]
fn what_was_done_is_on_record() {
    on_both(|place| {
        assert!(place.run(&["operations"]).ok().contains("nothing was erased"));
        fill(place);
        place.run(&["redact", "--instance", "acme", "--position", "1", "--who", "eve", "--why", "request 4711"]).ok();
        place.run(&["remove-instance", "acme", "--who", "bob", "--why", "contract ended"]).ok();
        let operations = place.run(&["operations", "--json"]).lines();
        let kinds: Vec<&str> = operations.iter().map(|operation| operation["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["remove", "redact"]);
        assert_eq!(place.run(&["operations", "--limit", "1", "--json"]).lines().len(), 1);
        let table = place.run(&["operations"]).ok();
        assert!(table.contains("bob") && table.contains("request 4711"), "{table}");
    });
}
