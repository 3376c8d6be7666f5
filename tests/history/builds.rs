//! Builds that were filled from events which the log no longer has. Readers never see such builds.

use std::sync::Arc;

use readside::admin::{CommandRecord, CommandState, Doctor, RebuildOptions};
use readside::builds::{Build, Phase};
use readside::error::OperateError;
use readside::failure::By;
use readside::inspect::{Finding, Severity};
use readside::prelude::*;
use readside::store::{ProjectionKey, ProjectionStore};
use readside::testing::laws::Models;
use readside::{Engine, EngineConfig};

use crate::ground::Ground;
use crate::{Gate, LONG, Moved, NAME, Site, begun, eager, eventually, ledger, moved, push};

/// The same sums in another version. Its reducer waits at a gate before events of instance b.
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
    models.builds().builds().unwrap().into_iter().find(|build| build.key == *key)
}

fn live(models: &dyn ProjectionStore) -> u32 {
    let builds = models.builds().builds().unwrap();
    builds.iter().find(|build| build.phase == Phase::Live).unwrap().key.version
}

fn at(models: &dyn ProjectionStore, key: &ProjectionKey, instance: &str) -> i64 {
    models.states(key, &[instance.into()]).unwrap()[0].position
}

/// Waits until no command runs. A build is ready or halted a little before the engine's own command ends, and until
/// then other commands are refused.
fn all_answered(models: &dyn ProjectionStore) {
    let commands = models.commands();
    let is_over = |asked: &CommandRecord| matches!(asked.state, CommandState::Done | CommandState::Failed);
    eventually("the answer", || commands.commands(Some(NAME), 10).unwrap().iter().all(is_over));
}

/// What readers see of a thing in an instance.
fn seen(models: &dyn ProjectionStore, projection: &Projection, instance: &str) -> String {
    let row = models.builds().find(projection, &projection.tables()[0], instance, &["x".into()]).unwrap();
    format!("{row:?}")
}

/// Version 1 is at 50 in a and b, and a copy of the log was taken there. Version 2 starts with five more events in a,
/// and does not touch b until the pause ends.
fn raised_beyond_the_backup<G: Ground>(ground: &mut G, auto_switch: bool, gate: &Arc<Gate>) -> (G::Store, Engine) {
    let (events, models) = (ground.open(), ground.beside());
    let engine = |projection| Engine::builder(events.clone()).models(models.clone()).projection(projection);
    let old = begun(engine(ledger()).config(eager()));
    for instance in ["a", "b"] {
        old.await_pushed(NAME, &push(&events, &moved(instance, 50)), LONG).unwrap();
    }
    old.admin().pause(NAME, Some("b"), &by()).unwrap();
    old.shutdown(LONG).unwrap();
    ground.keep();
    push(&events, &moved("a", 5));
    let projection = raised(Arc::clone(gate));
    let key = projection.key();
    let new = engine(projection).config(eager().auto_switch(auto_switch)).start().unwrap();
    eventually("the lost events", || at(&models, &key, "a") == 55);
    (models, new)
}

/// Checks that readers see the 50 events of the log, and that the reason why they do not see version 2 is on record.
fn stayed<M: ProjectionStore + Models>(models: &M, engine: &Engine) {
    let key = raised(Arc::default()).key();
    let own = || build(models, &key).unwrap();
    eventually("the end of the build", || live(models) == 2 || own().phase == Phase::Halted);
    assert_eq!((live(models), at(models, &ledger().key(), "a")), (1, 50));
    assert!(seen(models, &ledger(), "a").contains("50"), "{}", seen(models, &ledger(), "a"));
    let trouble = own().trouble.unwrap();
    assert!(trouble.contains("\"a\"") && trouble.contains("is at 55, the store ends at 50"), "{trouble}");
    eventually("the record", || engine.admin().commands(Some(NAME), 1).unwrap()[0].state == CommandState::Failed);
    let answer = format!("{:?}", engine.admin().commands(Some(NAME), 1).unwrap()[0].answer);
    assert!(answer.contains("readers stay where they are") && answer.contains("ends at 50"), "{answer}");
}

/// Asks again for a rebuild, which fills the lost part again and shows it to readers.
fn healed<G: Ground>(ground: &G, models: &G::Store, engine: &Engine) {
    engine.admin().resume(NAME, Some("b"), &by()).unwrap();
    let report = engine.admin().rebuild(NAME, RebuildOptions::default(), &by(), |_| {}).unwrap();
    assert!(report.switched, "{report:?}");
    let projection = raised(Arc::default());
    assert_eq!(live(models), 2);
    assert!(seen(models, &projection, "a").contains("50"), "{}", seen(models, &projection, "a"));
    Site { engine, events: &ground.open(), models, projection: &projection }.lawful();
}

// Contract: B1, L10: nobody asked for the switch. The log is set back while the switch brings instance b up to date.
both!(a_switch_under_way_does_not_show_lost_events);
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

// Contract: B1, L10
both!(a_switch_that_is_asked_for_does_not_show_lost_events);
pub(crate) fn a_switch_that_is_asked_for_does_not_show_lost_events<G: Ground>(ground: &mut G) {
    let (models, engine) = raised_beyond_the_backup(ground, false, &Arc::default());
    let key = raised(Arc::default()).key();
    eventually("the build", || build(&models, &key).unwrap().phase == Phase::Ready);
    all_answered(&models);
    ground.put_back();
    match engine.admin().switch(NAME, &by()) {
        Err(OperateError::Answered { error }) => assert!(error.contains("instance \"a\""), "{error}"),
        other => panic!("{other:?}"),
    }
    stayed(&models, &engine);
    healed(ground, &models, &engine);
    engine.shutdown(LONG).unwrap();
}

// Contract: B1, L10: log and read models are restored to a time before version 2 was set up, beneath the engine that
// runs it.
both!(a_version_that_the_restore_took_is_set_up_again);
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

// Contract: B1, L10, L11: the build that readers saw before holds lost events, so it cannot be brought up to date.
both!(a_way_back_to_lost_events_ends_with_the_reason);
pub(crate) fn a_way_back_to_lost_events_ends_with_the_reason<G: Ground>(ground: &mut G) {
    let (events, models) = (ground.open(), ground.beside());
    let engine = begun(Engine::builder(events.clone()).models(models.clone()).projection(ledger()).config(eager()));
    engine.await_pushed(NAME, &push(&events, &moved("a", 50)), LONG).unwrap();
    ground.keep();
    engine.await_pushed(NAME, &push(&events, &moved("a", 50)), LONG).unwrap();
    ground.put_back();
    push(&events, &moved("a", 60));
    assert!(engine.admin().rebuild(NAME, RebuildOptions::default(), &by(), |_| {}).unwrap().switched);
    let engine = Arc::new(engine);
    let (asking, (answer, answered)) = (Arc::clone(&engine), std::sync::mpsc::channel());
    let back = std::thread::spawn(move || answer.send(asking.admin().back(NAME, false, &by())));
    match answered.recv_timeout(LONG).unwrap() {
        Err(OperateError::Answered { error }) => {
            assert!(error.contains("instance \"a\"") && error.contains("another event stands at"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    back.join().unwrap().unwrap();
    Site { engine: &engine, events: &events, models: &models, projection: &ledger() }.lawful();
    let builds = models.builds().builds().unwrap();
    let kept = builds.iter().find(|build| build.phase == Phase::Kept).unwrap();
    assert!(kept.trouble.as_ref().unwrap().contains("\"a\""), "{kept:?}");
    // The remedy concerns the build that readers do not see.
    let findings = Doctor::default().examine_two(&events, &models);
    let told: Vec<&Finding> = findings.iter().filter(|finding| finding.check == "standstills").collect();
    assert!(told.iter().any(|finding| finding.verdict == Severity::Warn), "{told:?}");
    for remedy in told.iter().map(|finding| finding.remedy.as_ref().unwrap()) {
        assert!(remedy.contains("drop-old") && !remedy.contains("readside reset"), "{told:?}");
    }
    engine.admin().drop_old(NAME, &by()).unwrap();
    assert_eq!(models.builds().builds().unwrap().len(), 1);
    engine.shutdown(LONG).unwrap();
}

/// Readers see 100 events of a and 3 of c. The log was set back to 50 events of a, and never had c.
fn above_the_log<G: Ground>(ground: &mut G, config: EngineConfig) -> (G::Store, G::Store, Engine) {
    let (events, models) = (ground.open(), ground.beside());
    let engine = begun(Engine::builder(events.clone()).models(models.clone()).projection(ledger()).config(config));
    engine.await_pushed(NAME, &push(&events, &moved("a", 50)), LONG).unwrap();
    ground.keep();
    for (instance, count) in [("a", 50), ("c", 3)] {
        engine.await_pushed(NAME, &push(&events, &moved(instance, count)), LONG).unwrap();
    }
    ground.put_back();
    (ground.open(), models, engine)
}

/// Gives up a command that could wait for ever.
fn within<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (answer, answered) = std::sync::mpsc::channel();
    let asking = std::thread::Builder::new().name("asking".into()).spawn(move || answer.send(act())).unwrap();
    let outcome = answered.recv_timeout(LONG).expect("the command waits for ever");
    asking.join().unwrap().unwrap();
    outcome
}

// Contract: B1, L10: this is the named remedy for a checkpoint above the end of the log.
both!(a_rebuild_takes_the_place_of_what_stands_above_the_log);
pub(crate) fn a_rebuild_takes_the_place_of_what_stands_above_the_log<G: Ground>(ground: &mut G) {
    let (events, models, engine) = above_the_log(ground, eager());
    let engine = Arc::new(engine);
    let asking = Arc::clone(&engine);
    let rebuild = move || asking.admin().rebuild(NAME, RebuildOptions::default(), &by(), |_| {});
    assert!(within(rebuild).unwrap().switched);
    Site { engine: &engine, events: &events, models: &models, projection: &ledger() }.lawful();
    assert_eq!((at(&models, &ledger().key(), "a"), at(&models, &ledger().key(), "c")), (50, 0));
    // The build that readers saw before is still diverged.
    let asking = Arc::clone(&engine);
    match within(move || asking.admin().back(NAME, false, &by())) {
        Err(OperateError::Answered { error }) => assert!(error.contains("instance \"a\""), "{error}"),
        other => panic!("{other:?}"),
    }
    engine.await_pushed(NAME, &push(&events, &moved("a", 1)), LONG).unwrap();
    Site { engine: &engine, events: &events, models: &models, projection: &ledger() }.lawful();
    engine.shutdown(LONG).unwrap();
}

// Contract: B1, L10
both!(an_instance_alone_takes_its_place_too);
pub(crate) fn an_instance_alone_takes_its_place_too<G: Ground>(ground: &mut G) {
    let (events, models, engine) = above_the_log(ground, eager());
    let engine = Arc::new(engine);
    for instance in ["a", "c"] {
        let asking = Arc::clone(&engine);
        let options = RebuildOptions::default().instance(instance);
        assert!(within(move || asking.admin().rebuild(NAME, options, &by(), |_| {})).unwrap().switched);
    }
    Site { engine: &engine, events: &events, models: &models, projection: &ledger() }.lawful();
    engine.shutdown(LONG).unwrap();
}

// Contract: B1, L10: the engine may be connected to the wrong store, so only a person may ask for this.
both!(no_engine_by_itself_takes_the_place_of_what_stands_above_the_log);
pub(crate) fn no_engine_by_itself_takes_the_place_of_what_stands_above_the_log<G: Ground>(ground: &mut G) {
    let (events, models, engine) = above_the_log(ground, eager());
    engine.shutdown(LONG).unwrap();
    let projection = raised(Arc::default());
    let key = projection.key();
    let new = Engine::builder(events.clone()).models(models.clone()).projection(projection.clone()).config(eager());
    let new = Arc::new(new.start().unwrap());
    eventually("the end of the build", || build(&models, &key).is_some_and(|build| build.phase == Phase::Halted));
    all_answered(&models);
    let trouble = build(&models, &key).unwrap().trouble.unwrap();
    assert!(trouble.contains("instance \"a\"") && trouble.contains("readside rebuild"), "{trouble}");
    assert_eq!((live(&models), at(&models, &ledger().key(), "a")), (1, 100));
    let asking = Arc::clone(&new);
    assert!(within(move || asking.admin().rebuild(NAME, RebuildOptions::default(), &by(), |_| {})).unwrap().switched);
    assert_eq!(live(&models), 2);
    Site { engine: &new, events: &events, models: &models, projection: &projection }.lawful();
    new.shutdown(LONG).unwrap();
}
