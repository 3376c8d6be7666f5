//! What only a server can do to an engine: locks, rights, and being out of reach.

use readside::postgres_driver::{Client, NoTls};
use readside::{PostgresOptions, PostgresStore, error};

use super::*;
use crate::common::postgres::database;

// Contract: L11
#[test]
fn a_lock_that_is_waited_for_is_told_until_it_is_gone() {
    let place = database();
    let options = PostgresOptions::default().lock_timeout(Duration::from_millis(50));
    let store = PostgresStore::connect_with(place.url(), options).unwrap();
    let engine = start(store, eager());
    fill(&engine, 1, 3);
    eventually("the first run", || health(&engine).succeeded);
    let mut client = Client::connect(place.url(), NoTls).unwrap();
    let mut lock = client.transaction().unwrap();
    lock.batch_execute("LOCK TABLE counts_1 IN ACCESS EXCLUSIVE MODE").unwrap();
    engine.push(&[count(&tenant(0), "x", 1)]).unwrap();
    eventually("the note", || kinds(&status(&place).standstills) == [StandstillKind::Locked]);
    assert_eq!((status(&place).verdict, health(&engine).verdict), (Verdict::Stuck, Verdict::Stuck));
    assert_eq!(why(&engine, &tenant(0), 4).kind, StandstillKind::Locked);
    let found = &doctor(&place, "standstills")[0];
    assert!(found.verdict == Severity::Fail && found.remedy.as_ref().unwrap().contains("end it"), "{found:?}");
    // A known standstill is not written again and again.
    let written = place.query("SELECT xmin::text FROM readside.standstills");
    why(&engine, &tenant(0), 4);
    assert_eq!(place.query("SELECT xmin::text FROM readside.standstills"), written);
    lock.rollback().unwrap();
    engine.await_position("counts", &tenant(0), 4, LONG).unwrap();
    eventually("the end", || place.query("SELECT subject FROM readside.standstills").is_empty());
    assert_eq!((status(&place).verdict, health(&engine).verdict), (Verdict::Idle, Verdict::Idle));
}

// Contract: L11
#[test]
fn missing_rights_are_told_until_they_are_granted() {
    let place = database();
    ProjectionStore::setup(&place.open(), &[&counts(1)]).unwrap();
    let role = format!("service_{}", std::process::id());
    place.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA readside TO {role}; \
         GRANT ALL ON ALL TABLES IN SCHEMA readside TO {role}; GRANT SELECT ON counts_1, counts_log_1 TO {role}"
    ));
    let (_, rest) = place.url().split_once('@').unwrap();
    let store = PostgresStore::connect(&format!("postgres://{role}@{rest}")).unwrap();
    let engine = start(store, eager().setup(false));
    engine.push(&[count(&tenant(0), "x", 1)]).unwrap();
    eventually("the note", || kinds(&status(&place).standstills).first() == Some(&StandstillKind::Denied));
    let seen = status(&place);
    assert!(seen.verdict == Verdict::Stuck && seen.reason.unwrap().contains("permission denied"));
    assert_eq!((health(&engine).verdict, why(&engine, &tenant(0), 1).kind), (Verdict::Stuck, StandstillKind::Denied));
    let found = &doctor(&place, "standstills")[0];
    assert!(found.verdict == Severity::Fail && found.remedy.as_ref().unwrap().contains("grant"), "{found:?}");
    place.sql(&format!("GRANT ALL ON counts_1, counts_log_1 TO {role}"));
    engine.await_position("counts", &tenant(0), 1, LONG).unwrap();
    eventually("the end", || status(&place).standstills.is_empty());
    engine.shutdown(LONG).unwrap();
    place.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

// Contract: L11: the error says since when. When the database is back, the standstill is gone.
#[test]
fn a_database_out_of_reach_is_told_by_the_error() {
    let place = database();
    let proxy = crate::common::proxy::Proxy::before(place.url());
    let options = PostgresOptions::default().connect_timeout(Duration::from_secs(1));
    let engine = start(PostgresStore::connect_with(&proxy.url(place.url()), options).unwrap(), eager());
    fill(&engine, 1, 3);
    proxy.vanish(true);
    eventually("the error", || {
        let error = engine.health().err().map(|error| error::chain(&error));
        error.is_some_and(|error| error.contains("which stand still here for") && error.contains("out of reach"))
    });
    proxy.vanish(false);
    place.open().push(&[count(&tenant(0), "x", 1)]).unwrap();
    eventually("the end", || {
        engine.health().is_ok_and(|health| {
            let projection = &health.projections[0];
            projection.verdict == Verdict::Idle && projection.standstills.is_empty()
        })
    });
    eventually("no notes", || place.query("SELECT subject FROM readside.standstills").is_empty());
}

// Contract: L11: readers were switched back to a version that nobody runs.
#[test]
fn a_version_that_readers_see_and_nobody_runs_is_told() {
    let place = database();
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    eventually("the first run", || health(&engine).succeeded);
    place.sql("UPDATE readside.projections SET live = false, phase = 'kept' WHERE name = 'counts'; \
               INSERT INTO readside.projections (name, version, definition, live, phase, succeeded_at) \
               SELECT name, 2, definition, true, 'live', succeeded_at FROM readside.projections WHERE version = 1 AND name = 'counts'");
    eventually("the note", || kinds(&health(&engine).standstills) == [StandstillKind::Unseen]);
    assert_eq!(health(&engine).verdict, Verdict::Stuck);
    assert!(health(&engine).reason.unwrap().contains("readers see version 2, which no living engine runs"));
    engine.push(&[count(&tenant(0), "x", 1)]).unwrap();
    match engine.await_position("counts", &tenant(0), 4, SHORT) {
        Err(AwaitError::TimedOut { why: Some(why), .. }) => {
            assert!(matches!(*why, StopCause::Unfed { .. }), "{why}");
        }
        other => panic!("{other:?}"),
    }
}
