//! Pausing and going on.

use readside::HandlerConfig;
use serde_json::json;

use crate::on_both;
use crate::service::users;

#[test]
fn a_pause_is_kept_until_it_is_lifted() {
    on_both(|place| {
        place.with(|store| {
            store.handler(users(true), HandlerConfig::default());
            store.push(&[readside::Command::raw("acme", "user", "u", "user.added")]).unwrap();
        });
        let done = place.run(&["pause", "users", "--json"]).json();
        assert_eq!(done, json!({"projection": "users", "instance": null, "paused": true, "changed": true}));
        assert!(place.run(&["pause", "users"]).ok().contains("was paused already"));
        place.run(&["pause", "users", "--instance", "acme"]).ok();
        place.with(|store| assert_eq!(store.pauses().unwrap().len(), 2));
        let status = place.run(&["status", "--json"]).json();
        assert_eq!(
            (&status["projections"][0]["paused"], &status["projections"][0]["paused_instances"]),
            (&json!(true), &json!(1))
        );
        let said = place.run(&["resume", "users", "--instance", "acme"]).ok();
        assert!(said.contains("goes on") && said.contains("the whole projection is paused"), "{said}");
        place.run(&["resume", "users"]).ok();
        assert!(place.run(&["resume", "users"]).ok().contains("was not paused"));
        place.with(|store| assert!(store.pauses().unwrap().is_empty()));
    });
}
