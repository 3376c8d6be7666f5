//! Contract: A1-A3, A6, A8, K1 on every backend.

use std::time::Duration;

use readside::error::PushError;
use readside::query::{Query, SubQuery};
use readside::subscription::Topics;
use readside::{Event, Expected, NewEvent, Unique};
use serde_json::json;

use crate::Fixture;

pub(crate) fn command(instance: &str, id: &str, kind: &str) -> NewEvent {
    NewEvent::raw(instance, "user", id, kind).payload(&json!({"of": id}))
}

fn stored(fixture: &Fixture, instance: &str) -> Vec<Event> {
    fixture.store.filter(&Query::new().or(SubQuery::new().instance(instance))).unwrap()
}

// Contract: A1
both!(events_come_back_as_stored);
pub(crate) fn events_come_back_as_stored(fixture: &Fixture) {
    let pushed = fixture
        .store
        .push(&[
            command("b", "u1", "added").creator("c").owner("o").metadata("correlation", "x\"1"),
            command("a", "u1", "added").revision(3),
            command("b", "u1", "changed"),
            command("b", "u2", "added"),
        ])
        .unwrap();
    let places: Vec<(&str, i64, i64)> = pushed.iter().map(|e| (e.instance(), e.position(), e.version())).collect();
    assert_eq!(places, [("b", 1, 1), ("a", 1, 1), ("b", 2, 2), ("b", 3, 1)]);
    assert_eq!(stored(fixture, "b"), [pushed[0].clone(), pushed[2].clone(), pushed[3].clone()]);
    assert_eq!(stored(fixture, "a"), [pushed[1].clone()]);
    assert_eq!(pushed[0].metadata("correlation").as_deref(), Some("x\"1"));
    assert_eq!((pushed[0].creator(), pushed[0].owner(), pushed[1].revision()), ("c", "o", 3));
    assert!(pushed[0].created_at() <= pushed[2].created_at());
    assert!(fixture.store.push(&[]).unwrap().is_empty());
}

// Contract: A1, L1
both!(a_push_is_all_or_nothing);
pub(crate) fn a_push_is_all_or_nothing(fixture: &Fixture) {
    fixture.store.push(&[command("a", "u1", "added")]).unwrap();
    let refused = fixture.store.push(&[command("a", "u2", "added"), command("a", "u1", "added").expect(Expected::New)]);
    assert!(matches!(refused, Err(PushError::Conflict { .. })));
    assert_eq!(stored(fixture, "a").len(), 1);
    let next = fixture.store.push(&[command("a", "u3", "added")]).unwrap();
    assert_eq!(next[0].position(), 2, "a refused push leaves no hole");
}

// Contract: A2
both!(expected_versions_decide);
pub(crate) fn expected_versions_decide(fixture: &Fixture) {
    let push = |id: &str, expected| fixture.store.push(&[command("a", id, "added").expect(expected)]);
    push("u1", Expected::New).unwrap();
    push("u1", Expected::Version(1)).unwrap();
    push("u1", Expected::Any).unwrap();
    let found = |result| match result {
        Err(PushError::Conflict { aggregate_id, expected, found, .. }) => (aggregate_id, expected, found),
        other => panic!("{other:?}"),
    };
    assert_eq!(found(push("u1", Expected::New)), ("u1".into(), Expected::New, 3));
    assert_eq!(found(push("u1", Expected::Version(2))), ("u1".into(), Expected::Version(2), 3));
    assert_eq!(found(push("u9", Expected::Version(1))), ("u9".into(), Expected::Version(1), 0));
    let both = fixture.store.push(&[
        command("a", "n", "added").expect(Expected::New),
        command("a", "n", "changed").expect(Expected::Version(1)),
    ]);
    assert_eq!(both.unwrap()[1].version(), 2, "earlier commands of a push count");
}

// Contract: A3
both!(unique_values_are_taken_and_given_back);
pub(crate) fn unique_values_are_taken_and_given_back(fixture: &Fixture) {
    let add =
        |instance, value: &str| command(instance, "u", "added").add_unique("mail", value, "this address is taken");
    let store = &fixture.store;
    store.push(&[add("a", "x")]).unwrap();
    store.push(&[add("b", "x")]).unwrap();
    match store.push(&[add("a", "y"), add("a", "x")]) {
        Err(PushError::UniqueViolation { index, message, constraint, instance }) => {
            assert_eq!(
                (index, message.as_str(), constraint.as_str(), instance.as_str()),
                (1, "this address is taken", "mail", "a")
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.push(&[add("a", "z"), add("a", "z")]), Err(PushError::UniqueViolation { .. })));
    store.push(&[command("a", "u", "changed").remove_unique("mail", "x").add_unique("mail", "x2", "taken")]).unwrap();
    store.push(&[add("a", "x")]).unwrap();
    store.push(&[command("a", "u", "changed").remove_unique("mail", "x").add_unique("mail", "x", "taken")]).unwrap();
    assert!(store.push(&[add("a", "x")]).is_err());
    store.push(&[command("a", "u", "gone").unique(Unique::RemoveAll)]).unwrap();
    store.push(&[add("a", "x"), add("a", "x2")]).unwrap();
    assert!(store.push(&[add("b", "x")]).is_err(), "another instance keeps its values");
}

// Contract: K1
both!(a_repeated_push_returns_the_first_events);
pub(crate) fn a_repeated_push_returns_the_first_events(fixture: &Fixture) {
    let push = |ids: &[&str]| {
        let commands: Vec<NewEvent> = ids.iter().map(|id| command("a", id, "added").push_key("k")).collect();
        fixture.store.push(&commands)
    };
    let first = push(&["u1", "u2"]).unwrap();
    fixture.store.push(&[command("a", "u1", "changed")]).unwrap();
    assert_eq!(push(&["u1", "u2"]).unwrap(), first);
    for other in [&["u1"][..], &["u2", "u1"], &["u1", "u2", "u3"]] {
        assert!(matches!(push(other), Err(PushError::PushKeyReused { .. })), "{other:?}");
    }
    assert_eq!(stored(fixture, "a").len(), 3);
    let mixed = fixture.store.push(&[command("a", "u1", "x").push_key("k2"), command("a", "u1", "x")]);
    assert!(matches!(mixed, Err(PushError::Transaction { .. })));
}

// Contract: A1, A8
both!(bad_commands_are_refused_by_field);
pub(crate) fn bad_commands_are_refused_by_field(fixture: &Fixture) {
    let field = |command: NewEvent| match fixture.store.push(&[super::push::command("a", "ok", "ok"), command]) {
        Err(PushError::Invalid { index: 1, field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    assert_eq!(field(NewEvent::raw("a", "", "u", "t")), "aggregate type");
    assert_eq!(field(NewEvent::raw("a", "x", "", "t")), "aggregate id");
    assert_eq!(field(NewEvent::raw("a", "x", "u", "")), "event type");
    assert_eq!(field(NewEvent::raw("a\0", "x", "u", "t")), "instance");
    assert_eq!(field(NewEvent::raw("a", "x", "u\0", "t")), "aggregate id");
    assert_eq!(field(command("a", "u", "t").revision(0)), "revision");
    assert_eq!(field(command("a", "u", "t").metadata("k", "\0")), "metadata");
    assert_eq!(field(command("a", "u", "t").payload_json("{\"a\":\"\\u0000\"}")), "payload");
    assert_eq!(field(command("a", "u", "t").payload_json("\"\\ud800\"")), "payload");
    assert_eq!(field(command("a", "u", "t").payload_json(deep)), "payload");
    assert_eq!(field(command("a", "u", "t").payload_json("{")), "payload");
    assert_eq!(field(command("a", "u", "t").add_unique("", "v", "m")), "unique constraint");
    assert!(stored(fixture, "a").is_empty());
}

// Contract: A8
both!(odd_texts_are_kept);
pub(crate) fn odd_texts_are_kept(fixture: &Fixture) {
    for text in ["'; DROP TABLE events; --", "\"quoted\" $1 ?1 \\", "ß😀\u{202e}\u{feff}", "", "\u{1}\n\t"] {
        let id = format!("x{text}");
        let json = serde_json::to_string(&json!({"deep": [text, 1.10, 123_456_789_012_345_678_901_f64]})).unwrap();
        let pushed = fixture
            .store
            .push(&[NewEvent::raw(text, &id, &id, &id)
                .creator(text)
                .owner(text)
                .metadata(text, text)
                .payload_json(json.clone())])
            .unwrap();
        let found = stored(fixture, text);
        assert_eq!(found, pushed);
        assert_eq!(found[0].payload_json(), json);
        assert_eq!((found[0].instance(), found[0].aggregate_id(), found[0].creator()), (text, id.as_str(), text));
    }
}

// Contract: A8
both!(large_payloads_are_kept);
pub(crate) fn large_payloads_are_kept(fixture: &Fixture) {
    let json = format!("\"{}\"", "ä".repeat(5 << 20));
    fixture.store.push(&[command("a", "u", "large").payload_json(json.clone())]).unwrap();
    assert!(stored(fixture, "a")[0].payload_json() == json);
}

// Contract: A6
both!(subscribers_hear_of_pushes);
pub(crate) fn subscribers_hear_of_pushes(fixture: &Fixture) {
    let subscription = fixture.store.subscribe(Topics::all());
    let pushed = fixture.store.push(&[command("a", "u1", "added"), command("a", "u2", "added")]).unwrap();
    assert!(fixture.store.push(&[command("a", "u1", "added").expect(Expected::New)]).is_err());
    let heard = subscription.recv_timeout(Duration::from_secs(5));
    assert_eq!(heard.events, pushed);
    assert!(heard.dirty.is_empty() && !heard.all);
}
