//! Verify and explain.

use std::time::Duration;

use readside::admin::{AdminCommand, ExplainRequest, RebuildOptions};
use readside::error::OperateError;
use readside::failure::FailureQuery;
use readside::inspect::{Inspect, LeaseQuery};
use readside::prelude::*;
use readside::store::{LeaseStore, ProjectionStore};
use readside::{Engine, HandlerConfig, NewEvent, error};

use crate::{LONG, Place, by, count, counts, eager, fill, lawful, start};

both!(a_spoilt_row_is_found_and_repaired);
pub(crate) fn a_spoilt_row_is_found_and_repaired<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 3, 6);
    engine.push(&[count("tenant-001", "x1", 13), count("tenant-001", "x1", 5)]).unwrap();
    let held = engine.await_position("counts", "tenant-001", 8, LONG);
    assert!(matches!(held, Err(error::AwaitError::EventFailed { .. })), "{held:?}");
    let clean = engine.admin().verify("counts", None).unwrap();
    assert!(clean.is_clean() && clean.instances == 3 && clean.held == 2, "{clean:?}");
    place.sql(
        "UPDATE counts_1 SET n = 7 WHERE instance_id = 'tenant-001' AND thing = 'x1'; \
         DELETE FROM counts_1 WHERE instance_id = 'tenant-002' AND thing = 'x2'; \
         INSERT INTO counts_1 (instance_id, thing, n) VALUES ('tenant-002', 'z', 9)",
    );
    let found = engine.admin().verify("counts", None).unwrap();
    let names: Vec<&str> = found.differing.iter().map(|differing| &*differing.instance).collect();
    assert_eq!(names, ["tenant-001", "tenant-002"]);
    let row = &found.differing[0].samples[0];
    assert_eq!((&*row.table, &row.key["thing"]), ("counts", &"x1".into()));
    assert_eq!((&row.expected.as_ref().unwrap()["n"], &row.found.as_ref().unwrap()["n"]), (&5.into(), &7.into()));
    assert!(found.differing[1].differing_rows >= 2, "{found:?}");
    assert_eq!(engine.admin().verify("counts", Some("tenant-000")).unwrap().differing, []);
    let repaired = engine.admin().repair("counts", None, &by()).unwrap();
    assert_eq!(repaired.repaired, ["tenant-001", "tenant-002"]);
    assert!(engine.admin().verify("counts", None).unwrap().is_clean());
    let pushed = engine.push(&[count("tenant-002", "z", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    lawful(place);
    // Parked events are still parked.
    let held = engine.admin().failed_events("counts", &FailureQuery::all()).unwrap();
    assert_eq!(held.iter().map(|held| held.attempt.position).collect::<Vec<_>>(), [7, 8]);
    let builds = place.open().builds().builds().unwrap();
    assert_eq!(builds.len(), 1, "nothing is left beside: {builds:?}");
}

both!(a_row_is_explained);
pub(crate) fn a_row_is_explained<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    let commands = [("x", 1), ("y", 5), ("x", 2), ("z", 13), ("x", 4)].map(|(thing, by)| count("a", thing, by));
    let pushed = engine.push(&commands).unwrap();
    engine.await_position("counts", "a", 5, LONG).unwrap();
    let question = |at| ExplainRequest { instance: "a".into(), table: None, key: vec!["x".into()], at };
    let told = engine.admin().explain("counts", &question(None)).unwrap();
    let steps: Vec<_> =
        told.steps.iter().map(|step| (step.position, step.row.as_ref().unwrap()["n"].clone())).collect();
    assert_eq!(steps, [(1, 1.into()), (3, 3.into()), (5, 7.into())]);
    assert_eq!((told.position, told.events, &*told.held), (5, 4, &[4][..]));
    assert_eq!((told.row.clone(), told.row.unwrap()["n"].clone()), (told.found, 7.into()));
    let step = &told.steps[1];
    assert_eq!((step.event, &*step.event_type), (pushed[2].id(), "thing.counted"));
    assert!(step.statement.starts_with("upsert counts (thing = \"x\", n = n + 2, last = "), "{}", step.statement);
    let before = engine.admin().explain("counts", &question(Some(4))).unwrap();
    assert_eq!((before.steps.len(), before.row.unwrap()["n"].clone(), before.found), (2, 3.into(), None));
    let log = ExplainRequest { table: Some("log".into()), key: vec!["y".into(), "2".into()], ..question(None) };
    let told = engine.admin().explain("counts", &log).unwrap();
    assert_eq!((told.steps.len(), &told.steps[0].row.as_ref().unwrap()["by"]), (1, &5.into()));
    let nobody = ExplainRequest { key: vec!["nobody".into()], ..question(None) };
    let told = engine.admin().explain("counts", &nobody).unwrap();
    assert_eq!((told.steps.len(), told.row, told.found), (0, None, None));
}

/// Keeps documents as they are pushed, in columns that people change by hand.
fn shown() -> Projection {
    Projection::new("shown", 1)
        .table(
            Table::new("shown")
                .column(text("id"))
                .column(json("j").nullable())
                .column(float("f"))
                .column(timestamp("at"))
                .column(text("word").nullable())
                .column(boolean("yes"))
                .primary_key(["id"]),
        )
        .on_raw("doc", "doc.told", |e| {
            let at = set("at", std::time::UNIX_EPOCH);
            let document = set("j", Value::Json(e.payload_json().to_owned()));
            create([set("id", e.aggregate_id()), document, set("f", 0.5), at, set("word", ""), set("yes", true)])
        })
}

// Every comparison uses one rule, and rows that differ never look the same.
// Contract: O3
both!(values_are_compared_alike_and_look_different_where_they_differ);
pub(crate) fn values_are_compared_alike_and_look_different_where_they_differ<P: Place>(place: &P) {
    let config = HandlerConfig::default().max_failure_count(1).retries(0);
    let engine = Engine::builder(place.open()).projection_with(shown(), config).config(eager()).start().unwrap();
    // Each document comes with another one that is different.
    let documents = [
        ("[1E2]", "[101]"),
        ("[-0]", "[1]"),
        ("[2.5e3]", "[2.5e4]"),
        ("1e400", "2e400"),
        ("0.1234567890123456789", "0.1234567890123456788"),
        ("123456789012345678901234567890", "123456789012345678901234567891"),
        (r#"{"b": 1.50, "a": "\u00fc"}"#, r#"{"b": 1.50, "a": "u"}"#),
        ("null", "\"null\""),
        ("1.0", "\"1\""),
    ];
    let command = |(n, (text, _)): (usize, &(&str, &str))| {
        NewEvent::raw("a", "doc", &format!("d{n}"), "doc.told").payload_json(*text)
    };
    let commands: Vec<NewEvent> = documents.iter().enumerate().map(command).collect();
    let pushed = engine.push(&commands).unwrap();
    engine.await_pushed("shown", &pushed, LONG).unwrap();
    let explain = |id: &str| {
        let question = ExplainRequest { instance: "a".into(), table: None, key: vec![id.into()], at: None };
        engine.admin().explain("shown", &question).unwrap()
    };
    let rebuilt = || {
        let tables = engine
            .admin()
            .rebuild("shown", RebuildOptions::default(), &by(), |_| {})
            .unwrap()
            .comparison
            .unwrap()
            .tables;
        tables.into_iter().next().unwrap()
    };
    assert!(engine.admin().verify("shown", None).unwrap().is_clean());
    for n in 0..documents.len() {
        let told = explain(&format!("d{n}"));
        assert!(!told.differs && told.row == told.found && told.steps.len() == 1, "{told:?}");
    }
    // The same document in another spelling is the same.
    place.sql(r#"UPDATE shown_1 SET j = '[100.0]' WHERE id = 'd0'; UPDATE shown_1 SET j = '{"a":"ü","b":1.5}' WHERE id = 'd6'"#);
    assert!(
        engine.admin().verify("shown", None).unwrap().is_clean() && !explain("d0").differs && !explain("d6").differs
    );
    assert_eq!(rebuilt().changed, 0);
    let mut changes: Vec<(String, String)> =
        documents.iter().enumerate().map(|(n, (_, other))| (format!("d{n}"), format!("j = '{other}'"))).collect();
    changes.extend(
        ["j = NULL", "word = NULL", "at = 'infinity'", "at = '-infinity'", "f = 0.1"]
            .map(|by_hand| ("d7".to_owned(), by_hand.to_owned())),
    );
    if place.address().starts_with("postgres") {
        let odd = [
            "f = 'NaN'",
            "f = 'Infinity'",
            "f = '-Infinity'",
            "at = '20000-01-01'",
            "at = '0044-03-15 BC'",
            "yes = false",
        ];
        changes.extend(odd.map(|by_hand| ("d7".to_owned(), by_hand.to_owned())));
    } else {
        let odd = [
            "f = 9e999",
            "f = -9e999",
            "at = '20000-01-01T00:00:00.000000Z'",
            "at = '1970-01-01T00:00:00Z'",
            "yes = 2",
        ];
        changes.extend(odd.map(|by_hand| ("d7".to_owned(), by_hand.to_owned())));
    }
    // Rows are shown too if an earlier version or a person wrote wrong values into them.
    let unchecked = if place.address().starts_with("postgres") { "" } else { "PRAGMA ignore_check_constraints = ON; " };
    let mut looks = std::collections::BTreeSet::new();
    for (id, change) in &changes {
        place.sql(&format!("{unchecked}UPDATE shown_1 SET {change} WHERE id = '{id}'"));
        let found = engine.admin().verify("shown", None).unwrap();
        assert_eq!((found.differing.len(), found.differing[0].differing_rows), (1, 1), "{change}: {found:?}");
        let row = &found.differing[0].samples[0];
        assert_ne!(row.expected, row.found, "{change}");
        let told = explain(id);
        assert!(told.differs && told.row != told.found, "{change}: {told:?}");
        assert_eq!((&row.expected, &row.found), (&told.row, &told.found), "{change}");
        // Every wrong row looks different, also after a usual JSON decoder has read it.
        let text = serde_json::to_string(row.found.as_ref().unwrap()).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(looks.insert(read.to_string()), "{change}: {text}");
        let table = rebuilt();
        let sample = &table.samples[0];
        assert_eq!((table.changed, &sample.old, &sample.new), (1, &row.found, &row.expected), "{change}");
    }
}

// Contract: C6: the highest numbers and the longest time mean no limit.
both!(nothing_is_too_many_or_too_long_to_ask_for);
pub(crate) fn nothing_is_too_many_or_too_long_to_ask_for<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    let store = place.open();
    let (remote, leases) = (crate::remote(place), LeaseQuery::all().limit(usize::MAX));
    let explain = |at| {
        let question = ExplainRequest { instance: crate::tenant(0), table: None, key: vec!["x1".into()], at };
        remote.ask("counts", AdminCommand::Explain(question), &by()).unwrap()
    };
    match remote.answer(explain(Some(i64::MAX)), Duration::MAX) {
        Err(OperateError::Answered { error }) => assert!(error.contains("has positions 1 to 3"), "{error}"),
        other => panic!("{other:?}"),
    }
    let id = explain(None);
    assert_eq!(remote.answer(id, Duration::MAX).unwrap()["row"]["n"], 1);
    assert_eq!(engine.admin().commands(Some("counts"), usize::MAX).unwrap()[0].id, id);
    assert_eq!(remote.commands(None, usize::MAX).unwrap()[0].id, id);
    assert!(store.active_leases(&leases).unwrap().len() <= 1);
    let (key, other) = (counts(1).key(), uuid::Uuid::from_u128(5));
    assert_eq!(store.acquire(&key, &["for ever".into()], other, Duration::MAX).unwrap().len(), 1);
    assert_eq!(store.renew(other, Duration::MAX).unwrap().len(), 1);
    assert!(store.active_leases(&leases).unwrap().iter().any(|lease| lease.process == other));
}

both!(wrong_questions_are_answered_by_name);
pub(crate) fn wrong_questions_are_answered_by_name<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    let question = || ExplainRequest { instance: "tenant-000".into(), table: None, key: vec!["x1".into()], at: None };
    let ask = |question: ExplainRequest| engine.admin().explain("counts", &question).unwrap_err();
    match ask(ExplainRequest { at: Some(4), ..question() }) {
        OperateError::UnknownPosition { position: 4, head: 3, .. } => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(ask(ExplainRequest { at: Some(0), ..question() }), OperateError::UnknownPosition { .. }));
    assert!(matches!(
        ask(ExplainRequest { instance: "tenant".into(), ..question() }),
        OperateError::UnknownInstance { instance, .. } if instance == "tenant"
    ));
    assert!(matches!(ask(ExplainRequest { table: Some("users".into()), ..question() }), OperateError::Statement(_)));
    let said = ask(ExplainRequest { key: vec!["x1".into(), "2".into()], ..question() }).to_string();
    assert!(said.contains("(thing)") && said.contains("1 column, and 2 values are given"), "{said}");
    let number = ExplainRequest { table: Some("log".into()), key: vec!["x1".into(), "two".into()], ..question() };
    let said = ask(number).to_string();
    assert!(said.contains("\"position\" holds Integer"), "{said}");
    assert!(matches!(engine.admin().explain("users", &question()), Err(OperateError::UnknownProjection { .. })));
    assert!(matches!(engine.admin().verify("counts", Some("nobody")), Err(OperateError::UnknownInstance { .. })));
    let options = RebuildOptions::default().instance("nobody");
    match engine.admin().rebuild("counts", options, &by(), |_| {}) {
        Err(OperateError::Answered { error }) => assert!(error.contains("no instance \"nobody\""), "{error}"),
        other => panic!("{other:?}"),
    }
    for outcome in [
        engine.admin().switch("counts", &by()),
        engine.admin().back("counts", false, &by()),
        engine.admin().abandon("counts", &by()),
    ] {
        assert!(matches!(outcome, Err(OperateError::Answered { .. })), "{outcome:?}");
    }
}
