//! Versions that are raised in the code.

use readside::error::OperateError;
use readside::*;

use crate::{Counted, LONG, Place, by, count, eager, eventually, fill, handler, seen, start};

/// Version 2 doubles, has another column, and no second table.
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
    let builds = place.open().builds().unwrap().builds().unwrap();
    builds.iter().find(|build| build.phase == Phase::Live).unwrap().key.version
}

// SPEC B1, E5
pub(crate) fn a_raised_version_takes_over_by_itself<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 3, 4);
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    assert_eq!(seen(place).first().unwrap(), "tenant-000/x0=6");
    // Both hear of it soon; now they know.
    assert!(old.builds("counts").is_ok() && new.builds("counts").is_ok());
    let pushed = old.push(&[count("tenant-000", "x0", 1)]).unwrap();
    for engine in [&old, &new] {
        engine.await_pushed("counts", &pushed, LONG).unwrap();
    }
    assert_eq!(seen(place).first().unwrap(), "tenant-000/x0=8");
    assert_eq!(place.query("SELECT sum(times) FROM counts"), ["13"]);
    let record = &new.commands(Some("counts"), 1).unwrap()[0];
    assert_eq!((record.instruction.kind(), &*record.who), ("rebuild", "readside"));
    eventually("the record", || new.commands(Some("counts"), 1).unwrap()[0].state == CommandState::Done);
    // The old one is run by a process, which stays as it is; its tables must not go.
    match new.drop_old("counts", &by()) {
        Err(OperateError::Answered { error }) => assert!(error.contains("version 1 is run by"), "{error}"),
        other => panic!("{other:?}"),
    }
    old.shutdown(LONG).unwrap();
    new.drop_old("counts", &by()).unwrap();
    let pushed = new.push(&[count("tenant-000", "x0", 1)]).unwrap();
    new.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(seen(place).first().unwrap(), "tenant-000/x0=10");
}

pub(crate) fn a_raised_version_waits_if_told_to<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 2, 4);
    let new = start_doubled(place.open(), EngineConfig { auto_switch: false, ..eager() });
    let is_ready = || {
        let builds = place.open().builds().unwrap().builds().unwrap();
        builds.iter().any(|build| build.key.version == 2 && build.phase == Phase::Ready)
    };
    eventually("the new version", is_ready);
    assert_eq!(live(place), 1);
    // Readers see version 1, and that is what is waited for.
    let pushed = new.push(&[count("tenant-000", "x0", 1)]).unwrap();
    new.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(seen(place).first().unwrap(), "tenant-000/x0=4");
    eventually("the end of the rebuild", || new.commands(None, 1).unwrap()[0].state == CommandState::Done);
    new.switch("counts", &by()).unwrap();
    assert_eq!((live(place), seen(place).first().unwrap().as_str()), (2, "tenant-000/x0=8"));
}

pub(crate) fn an_old_version_is_gone_back_to_by_name<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 2, 4);
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    eventually("its record", || new.commands(None, 1).unwrap()[0].state == CommandState::Done);
    // Version 1 is run, so that it is current.
    new.back("counts", false, &by()).unwrap();
    assert_eq!((live(place), seen(place).first().unwrap().as_str()), (1, "tenant-000/x0=3"));
    new.switch("counts", &by()).unwrap();
    assert_eq!(live(place), 2);
    old.shutdown(LONG).unwrap();
    let pushed = new.push(&[count("tenant-000", "x0", 1)]).unwrap();
    new.await_pushed("counts", &pushed, LONG).unwrap();
    match new.back("counts", false, &by()) {
        Err(OperateError::Answered { error }) => assert!(error.contains("version 1 stands still"), "{error}"),
        other => panic!("{other:?}"),
    }
    new.back("counts", true, &by()).unwrap();
    assert_eq!((live(place), seen(place).first().unwrap().as_str()), (1, "tenant-000/x0=3"));
    assert_eq!(place.query("SELECT count(*) FROM counts_log"), ["8"], "its second table is there again");
    // Its code brings it up to date.
    let old = start(place.open(), eager());
    old.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(seen(place).first().unwrap(), "tenant-000/x0=4");
}

// SPEC C6: nobody tells of the switch; an engine that knows that there may be one looks before it says that all is there.
pub(crate) fn what_is_waited_for_is_what_readers_see<P: Place>(place: &P) {
    let old = start(place.open(), crate::lazy());
    fill(&old, 1, 4);
    let new = start_doubled(place.open(), EngineConfig { auto_switch: false, ..eager() });
    eventually("the new version", || {
        old.builds("counts").unwrap().iter().any(|build| build.key.version == 2 && build.phase == Phase::Ready)
    });
    eventually("the end of the rebuild", || new.commands(None, 1).unwrap()[0].state == CommandState::Done);
    eventually("the switch", || place.open().switch(&doubled()).is_ok());
    for round in 1..=5 {
        let pushed = old.push(&[count("tenant-000", "x0", 1)]).unwrap();
        old.await_pushed("counts", &pushed, LONG).unwrap();
        assert_eq!(seen(place).first().unwrap(), &format!("tenant-000/x0={}", 6 + 2 * round));
    }
}

fn by_hand() -> Projection {
    Projection::new("notes", 1).table(Table::new("notes").column(text("id")).primary_key(["id"])).on_raw(
        "note",
        "note.written",
        |e| {
            exec(
                Dialects {
                    postgres: "INSERT INTO notes_1 (instance_id, id) VALUES ($1, $2)",
                    sqlite: "INSERT INTO notes_1 (instance_id, id) VALUES ($1, $2)",
                },
                [e.aggregate_id().to_owned()],
            )
        },
    )
}

// SQL of the service's own names its tables: it must not write into the live ones while another build is filled.
pub(crate) fn statements_that_name_their_tables_are_not_rebuilt<P: Place>(place: &P) {
    let engine = Engine::builder(place.open()).projection_with(by_hand(), handler()).config(eager()).start().unwrap();
    let pushed = engine.push(&[Command::raw("a", "note", "n1", "note.written")]).unwrap();
    engine.await_pushed("notes", &pushed, LONG).unwrap();
    match engine.rebuild("notes", RebuildOptions::default(), &by(), |_| {}) {
        Err(OperateError::Answered { error }) => assert!(error.contains("raise the version instead"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(place.query("SELECT id FROM notes"), ["n1"]);
    engine.abandon("notes", &by()).unwrap();
    assert_eq!(engine.builds("notes").unwrap().len(), 1);
    engine.reset("notes", None, &by()).unwrap();
    engine.await_position("notes", "a", 1, LONG).unwrap();
    assert_eq!(place.query("SELECT id FROM notes"), ["n1"]);
}
