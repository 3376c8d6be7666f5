//! Objects that a service itself adds to read tables: none of them is lost, and none is dropped silently.
//!
//! Contract: O1

use readside::admin::{CommandState, RebuildOptions};
use readside::error::OperateError;

use readside::inspect::{Inspect, Severity};
use readside::prelude::*;
use readside::store::{ProjectionStore, ProjectionTransaction};
use readside::{Engine, admin};

use crate::versions::{live, start_doubled};
use crate::{Counted, LONG, Place, by, count, eager, eventually, fill, handler, lawful, seen, start, tenant};

pub(crate) fn rebuild(engine: &Engine) -> Result<admin::RebuildReport, OperateError> {
    engine.admin().rebuild("counts", RebuildOptions::default(), &by(), |_| {})
}

/// The error text of a refusal.
pub(crate) fn refused<T: std::fmt::Debug>(outcome: Result<T, OperateError>) -> String {
    match outcome {
        Err(OperateError::Answered { error }) => error,
        other => panic!("{other:?}"),
    }
}

fn push(engine: &Engine, thing: &str) {
    let pushed = engine.push(&[count(&tenant(0), thing, 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
}

// Contract: B1: only the engine writes rows, into the build that they are for.
both!(nobody_writes_through_the_view);
pub(crate) fn nobody_writes_through_the_view<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    for sql in ["UPDATE counts SET n = 9", "DELETE FROM counts", "INSERT INTO counts (thing, n) VALUES ('a', 1)"] {
        let error = place.refusal(sql);
        assert!(error.contains("view"), "{sql}: {error}");
    }
    assert_eq!(seen(place).len(), 3);
    rebuild(&engine).unwrap();
    let error = place.refusal("UPDATE counts SET n = 9");
    assert!(error.contains("view"), "behind a switch: {error}");
}

// Contract: H2: if SQL writes to a view that cannot be written to, its event is to blame, and the event is not
// retried for ever.
both!(what_a_view_refuses_is_the_statements_fault);
pub(crate) fn what_a_view_refuses_is_the_statements_fault<P: Place>(place: &P) {
    let sql = Dialects::each(
        "INSERT INTO totals (n) SELECT 1 WHERE $1::text IS NOT NULL",
        "INSERT INTO totals (n) SELECT 1 WHERE $1 IS NOT NULL",
    );
    let notes = notes().sql("count", sql);
    ProjectionStore::setup(&place.open(), &[&notes]).unwrap();
    place.sql("CREATE VIEW totals AS SELECT count(*) AS n FROM notes");
    let statement = exec("count", [0_i64; 0]).unwrap();
    let apply = &mut |tx: &mut dyn ProjectionTransaction| tx.apply_one(&notes, "a", &statement);
    let error = place.open().transaction(apply).unwrap_err();
    assert!(error.is_statements_fault(), "{error:?}");
}

both!(indexes_and_triggers_stay_on_what_readers_see);
/// Indexes and triggers of the service stay on the table that readers see, under their names, and each trigger acts
/// once.
pub(crate) fn indexes_and_triggers_stay_on_what_readers_see<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    place.own_trigger("counts_1");
    place.sql(
        "CREATE INDEX by_last ON counts_1 (last, n); CREATE UNIQUE INDEX only_once ON counts_1 (thing, instance_id)",
    );
    push(&engine, "x0");
    assert_eq!(place.query("SELECT count(*) FROM seen_by_trigger"), ["1"]);
    for round in 1..=3 {
        rebuild(&engine).unwrap();
        assert_eq!(place.indexes("counts_1"), ["by_last", "only_once"], "round {round}");
        assert_eq!(
            place.query("SELECT count(*) FROM seen_by_trigger"),
            [round.to_string()],
            "a build sets nothing off"
        );
        push(&engine, "x0");
        assert_eq!(place.query("SELECT count(*) FROM seen_by_trigger"), [(round + 1).to_string()]);
    }
    engine.admin().back("counts", false, &by()).unwrap();
    push(&engine, "x0");
    assert_eq!(place.query("SELECT count(*) FROM seen_by_trigger"), ["5"]);
    assert_eq!(place.indexes("counts_1"), ["by_last", "only_once"]);
    lawful(place);
}

both!(a_raised_version_takes_over_what_fits);
/// A raised version takes over the objects that fit its columns, and names those that do not.
pub(crate) fn a_raised_version_takes_over_what_fits<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    place.own_trigger("counts_1");
    place.sql("CREATE INDEX by_thing ON counts_1 (thing, n); CREATE INDEX by_last ON counts_1 (last)");
    old.shutdown(LONG).unwrap();
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    eventually("its record", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    let answer = new.admin().commands(None, 1).unwrap()[0].answer.clone().unwrap();
    let left = answer["left_behind"].to_string();
    assert!(left.contains("by_last") && !left.contains("by_thing") && !left.contains("_n_idx"), "{left}");
    assert_eq!(place.indexes("counts_2"), ["by_thing"]);
    push(&new, "x0");
    assert_eq!(place.query("SELECT count(*) FROM seen_by_trigger"), ["1"]);
}

both!(a_build_that_something_stands_on_is_not_removed);
/// Removing a kept table does not drop the objects that depend on it.
pub(crate) fn a_build_that_something_stands_on_is_not_removed<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    rebuild(&engine).unwrap();
    place.sql("CREATE VIEW mine AS SELECT thing FROM \"counts_1#next\"");
    let error = refused(engine.admin().drop_old("counts", &by()));
    assert!(error.contains("mine") && error.contains("is not removed"), "{error}");
    let error = refused(rebuild(&engine));
    assert!(error.contains("mine") && error.contains("is not removed"), "{error}");
    assert_eq!(place.query("SELECT count(*) FROM mine"), ["3"]);
    place.sql("DROP VIEW mine");
    engine.admin().drop_old("counts", &by()).unwrap();
    rebuild(&engine).unwrap();
    lawful(place);
}

both!(a_view_on_the_table_follows_it);
/// A view of the service that names the table moves to the new table in every rebuild.
pub(crate) fn a_view_on_the_table_follows_it<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    place.sql("CREATE VIEW mine AS SELECT thing, n FROM counts_1 WHERE n > 0");
    for round in 1..=3 {
        rebuild(&engine).unwrap();
        push(&engine, &format!("new-{round}"));
        assert_eq!(place.query("SELECT count(*) FROM mine"), [(3 + round).to_string()]);
    }
    engine.admin().drop_old("counts", &by()).unwrap();
    assert_eq!(place.query("SELECT count(*) FROM mine"), ["6"]);
}

both!(a_foreign_key_follows_the_table);
/// A foreign key of the service refers to the table that readers see, after every rebuild.
pub(crate) fn a_foreign_key_follows_the_table<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    place.sql(
        "CREATE TABLE orders (id INTEGER, instance_id TEXT, thing TEXT, \
         CONSTRAINT known FOREIGN KEY (instance_id, thing) REFERENCES counts_1 (instance_id, thing)); \
         INSERT INTO orders VALUES (1, 'tenant-000', 'x1')",
    );
    for round in 1..=3 {
        rebuild(&engine).unwrap();
        push(&engine, &format!("new-{round}"));
        place.sql(&format!("INSERT INTO orders VALUES ({}, 'tenant-000', 'new-{round}')", round + 1));
        let error = place.refusal("INSERT INTO orders VALUES (9, 'tenant-000', 'nobody')").to_lowercase();
        assert!(error.contains("foreign key"), "{error}");
    }
    engine.admin().drop_old("counts", &by()).unwrap();
    // If a row would lose the row that it refers to, the refusal names the foreign key, and readers keep the old
    // build.
    place.sql(
        "INSERT INTO counts_1 (instance_id, thing, n) VALUES ('tenant-000', 'by hand', 1); \
         INSERT INTO orders VALUES (5, 'tenant-000', 'by hand')",
    );
    let error = refused(rebuild(&engine));
    assert!(
        error.contains("foreign key") && error.contains("orders") && error.contains("stay where they are"),
        "{error}"
    );
    assert_eq!(place.query("SELECT n FROM counts WHERE thing = 'by hand'"), ["1"]);
    place.sql("DELETE FROM orders WHERE id = 5");
    rebuild(&engine).unwrap();
    assert!(place.refusal("DELETE FROM counts_1").to_lowercase().contains("foreign key"));
    lawful(place);
}

both!(a_foreign_key_follows_a_raised_version);
/// A foreign key also moves to the next version, if that version has its columns.
pub(crate) fn a_foreign_key_follows_a_raised_version<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    place.sql(
        "CREATE TABLE orders (instance_id TEXT, thing TEXT, FOREIGN KEY (instance_id, thing) REFERENCES counts_1 (instance_id, thing)); \
         INSERT INTO orders VALUES ('tenant-000', 'x1')",
    );
    old.shutdown(LONG).unwrap();
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    push(&new, "new");
    place.sql("INSERT INTO orders VALUES ('tenant-000', 'new')");
    new.admin().drop_old("counts", &by()).unwrap();
    assert!(place.refusal("INSERT INTO orders VALUES ('tenant-000', 'nobody')").to_lowercase().contains("foreign key"));
}

both!(a_view_that_would_break_is_named_before);
/// Objects that would stop working are named before anything is built. Objects that are broken already block nothing.
///
/// Contract: L11: if a version may not be shown to readers, its build says so too, not only the answer to a command.
pub(crate) fn a_view_that_would_break_is_named_before<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    place.sql("CREATE VIEW mine AS SELECT thing, last FROM counts");
    let new = start_doubled(place.open(), eager());
    let failed =
        || new.admin().commands(None, 1).unwrap().first().is_some_and(|asked| asked.state == CommandState::Failed);
    eventually("the refusal", failed);
    let error = new.admin().commands(None, 1).unwrap()[0].answer.as_ref().unwrap()["error"].to_string();
    assert!(error.contains("mine"), "{error}");
    assert!(!error.contains("setup()"), "a set-up would not help: {error}");
    assert_eq!((live(place), place.query("SELECT count(*) FROM mine")), (1, vec!["3".to_owned()]));
    let raised = new.admin().builds("counts").unwrap().into_iter().find(|build| build.key.version == 2).unwrap();
    assert!(raised.is_refused() && raised.trouble.as_ref().unwrap().contains("mine"), "{raised:?}");
    assert_eq!(raised.command, None, "the refusal came after the build, and not before");
    drop(old);
    eventually("the reason", || {
        let unfed = new.health().unwrap().projections[0].unfed.clone().unwrap_or_default();
        unfed.contains("mine")
    });
    place.sql("DROP VIEW mine");
    new.admin().rebuild("counts", RebuildOptions::default(), &by(), |_| {}).unwrap();
    assert_eq!(live(place), 2);
}

/// A version whose views have all the old columns and more. The order of columns in the code does not matter.
fn with_another_column() -> Projection {
    let columns = Table::new("counts").column(text("thing")).column(integer("times")).column(integer("n"));
    Projection::new("counts", 2).table(columns.column(text("last").nullable()).primary_key(["thing"])).on(
        |e, p: Counted| {
            let all = [set("thing", e.aggregate_id()), increment("n", p.by), increment("times", 1)];
            upsert(["thing"], all)
        },
    )
}

both!(a_view_on_the_view_stays_where_columns_only_come);
/// A view on the view stays if no column goes.
pub(crate) fn a_view_on_the_view_stays_where_columns_only_come<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    old.shutdown(LONG).unwrap();
    place.sql("CREATE VIEW mine AS SELECT thing, n, last FROM counts");
    let new = Engine::builder(place.open()).projection_with(with_another_column(), handler()).config(eager());
    let new = new.start().unwrap();
    eventually("the switch", || live(place) == 2);
    assert_eq!(place.query("SELECT count(*) FROM mine WHERE last IS NULL"), ["3"], "it reads the new version");
    assert_eq!(place.query("SELECT sum(times) FROM counts"), ["3"]);
    eventually("its record", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    new.admin().rebuild("counts", RebuildOptions::default(), &by(), |_| {}).unwrap();
    assert_eq!(place.query("SELECT count(*) FROM mine WHERE last IS NULL"), ["3"]);
    new.shutdown(LONG).unwrap();
}

/// What status and doctor say about the build, and what the engine says.
fn told<P: Place>(place: &P, engine: &Engine) -> [String; 3] {
    let status = place.open().status(false).unwrap();
    let stuck = status.projections.iter().find(|one| one.trouble.is_some()).map(|one| format!("{one:?}"));
    let doctor = admin::Doctor::default().examine(&place.open());
    let of_build = doctor.into_iter().filter(|finding| finding.check == "standstills");
    let health = engine.health().unwrap();
    [stuck.unwrap_or_default(), format!("{:?}", of_build.collect::<Vec<_>>()), format!("{health:?}")]
}

// Contract: L11: the reason of a refused switch stays with the build until the switch succeeds.
both!(a_refused_switch_keeps_its_reason);
pub(crate) fn a_refused_switch_keeps_its_reason<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    place.sql("CREATE VIEW mine AS SELECT thing, last FROM counts");
    // Without this lease the engine itself would ask again.
    let new = start_doubled(place.open(), eager().lease(LONG));
    let trouble = || {
        let builds = new.admin().builds("counts").unwrap();
        builds.into_iter().find(|build| build.key.version == 2).and_then(|build| build.trouble)
    };
    eventually("the refusal", || trouble().is_some_and(|why| why.contains("mine")));
    eventually("its end", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Failed);
    push(&old, "x0");
    new.await_position("counts", "tenant-000", 4, LONG).unwrap();
    let [status, doctor, health] = told(place, &new);
    assert!(status.contains("Refused") && status.contains("mine") && status.contains("Stuck"), "{status}");
    assert!(doctor.contains("mine") && doctor.contains("readside builds switch"), "{doctor}");
    assert!(health.contains("mine"), "{health}");
    // The same holds for a switch by hand to a build that moves meanwhile.
    place.sql("DROP VIEW mine");
    place.sql("CREATE VIEW yours AS SELECT thing, last FROM counts");
    let error = refused(new.admin().switch("counts", &by()));
    assert!(error.contains("yours"), "{error}");
    push(&old, "x1");
    assert!(trouble().is_some_and(|why| why.contains("yours") && !why.contains("mine")), "{:?}", trouble());
    place.sql("DROP VIEW yours");
    new.admin().switch("counts", &by()).unwrap();
    assert_eq!((live(place), trouble()), (2, None));
    drop((old, new));
}

// Contract: O1, L11: an engine asks again for a refused version, because the obstacle may be gone.
both!(a_refused_version_takes_over_once_nothing_is_in_its_way);
pub(crate) fn a_refused_version_takes_over_once_nothing_is_in_its_way<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    place.sql("CREATE VIEW mine AS SELECT thing, last FROM counts");
    let new = start_doubled(place.open(), eager().lease(std::time::Duration::from_millis(500)));
    let raised = || new.admin().builds("counts").unwrap().into_iter().find(|build| build.key.version == 2).unwrap();
    eventually("the refusal", || raised().is_refused());
    place.sql("DROP VIEW mine");
    eventually("the switch", || live(place) == 2);
    assert_eq!(raised().trouble, None);
    drop((old, new));
}

// Contract: L11: this includes a build within a version, and obstacles that only its switch can find.
both!(a_rebuild_refused_over_a_foreign_key_keeps_its_reason);
pub(crate) fn a_rebuild_refused_over_a_foreign_key_keeps_its_reason<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    place.sql(
        "CREATE TABLE orders (instance_id TEXT, thing TEXT, \
               CONSTRAINT known FOREIGN KEY (instance_id, thing) REFERENCES counts_1 (instance_id, thing))",
    );
    place.sql("INSERT INTO counts_1 (instance_id, thing, n) VALUES ('tenant-000', 'by hand', 1)");
    place.sql("INSERT INTO orders VALUES ('tenant-000', 'by hand')");
    let error = refused(rebuild(&engine));
    assert!(error.contains("orders"), "{error}");
    let [status, doctor, health] = told(place, &engine);
    assert!(status.contains("Ready") && status.contains("orders"), "{status}");
    assert!(doctor.contains("orders") && doctor.contains("readside builds switch"), "{doctor}");
    assert!(!health.contains("orders"), "what readers see is well: {health}");
    place.sql("DELETE FROM orders");
    engine.admin().switch("counts", &by()).unwrap();
    assert!(engine.admin().builds("counts").unwrap().iter().all(|build| build.trouble.is_none()));
    lawful(place);
}

both!(a_view_that_is_broken_already_stops_nothing);
/// If a view is broken already, that concerns only its maker.
pub(crate) fn a_view_that_is_broken_already_stops_nothing<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    place.sql("CREATE TABLE gone (n INTEGER)");
    place.sql("CREATE VIEW broken AS SELECT n FROM gone");
    place.forget("gone");
    for _ in 0..2 {
        rebuild(&engine).unwrap();
    }
    engine.admin().drop_old("counts", &by()).unwrap();
    lawful(place);
}

both!(triggers_on_the_view_outlast_switches);
/// Triggers on the view that readers use survive each switch.
pub(crate) fn triggers_on_the_view_outlast_switches<P: Place>(place: &P) {
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    place.own_instead_of("counts");
    let insert = "INSERT INTO counts (instance_id, thing, n) VALUES ('a', 'by hand', 1)";
    rebuild(&old).unwrap();
    place.sql(insert);
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    place.sql(insert);
    assert_eq!(place.query("SELECT count(*) FROM seen_by_trigger"), ["2"]);
    drop((old, new));
}

fn notes() -> Projection {
    let table = Table::new("notes").column(text("thing")).column(text("word").nullable()).primary_key(["thing"]);
    Projection::new("notes", 1)
        .table(table)
        .on(|e, _: Counted| upsert(["thing"], [set("thing", e.aggregate_id()), set("word", "w")]))
}

both!(the_doctor_tells_what_stands_on_tables);
/// The doctor names what depends on the tables, before anybody builds or removes anything.
pub(crate) fn the_doctor_tells_what_stands_on_tables<P: Place>(place: &P) {
    let engine = Engine::builder(place.open()).projection_with(notes(), handler()).config(eager()).start().unwrap();
    let pushed = engine.push(&[count("a", "x", 1)]).unwrap();
    engine.await_pushed("notes", &pushed, LONG).unwrap();
    let look = || {
        let found = admin::Doctor::default().examine(&place.open());
        found.into_iter().filter(|finding| finding.check == "objects").collect::<Vec<_>>()
    };
    assert!(look().iter().all(|finding| finding.verdict == Severity::Ok), "{:?}", look());
    place
        .sql("CREATE TABLE orders (instance_id TEXT, thing TEXT, FOREIGN KEY (instance_id, thing) REFERENCES notes_1)");
    place.sql("CREATE VIEW mine AS SELECT thing FROM notes_1");
    let told = format!("{:?}", look());
    assert!(told.contains("mine") && told.contains("orders"), "{told}");
    engine.admin().rebuild("notes", RebuildOptions::default().accept_loss(true), &by(), |_| {}).unwrap();
    place.sql("CREATE VIEW stale AS SELECT thing FROM \"notes_1#next\"");
    let found = look();
    let warned = found.iter().find(|finding| finding.verdict == Severity::Warn).unwrap();
    assert!(warned.found.contains("stale") && warned.remedy.is_some(), "{found:?}");
}
