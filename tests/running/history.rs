//! The log is set back beneath running engines: Contract: L10, C6, G6.

use std::time::Duration;

use readside::error::AwaitError;
use readside::health::StopCause;
use readside::prelude::*;
use readside::store::{EventSource, LeaseStore, ProjectionStore, Standstill, StandstillKind};
use readside::{Engine, EventStore, NewEvent};

use crate::{LONG, Place, by, count, counts, eager, eventually, lazy, start, sum};

/// Sets the log of an instance back to this position.
fn cut<P: Place>(place: &P, instance: &str, position: i64) {
    let own = |table: &str| place.own(table);
    let of = format!("WHERE instance_id = '{instance}'");
    place.sql(&format!(
        "BEGIN; DELETE FROM {events} {of} AND position > {position}; \
         UPDATE {instances} SET head = {position}, head_event = \
         (SELECT event_id FROM {events} {of} AND position = {position}) {of}; \
         UPDATE {heads} SET head = {position} {of} AND head > {position}; COMMIT",
        events = own("events"),
        instances = own("instances"),
        heads = own("heads"),
    ));
}

fn counted(events: usize) -> Vec<NewEvent> {
    std::iter::repeat_with(|| count("a", 1)).take(events).collect()
}

fn is_diverged(outcome: &Result<(), AwaitError>) -> bool {
    matches!(outcome, Err(AwaitError::Stopped { stopped, .. })
        if matches!(stopped.cause, StopCause::HistoryDiverged { .. }))
}

// Contract: L10, C6: another event has its position now, and was applied.
both!(a_wait_for_an_event_that_was_lost_is_an_error);
pub(crate) fn a_wait_for_an_event_that_was_lost_is_an_error<P: Place>(place: &P) {
    let (store, other) = (place.open(), place.open());
    let engine = start(store.clone(), &["counts"], lazy());
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.admin().pause("counts", Some("a"), &by()).unwrap();
    let lost = engine.push(&[count("a", 10)]).unwrap();
    cut(place, "a", 1);
    let kept = other.push(&[count("a", 100)]).unwrap();
    assert_eq!(kept[0].position(), lost[0].position());
    engine.admin().resume("counts", Some("a"), &by()).unwrap();
    engine.trigger("counts", &["a"]).unwrap();
    let outcome = engine.await_pushed("counts", &lost, LONG);
    assert!(matches!(outcome, Err(AwaitError::EventLost { position: 2, .. })), "{outcome:?}");
    engine.await_pushed("counts", &kept, LONG).unwrap();
    assert_eq!(sum::<P>(&store, "counts", Some("a")), 101);
    let later = engine.push(&[count("a", 1000)]).unwrap();
    let outcome = engine.await_pushed("counts", &[lost, later].concat(), LONG);
    assert!(
        matches!(outcome, Err(AwaitError::EventLost { position: 2, .. })),
        "in front of one that is there: {outcome:?}"
    );
}

// Contract: L10, C6, G6: the read model is at a position where the log now has another event, or none.
both!(no_wait_believes_a_checkpoint_that_the_log_lost);
pub(crate) fn no_wait_believes_a_checkpoint_that_the_log_lost<P: Place>(place: &P) {
    let (events, models) = (place.open(), place.elsewhere());
    ProjectionStore::setup(&events, &[]).unwrap();
    let engine = Engine::builder(events.clone()).models(models).projection(counts("counts")).config(eager());
    let engine = engine.start().unwrap();
    let pushed = engine.push(&counted(10)).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    cut(place, "a", 5);
    let outcome = engine.await_position("counts", "a", 10, LONG);
    assert!(is_diverged(&outcome), "{outcome:?}");
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    let outcome = engine.await_pushed("counts", &pushed, LONG);
    assert!(is_diverged(&outcome), "the checkpoint lies above the log: {outcome:?}");
    let pushed = engine.push(&counted(9)).unwrap();
    let outcome = engine.await_pushed("counts", &pushed, LONG);
    assert!(is_diverged(&outcome), "another event stands at the checkpoint: {outcome:?}");
    let pushed = engine.push(&[count("b", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
}

// Contract: L10: by positions alone, nothing lags.
both!(a_log_that_came_to_the_same_heads_again_is_looked_at);
pub(crate) fn a_log_that_came_to_the_same_heads_again_is_looked_at<P: Place>(place: &P) {
    let (store, other) = (place.open(), place.open());
    let engine = start(store.clone(), &["counts"], eager());
    let pushed = engine.push(&counted(3)).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    cut(place, "a", 1);
    other.push(&[count("a", 10), count("a", 10)]).unwrap();
    let engine = start(store, &["counts"], lazy());
    let outcome = engine.await_position("counts", "a", 3, Duration::from_secs(1));
    assert!(is_diverged(&outcome), "{outcome:?}");
}

// Contract: L10, L7: what the queue showed of the old log is forgotten, and ticks find the new log.
both!(a_log_that_was_set_back_with_its_read_model_is_applied_again);
pub(crate) fn a_log_that_was_set_back_with_its_read_model_is_applied_again<P: Place>(place: &P) {
    let (store, other) = (place.open(), place.open());
    let engine = start(store.clone(), &["counts"], eager());
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let unwanted = || NewEvent::raw("a", "other", "o", "other.added");
    engine.push(&std::iter::repeat_with(unwanted).take(5).collect::<Vec<_>>()).unwrap();
    cut(place, "a", 1);
    let kept = other.push(&counted(5)).unwrap();
    let last = engine.push(&[count("a", 1)]).unwrap();
    assert_eq!(last[0].position(), 7);
    engine.await_pushed("counts", &[kept, last].concat(), LONG).unwrap();
    eventually("each wanted event once", || sum::<P>(&store, "counts", Some("a")) == 7);
}

// Contract: L11, G5: an error tells a service that its read models are in a copy of the events' database.
both!(read_models_in_a_copy_of_the_event_store_are_named);
pub(crate) fn read_models_in_a_copy_of_the_event_store_are_named<P: Place>(place: &P) {
    let (models, own) = (place.elsewhere(), place.own("store"));
    ProjectionStore::setup(&models, &[&counts("counts")]).unwrap();
    place.open().setup(&[]).unwrap();
    // The database looks like a copy that has none of the later events.
    let id = models.store_id().unwrap();
    let literal = if own.starts_with("readside.") { format!("'{id}'") } else { format!("x'{}'", id.simple()) };
    place.sql(&format!("UPDATE {own} SET store_id = {literal}"));
    let events = place.open();
    assert_eq!(events.store_id().unwrap(), id);
    let engine = Engine::builder(events).models(models).projection(counts("counts")).config(eager()).start().unwrap();
    engine.push(&counted(2)).unwrap();
    let found = || engine.health().unwrap().projections.remove(0).standstills;
    let is_named =
        |one: &Standstill| one.kind == StandstillKind::Diverged && one.reason.contains("is a copy of the other");
    eventually("the reason", || found().iter().any(is_named));
    engine.shutdown(LONG).unwrap();
}

// Contract: L10, L11, F7: this holds too when events are applied one by one, because one of them may have killed a
// process.
both!(a_commit_check_that_refuses_careful_work_is_told_as_another_history);
pub(crate) fn a_commit_check_that_refuses_careful_work_is_told_as_another_history<P: Place>(place: &P) {
    let (store, own) = (place.open(), |table: &str| place.own(table));
    let ((ask, asked), (answer, answered)) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
    let (ask, answered) = (std::sync::Mutex::new(ask), std::sync::Mutex::new(answered));
    // Whenever the event is reduced, the log gets another event in its place.
    let projection = Projection::new("counts", 1)
        .table(Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(move |e, p: crate::Counted| {
            let _ = ask.lock().unwrap().send(());
            let _ = answered.lock().unwrap().recv_timeout(LONG);
            upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)])
        });
    ProjectionStore::setup(&store, &[&projection]).unwrap();
    store.push(&counted(1)).unwrap();
    let dead = uuid::Uuid::from_u128(1);
    assert_eq!(store.acquire(&projection.key(), &["a".into()], dead, Duration::from_millis(1)).unwrap().len(), 1);
    let engine = Engine::builder(store).projection(projection).config(eager()).start().unwrap();
    let fresh = if own("").contains('.') { "gen_random_uuid()" } else { "randomblob(16)" };
    let found = || engine.health().unwrap().projections.remove(0).standstills;
    let is_other = |one: &Standstill| matches!(one.kind, StandstillKind::Diverged | StandstillKind::Database);
    let mut noted = Vec::new();
    eventually("the standstill", || {
        if asked.recv_timeout(Duration::from_millis(20)).is_ok() {
            place.sql(&format!("UPDATE {} SET event_id = {fresh} WHERE instance_id = 'a'", own("events")));
            answer.send(()).unwrap();
        }
        noted = found();
        noted.iter().any(is_other)
    });
    let told = noted.into_iter().find(is_other).unwrap();
    assert!(told.kind == StandstillKind::Diverged && told.reason.contains("another event stands"), "{told}");
    drop(answer);
    engine.shutdown(LONG).unwrap();
}
