//! When a first run is over, and what waits for that: Contract: E5.

use std::sync::atomic::Ordering;
use std::time::Duration;

use readside::prelude::*;
use readside::query::{Query, SubQuery};
use readside::store::{LeaseStore, ProjectionStore};
use readside::{Engine, EventStore, HandlerConfig, NewEvent, SqliteStore};

use crate::unreliable::Unreliable;
use crate::{LONG, Place, count, counts, eager, eventually, lazy, start, sum};

// Contract: E5: the success is announced once, also if it could not be recorded at first.
both!(a_success_that_could_not_be_recorded_is_not_announced_twice);
pub(crate) fn a_success_that_could_not_be_recorded_is_not_announced_twice<P: Place>(place: &P) {
    let (store, seen) = Unreliable::new(false, false).around(place.open());
    seen.unsuccessful.store(3, Ordering::SeqCst);
    let engine = Engine::builder(store.clone()).projection(counts("counts")).config(eager()).start().unwrap();
    eventually("success", || engine.health().unwrap().projections[0].succeeded);
    let query = Query::new().or(SubQuery::new().instance(""));
    assert_eq!(store.filter(&query).unwrap().len(), 1);
    assert_eq!(seen.unsuccessful.load(Ordering::SeqCst), 0);
}

// Contract: E5: the first run is not over while something is paused, or while another process holds it.
both!(a_first_run_is_not_over_while_anything_has_to_wait);
pub(crate) fn a_first_run_is_not_over_while_anything_has_to_wait<P: Place>(place: &P) {
    let events = place.open();
    events.setup(&[]).unwrap();
    events.push(&[count("a", 1), count("b", 1), count("c", 1)]).unwrap();
    for models in [place.open(), place.elsewhere()] {
        let (models, seen) = Unreliable::new(true, true).around(models);
        models.setup(&[&counts("counts")]).unwrap();
        crate::pause(&models, "counts", Some("b"), true);
        let (key, other, c) = (counts("counts").key(), uuid::Uuid::from_u128(5), ["c".into()]);
        assert_eq!(models.acquire(&key, &c, other, eager().lease * 3).unwrap().len(), 1);
        let builder = Engine::builder(events.clone()).models(models.clone()).projection(counts("counts"));
        let engine = builder.config(eager()).start().unwrap();
        let succeeded = |ticks: usize| {
            let before = seen.pauses.load(Ordering::SeqCst);
            eventually("ticks", || seen.pauses.load(Ordering::SeqCst) >= before + ticks);
            models.succeeded(std::slice::from_ref(&key)).unwrap()[0]
        };
        engine.await_position("counts", "a", 1, LONG).unwrap();
        assert!(!succeeded(5), "b and c are not done");
        models.release(&key, &c, other).unwrap();
        engine.await_position("counts", "c", 1, LONG).unwrap();
        assert!(!succeeded(5), "b is not done");
        crate::pause(&models, "counts", Some("b"), false);
        eventually("success", || succeeded(1));
        assert_eq!(sum::<P>(models.inner(), "counts", None), 3);
    }
}

// Contract: E5: events that come after a first run has begun do not lengthen it. In this test they could never all be
// applied before its end.
both!(a_first_run_ends_although_events_keep_coming);
pub(crate) fn a_first_run_ends_although_events_keep_coming<P: Place>(place: &P) {
    let store = place.open();
    let (entered, wait) = crossbeam_channel::bounded::<()>(8);
    let (open, opened) = crossbeam_channel::bounded::<()>(8);
    let held = counts("counts").on_raw("thing", "thing.held", move |_| {
        let _ = entered.try_send(());
        let _ = opened.recv_timeout(LONG);
        noop()
    });
    store.setup(&[&held]).unwrap();
    store.push(&[NewEvent::raw("a", "thing", "x", "thing.held"), count("b", 1)]).unwrap();
    let alone = HandlerConfig::default().concurrent_instances(1);
    let config = eager().handler(alone).workers(3);
    let engine = Engine::builder(store.clone()).projection(held).config(config).start().unwrap();
    wait.recv_timeout(LONG).unwrap();
    engine.await_position("counts", "b", 1, LONG).unwrap();
    let succeeded = || engine.health().unwrap().projections[0].succeeded;
    assert!(!succeeded(), "a is not done");
    engine.admin().pause("counts", Some("b"), &crate::by()).unwrap();
    let later = engine.push(&[count("b", 1), count("c", 1)]).unwrap();
    drop(open);
    eventually("success", succeeded);
    assert_eq!(sum::<P>(&store, "counts", Some("b")), 1);
    engine.admin().resume("counts", Some("b"), &crate::by()).unwrap();
    engine.await_pushed("counts", &later, LONG).unwrap();
}

// Contract: E5, L9: all instances count, on however many pages they are.
#[cfg(feature = "sqlite")]
#[test]
fn a_first_run_is_not_over_before_the_last_page_is_done() {
    let (store, seen) = Unreliable::new(true, true).around(SqliteStore::in_memory().unwrap());
    store.setup(&[&counts("counts")]).unwrap();
    for page in 0..5 {
        let commands: Vec<NewEvent> = (0..500).map(|n| count(&format!("t-{:05}", page * 500 + n), 1)).collect();
        store.push(&commands).unwrap();
    }
    crate::pause(&store, "counts", Some("t-02499"), true);
    let engine = Engine::builder(store.clone()).projection(counts("counts")).config(eager()).start().unwrap();
    let key = counts("counts").key();
    let done = || store.inner().read_rows(&counts("counts"), "counts").unwrap().len();
    eventually("the others", || done() == 2499);
    let before = seen.looks();
    eventually("ticks", || seen.looks() >= before + 10);
    assert!(!store.succeeded(std::slice::from_ref(&key)).unwrap()[0], "one is not done");
    crate::pause(&store, "counts", Some("t-02499"), false);
    eventually("success", || store.succeeded(std::slice::from_ref(&key)).unwrap()[0]);
    assert_eq!(done(), 2500);
    engine.shutdown(LONG).unwrap();
}

// Contract: E5, F4: this holds also if ticks come less often than a lead lasts.
both!(a_lead_is_kept_between_ticks);
pub(crate) fn a_lead_is_kept_between_ticks<P: Place>(place: &P) {
    let (store, seen) = Unreliable::new(true, true).around(place.open());
    store.setup(&[&counts("counts")]).unwrap();
    store.push(&[count("a", 1)]).unwrap();
    crate::pause(&store, "counts", Some("a"), true);
    let engine = start(store.clone(), &["counts"], lazy().lease(Duration::from_secs(1)));
    eventually("renewals", || seen.leads.load(Ordering::SeqCst) > 10);
    assert!(!store.inner().lead(&counts("counts").key(), uuid::Uuid::from_u128(5), LONG).unwrap());
    drop(engine);
}
