//! `health`, `status`, `doctor` and the errors of waits all report what stands still: Contract: L11.

#[cfg(feature = "postgres")]
mod on_the_server;

use std::time::Duration;

use readside::admin::Doctor;
use readside::builds::Phase;
use readside::error::AwaitError;
use readside::health::{ProjectionHealth, StopCause, Verdict};
use readside::inspect::{Finding, Inspect, ProjectionStatus, Severity};
use readside::store::{LeaseStore, Member, Note, ProjectionStore, Standstill, StandstillKind, StandstillSubject};
use readside::{Engine, EventStore, HandlerConfig, NewEvent, ProjectionHandler, SqliteOptions, SqliteStore, admin};
use uuid::Uuid;

use crate::{LONG, Place, by, count, counts, eager, eventually, fill, lazy, start, tenant};

const SHORT: Duration = Duration::from_millis(150);

/// The status as another process sees it, with every standstill.
fn status<P: Place>(place: &P) -> ProjectionStatus {
    let status = place.open().status(false).unwrap();
    status.projections.into_iter().find(|projection| projection.build.is_none()).unwrap()
}

fn kinds(standstills: &[Standstill]) -> Vec<StandstillKind> {
    standstills.iter().map(|one| one.kind).collect()
}

/// What the doctor finds in a check, with the remedy.
fn doctor<P: Place>(place: &P, check: &str) -> Vec<Finding> {
    let findings = Doctor::default().examine(&place.open());
    findings.into_iter().filter(|finding| finding.check == check).collect()
}

fn health(engine: &Engine) -> ProjectionHealth {
    engine.health().unwrap().projections.remove(0)
}

/// The reason why a wait failed.
fn why(engine: &Engine, instance: &str, position: i64) -> Standstill {
    match engine.await_position("counts", instance, position, SHORT) {
        Err(AwaitError::TimedOut { why: Some(why), .. }) => match *why {
            StopCause::StandsStill(found) => *found,
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Makes checkpoints name an event that the log does not have, as if the log had been replaced. Undoes that if `on`
/// is false.
fn exchange<P: Place>(place: &P, on: bool) {
    let event = if on {
        "(SELECT process FROM readside.members ORDER BY process LIMIT 1)"
    } else {
        "(SELECT e.event_id FROM readside.events e WHERE e.instance_id = readside.projection_states.instance_id \
         AND e.position = readside.projection_states.position)"
    };
    place.sql(&format!("UPDATE readside.projection_states SET event = {event} WHERE position > 0"));
}

// Contract: L11
both!(a_history_that_diverged_is_told_until_it_is_mended);
pub(crate) fn a_history_that_diverged_is_told_until_it_is_mended<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 2, 3);
    eventually("the first run", || health(&engine).succeeded);
    let moved = status(place).moved_at.unwrap();
    exchange(place, true);
    let store = place.open();
    store.push(&[count(&tenant(0), "x", 1)]).unwrap();
    // What the look finds itself comes earlier.
    let noted = |one: &Standstill| one.kind == StandstillKind::Diverged && one.process.is_some();
    eventually("the note", || matches!(&*status(place).standstills, [one] if noted(one)));
    let seen = status(place);
    let (one, name) = (&seen.standstills[0], tenant(0));
    assert_eq!((seen.verdict, one.instance.as_deref()), (Verdict::Stuck, Some(name.as_str())));
    assert!(one.since.unwrap() >= moved && one.process.is_some(), "{one:?}");
    assert_eq!(seen.since, one.since);
    assert!(seen.reason.unwrap().contains("another event stands at the checkpoint 3"));
    let found = health(&engine);
    assert_eq!((found.verdict, kinds(&found.standstills)), (Verdict::Stuck, vec![StandstillKind::Diverged]));
    let findings = doctor(place, "standstills");
    assert_eq!((findings.len(), findings[0].verdict), (1, Severity::Fail));
    assert!(findings[0].found.contains(&name) && findings[0].remedy.as_ref().unwrap().contains("readside reset"));
    let history = &doctor(place, "history")[0];
    assert!(history.verdict == Severity::Fail && history.found.contains("stands at 3"), "{history:?}");
    // The wait ends at once, not at its deadline.
    for waits in [engine, start(place.open(), eager())] {
        match waits.await_position("counts", &name, 4, LONG) {
            Err(AwaitError::Stopped { stopped, .. }) => {
                assert!(matches!(stopped.cause, StopCause::HistoryDiverged { .. }), "{stopped}");
            }
            other => panic!("{other:?}"),
        }
    }
    let engine = start(place.open(), eager());
    exchange(place, false);
    eventually("the end", || status(place).standstills.is_empty() && status(place).verdict == Verdict::Idle);
    engine.await_position("counts", &name, 4, LONG).unwrap();
    assert!(status(place).moved_at.unwrap() > moved);
    assert_eq!(doctor(place, "standstills")[0].verdict, Severity::Ok);
    assert_eq!(doctor(place, "history")[0].verdict, Severity::Ok);
}

// Contract: L10, L11: the newest event was deleted by hand, and the heads still name it: nothing lags.
both!(a_checkpoint_whose_event_is_gone_is_told);
pub(crate) fn a_checkpoint_whose_event_is_gone_is_told<P: Place>(place: &P) {
    let engine = start(place.open(), lazy());
    fill(&engine, 2, 3);
    assert_eq!((status(place).verdict, health(&engine).verdict), (Verdict::Idle, Verdict::Idle));
    place.sql(&format!("DELETE FROM readside.events WHERE position = 3 AND instance_id = '{}'", tenant(1)));
    let seen = status(place);
    assert_eq!((seen.verdict, kinds(&seen.standstills)), (Verdict::Stuck, vec![StandstillKind::Diverged]));
    assert_eq!((seen.lagging_instances, seen.standstills[0].instance.clone()), (0, Some(tenant(1))));
    assert!(seen.reason.unwrap().contains("another event at the checkpoint, or none"));
    let found = health(&engine);
    assert_eq!((found.verdict, kinds(&found.standstills)), (Verdict::Stuck, vec![StandstillKind::Diverged]));
    assert_eq!(doctor(place, "standstills")[0].verdict, Severity::Fail);
    assert_eq!(doctor(place, "history")[0].verdict, Severity::Fail);
}

// Contract: L11: nothing lags and nobody pushes, but the look still finds it.
both!(a_checkpoint_above_the_head_is_told);
pub(crate) fn a_checkpoint_above_the_head_is_told<P: Place>(place: &P) {
    let engine = start(place.open(), lazy());
    fill(&engine, 1, 3);
    place.sql(
        "DELETE FROM readside.events WHERE position > 1; UPDATE readside.heads SET head = 1; \
         UPDATE readside.instances SET head = 1, head_event = (SELECT event_id FROM readside.events e \
         WHERE e.position = 1 AND e.instance_id = readside.instances.instance_id)",
    );
    let seen = status(place);
    assert_eq!((seen.verdict, kinds(&seen.standstills)), (Verdict::Stuck, vec![StandstillKind::Diverged]));
    assert_eq!(seen.standstills[0].instance, Some(tenant(0)));
    assert_eq!(health(&engine).verdict, Verdict::Stuck);
    assert_eq!(doctor(place, "standstills")[0].verdict, Severity::Fail);
}

// Contract: L9, L11
both!(many_standstills_are_counted_and_go_when_they_are_mended);
pub(crate) fn many_standstills_are_counted_and_go_when_they_are_mended<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    let all: Vec<NewEvent> = (0..150).map(|n| count(&tenant(n), "x", 1)).collect();
    engine.await_pushed("counts", &engine.push(&all).unwrap(), LONG).unwrap();
    eventually("the first run", || health(&engine).succeeded);
    exchange(place, true);
    place.open().push(&all).unwrap();
    let rows = || place.query("SELECT subject || ' ' || reason FROM readside.standstills ORDER BY subject DESC");
    eventually("the notes", || rows().first().is_some_and(|row| row == "more 50 more instances stand still"));
    assert_eq!(rows().len(), 101);
    let seen = status(place);
    assert_eq!((seen.verdict, seen.standstills.len()), (Verdict::Stuck, 101));
    exchange(place, false);
    eventually("the end", || rows().is_empty());
    eventually("nothing behind", || status(place).verdict == Verdict::Idle);
    assert_eq!(place.query("SELECT CAST(sum(n) AS integer) FROM counts"), ["300"]);
}

// Contract: L11
both!(a_pause_is_told_as_one);
pub(crate) fn a_pause_is_told_as_one<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    eventually("the first run", || health(&engine).succeeded);
    engine.admin().pause("counts", Some(&tenant(0)), &by()).unwrap();
    engine.push(&[count(&tenant(0), "x", 1)]).unwrap();
    let found = why(&engine, &tenant(0), 4);
    assert_eq!((found.kind, found.instance), (StandstillKind::Paused, Some(tenant(0))));
    assert!(found.reason.contains("ada") && found.reason.contains("a test") && found.since.is_some());
    assert_eq!((status(place).verdict, health(&engine).verdict), (Verdict::Paused, Verdict::Paused));
    engine.admin().pause("counts", None, &by()).unwrap();
    assert_eq!(why(&engine, &tenant(0), 4).kind, StandstillKind::Paused);
    let seen = status(place);
    assert!(seen.verdict == Verdict::Paused && seen.reason.unwrap().contains("ada"));
    engine.admin().resume("counts", None, &by()).unwrap();
    engine.admin().resume("counts", Some(&tenant(0)), &by()).unwrap();
    engine.await_position("counts", &tenant(0), 4, LONG).unwrap();
    assert_eq!((status(place).verdict, kinds(&status(place).standstills)), (Verdict::Idle, Vec::new()));
}

// Contract: L11
both!(what_nobody_runs_is_told_once_it_is_late);
pub(crate) fn what_nobody_runs_is_told_once_it_is_late<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    eventually("the first run", || health(&engine).succeeded);
    engine.shutdown(LONG).unwrap();
    assert_eq!((status(place).verdict, kinds(&status(place).standstills)), (Verdict::Idle, Vec::new()));
    place.open().push(&[count(&tenant(0), "x", 1)]).unwrap();
    assert_ne!(status(place).verdict, Verdict::Stuck, "a service that is started anew");
    assert_eq!(doctor(place, "engines")[0].verdict, Severity::Warn);
    assert_eq!(kinds(&status(place).standstills), [StandstillKind::NoEngine]);
    place.sql(&long_ago("readside.events", "created_at", "position = 4"));
    assert_eq!((status(place).verdict, doctor(place, "engines")[0].verdict), (Verdict::Stuck, Severity::Fail));
    let engine = start(place.open(), eager());
    engine.await_position("counts", &tenant(0), 4, LONG).unwrap();
    assert_eq!((status(place).verdict, kinds(&status(place).standstills)), (Verdict::Idle, Vec::new()));
}

/// Sets a time to a past one. The text is a valid time on SQLite too.
fn long_ago(table: &str, column: &str, which: &str) -> String {
    format!("UPDATE {table} SET {column} = '2020-01-01T00:00:00.000000Z' WHERE {which}")
}

// Contract: L11: if a clock far ahead moved a checkpoint, a standstill still shows.
both!(a_clock_far_ahead_hides_no_standstill);
pub(crate) fn a_clock_far_ahead_hides_no_standstill<P: Place>(place: &P) {
    let store = std::sync::Arc::new(place.open());
    let handler = ProjectionHandler::new(store.clone(), store.clone(), counts(1), HandlerConfig::default()).unwrap();
    handler.setup().unwrap();
    let process = Uuid::from_u128(7);
    let member = Member { process, name: "idle".into(), projections: vec![("counts".into(), 1)] };
    store.heartbeat(&member, LONG).unwrap();
    place.sql(&long_ago("readside.members", "since", "name = 'idle'"));
    place.sql("UPDATE readside.projections SET succeeded_at = '2020-01-01T00:00:00.000000Z'");
    fill_store(&*store);
    handler.trigger(&[&tenant(0)]).unwrap();
    fill_store(&*store);
    place.sql(&long_ago("readside.events", "created_at", "position = 2"));
    place.sql("UPDATE readside.projection_states SET moved_at = '2200-01-01T00:00:00.000000Z'");
    assert_eq!(
        (status(place).verdict, kinds(&status(place).standstills)),
        (Verdict::Stuck, vec![StandstillKind::Unmoved])
    );
    let (projection, instance) = (counts(1).key(), tenant(0));
    store.acquire(&projection, &[instance.as_str().into()], process, LONG).unwrap();
    place.sql(&long_ago("readside.projection_states", "leased_at", "position > 0"));
    assert_eq!(kinds(&status(place).standstills), [StandstillKind::Leased]);
    let note = |subject, kind| {
        let (reason, age) = ("x".to_owned(), Duration::ZERO);
        let note = Note { projection: projection.clone(), subject, kind, reason, age };
        store.standstills().note(process, &[note], &[]).unwrap();
    };
    note(StandstillSubject::Instance(instance.as_str().into()), StandstillKind::Locked);
    assert_eq!(kinds(&status(place).standstills), [StandstillKind::Locked, StandstillKind::Leased]);
    note(StandstillSubject::Work, StandstillKind::Full);
    let wanted = [StandstillKind::Full, StandstillKind::Locked, StandstillKind::Leased];
    assert_eq!(kinds(&status(place).standstills), wanted);
}

fn fill_store(store: &impl EventStore) {
    store.push(&[count(&tenant(0), "x", 1)]).unwrap();
}

// Contract: L11: a projection is behind for long and its checkpoint does not move, although nothing reports why.
both!(what_does_not_move_is_stuck_and_what_moves_is_not);
pub(crate) fn what_does_not_move_is_stuck_and_what_moves_is_not<P: Place>(place: &P) {
    let store = std::sync::Arc::new(place.open());
    let handler = ProjectionHandler::new(store.clone(), store.clone(), counts(1), HandlerConfig::default()).unwrap();
    handler.setup().unwrap();
    // This process is alive but does nothing.
    let process = Uuid::from_u128(7);
    let member = Member { process, name: "idle".into(), projections: vec![("counts".into(), 1)] };
    store.heartbeat(&member, LONG).unwrap();
    place.sql("UPDATE readside.projections SET succeeded_at = '2020-01-01T00:00:00.000000Z'");
    store.push(&[count(&tenant(0), "x", 1)]).unwrap();
    assert_eq!((status(place).verdict, status(place).moved_at), (Verdict::Behind, None));
    handler.trigger(&[&tenant(0)]).unwrap();
    assert_eq!((status(place).verdict, status(place).moved_at.is_some()), (Verdict::Idle, true));
    store.push(&[count(&tenant(0), "x", 1)]).unwrap();
    place.sql(&long_ago("readside.events", "created_at", "position = 2"));
    assert_eq!((status(place).verdict, kinds(&status(place).standstills)), (Verdict::Moving, Vec::new()));
    place.sql(&long_ago("readside.projection_states", "moved_at", "position > 0"));
    assert_eq!(status(place).verdict, Verdict::Behind, "the process began a moment ago");
    place.sql(&long_ago("readside.members", "since", "name = 'idle'"));
    let seen = status(place);
    assert_eq!((seen.verdict, kinds(&seen.standstills)), (Verdict::Stuck, vec![StandstillKind::Unmoved]));
    assert_eq!((seen.since, doctor(place, "standstills")[0].verdict), (seen.moved_at, Severity::Fail));
    handler.trigger(&[&tenant(0)]).unwrap();
    assert_eq!(status(place).verdict, Verdict::Idle);
}

// Contract: L11: a process died while its clock was ahead. What it wrote makes nobody believe that it lives until then.
both!(a_process_that_died_with_a_clock_ahead_is_dead);
pub(crate) fn a_process_that_died_with_a_clock_ahead_is_dead<P: Place>(place: &P) {
    let store = place.open();
    ProjectionStore::setup(&store, &[&counts(1)]).unwrap();
    let member = Member { process: Uuid::from_u128(7), name: "early".into(), projections: vec![("counts".into(), 1)] };
    store.heartbeat(&member, LONG).unwrap();
    store.push(&[count(&tenant(0), "x", 1)]).unwrap();
    let alive = || store.status(false).unwrap().members[0].alive;
    let clock = |announced: &str, until: &str| {
        place.sql(&format!("UPDATE readside.members SET announced_at = '{announced}', alive_until = '{until}'"));
    };
    assert!(alive());
    clock("2200-01-01T00:00:00.000000Z", "2200-01-01T00:01:00.000000Z");
    assert!(!alive());
    assert_eq!(status(place).verdict, Verdict::Behind);
    place.sql(&long_ago("readside.events", "created_at", "position = 1"));
    assert_eq!(
        (status(place).verdict, kinds(&status(place).standstills)[0]),
        (Verdict::Stuck, StandstillKind::NoEngine)
    );
    clock("2020-01-01T00:00:00.000000Z", "2200-01-01T00:01:00.000000Z");
    assert!(alive(), "a long lease");
}

// Contract: L11
both!(a_first_run_is_told_by_the_doctor_too);
pub(crate) fn a_first_run_is_told_by_the_doctor_too<P: Place>(place: &P) {
    let store = place.open();
    ProjectionStore::setup(&store, &[&crate::counts(1)]).unwrap();
    store.push(&[count("a", "x", 1)]).unwrap();
    let status = store.status(false).unwrap();
    assert!(status.projections[0].standstills.iter().any(|one| one.kind == StandstillKind::FirstRun), "{status:?}");
    let told = admin::Doctor::default().examine(&store);
    let first = told.iter().find(|finding| finding.found.contains("first run")).expect("it is told");
    assert!(first.verdict == Severity::Ok && first.found.contains("`readside status counts --watch`"), "{first:?}");
}

// Contract: L11
both!(a_lease_and_a_lead_of_another_process_are_told);
pub(crate) fn a_lease_and_a_lead_of_another_process_are_told<P: Place>(place: &P) {
    let (store, other, key) = (place.open(), Uuid::from_u128(7), counts(1).key());
    ProjectionStore::setup(&store, &[&counts(1)]).unwrap();
    let member = Member { process: other, name: "the other".into(), projections: vec![("counts".into(), 1)] };
    store.heartbeat(&member, LONG).unwrap();
    assert!(store.lead(&key, other, LONG).unwrap());
    let engine = start(place.open(), eager().lease(LONG));
    engine.push(&[count(&tenant(0), "x", 1)]).unwrap();
    assert_eq!(why(&engine, &tenant(0), 1).kind, StandstillKind::FirstRun);
    assert_eq!(status(place).verdict, Verdict::Building);
    // The other process holds the lease but does nothing, and nobody else may work yet.
    assert_eq!(store.acquire(&key, &[tenant(0).into()], other, LONG).unwrap().len(), 1);
    assert!(store.succeed(&key, other).unwrap());
    let found = why(&engine, &tenant(0), 1);
    assert!(found.kind == StandstillKind::Leased && found.reason.contains(&other.to_string()), "{found}");
    assert_eq!(kinds(&status(place).standstills), [], "it began just now");
    place.sql(&long_ago("readside.projection_states", "leased_at", "owner IS NOT NULL"));
    let seen = status(place);
    assert_eq!((seen.verdict, kinds(&seen.standstills)), (Verdict::Stuck, vec![StandstillKind::Leased]));
    assert!(seen.reason.unwrap().contains("the other"));
    assert_eq!(health(&engine).verdict, Verdict::Stuck);
    store.release(&key, &[tenant(0).into()], other).unwrap();
    engine.await_position("counts", &tenant(0), 1, LONG).unwrap();
    assert_eq!(kinds(&status(place).standstills), []);
}

// Contract: L11
both!(a_halted_build_is_told_with_its_trouble);
pub(crate) fn a_halted_build_is_told_with_its_trouble<P: Place>(place: &P) {
    let store = place.open();
    ProjectionStore::setup(&store, &[&counts(1)]).unwrap();
    let builds = store.builds();
    builds.begin(&counts(2), Uuid::from_u128(1)).unwrap();
    let enter = |to, trouble| builds.enter(&counts(2).key(), &[Phase::Building, Phase::Halted], to, trouble).unwrap();
    let of_second = || {
        let found = store.status(false).unwrap().projections;
        found.into_iter().find(|projection| projection.version == 2).unwrap()
    };
    assert_eq!(of_second().verdict, Verdict::Building);
    assert!(enter(Phase::Halted, Some("no room left")));
    let seen = of_second();
    assert_eq!((seen.verdict, kinds(&seen.standstills)), (Verdict::Stuck, vec![StandstillKind::Halted]));
    assert!(seen.reason.unwrap().contains("no room left"));
    let found = &doctor(place, "standstills")[0];
    assert!(found.verdict == Severity::Warn && found.found.contains("no room left"), "{found:?}");
    assert!(enter(Phase::Building, None));
    assert_eq!((of_second().verdict, kinds(&of_second().standstills)), (Verdict::Building, Vec::new()));
}

// Contract: L11: the notes of a dead process stay until a living process knows better. A note about something that
// moved again is gone.
both!(notes_hold_as_long_as_somebody_stands_by_them);
pub(crate) fn notes_hold_as_long_as_somebody_stands_by_them<P: Place>(place: &P) {
    let (store, dead, key) = (place.open(), Uuid::from_u128(7), counts(1).key());
    ProjectionStore::setup(&store, &[&counts(1)]).unwrap();
    let note = |subject, kind| Note { projection: key.clone(), subject, kind, reason: "so".into(), age: SHORT };
    let notes = [
        note(StandstillSubject::Work, StandstillKind::Denied),
        note(StandstillSubject::Instance(tenant(0).into()), StandstillKind::Locked),
    ];
    store.standstills().note(dead, &notes, &[]).unwrap();
    let seen = status(place);
    assert_eq!(kinds(&seen.standstills), [StandstillKind::Denied, StandstillKind::Locked]);
    let of_it = store.standstills().standings(std::slice::from_ref(&key), Some("another one")).unwrap();
    assert_eq!(kinds(&of_it[0].standstills), [StandstillKind::Denied]);
    let member = Member { process: dead, name: "dead".into(), projections: vec![("counts".into(), 1)] };
    store.heartbeat(&member, LONG).unwrap();
    assert_eq!(status(place).standstills[0].process, Some(dead));
    // A trigger in a process without an engine moves it.
    store.push(&[count(&tenant(0), "x", 1)]).unwrap();
    let handler = ProjectionHandler::new(
        std::sync::Arc::new(place.open()),
        std::sync::Arc::new(place.open()),
        counts(1),
        HandlerConfig::default(),
    );
    handler.unwrap().trigger(&[&tenant(0)]).unwrap();
    assert_eq!(kinds(&status(place).standstills), [], "somebody can go on with it");
    let now = Note { age: Duration::ZERO, ..notes[0].clone() };
    store.standstills().note(dead, &[now], &[]).unwrap();
    assert_eq!(kinds(&status(place).standstills), [StandstillKind::Denied]);
    store.leave(dead).unwrap();
    assert_eq!(kinds(&status(place).standstills), []);
    store.standstills().note(dead, &notes, &[]).unwrap();
    let gone = [(key.clone(), StandstillSubject::Work)];
    store.standstills().note(dead, &[], &gone).unwrap();
    assert_eq!(place.query("SELECT subject FROM readside.standstills"), ["instance"]);
    let engine = start(place.open(), eager());
    assert_eq!(kinds(&status(place).standstills), [], "nobody stands by it");
    drop(engine);
}

// Contract: L11: nobody can write, so the process that knows of the standstill shows it.
#[test]
fn what_cannot_be_written_is_shown_by_the_process_that_knows() {
    let place = crate::File::new();
    let quick = SqliteOptions::default().busy_timeout(Duration::from_millis(20));
    let store = SqliteStore::open_with(place.address(), quick).unwrap();
    let handler = HandlerConfig::default().retries(0);
    let engine = Engine::builder(store).projection_with(counts(1), handler).config(eager()).start().unwrap();
    fill(&engine, 1, 1);
    eventually("the first run", || health(&engine).succeeded);
    engine.push(&[count(&tenant(0), "x", 1)]).unwrap();
    engine.await_position("counts", &tenant(0), 2, LONG).unwrap();
    place.open().push(&[count(&tenant(0), "x", 1)]).unwrap();
    let other = readside::rusqlite::Connection::open(place.address()).unwrap();
    eventually("the lock", || other.execute_batch("BEGIN IMMEDIATE").is_ok());
    other
        .execute_batch("UPDATE readside_projection_states SET position = 2, event = (SELECT event_id FROM readside_events WHERE position = 2); COMMIT; BEGIN IMMEDIATE")
        .unwrap();
    eventually("the note", || {
        engine.health().is_ok_and(|health| kinds(&health.projections[0].standstills).contains(&StandstillKind::Locked))
    });
    other.execute_batch("ROLLBACK").unwrap();
    eventually("the end", || engine.health().is_ok_and(|health| health.projections[0].standstills.is_empty()));
    drop(engine);
}
