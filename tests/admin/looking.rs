//! Verify and explain.

use std::time::Duration;

use readside::error::OperateError;
use readside::*;

use crate::{LONG, Place, by, count, counts, eager, fill, lawful, start};

pub(crate) fn a_spoilt_row_is_found_and_repaired<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 3, 6);
    engine.push(&[count("tenant-001", "x1", 13), count("tenant-001", "x1", 5)]).unwrap();
    let held = engine.await_position("counts", "tenant-001", 8, LONG);
    assert!(matches!(held, Err(error::AwaitError::HeldBack { .. })), "{held:?}");
    let clean = engine.verify("counts", None).unwrap();
    assert!(clean.is_clean() && clean.instances == 3 && clean.held == 2, "{clean:?}");
    place.sql(
        "UPDATE counts_1 SET n = 7 WHERE instance_id = 'tenant-001' AND thing = 'x1'; \
         DELETE FROM counts_1 WHERE instance_id = 'tenant-002' AND thing = 'x2'; \
         INSERT INTO counts_1 (instance_id, thing, n) VALUES ('tenant-002', 'z', 9)",
    );
    let found = engine.verify("counts", None).unwrap();
    let names: Vec<&str> = found.differing.iter().map(|differing| &*differing.instance).collect();
    assert_eq!(names, ["tenant-001", "tenant-002"]);
    let row = &found.differing[0].samples[0];
    assert_eq!((&*row.table, &row.key["thing"]), ("counts", &"x1".into()));
    assert_eq!((&row.expected.as_ref().unwrap()["n"], &row.found.as_ref().unwrap()["n"]), (&5.into(), &7.into()));
    assert!(found.differing[1].differing_rows >= 2, "{found:?}");
    assert_eq!(engine.verify("counts", Some("tenant-000")).unwrap().differing, []);
    let repaired = engine.repair("counts", None, &by()).unwrap();
    assert_eq!(repaired.repaired, ["tenant-001", "tenant-002"]);
    assert!(engine.verify("counts", None).unwrap().is_clean());
    let pushed = engine.push(&[count("tenant-002", "z", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    lawful(place);
    // What was parked is parked still.
    let held = engine.held_events("counts", &HeldQuery::all()).unwrap();
    assert_eq!(held.iter().map(|held| held.attempt.position).collect::<Vec<_>>(), [7, 8]);
    let builds = place.open().builds().unwrap().builds().unwrap();
    assert_eq!(builds.len(), 1, "nothing is left beside: {builds:?}");
}

pub(crate) fn a_row_is_explained<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    let commands = [("x", 1), ("y", 5), ("x", 2), ("z", 13), ("x", 4)].map(|(thing, by)| count("a", thing, by));
    let pushed = engine.push(&commands).unwrap();
    engine.await_position("counts", "a", 5, LONG).unwrap();
    let question = |at| Question { instance: "a".into(), table: None, key: vec!["x".into()], at };
    let told = engine.explain("counts", &question(None)).unwrap();
    let steps: Vec<_> =
        told.steps.iter().map(|step| (step.position, step.row.as_ref().unwrap()["n"].clone())).collect();
    assert_eq!(steps, [(1, 1.into()), (3, 3.into()), (5, 7.into())]);
    assert_eq!((told.position, told.events, &*told.held), (5, 4, &[4][..]));
    assert_eq!((told.row.clone(), told.row.unwrap()["n"].clone()), (told.found, 7.into()));
    let step = &told.steps[1];
    assert_eq!((step.event, &*step.event_type), (pushed[2].id(), "thing.counted"));
    assert!(step.statement.starts_with("upsert counts (thing = \"x\", n = n + 2, last = "), "{}", step.statement);
    let before = engine.explain("counts", &question(Some(4))).unwrap();
    assert_eq!((before.steps.len(), before.row.unwrap()["n"].clone(), before.found), (2, 3.into(), None));
    let log = Question { table: Some("log".into()), key: vec!["y".into(), "2".into()], ..question(None) };
    let told = engine.explain("counts", &log).unwrap();
    assert_eq!((told.steps.len(), &told.steps[0].row.as_ref().unwrap()["by"]), (1, &5.into()));
    let nobody = Question { key: vec!["nobody".into()], ..question(None) };
    let told = engine.explain("counts", &nobody).unwrap();
    assert_eq!((told.steps.len(), told.row, told.found), (0, None, None));
}

// SPEC C6: the highest numbers and the longest time are no limit.
pub(crate) fn nothing_is_too_many_or_too_long_to_ask_for<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    let store = place.open();
    let (remote, leases) = (crate::remote(place), LeaseQuery::all().limit(usize::MAX));
    let explain = |at| {
        let question = Question { instance: crate::tenant(0), table: None, key: vec!["x1".into()], at };
        remote.ask("counts", Instruction::Explain(question), &by()).unwrap()
    };
    match remote.answer(explain(Some(i64::MAX)), Duration::MAX) {
        Err(OperateError::Answered { error }) => assert!(error.contains("has positions 1 to 3"), "{error}"),
        other => panic!("{other:?}"),
    }
    let id = explain(None);
    assert_eq!(remote.answer(id, Duration::MAX).unwrap()["row"]["n"], 1);
    assert_eq!(engine.commands(Some("counts"), usize::MAX).unwrap()[0].id, id);
    assert_eq!(remote.commands(None, usize::MAX).unwrap()[0].id, id);
    assert!(store.held_leases(&leases).unwrap().len() <= 1);
    let (key, other) = (counts(1).key(), uuid::Uuid::from_u128(5));
    assert_eq!(store.acquire(&key, &["for ever".into()], other, Duration::MAX).unwrap().len(), 1);
    assert_eq!(store.renew(other, Duration::MAX).unwrap().len(), 1);
    assert!(store.held_leases(&leases).unwrap().iter().any(|lease| lease.process == other));
}

pub(crate) fn wrong_questions_are_answered_by_name<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    let question = || Question { instance: "tenant-000".into(), table: None, key: vec!["x1".into()], at: None };
    let ask = |question: Question| engine.explain("counts", &question).unwrap_err();
    match ask(Question { at: Some(4), ..question() }) {
        OperateError::UnknownPosition { position: 4, head: 3, .. } => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(ask(Question { at: Some(0), ..question() }), OperateError::UnknownPosition { .. }));
    assert!(matches!(
        ask(Question { instance: "tenant".into(), ..question() }),
        OperateError::UnknownInstance { instance, .. } if instance == "tenant"
    ));
    assert!(matches!(ask(Question { table: Some("users".into()), ..question() }), OperateError::Statement(_)));
    let said = ask(Question { key: vec!["x1".into(), "2".into()], ..question() }).to_string();
    assert!(said.contains("(thing)") && said.contains("1 columns, 2 values"), "{said}");
    let number = Question { table: Some("log".into()), key: vec!["x1".into(), "two".into()], ..question() };
    let said = ask(number).to_string();
    assert!(said.contains("\"position\" holds Integer"), "{said}");
    assert!(matches!(engine.explain("users", &question()), Err(OperateError::UnknownProjection { .. })));
    assert!(matches!(engine.verify("counts", Some("nobody")), Err(OperateError::UnknownInstance { .. })));
    let options = RebuildOptions { instance: Some("nobody".into()), ..RebuildOptions::default() };
    match engine.rebuild("counts", options, &by(), |_| {}) {
        Err(OperateError::Answered { error }) => assert!(error.contains("no instance \"nobody\""), "{error}"),
        other => panic!("{other:?}"),
    }
    for outcome in
        [engine.switch("counts", &by()), engine.back("counts", false, &by()), engine.abandon("counts", &by())]
    {
        assert!(matches!(outcome, Err(OperateError::Answered { .. })), "{outcome:?}");
    }
}
