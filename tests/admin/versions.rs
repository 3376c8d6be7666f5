//! Versions that the code raises.

use readside::admin::{AdminCommand, CommandState, NewCommand, RebuildOptions};
use readside::builds::{LaggingInstance, Phase};
use readside::error::{AwaitError, OperateError};
use readside::prelude::*;
use readside::store::{LeaseStore, Member, ProjectionStore, ProjectionTransaction};
use readside::{Engine, EngineConfig, EngineStore, admin};
use uuid::Uuid;

use crate::{Counted, LONG, Place, by, count, eager, eventually, fill, handler, lazy, remote, seen, start};

/// Version 2 doubles the numbers, has another column, and has no second table.
pub(crate) fn doubled() -> Projection {
    Projection::new("counts", 2)
        .table(
            Table::new("counts")
                .column(text("thing"))
                .column(integer("n"))
                .column(integer("times"))
                .primary_key(["thing"]),
        )
        .on(|e, p: Counted| {
            upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", 2 * p.by), increment("times", 1)])
        })
}

pub(crate) fn start_doubled<S: EngineStore>(store: S, config: EngineConfig) -> Engine {
    Engine::builder(store).projection_with(doubled(), handler()).config(config).start().unwrap()
}

pub(crate) fn live<P: Place>(place: &P) -> u32 {
    let builds = place.open().builds().builds().unwrap();
    builds.iter().find(|build| build.phase == Phase::Live).unwrap().key.version
}

// Contract: B1, E5
both!(a_raised_version_takes_over_by_itself);
pub(crate) fn a_raised_version_takes_over_by_itself<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 3, 4);
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    assert_eq!(seen(place).first().unwrap(), "tenant-000/x0=6");
    // Both engines would soon hear of the switch. These calls make sure that they know it now.
    assert!(old.admin().builds("counts").is_ok() && new.admin().builds("counts").is_ok());
    let pushed = old.push(&[count("tenant-000", "x0", 1)]).unwrap();
    for engine in [&old, &new] {
        engine.await_pushed("counts", &pushed, LONG).unwrap();
    }
    assert_eq!(seen(place).first().unwrap(), "tenant-000/x0=8");
    assert_eq!(place.query("SELECT sum(times) FROM counts"), ["13"]);
    let record = &new.admin().commands(Some("counts"), 1).unwrap()[0];
    assert_eq!((record.command.kind(), &*record.who), ("rebuild", "readside"));
    eventually("the record", || new.admin().commands(Some("counts"), 1).unwrap()[0].state == CommandState::Done);
    // A process runs the old version and keeps it current, so its tables must not go.
    match new.admin().drop_old("counts", &by()) {
        Err(OperateError::Answered { error }) => assert!(error.contains("version 1 is run by"), "{error}"),
        other => panic!("{other:?}"),
    }
    old.shutdown(LONG).unwrap();
    new.admin().drop_old("counts", &by()).unwrap();
    let pushed = new.push(&[count("tenant-000", "x0", 1)]).unwrap();
    new.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(seen(place).first().unwrap(), "tenant-000/x0=10");
}

both!(a_raised_version_waits_if_told_to);
pub(crate) fn a_raised_version_waits_if_told_to<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 2, 4);
    let new = start_doubled(place.open(), eager().auto_switch(false));
    let is_ready = || {
        let builds = place.open().builds().builds().unwrap();
        builds.iter().any(|build| build.key.version == 2 && build.phase == Phase::Ready)
    };
    eventually("the new version", is_ready);
    assert_eq!(live(place), 1);
    // Readers see version 1, so the wait is for version 1.
    let pushed = new.push(&[count("tenant-000", "x0", 1)]).unwrap();
    new.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(seen(place).first().unwrap(), "tenant-000/x0=4");
    eventually("the end of the rebuild", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    new.admin().switch("counts", &by()).unwrap();
    assert_eq!((live(place), seen(place).first().unwrap().as_str()), (2, "tenant-000/x0=8"));
}

both!(an_old_version_is_gone_back_to_by_name);
pub(crate) fn an_old_version_is_gone_back_to_by_name<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 2, 4);
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    eventually("its record", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    // An engine runs version 1, so it is current.
    new.admin().back("counts", false, &by()).unwrap();
    assert_eq!((live(place), seen(place).first().unwrap().as_str()), (1, "tenant-000/x0=3"));
    new.admin().switch("counts", &by()).unwrap();
    assert_eq!(live(place), 2);
    old.shutdown(LONG).unwrap();
    let pushed = new.push(&[count("tenant-000", "x0", 1)]).unwrap();
    new.await_pushed("counts", &pushed, LONG).unwrap();
    match new.admin().back("counts", false, &by()) {
        Err(OperateError::Answered { error }) => assert!(error.contains("version 1 stands still"), "{error}"),
        other => panic!("{other:?}"),
    }
    new.admin().back("counts", true, &by()).unwrap();
    assert_eq!((live(place), seen(place).first().unwrap().as_str()), (1, "tenant-000/x0=3"));
    assert_eq!(place.query("SELECT count(*) FROM counts_log"), ["8"], "its second table is there again");
    // The code of version 1 brings it up to date.
    let old = start(place.open(), eager());
    old.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(seen(place).first().unwrap(), "tenant-000/x0=4");
}

// Contract: C6: no notification tells of the switch. An engine that knows of a possible switch checks before it says
// that all is there.
both!(what_is_waited_for_is_what_readers_see);
pub(crate) fn what_is_waited_for_is_what_readers_see<P: Place>(place: &P) {
    let old = start(place.open(), crate::lazy());
    fill(&old, 1, 4);
    let new = start_doubled(place.open(), eager().auto_switch(false));
    eventually("the new version", || {
        old.admin().builds("counts").unwrap().iter().any(|build| build.key.version == 2 && build.phase == Phase::Ready)
    });
    eventually("the end of the rebuild", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    let caught_up = &mut |_: &mut dyn ProjectionTransaction, _: &[LaggingInstance]| Ok(());
    eventually("the switch", || place.open().builds().go_live(&doubled().key(), LONG, Some(&mut *caught_up)).is_ok());
    for round in 1..=5 {
        let pushed = old.push(&[count("tenant-000", "x0", 1)]).unwrap();
        old.await_pushed("counts", &pushed, LONG).unwrap();
        assert_eq!(seen(place).first().unwrap(), &format!("tenant-000/x0={}", 6 + 2 * round));
    }
}

/// Waits until each process has reported for longer than a lease that it is alive, or has been silent for that long.
fn a_lease_later<P: Place>(place: &P) {
    let beat = || place.query("SELECT max(alive_until) FROM readside.members");
    for _ in 0..5 {
        let before = beat();
        eventually("a heartbeat", || beat() != before);
    }
}

/// How many commands there are on record.
fn asked<P: Place>(place: &P) -> usize {
    place.query("SELECT kind FROM readside.commands").len()
}

/// What this engine says if readers see a version that no engine runs.
fn unfed(engine: &Engine) -> Option<String> {
    engine.health().unwrap().projections.remove(0).unfed
}

fn if_asked() -> EngineConfig {
    eager().auto_switch(false)
}

// Contract: B1, L11: the code is rolled back, and then the newer version is deployed again.
both!(a_version_that_was_live_before_takes_over_by_itself);
pub(crate) fn a_version_that_was_live_before_takes_over_by_itself<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 2, 4);
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    old.shutdown(LONG).unwrap();
    let push = |engine: &Engine| {
        let pushed = engine.push(&[count("tenant-000", "x0", 1)]).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
        seen(place).remove(0)
    };
    assert_eq!(push(&new), "tenant-000/x0=8");
    eventually("the end of the rebuild", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    new.shutdown(LONG).unwrap();
    let old = start(place.open(), eager());
    assert_eq!((push(&old), live(place)), ("tenant-000/x0=5".to_owned(), 1));
    eventually("peace", || unfed(&old).is_none());
    let record = &old.admin().commands(Some("counts"), 1).unwrap()[0];
    assert_eq!((record.command.kind(), &*record.who, record.version), ("rebuild", "readside", Some(1)));
    eventually("the end of the rebuild", || old.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    old.shutdown(LONG).unwrap();
    let new = start_doubled(place.open(), eager());
    assert_eq!((push(&new), live(place)), ("tenant-000/x0=12".to_owned(), 2));
}

// Contract: C6, L11
both!(a_version_that_nobody_runs_is_named);
pub(crate) fn a_version_that_nobody_runs_is_named<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 2, 4);
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    assert_eq!((unfed(&old), unfed(&new)), (None, None));
    eventually("the end of the rebuild", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    old.shutdown(LONG).unwrap();
    new.shutdown(LONG).unwrap();
    let is_told = |engine: &Engine, words: [&str; 2]| {
        // The engine knows it from the start.
        let text = unfed(engine).unwrap();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        let pushed = engine.push(&[count("tenant-000", "x0", 1)]).unwrap();
        match engine.await_pushed("counts", &pushed, std::time::Duration::from_millis(50)) {
            Err(AwaitError::TimedOut { why: Some(why), .. }) => assert_eq!(why.to_string(), text),
            other => panic!("{other:?}"),
        }
        pushed
    };
    let old = start(place.open(), if_asked());
    let pushed = is_told(&old, ["version 2", "`readside builds back counts --why "]);
    let findings = admin::Doctor::default().examine(&place.open());
    let engines = findings.iter().find(|finding| finding.check == "engines").unwrap();
    assert!(engines.remedy.as_ref().unwrap().contains("`readside builds back counts --why "), "{engines:?}");
    let before = asked(place);
    a_lease_later(place);
    assert_eq!((live(place), asked(place)), (2, before), "nobody has asked for anything");
    old.admin().back("counts", false, &by()).unwrap();
    old.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!((live(place), seen(place).remove(0), unfed(&old)), (1, "tenant-000/x0=4".to_owned(), None));
    old.shutdown(LONG).unwrap();
    let new = start_doubled(place.open(), if_asked());
    let pushed = is_told(&new, ["version 1", "`readside builds switch counts --why "]);
    new.admin().switch("counts", &by()).unwrap();
    new.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!((live(place), seen(place).remove(0), unfed(&new)), (2, "tenant-000/x0=10".to_owned(), None));
}

// Contract: B1: if one engine runs the version that readers see, readers keep that version.
both!(two_versions_alive_leave_readers_where_they_are);
pub(crate) fn two_versions_alive_leave_readers_where_they_are<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 2, 4);
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    eventually("the end of the rebuild", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    // The service of the old version starts again, so it is the newest process.
    old.shutdown(LONG).unwrap();
    let old = start(place.open(), eager());
    let before = asked(place);
    a_lease_later(place);
    assert_eq!((live(place), asked(place), unfed(&old)), (2, before, None));
    // When the last engine of version 2 ends, readers go back. When such an engine starts again, they do not change.
    new.shutdown(LONG).unwrap();
    eventually("the way back", || live(place) == 1);
    eventually("the end of the rebuild", || old.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    let new = start_doubled(place.open(), eager());
    let before = asked(place);
    a_lease_later(place);
    assert_eq!((live(place), asked(place), unfed(&old), unfed(&new)), (1, before, None, None));
}

// Contract: B1: several engines ask for the switch to their version. One of them may be late, when the switch is
// done.
both!(what_is_live_already_is_not_built_again);
pub(crate) fn what_is_live_already_is_not_built_again<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 4);
    let options = RebuildOptions::default().unless_live(true);
    let report = engine.admin().rebuild("counts", options, &by(), |_| {}).unwrap();
    assert!(report.switched && report.comparison.is_none());
    assert_eq!(engine.admin().builds("counts").unwrap().len(), 1);
}

// Contract: B1: a person who goes back to a version has decided for it.
both!(what_a_person_went_back_to_stays);
pub(crate) fn what_a_person_went_back_to_stays<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 2, 4);
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    eventually("the end of the rebuild", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    old.shutdown(LONG).unwrap();
    new.admin().back("counts", true, &by()).unwrap();
    let before = asked(place);
    a_lease_later(place);
    assert_eq!((live(place), asked(place)), (1, before));
    let text = unfed(&new).unwrap();
    assert!(text.contains("version 1") && text.contains("`readside builds switch counts --why "), "{text}");
}

// Contract: O2: engines of both versions take commands, and only the newer code can show its build again.
both!(what_was_gone_back_from_is_shown_again);
pub(crate) fn what_was_gone_back_from_is_shown_again<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 2, 4);
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    eventually("its record", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    let remote = remote(place).timeout(LONG);
    for _ in 0..3 {
        remote.back("counts", false, &by()).unwrap();
        assert_eq!(live(place), 1);
        remote.switch("counts", &by()).unwrap();
        assert_eq!(live(place), 2);
    }
    remote.back("counts", false, &by()).unwrap();
    let missing = |outcome: Result<admin::Change, OperateError>, words: &str| match outcome {
        Err(OperateError::Answered { error }) => assert!(error.contains(words), "{error}"),
        other => panic!("{other:?}"),
    };
    // The engine of the older version is asked itself.
    missing(old.admin().switch("counts", &by()), "version 2 is kept, and it takes the code of version 2 to show it");
    missing(old.admin().switch("counts", &by()), "runs it and did not take the command");
    new.shutdown(LONG).unwrap();
    missing(remote.switch("counts", &by()), "no engine runs it, so start one");
}

// Contract: O2: the engine that cannot carry a command out leaves it to one that can, but not for ever.
both!(a_command_is_left_to_the_code_that_can_carry_it_out);
pub(crate) fn a_command_is_left_to_the_code_that_can_carry_it_out<P: Place>(place: &P) {
    let store = place.open();
    start(store.clone(), lazy()).shutdown(LONG).unwrap();
    let alive = |process: u128, version: u32| {
        let projections = vec![("counts".to_owned(), version)];
        let member = Member { process: Uuid::from_u128(process), name: format!("api-{process}"), projections };
        store.heartbeat(&member, LONG).unwrap();
    };
    let ask = |command: AdminCommand| {
        let command = NewCommand { projection: "counts".into(), version: None, command, by: by() };
        store.commands().ask(&command).unwrap()
    };
    let taken = |process: u128, version: u32| -> Vec<Uuid> {
        let runs = [("counts".to_owned(), version)];
        let taken = store.commands().take(Uuid::from_u128(process), &runs, LONG, 5).unwrap();
        store.commands().give_back(Uuid::from_u128(process)).unwrap();
        taken.iter().map(|asked| asked.id).collect()
    };
    alive(1, 1);
    let switch = ask(AdminCommand::Switch { within: None });
    assert_eq!(taken(1, 1), [switch], "nobody else can take it");
    alive(2, 2);
    assert_eq!((taken(1, 1), taken(2, 2)), (vec![], vec![switch]));
    place.sql("UPDATE readside.commands SET asked_at = '2020-01-01T00:00:00.000000Z'");
    assert_eq!(taken(1, 1), [switch], "the other one is alive, and takes no commands");
    store.commands().withdraw(switch, &serde_json::Value::Null).unwrap();
    // Readers see version 1.
    let verify = ask(AdminCommand::Verify { instance: None, repair: false });
    assert_eq!((taken(2, 2), taken(1, 1)), (vec![], vec![verify]));
    store.commands().withdraw(verify, &serde_json::Value::Null).unwrap();
    for command in [AdminCommand::Abandon, AdminCommand::Rebuild(RebuildOptions::default())] {
        let id = ask(command);
        assert_eq!((taken(2, 2), taken(1, 1)), (vec![id], vec![id]), "both can do it");
        store.commands().withdraw(id, &serde_json::Value::Null).unwrap();
    }
}
