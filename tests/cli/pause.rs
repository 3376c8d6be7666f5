//! `pause` and `resume`.

use readside::HandlerConfig;
use serde_json::json;

use crate::on_both;
use crate::service::users;

#[test]
fn a_pause_is_kept_until_it_is_lifted() {
    on_both(|place| {
        place.with(|store| {
            store.handler(users(true), HandlerConfig::default());
            store.push(&[readside::NewEvent::raw("acme", "user", "u", "user.added")]).unwrap();
        });
        assert_eq!(place.run(&["pause", "users"]).code, 2, "a reason is kept on record");
        let done = place.run(&["pause", "users", "--why", "rows are wrong", "--json"]).json();
        assert_eq!(done, json!({"projection": "users", "instance": null, "paused": true, "changed": true}));
        assert!(place.run(&["pause", "users", "--why", "again"]).ok().contains("was paused already"));
        place.run(&["pause", "users", "--instance", "acme", "--who", "bob", "--why", "a look"]).ok();
        place.with(|store| assert_eq!(store.pauses().unwrap().len(), 2));
        let status = place.run(&["status", "--json"]).json();
        assert_eq!(
            (&status["projections"][0]["paused"], &status["projections"][0]["paused_instances"]),
            (&json!(true), &json!(1))
        );
        let pauses = &status["projections"][0]["pauses"];
        assert_eq!(pauses[0]["by"], json!({"who": "ada", "why": "rows are wrong"}));
        assert_eq!((&pauses[0]["instance"], &pauses[1]["instance"]), (&json!(null), &json!("acme")));
        assert_eq!(pauses[1]["by"], json!({"who": "bob", "why": "a look"}));
        let text = place.run(&["status"]).ok();
        for (of, by) in [
            ("users is paused since 20", " by ada: rows are wrong"),
            ("users in \"acme\" is paused since 20", " by bob: a look"),
        ] {
            assert!(text.lines().any(|line| line.starts_with(of) && line.ends_with(by)), "{text}");
        }
        let doctor = place.run(&["doctor", "--max-lag", "0s"]).ok();
        assert!(doctor.contains(", paused by \"ada\": \"rows are wrong\""), "{doctor}");
        let record = place.run(&["commands", "users"]).ok();
        assert!(record.contains("instance \"acme\" is paused") && record.contains("rows are wrong"), "{record}");
        let said = place.run(&["resume", "users", "--instance", "acme", "--why", "seen"]).ok();
        assert!(said.contains("goes on") && said.contains("the whole projection is paused"), "{said}");
        place.run(&["resume", "users", "--why", "mended"]).ok();
        assert!(place.run(&["resume", "users", "--why", "mended"]).ok().contains("was not paused"));
        place.with(|store| assert!(store.pauses().unwrap().is_empty()));
    });
}

// Contract: L11: the duration is that of the pause, and the projection is idle elsewhere.
#[test]
fn one_paused_instance_is_shown_as_paused() {
    on_both(|place| {
        place.with(|store| {
            store.push(&["a", "b"].map(|tenant| readside::NewEvent::raw(tenant, "user", "u", "user.added"))).unwrap();
            store.handler(users(true), HandlerConfig::default()).trigger(&["a", "b"]).unwrap();
        });
        assert!(!place.run(&["status"]).ok().contains("idle:"));
        place.run(&["pause", "users", "--instance", "a", "--why", "a look"]).ok();
        let status = place.run(&["status"]).ok();
        assert!(status.contains("paused in 1") && status.contains("idle: paused for "), "{status}");
    });
}

// Contract: L11
#[test]
fn resuming_the_whole_names_what_stays_paused() {
    on_both(|place| {
        place.with(|store| {
            store.handler(users(true), HandlerConfig::default());
            store.push(&[readside::NewEvent::raw("acme", "user", "u", "user.added")]).unwrap();
        });
        place.run(&["pause", "users", "--instance", "acme", "--why", "a look"]).ok();
        let said = place.run(&["resume", "users", "--why", "mended"]).ok();
        assert!(said.contains("was not paused\n1 instance of it is still paused; "), "{said}");
        assert!(said.contains("`readside resume users --instance INSTANCE --why 'it may go on'`"), "{said}");
        place.run(&["resume", "users", "--instance", "acme", "--why", "seen"]).ok();
        let said = place.run(&["resume", "users", "--why", "mended"]).ok();
        assert!(!said.contains("still paused"), "{said}");
    });
}
