//! Contract: K2: the payload and the metadata of an event, or of all events of an aggregate, are erased.

use readside::admin::AdminCommand;
use readside::error::RetentionError;
use readside::prelude::*;
use readside::query::Query;
use readside::retention::{OperationKind, Redaction};
use readside::store::{CommandStore, ProjectionStore};
use readside::{EventStore, Expected, NewEvent};

use crate::{
    ADA, Added, BOB, Place, Store, add, answered, assert_lawful, by_table, catch_up, handler, question, rename, store,
    strict, users,
};

const MORE: usize = 2500;

fn ada(instance: &str) -> Redaction {
    Redaction::of_aggregate(instance, "user", "u1").creator_and_owner().unique("user.name", ADA)
}

/// Ada leaves traces in events, rows, errors and unique values. They take more than one step to erase.
fn fill<S: Store>(store: &S) {
    let first = add("a", "u1", ADA).metadata("from", ADA).creator(ADA).owner(ADA).add_unique("user.name", ADA, "taken");
    store.push(&[first, add("a", "u2", BOB).add_unique("user.name", BOB, "taken"), add("b", "u1", BOB)]).unwrap();
    for from in (0..MORE).step_by(500) {
        let names = from..from + 500;
        store.push(&names.map(|n| rename("a", "u1", &format!("{ADA}-{n}"))).collect::<Vec<_>>()).unwrap();
    }
    catch_up(store, users(1), &["a", "b"]);
    let _ = handler(store, strict()).trigger(&["a", "b"]);
    answered(store, question("a", ADA), ADA);
    answered(store, question("b", BOB), BOB);
    answered(store, AdminCommand::Verify { instance: None, repair: false }, ADA);
}

// Contract: K2
both!(nothing_of_a_redacted_person_is_left);
pub(crate) fn nothing_of_a_redacted_person_is_left<P: Place>(place: &P) {
    let store = store(place, &[&users(1), &strict()]);
    fill(&store);
    assert!(place.traces(ADA).len() >= 5, "{:?}", place.traces(ADA));
    let before = store.filter(&Query::new()).unwrap();

    let report = store.redact(&ada("a"), &mut |_| ()).unwrap();
    let left = place.traces(ADA);
    assert!(left.iter().all(|table| table.contains("users")), "only read rows are left: {left:?}");
    let affected: Vec<(&str, u32, bool)> =
        report.rebuild.iter().map(|found| (&*found.projection, found.version, found.live)).collect();
    assert_eq!(affected, [("strict", 1, true), ("users", 1, true)]);
    let wanted = [("commands", 4), ("events", MORE as u64 + 1), ("held_events", 1), ("unique_constraints", 1)];
    assert_eq!(by_table(&report.tables), wanted.map(|(table, rows)| (table.to_owned(), rows)));
    let questions: Vec<_> =
        CommandStore::commands(&store, None, 10).unwrap().into_iter().map(|asked| asked.command).collect();
    assert_eq!(questions, [AdminCommand::Verify { instance: None, repair: false }, question("b", BOB)]);
    assert!(!report.dry_run && serde_json::to_string(&report).unwrap().contains("\"projection\":\"users\""));

    // The fact that the event happened stays.
    for (event, before) in store.filter(&Query::new()).unwrap().iter().zip(&before) {
        let erased = event.aggregate_id() == "u1" && event.instance() == "a";
        assert_eq!(event.is_redacted(), erased);
        assert_eq!((event.id(), event.position(), event.version()), (before.id(), before.position(), before.version()));
        assert_eq!((event.event_type(), event.created_at()), (before.event_type(), before.created_at()));
        let payload = if erased { "null" } else { before.payload_json() };
        assert_eq!(event.payload_json(), payload);
        assert!(!erased || (event.creator().is_empty() && event.owner().is_empty()));
    }

    // A rebuilt read model lacks the person, and nothing is stuck.
    let rebuilt = users(2);
    ProjectionStore::setup(&store, &[&rebuilt]).unwrap();
    catch_up(&store, rebuilt.clone(), &["a", "b"]);
    assert_eq!(store.names(&rebuilt), [format!("a/u2={BOB}"), format!("b/u1={BOB}")]);
    assert_lawful(&store, &rebuilt);

    // The value can be taken again, the aggregate goes on, and a repetition of the erasure finds nothing to do.
    store
        .push(&[rename("a", "u1", "new").add_unique("user.name", ADA, "taken").expect(Expected::Version(2501))])
        .unwrap();
    assert_eq!(by_table(&store.redact(&ada("a"), &mut |_| ()).unwrap().tables).len(), 2, "the new event and the value");
    let again = store.redact(&ada("a"), &mut |_| ()).unwrap();
    assert_eq!(again.tables, []);

    let operations = store.operations();
    assert_eq!(operations.len(), 3);
    assert!(operations.iter().all(|found| found.kind == OperationKind::Redact && found.ended_at.is_some()));
    assert_eq!((&*operations[2].by.who, operations[2].instance.as_deref()), ("eve", Some("a")));
    assert_eq!(operations[2].tables, report.tables);
}

// Contract: K2: an engine may answer while the erasure works.
both!(answers_that_come_meanwhile_are_erased_and_counted);
pub(crate) fn answers_that_come_meanwhile_are_erased_and_counted<P: Place>(place: &P) {
    let store = store(place, &[&users(1)]);
    store.push(&[add("a", "u1", ADA), add("b", "u1", BOB)]).unwrap();
    let verify = || AdminCommand::Verify { instance: None, repair: false };
    let commands =
        |tables: &[_]| by_table(tables).into_iter().filter(|(table, _)| table == "commands").collect::<Vec<_>>();
    let mut come = 0;
    let mut meanwhile = |_: &_| {
        if come < 2 {
            answered(&store, verify(), ADA);
            come += 1;
        }
    };
    answered(&store, verify(), ADA);
    let redacted = store.redact(&ada("a"), &mut meanwhile).unwrap();
    assert_eq!(commands(&redacted.tables), [("commands".to_owned(), 3)]);
    assert_eq!(store.operations()[0].tables, redacted.tables);
    come = 1;
    let mut meanwhile = |_: &_| {
        if come < 2 {
            answered(&store, verify(), BOB);
            come += 1;
        }
    };
    let removed = Store::remove(&store, "b", &mut meanwhile).unwrap();
    assert_eq!(commands(&removed.tables), [("commands".to_owned(), 1)]);
    assert_eq!(store.operations()[0].tables, removed.tables);
}

// Contract: K2
both!(a_dry_run_counts_what_is_erased);
pub(crate) fn a_dry_run_counts_what_is_erased<P: Place>(place: &P) {
    let store = store(place, &[&users(1), &strict()]);
    fill(&store);
    let before = place.dump();
    let dry = store.redact_dry_run(&ada("a")).unwrap();
    assert_eq!(place.dump(), before, "a dry run changes nothing");
    let real = store.redact(&ada("a"), &mut |_| ()).unwrap();
    assert_eq!((dry.dry_run, by_table(&dry.tables)), (true, by_table(&real.tables)));
    assert_eq!(dry.rebuild, real.rebuild);
}

// Contract: K2: a read model that handles every event, or every event of a type, may hold what was erased.
both!(what_takes_every_event_is_named);
pub(crate) fn what_takes_every_event_is_named<P: Place>(place: &P) {
    let taking = |name: &str| Projection::new(name, 1);
    let every = taking("every").on_any(|_| noop());
    let [of_users, of_bills] = [("of_users", "user"), ("of_bills", "bill")]
        .map(|(name, aggregate_type)| taking(name).on_aggregate(aggregate_type, |_| noop()));
    let store = store(place, &[&users(1), &every, &of_users, &of_bills]);
    store.push(&[add("a", "u1", ADA), NewEvent::raw("a", "bill", "b1", "sent")]).unwrap();
    let named = |position| {
        let report = store.redact_dry_run(&Redaction::of_event("a", position)).unwrap();
        report.rebuild.into_iter().map(|found| found.projection).collect::<Vec<_>>()
    };
    assert_eq!(named(1), ["every", "of_users", "users"]);
    assert_eq!(named(2), ["every", "of_bills"]);
}

// Contract: K2
both!(one_event_is_erased);
pub(crate) fn one_event_is_erased<P: Place>(place: &P) {
    let seen = Projection::new("seen", 1)
        .table(Table::new("seen").column(integer("position")).column(boolean("erased")).primary_key(["position"]))
        .on(|e, _: Added| create([set("position", e.position()), set("erased", false)]))
        .on_redacted(|e| create([set("position", e.position()), set("erased", e.is_redacted())]));
    let store = store(place, &[&users(1), &seen]);
    store.push(&[add("a", "u1", ADA).creator("eve"), add("a", "u2", BOB), rename("a", "u1", ADA)]).unwrap();
    handler(&store, users(1)).trigger(&["a"]).unwrap();

    let report = store.redact(&Redaction::of_event("a", 1), &mut |_| ()).unwrap();
    assert_eq!(by_table(&report.tables), [("events".to_owned(), 1)]);
    let events = store.filter(&Query::new()).unwrap();
    assert_eq!(events.iter().map(Event::is_redacted).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(events[0].creator(), "eve");
    assert!(events[0].payload::<Added>().is_err() && events[0].metadata("x").is_none());
    // The report names only the projections that handle this event.
    let named: Vec<&str> = report.rebuild.iter().map(|found| &*found.projection).collect();
    assert_eq!(named, ["seen", "users"]);
    let renamed = store.redact_dry_run(&Redaction::of_event("a", 3)).unwrap();
    assert_eq!(renamed.rebuild.iter().map(|found| &*found.projection).collect::<Vec<_>>(), ["users"]);

    handler(&store, seen.clone()).trigger(&["a"]).unwrap();
    assert_lawful(&store, &seen);
    let model = laws_rows(&store, &seen);
    assert_eq!(model, [(1, true), (2, false)]);
}

fn laws_rows<S: Store>(store: &S, projection: &Projection) -> Vec<(i64, bool)> {
    let number = |value: &Value| if let Value::Integer(number) = value { *number } else { panic!("{value:?}") };
    let mut rows: Vec<(i64, bool)> = store.model(projection, "a").unwrap().tables[0]
        .iter()
        .map(|row| (number(&row[1].1), row[2].1 == Value::Boolean(true)))
        .collect();
    rows.sort_unstable();
    rows
}

// Contract: K1, K2: if a push is repeated after its events were erased, it still finds them.
both!(a_repeated_push_finds_its_erased_events);
pub(crate) fn a_repeated_push_finds_its_erased_events<P: Place>(place: &P) {
    let store = store(place, &[]);
    let push = || store.push(&[add("a", "u1", ADA).push_key("k").creator(ADA), add("a", "u2", BOB).push_key("k")]);
    let first = push().unwrap();
    store.redact(&ada("a"), &mut |_| ()).unwrap();
    let again = push().unwrap();
    assert_eq!(again.iter().map(Event::id).collect::<Vec<_>>(), first.iter().map(Event::id).collect::<Vec<_>>());
    assert!(again[0].is_redacted() && !again[1].is_redacted());
    let other = store.push(&[add("a", "u3", ADA).push_key("k")]).unwrap_err();
    assert!(matches!(other, readside::error::PushError::PushKeyReused { .. }), "{other:?}");
}

// Contract: K2
both!(what_is_not_there_is_not_erased);
pub(crate) fn what_is_not_there_is_not_erased<P: Place>(place: &P) {
    let store = store(place, &[]);
    store.push(&[add("a", "u1", ADA)]).unwrap();
    for what in [Redaction::of_event("a", 2), Redaction::of_event("x", 1)] {
        assert!(matches!(store.redact(&what, &mut |_| ()), Err(RetentionError::UnknownEvent { .. })));
        assert!(matches!(store.redact_dry_run(&what), Err(RetentionError::UnknownEvent { .. })));
    }
    let error = store.redact(&Redaction::of_aggregate("a", "user", "u9"), &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "instance \"a\" has no event of user \"u9\"; check its type and id");
    assert_eq!(store.operations(), []);
}

// Contract: K2, K3: SQLite's file and its log hold nothing of it either.
#[test]
fn the_files_bytes_are_gone_too() {
    let file = crate::File::new();
    let store = store(&file, &[&users(1), &strict()]);
    // Payloads of all sizes, some inside a page and some larger than one.
    for n in 0..400 {
        let name = format!("{}{ADA}", "x".repeat(n * 37 % 9000));
        store.push(&[rename("a", &format!("u{}", n % 7), &name), rename("b", "u", BOB)]).unwrap();
    }
    handler(&store, users(1)).trigger(&["a", "b"]).unwrap();
    let holds = |mark: &str| file.bytes().windows(mark.len()).any(|found| found == mark.as_bytes());
    assert!(holds(ADA) && holds(BOB));
    let report = Store::remove(&store, "a", &mut |_| ()).unwrap();
    assert_eq!(report.remains, None);
    assert!(!holds(ADA) && holds(BOB));
    for n in 1..=50 {
        store.redact(&Redaction::of_event("b", n), &crate::by(), |_| ()).unwrap();
    }
    assert!(holds(BOB), "its rows are still there");
}
