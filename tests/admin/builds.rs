//! Rebuilds in a shadow of the live build.
//!
//! Contract: O1

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use readside::admin::{AdminCommand, RebuildOptions, Switch};
use readside::builds::{LeftOut, Phase, Step};
use readside::error::{OperateError, StoreError};
use readside::failure::{FailureQuery, FailureStatus};
use readside::query::{Query, SubQuery};
use readside::store::ProjectionStore;
use readside::testing::{Call, Faults, FaultyStore};
use readside::{Engine, EventStore, NewEvent, Policy, testing};

use crate::{LONG, Place, by, count, eager, eventually, fill, lawful, remote, seen, start, tenant};

pub(crate) fn options() -> RebuildOptions {
    RebuildOptions::default()
}

pub(crate) fn phases<P: Place>(place: &P) -> Vec<(String, Phase)> {
    let builds = place.open().builds().builds().unwrap();
    builds.into_iter().map(|build| (build.key.name.to_string(), build.phase)).collect()
}

both!(a_rebuild_takes_the_place_of_the_old_one_unseen);
/// Changes that people made to the view survive the switch, and the new build has the events that were pushed
/// meanwhile.
pub(crate) fn a_rebuild_takes_the_place_of_the_old_one_unseen<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    let second = start(place.open(), eager());
    fill(&engine, 5, 20);
    place.sql("UPDATE counts_1 SET n = n + 1000 WHERE thing = 'x1'; DELETE FROM counts_1 WHERE thing = 'x2' AND instance_id = 'tenant-004'; INSERT INTO counts_1 (instance_id, thing, n) VALUES ('tenant-003', 'q', 1)");
    place.sql("CREATE VIEW on_top AS SELECT n FROM counts");
    let pushing = AtomicBool::new(true);
    let (mut steps, mut pushed) = (Vec::new(), Vec::new());
    let report = std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut pushed = Vec::new();
            while pushing.load(Ordering::SeqCst) {
                pushed.extend(second.push(&[count(&tenant(pushed.len() % 6), "late", 1)]).unwrap());
            }
            pushed
        });
        let reader = scope.spawn(|| {
            let (mut seen, mut looks) = (0, 0);
            while pushing.load(Ordering::SeqCst) {
                let now: i64 = place.query("SELECT count(*) FROM counts_log")[0].parse().unwrap();
                assert!(now >= seen, "readers were thrown back from {seen} to {now}");
                (seen, looks) = (now, looks + 1);
            }
            looks
        });
        let report = engine.admin().rebuild("counts", options(), &by(), |progress| {
            assert!(progress.done <= progress.total || progress.step == Step::Comparing, "{progress:?}");
            steps.push(progress.step);
        });
        pushing.store(false, Ordering::SeqCst);
        pushed = busy.join().unwrap();
        assert!(reader.join().unwrap() > 1);
        report.unwrap()
    });
    assert!(report.switched && !steps.is_empty(), "{report:?}");
    let comparison = report.comparison.unwrap();
    let table = comparison.tables.iter().find(|table| table.table == "counts").unwrap();
    if comparison.left_out == 0 {
        assert_eq!((table.gone, table.changed, table.added), (1, 5, 1), "{comparison:?}");
        assert_eq!(table.samples.len(), 7);
        let gone = table.samples.iter().find(|sample| sample.new.is_none()).unwrap();
        assert_eq!(gone.old.as_ref().unwrap()["thing"], "q");
    }
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    second.await_pushed("counts", &pushed, LONG).unwrap();
    lawful(place);
    assert!(engine.admin().verify("counts", None).unwrap().is_clean());
    assert_eq!(phases(place), [("counts".to_owned(), Phase::Live), ("counts#next".to_owned(), Phase::Kept)]);
    let error = engine.admin().switch("counts", &by()).unwrap_err().to_string();
    assert!(error.contains("`readside builds back` lets readers see the one that is kept"), "{error}");
    assert_eq!(seen(place).len(), place.query("SELECT n FROM on_top").len(), "what stands on the view sees it too");
    // The view reads the new tables, so readers see what is written now.
    let pushed = engine.push(&[count("new", "thing", 4)]).unwrap();
    second.await_pushed("counts", &pushed, LONG).unwrap();
    assert!(seen(place).contains(&"new/thing=4".to_owned()));
}

both!(going_back_and_forth);
pub(crate) fn going_back_and_forth<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 3, 5);
    place.sql("UPDATE counts_1 SET n = n + 100 WHERE thing = 'x1'");
    let spoilt = seen(place);
    engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap();
    let right = seen(place);
    assert_ne!(spoilt, right);
    // The old build was not updated meanwhile. It catches up before readers see it.
    let pushed = engine.push(&[count("tenant-000", "new", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.admin().back("counts", false, &by()).unwrap();
    let mut expected = spoilt.clone();
    expected.push("tenant-000/new=1".to_owned());
    expected.sort();
    assert_eq!(seen(place), expected);
    engine.admin().back("counts", false, &by()).unwrap();
    lawful(place);
    // The next rebuild replaces the kept build.
    let report = engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap();
    assert!(report.comparison.unwrap().is_same());
    engine.admin().drop_old("counts", &by()).unwrap();
    assert_eq!(phases(place), [("counts".to_owned(), Phase::Live)]);
    assert!(matches!(engine.admin().drop_old("counts", &by()), Err(OperateError::Answered { .. })));
    let pushed = engine.push(&[count("tenant-000", "new", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    lawful(place);
}

both!(a_build_waits_for_its_switch_if_asked);
pub(crate) fn a_build_waits_for_its_switch_if_asked<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 2, 5);
    place.sql("UPDATE counts_1 SET n = n + 100 WHERE thing = 'x1'");
    let spoilt = seen(place);
    let report = engine.admin().rebuild("counts", options().switch(Switch::Same), &by(), |_| {}).unwrap();
    assert!(!report.switched && report.waits_for.unwrap().contains("differ"));
    assert_eq!(seen(place), spoilt);
    assert_eq!(phases(place)[1].1, Phase::Ready);
    let pushed = engine.push(&[count("tenant-000", "new", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.admin().switch("counts", &by()).unwrap();
    lawful(place);
    let report = engine.admin().rebuild("counts", options().switch(Switch::Same), &by(), |_| {}).unwrap();
    assert!(report.switched && report.comparison.unwrap().is_same());
}

both!(an_abandoned_build_goes);
pub(crate) fn an_abandoned_build_goes<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 2, 5);
    engine.admin().rebuild("counts", options().switch(Switch::Asked), &by(), |_| {}).unwrap();
    engine.admin().abandon("counts", &by()).unwrap();
    assert_eq!(phases(place), [("counts".to_owned(), Phase::Live)]);
    // A rebuild that is running ends with the reason.
    engine.admin().pause("counts", None, &by()).unwrap();
    engine.push(&[count("tenant-000", "x", 1)]).unwrap();
    let id = engine.admin().ask("counts", AdminCommand::Rebuild(options()), &by()).unwrap();
    eventually("the build", || phases(place).len() == 2);
    engine.admin().abandon("counts", &by()).unwrap();
    match engine.admin().answer(id, std::time::Duration::MAX) {
        Err(OperateError::Answered { error }) => assert!(error.contains("given up"), "{error}"),
        other => panic!("{other:?}"),
    }
    engine.admin().resume("counts", None, &by()).unwrap();
    engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap();
    engine.await_position("counts", "tenant-000", 6, LONG).unwrap();
    lawful(place);
}

both!(one_instance_alone);
pub(crate) fn one_instance_alone<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 3, 30);
    place.sql("UPDATE counts_1 SET n = n + 1000 WHERE thing = 'x1'");
    let pushing = AtomicBool::new(true);
    let one = options().instance(tenant(1));
    let (report, pushed) = std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut pushed = Vec::new();
            while pushing.load(Ordering::SeqCst) {
                pushed.extend(engine.push(&[count(&tenant(1), "late", 1)]).unwrap());
            }
            pushed
        });
        let report = engine.admin().rebuild("counts", one, &by(), |_| {});
        pushing.store(false, Ordering::SeqCst);
        (report.unwrap(), busy.join().unwrap())
    });
    assert!(report.switched && report.instance == Some(tenant(1)));
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let differing: Vec<String> = engine
        .admin()
        .verify("counts", None)
        .unwrap()
        .differing
        .into_iter()
        .map(|differing| differing.instance)
        .collect();
    assert_eq!(differing, [tenant(0), tenant(2)], "the other ones were left alone");
    assert_eq!(phases(place), [("counts".to_owned(), Phase::Live)]);
}

// Contract: E5: a reset revokes the success of the first run, which is announced again later.
both!(a_reset_starts_over);
pub(crate) fn a_reset_starts_over<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), eager());
    fill(&engine, 3, 5);
    let announced = || {
        let query = Query::new().or(SubQuery::new().instance("").event_type("system.projections.scheduler.succeeded"));
        store.filter(&query).unwrap().len()
    };
    eventually("success", || announced() == 1);
    let before = seen(place);
    place.sql("UPDATE counts_1 SET n = n + 1000 WHERE thing = 'x1'");
    let one = engine.admin().reset("counts", Some("tenant-001"), &by()).unwrap();
    assert_eq!(one.instances, 1);
    engine.await_position("counts", "tenant-001", 5, LONG).unwrap();
    assert_eq!(engine.admin().verify("counts", Some("tenant-001")).unwrap().differing, []);
    let all = engine.admin().reset("counts", None, &by()).unwrap();
    assert!(all.instances == 3 && all.rows > 0, "{all:?}");
    assert!(all.left_out.is_empty(), "{all:?}");
    assert_eq!(seen(place), before);
    eventually("success again", || announced() == 2);
    lawful(place);
    assert!(matches!(engine.admin().reset("counts", Some("nobody"), &by()), Err(OperateError::Answered { .. })));
}

// Contract: L11: a report is true: what it calls done is done, and it counts what was left out, with the reason.
both!(what_is_left_out_is_told);
pub(crate) fn what_is_left_out_is_told<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    let events = [count("a", "x", 1), count("a", "x", 13), count("a", "x", 2), count("a", "y", 3), count("b", "z", 1)];
    let pushed = engine.push(&events).unwrap();
    engine.await_position("counts", "a", 4, LONG).unwrap();
    engine.await_pushed("counts", &pushed[4..], LONG).unwrap();
    let told = |left: &LeftOut| (left.parked, left.behind, left.standing, left.waiting);
    let built = engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap();
    assert_eq!((told(&built.left_out), built.switched), ((1, 1, 0, 0), true), "{}", built.left_out);
    engine.admin().pause("counts", Some("b"), &by()).unwrap();
    engine.push(&[count("b", "z", 1), count("b", "z", 1)]).unwrap();
    let of_a = options().instance("a");
    let one = engine.admin().rebuild("counts", of_a, &by(), |_| {}).unwrap();
    assert_eq!(told(&one.left_out), (1, 1, 0, 0), "of this instance alone: {}", one.left_out);
    let reset = engine.admin().reset("counts", None, &by()).unwrap();
    assert_eq!(told(&reset.left_out), (1, 1, 1, 3), "{}", reset.left_out);
    assert_eq!(reset.left_out.reasons, ["instance \"b\" stands at position 0: it is paused"]);
    engine.admin().resume("counts", Some("b"), &by()).unwrap();
    engine.admin().discard("counts", "a", 2, &by()).unwrap();
    let reset = engine.admin().reset("counts", Some("b"), &by()).unwrap();
    assert!(reset.left_out.is_empty() && reset.done == "instance \"b\" is emptied and filled again", "{reset:?}");
    assert!(seen(place).contains(&"b/z=3".to_owned()), "{:?}", seen(place));
}

// Contract: L11: an instance that waits before a failing event is as far as the live build, but lacks the later
// events.
both!(what_waits_behind_an_event_is_left_out);
pub(crate) fn what_waits_behind_an_event_is_left_out<P: Place>(place: &P) {
    let stops = crate::handler().policy(Policy::Stop);
    let engine = Engine::builder(place.open()).projection_with(crate::counts(1), stops).config(eager());
    let engine = engine.start().unwrap();
    engine.push(&(0..10).map(|n| count("a", "x", if n == 4 { 13 } else { 1 })).collect::<Vec<_>>()).unwrap();
    let stopped = FailureQuery::all().states([FailureStatus::Stopped]);
    eventually("the stop", || !engine.admin().failed_events("counts", &stopped).unwrap().is_empty());
    let built = engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap();
    let left = &built.left_out;
    assert_eq!((built.switched, left.standing, left.waiting), (true, 1, 6), "{left}");
    assert!(left.reasons[0].contains("instance \"a\" stands at position 4") && left.reasons[0].contains("bad luck"));
    let switched = engine.admin().back("counts", false, &by()).unwrap();
    assert_eq!((switched.left_out.standing, switched.left_out.waiting), (1, 6), "{switched:?}");
}

// Contract: O2: a build that is as far as the live one may not have met the failing event yet, not even a first
// event.
both!(what_the_live_one_fails_at_first_is_left_out);
pub(crate) fn what_the_live_one_fails_at_first_is_left_out<P: Place>(place: &P) {
    let waits = crate::handler().max_failure_count(8).max_lasting_failure_count(8).concurrent_instances(1);
    let builder = Engine::builder(place.open()).projection_with(crate::counts(1), waits);
    let engine = builder.config(eager()).start().unwrap();
    for n in 0..20 {
        engine.push(&[13, 1, 1].map(|by| count(&tenant(n), "x", by))).unwrap();
    }
    let failing = FailureQuery::all().states([FailureStatus::Failing]);
    eventually("the failures", || engine.admin().failed_events("counts", &failing).unwrap().len() == 20);
    let built = engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap();
    let left = &built.left_out;
    assert_eq!((built.switched, left.parked, left.behind, left.standing), (true, 20, 40, 0), "{left}");
}

/// Records the calls that change something in the build store.
#[derive(Debug, Default)]
struct Calls(std::sync::Mutex<Vec<&'static str>>);

impl Faults for Calls {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        let method = call.name.strip_prefix("BuildStore::").unwrap_or("builds");
        if !matches!(method, "builds" | "instances_of" | "instances" | "find" | "model" | "referring" | "half_removed")
        {
            self.0.lock().unwrap().push(method);
        }
        Ok(())
    }
}

// Contract: E5: the success must not be revoked while instances still have to be emptied, or it would be announced
// again too early.
both!(a_reset_revokes_the_success_when_all_is_empty);
pub(crate) fn a_reset_revokes_the_success_when_all_is_empty<P: Place>(place: &P) {
    let calls = Arc::new(Calls::default());
    let engine = start(FaultyStore::new(place.open(), calls.clone()), eager());
    fill(&engine, 25, 1);
    assert_eq!(engine.admin().reset("counts", None, &by()).unwrap().instances, 25);
    assert_eq!(*calls.0.lock().unwrap(), ["empty", "empty", "revoke"]);
}

// Contract: L4: live work goes first, but a build still ends: while one thread pushes without a pause, its events are
// soon visible.
both!(a_build_ends_although_events_keep_coming);
pub(crate) fn a_build_ends_although_events_keep_coming<P: Place>(place: &P) {
    let in_small_pages = crate::handler().bulk_limit(100);
    let builder = Engine::builder(place.open()).projection_with(crate::counts(1), in_small_pages);
    let engine = builder.config(eager()).start().unwrap();
    // More events than the switch itself can catch up with.
    let commands: Vec<NewEvent> = (0..100).map(|n| count("busy", &format!("x{n}"), 1)).collect();
    for _ in 0..16 {
        let pushed = engine.push(&commands).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
    }
    let (pushing, ready) = (AtomicBool::new(true), std::sync::Barrier::new(2));
    let pushed = std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut last = engine.push(&commands[..1]).unwrap();
            ready.wait();
            while pushing.load(Ordering::SeqCst) {
                last = engine.push(&commands[..1]).unwrap();
            }
            last
        });
        ready.wait();
        let id = engine.admin().ask("counts", AdminCommand::Rebuild(options()), &by()).unwrap();
        let is_over = || engine.admin().commands(None, 1).unwrap()[0].state.is_over();
        let over = crate::common::holds_within(3 * LONG, is_over);
        pushing.store(false, Ordering::SeqCst);
        let last = busy.join().unwrap();
        assert!(
            over,
            "it did not end while events were pushed: {:?}",
            engine.admin().commands(None, 1).unwrap()[0].progress
        );
        assert_eq!(engine.admin().answer(id, std::time::Duration::MAX).unwrap()["switched"], true);
        last
    });
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    lawful(place);
}

both!(a_paused_projection_is_not_built);
pub(crate) fn a_paused_projection_is_not_built<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 2, 5);
    engine.admin().pause("counts", None, &by()).unwrap();
    let id = remote(place).ask("counts", AdminCommand::Rebuild(options()), &by()).unwrap();
    eventually("the build", || phases(place).len() == 2);
    let progress = || engine.admin().commands(None, 1).unwrap()[0].progress.clone();
    eventually("a look at it", || progress().is_some());
    assert_eq!(progress().unwrap()["done"], 0);
    engine.admin().resume("counts", None, &by()).unwrap();
    engine.admin().answer(id, std::time::Duration::MAX).unwrap();
    lawful(place);
}

// Contract: H3: an event that failed fails again when the log is applied again, unless a person gave it up.
both!(events_that_fail_are_parked_in_the_build_too);
pub(crate) fn events_that_fail_are_parked_in_the_build_too<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    engine.push(&[count("a", "x", 1), count("a", "x", 13), count("a", "x", 2), count("a", "y", 3)]).unwrap();
    engine.await_position("counts", "a", 4, LONG).unwrap();
    let held = || -> Vec<(i64, FailureStatus)> {
        let held = engine.admin().failed_events("counts", &FailureQuery::all()).unwrap();
        held.iter().map(|held| (held.attempt.position, held.attempt.state)).collect()
    };
    let parked = [(2, FailureStatus::Parked), (3, FailureStatus::Behind)];
    assert_eq!(held(), parked);
    let report = engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap();
    assert!(report.switched && report.comparison.unwrap().is_same());
    assert_eq!(held(), parked);
    engine.admin().discard("counts", "a", 2, &by()).unwrap();
    assert_eq!((seen(place), held()), (vec!["a/x=3".to_owned(), "a/y=3".to_owned()], Vec::new()));
    assert!(engine.admin().verify("counts", None).unwrap().is_clean(), "a person decided so");
    let report = engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap();
    assert!(report.comparison.unwrap().is_same() && report.left_out.is_empty());
    assert_eq!((seen(place), held()), (vec!["a/x=3".to_owned(), "a/y=3".to_owned()], Vec::new()));
}

both!(readers_never_see_half_a_table);
/// A reader in another process looks all the time. Everything it sees is complete.
pub(crate) fn readers_never_see_half_a_table<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 10, 10);
    let (whole, looking) = (seen(place), AtomicBool::new(true));
    let looks = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while looking.load(Ordering::SeqCst) {
                assert_eq!(seen(place), whole);
                looks += 1;
            }
            looks
        });
        for _ in 0..3 {
            engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap();
        }
        looking.store(false, Ordering::SeqCst);
        reader.join().unwrap()
    });
    assert!(looks > 3, "{looks} looks");
}

// Contract: G5: the events are in one database, and the read models and their builds in another one.
both!(read_models_elsewhere_are_rebuilt);
pub(crate) fn read_models_elsewhere_are_rebuilt<P: Place>(place: &P) {
    let (events, models) = (place.elsewhere(), place.open());
    events.setup(&[]).unwrap();
    let engine = Engine::builder(events.clone())
        .models(models)
        .projection_with(crate::counts(1), crate::handler())
        .config(eager())
        .start()
        .unwrap();
    fill(&engine, 3, 20);
    place.sql("UPDATE counts_1 SET n = n + 1000 WHERE thing = 'x1'");
    // No notification announces a command here, but an engine soon finds it.
    let id = remote(place).ask("counts", AdminCommand::Rebuild(options()), &by()).unwrap();
    let report = remote(place).answer(id, LONG).unwrap();
    assert_eq!((&report["switched"], &report["comparison"]["tables"][0]["changed"]), (&true.into(), &3.into()));
    place.sql("UPDATE counts_1 SET n = n + 1000 WHERE thing = 'x1'");
    assert_eq!(engine.admin().repair("counts", None, &by()).unwrap().repaired.len(), 3);
    let pushed = engine.push(&[count("tenant-000", "x", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let report = testing::laws::check(&events, &place.open(), &crate::counts(1)).unwrap();
    assert!(report.is_lawful(), "{report}");
}

// Contract: K3: an exchange that meets a removal leaves no rows behind.
both!(what_is_removed_does_not_come_back);
pub(crate) fn what_is_removed_does_not_come_back<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 2, 5);
    place.sql("UPDATE readside.instances SET closed_at = head_at WHERE instance_id = 'tenant-001'");
    let one = options().instance(tenant(1));
    match engine.admin().rebuild("counts", one, &by(), |_| {}) {
        Err(OperateError::Answered { error }) => assert!(error.contains("was removed meanwhile"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(phases(place), [("counts".to_owned(), Phase::Live)], "nothing is left beside");
}
