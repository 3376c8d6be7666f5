//! Builds that were filled from events which the log does not have any more: readers never see them.

use std::sync::Arc;

use readside::admin::Doctor;
use readside::error::OperateError;
use readside::testing::laws::Models;
use readside::*;

use crate::ground::Ground;
use crate::{Gate, LONG, Moved, NAME, Site, begun, eager, eventually, ledger, moved, push};

/// The same sums as another version, whose reducer waits at a gate before events of instance b.
fn raised(gate: Arc<Gate>) -> Projection {
    let sums = Table::new(NAME).column(text("thing")).column(integer("n"));
    Projection::new(NAME, 2).table(sums.primary_key(["thing"])).on(move |e, p: Moved| {
        if e.instance() == "b" {
            gate.pass();
        }
        upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)])
    })
}

fn by() -> By {
    By::new("ada", "a test")
}

fn build(models: &dyn ProjectionStore, key: &ProjectionKey) -> Option<Build> {
    models.builds().unwrap().builds().unwrap().into_iter().find(|build| build.key == *key)
}

fn live(models: &dyn ProjectionStore) -> u32 {
    let builds = models.builds().unwrap().builds().unwrap();
    builds.iter().find(|build| build.phase == Phase::Live).unwrap().key.version
}

fn at(models: &dyn ProjectionStore, key: &ProjectionKey, instance: &str) -> i64 {
    models.states(key, &[instance.into()]).unwrap()[0].position
}

/// What readers see of a thing of an instance.
fn seen(models: &dyn ProjectionStore, projection: &Projection, instance: &str) -> String {
    let row = models.builds().unwrap().find(projection, &projection.tables()[0], instance, &["x".into()]).unwrap();
    format!("{row:?}")
}

/// Version 1 is at 50 in a and b, and the log was kept there; version 2 starts with five events more in a, and leaves b
/// alone until the pause ends.
fn raised_beyond_the_backup<G: Ground>(ground: &mut G, auto_switch: bool, gate: &Arc<Gate>) -> (G::Store, Engine) {
    let (events, models) = (ground.open(), ground.beside());
    let engine = |projection| Engine::builder(events.clone()).models(models.clone()).projection(projection);
    let old = begun(engine(ledger()).config(eager()));
    for instance in ["a", "b"] {
        old.await_pushed(NAME, &push(&events, &moved(instance, 50)), LONG).unwrap();
    }
    old.pause(NAME, Some("b"), &by()).unwrap();
    old.shutdown(LONG).unwrap();
    ground.keep();
    push(&events, &moved("a", 5));
    let projection = raised(Arc::clone(gate));
    let key = projection.key();
    let new = engine(projection).config(EngineConfig { auto_switch, ..eager() }).start().unwrap();
    eventually("the lost events", || at(&models, &key, "a") == 55);
    (models, new)
}

/// Readers see the 50 that are in the log; why they do not see version 2, is on record.
fn stayed<M: ProjectionStore + Models>(models: &M, engine: &Engine) {
    let key = raised(Arc::default()).key();
    let own = || build(models, &key).unwrap();
    eventually("the end of the build", || live(models) == 2 || own().phase == Phase::Halted);
    assert_eq!((live(models), at(models, &ledger().key(), "a")), (1, 50));
    assert!(seen(models, &ledger(), "a").contains("50"), "{}", seen(models, &ledger(), "a"));
    let trouble = own().trouble.unwrap();
    assert!(trouble.contains("\"a\"") && trouble.contains("is at 55, the store ends at 50"), "{trouble}");
    eventually("the record", || engine.commands(Some(NAME), 1).unwrap()[0].state == CommandState::Failed);
    let answer = format!("{:?}", engine.commands(Some(NAME), 1).unwrap()[0].answer);
    assert!(answer.contains("readers stay where they are") && answer.contains("ends at 50"), "{answer}");
}

/// What is asked for once more fills anew what is lost, and readers see it.
fn healed<G: Ground>(ground: &G, models: &G::Store, engine: &Engine) {
    engine.resume(NAME, Some("b"), &by()).unwrap();
    let report = engine.rebuild(NAME, RebuildOptions::default(), &by(), |_| {}).unwrap();
    assert!(report.switched, "{report:?}");
    let projection = raised(Arc::default());
    assert_eq!(live(models), 2);
    assert!(seen(models, &projection, "a").contains("50"), "{}", seen(models, &projection, "a"));
    Site { engine, events: &ground.open(), models, projection: &projection }.lawful();
}

// SPEC B1, L10: nobody asked; the log is set back while the switch itself brings instance b up to date.
pub(crate) fn a_switch_under_way_does_not_show_lost_events<G: Ground>(ground: &mut G) {
    let gate = Arc::new(Gate::default());
    gate.close();
    let (models, engine) = raised_beyond_the_backup(ground, true, &gate);
    eventually("the switch under way", || gate.waiting() == 1);
    ground.put_back();
    gate.open();
    stayed(&models, &engine);
    healed(ground, &models, &engine);
    engine.shutdown(LONG).unwrap();
}

// SPEC B1, L10
pub(crate) fn a_switch_that_is_asked_for_does_not_show_lost_events<G: Ground>(ground: &mut G) {
    let (models, engine) = raised_beyond_the_backup(ground, false, &Arc::default());
    let key = raised(Arc::default()).key();
    eventually("the build", || build(&models, &key).unwrap().phase == Phase::Ready);
    ground.put_back();
    match engine.switch(NAME, &by()) {
        Err(OperateError::Answered { error }) => assert!(error.contains("instance \"a\""), "{error}"),
        other => panic!("{other:?}"),
    }
    stayed(&models, &engine);
    healed(ground, &models, &engine);
    engine.shutdown(LONG).unwrap();
}

// SPEC B1, L10: the log and the read models are those from before version 2 was set up, beneath the engine that runs it.
pub(crate) fn a_version_that_the_restore_took_is_set_up_again<G: Ground>(ground: &mut G) {
    let store = ground.open();
    let old = begun(Engine::builder(store.clone()).projection(ledger()).config(eager()));
    old.await_pushed(NAME, &push(&store, &moved("a", 5)), LONG).unwrap();
    old.shutdown(LONG).unwrap();
    ground.keep();
    let projection = raised(Arc::default());
    let engine = Engine::builder(store.clone()).projection(projection.clone()).config(eager()).start().unwrap();
    eventually("the switch", || live(&store) == 2);
    engine.await_pushed(NAME, &push(&store, &moved("a", 2)), LONG).unwrap();
    ground.put_back();
    let restored = ground.open();
    eventually("the switch after the restore", || live(&restored) == 2);
    let pushed = push(&restored, &moved("a", 3));
    eventually("the events", || at(&restored, &projection.key(), "a") == pushed[2].position());
    assert_eq!(pushed[2].position(), 8);
    Site { engine: &engine, events: &restored, models: &restored, projection: &projection }.lawful();
    engine.shutdown(LONG).unwrap();
}

// SPEC B1, L10, L11: the build that readers saw before knows lost events; it cannot be brought up to date.
pub(crate) fn a_way_back_to_lost_events_ends_with_the_reason<G: Ground>(ground: &mut G) {
    let (events, models) = (ground.open(), ground.beside());
    let engine = begun(Engine::builder(events.clone()).models(models.clone()).projection(ledger()).config(eager()));
    engine.await_pushed(NAME, &push(&events, &moved("a", 50)), LONG).unwrap();
    ground.keep();
    engine.await_pushed(NAME, &push(&events, &moved("a", 50)), LONG).unwrap();
    ground.put_back();
    push(&events, &moved("a", 60));
    assert!(engine.rebuild(NAME, RebuildOptions::default(), &by(), |_| {}).unwrap().switched);
    let engine = Arc::new(engine);
    let (asking, (answer, answered)) = (Arc::clone(&engine), std::sync::mpsc::channel());
    let back = std::thread::spawn(move || answer.send(asking.back(NAME, false, &by())));
    match answered.recv_timeout(LONG).unwrap() {
        Err(OperateError::Answered { error }) => {
            assert!(error.contains("instance \"a\"") && error.contains("another event stands at"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    back.join().unwrap().unwrap();
    Site { engine: &engine, events: &events, models: &models, projection: &ledger() }.lawful();
    let builds = models.builds().unwrap().builds().unwrap();
    let kept = builds.iter().find(|build| build.phase == Phase::Kept).unwrap();
    assert!(kept.trouble.as_ref().unwrap().contains("\"a\""), "{kept:?}");
    // What is to be done concerns the build that readers do not see.
    let findings = Doctor::default().examine_apart(&events, &models);
    let told: Vec<&Finding> = findings.iter().filter(|finding| finding.check == "standstills").collect();
    assert!(told.iter().any(|finding| finding.verdict == Verdict::Warn), "{told:?}");
    for remedy in told.iter().map(|finding| finding.remedy.as_ref().unwrap()) {
        assert!(remedy.contains("drop-old") && !remedy.contains("readside reset"), "{told:?}");
    }
    engine.drop_old(NAME, &by()).unwrap();
    assert_eq!(models.builds().unwrap().builds().unwrap().len(), 1);
    engine.shutdown(LONG).unwrap();
}
