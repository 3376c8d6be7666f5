//! Several engines on one database: Contract: A7, F6, L2, L7.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use readside::error::StoreError;
use readside::prelude::*;
use readside::query::{Query, SubQuery};
use readside::store::{LeaseStore, Member, NotificationListener, Notifications, Notifier, ProjectionStore};
use readside::subscription::PushedIn;
use readside::testing::{Answer, Call, Faults, FaultyStore};
use readside::{Engine, EngineStore, EventStore, HandlerConfig, NewEvent, Policy, SqliteStore, error, postgres_driver};

use crate::{LONG, Place, count, counts, eager, eventually, instance, lazy, start, sum};

const INSTANCES: usize = 40;

// Contract: L2, F6
both!(engines_share_the_work_and_nothing_happens_twice);
pub(crate) fn engines_share_the_work_and_nothing_happens_twice<P: Place>(place: &P) {
    let stores: Vec<P::Store> = (0..3).map(|_| place.open()).collect();
    let names = ["one", "two"];
    let mut engines: Vec<Engine> = stores.iter().map(|store| start(store.clone(), &names, eager())).collect();
    let mut pushed = 0;
    for round in 0..6 {
        for n in 0..INSTANCES {
            engines[n % engines.len()].push(&[count(&instance(n), 1), count(&instance(n), 2)]).unwrap();
        }
        pushed += 2;
        if round == 3 {
            engines.remove(0).shutdown(LONG).unwrap();
        }
    }
    for n in 0..INSTANCES {
        for name in names {
            engines[0].await_position(name, &instance(n), pushed, LONG).unwrap();
        }
    }
    for name in names {
        assert_eq!(sum::<P>(&stores[1], name, None), 18 * 40);
    }
    eventually("two members", || engines[0].health().unwrap().members == 2);
}

// Contract: F6: no tick and no heartbeat comes, so each engine must hear of who comes and goes. Otherwise the tenants of
// a process that was shut down would wait for a heartbeat.
both!(the_others_hear_of_who_comes_and_goes);
pub(crate) fn the_others_hear_of_who_comes_and_goes<P: Place>(place: &P) {
    let rare = || lazy().lease(Duration::from_hours(1));
    let staying = start(place.open(), &["counts"], rare());
    eventually("the first run", || staying.health().unwrap().projections[0].succeeded);
    let leaving = start(place.open(), &["counts"], rare());
    for engine in [&staying, &leaving] {
        eventually("two members", || engine.health().unwrap().members == 2);
    }
    leaving.shutdown(LONG).unwrap();
    eventually("one member", || staying.health().unwrap().members == 1);
    for n in 0..INSTANCES {
        let pushed = staying.push(&[count(&instance(n), 1)]).unwrap();
        staying.await_pushed("counts", &pushed, LONG).unwrap();
    }
}

// Contract: A7: no tick comes, so the other engine must hear of the push.
both!(pushes_of_others_are_heard_of_at_once);
pub(crate) fn pushes_of_others_are_heard_of_at_once<P: Place>(place: &P) {
    let (one, other) = (place.open(), place.open());
    let working = start(one.clone(), &["counts"], lazy());
    eventually("the first run", || working.health().unwrap().projections[0].succeeded);
    // This engine is a member, but it keeps another read model.
    let pushing = start(other.clone(), &["others"], lazy());
    eventually("two members", || working.health().unwrap().members == 2 || pushing.health().unwrap().members == 2);
    for n in 0..20 {
        // Of several instances, the working engine is the first taker of some.
        let pushed = pushing.push(&[count(&instance(n), 1)]).unwrap();
        pushing.await_pushed("others", &pushed, LONG).unwrap();
    }
    eventually("news by wire", || sum::<P>(&one, "counts", None) >= 1);
}

// Contract: A7: no tick comes. The process that pushes has no engine, and ends at once.
both!(pushes_without_an_engine_are_heard_of_at_once);
pub(crate) fn pushes_without_an_engine_are_heard_of_at_once<P: Place>(place: &P) {
    let working = start(place.open(), &["counts"], lazy());
    eventually("the first run", || working.health().unwrap().projections[0].succeeded);
    for position in 1..=3 {
        let pushed = place.open().push(&[count("a", 1)]).unwrap();
        assert_eq!(pushed[0].position(), position);
        working.await_pushed("counts", &pushed, LONG).unwrap();
    }
}

// Contract: A7, A4: the same for a push inside a caller's transaction, when its token has been fired.
#[cfg(feature = "postgres")]
#[test]
fn what_a_transaction_of_the_callers_pushed_is_heard_of_at_once() {
    let place = crate::common::postgres::database();
    let working = start(place.open(), &["counts"], lazy());
    eventually("the first run", || working.health().unwrap().projections[0].succeeded);
    let other = place.open();
    let mut client = postgres_driver::Client::connect(place.url(), postgres_driver::NoTls).unwrap();
    let mut transaction = client.transaction().unwrap();
    let PushedIn { events, token } = other.push_in(&mut transaction, &[count("a", 1)]).unwrap();
    transaction.commit().unwrap();
    token.fire();
    working.await_pushed("counts", &events, LONG).unwrap();
}

// Contract: A7, L7: a store hears of its own pushes inside the process, and ignores its own notifications.
#[cfg(feature = "postgres")]
#[test]
fn a_store_passes_over_its_own_news() {
    let place = crate::common::postgres::database();
    let (own, other) = (place.open(), place.open());
    ProjectionStore::setup(&own, &[]).unwrap();
    let (mut wire, mut another) = (own.listener(), other.listener());
    for wire in [&mut wire, &mut another] {
        assert!(wire.listen(LONG).unwrap().all, "a new connection is news of everything");
    }
    let hear = |wire: &mut Box<dyn NotificationListener>| {
        let mut heard = Notifications::default();
        eventually("news", || {
            heard = wire.listen(LONG).unwrap();
            !heard.is_empty()
        });
        heard
    };
    own.push(&[count("own", 1)]).unwrap();
    assert_eq!(hear(&mut another).instances, [("own".into(), "thing".into())]);
    own.push(&(0..1000).map(|n| count(&instance(n), 1)).collect::<Vec<_>>()).unwrap();
    assert!(hear(&mut another).all, "so many are news of everything");
    other.push(&[count("other", 1)]).unwrap();
    let heard = hear(&mut wire);
    assert_eq!(heard, Notifications { instances: vec![("other".into(), "thing".into())], all: false });
}

/// A store that hears nothing, or hears everything twice through a wire that breaks. Some of its calls fail.
#[derive(Default)]
struct Unreliable {
    deaf_wire: bool,
    deaf_queue: bool,
    /// How many records of success still have to fail.
    unsuccessful: AtomicUsize,
    /// How many looks at the change token there were, and how many at everything.
    looks: (AtomicUsize, AtomicUsize),
    /// How many requests for leases there were.
    leases: AtomicUsize,
    /// How many requests for the lead there were.
    leads: AtomicUsize,
    /// Each tick begins with a look at the change token. That look waits until this is dropped.
    held_up: Option<crossbeam_channel::Receiver<()>>,
    /// True if reading the pauses fails.
    forgetful: bool,
    /// How often the pauses were read. Each tick reads them while it compares heads with states in another database.
    pauses: AtomicUsize,
    /// How often the store was listened to.
    listened: AtomicUsize,
    /// Tells other stores that there may be news anywhere.
    babble: OnceLock<Babble>,
}

type Babble = Box<dyn Fn() -> Result<(), StoreError> + Send + Sync>;

impl Unreliable {
    fn new(deaf_wire: bool, deaf_queue: bool) -> Self {
        Self { deaf_wire, deaf_queue, ..Self::default() }
    }

    fn around<S: EngineStore + Clone>(self, store: S) -> (FaultyStore<S>, Arc<Self>) {
        let (faults, babbler) = (Arc::new(self), store.clone());
        let babble = move || babbler.announce(&Notifications { instances: Vec::new(), all: true });
        assert!(faults.babble.set(Box::new(babble)).is_ok(), "it is around one store");
        (FaultyStore::new(store, faults.clone()), faults)
    }

    fn looks(&self) -> usize {
        self.looks.0.load(Ordering::SeqCst)
    }

    fn leases(&self) -> usize {
        self.leases.load(Ordering::SeqCst)
    }
}

fn cut_off(doing: &str) -> Result<(), StoreError> {
    Err(StoreError::new(doing, error::StoreErrorKind::Connection, "cut off on purpose"))
}

impl Faults for Unreliable {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        match call.name {
            "EventStore::subscribe" if self.deaf_queue => return cut_off("subscribing"),
            "LeaseStore::acquire" => drop(self.leases.fetch_add(1, Ordering::SeqCst)),
            "LeaseStore::lead" => drop(self.leads.fetch_add(1, Ordering::SeqCst)),
            "LeaseStore::lagging_instances" if call.instances.is_empty() => {
                self.looks.1.fetch_add(1, Ordering::SeqCst);
            }
            "LeaseStore::change_token" => {
                self.looks.0.fetch_add(1, Ordering::SeqCst);
                if let Some(held_up) = &self.held_up {
                    let _ = held_up.recv_timeout(LONG);
                }
            }
            "LeaseStore::succeed" => {
                let left = |left: usize| left.checked_sub(1);
                if self.unsuccessful.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
                    return cut_off("recording success");
                }
            }
            "LeaseStore::pauses" if self.forgetful => return cut_off("reading what is paused"),
            "LeaseStore::pauses" => drop(self.pauses.fetch_add(1, Ordering::SeqCst)),
            "NotificationListener::listen" if !self.deaf_wire => {
                if (self.listened.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(5) {
                    return cut_off("listening");
                }
                call.wait = call.wait.map(|wait| wait.min(Duration::from_millis(5)));
            }
            _ => {}
        }
        Ok(())
    }

    fn after(&self, call: &Call, answer: Answer<'_>) -> Result<(), StoreError> {
        match answer {
            Answer::Notifications(news) if self.deaf_wire => *news = Notifications::default(),
            Answer::Notifications(news) => {
                news.instances.extend(news.instances.clone());
                news.all = true;
            }
            Answer::Done if call.name == "Notifier::announce" => {
                return self.babble.get().expect("it is around a store")();
            }
            _ => {}
        }
        Ok(())
    }
}

fn run<P: Place>(place: &P, silent: bool) {
    let stores: Vec<P::Store> = (0..2).map(|_| place.open()).collect();
    let engines: Vec<Engine> = stores
        .iter()
        .map(|store| {
            let (store, _) = Unreliable::new(silent, silent).around(store.clone());
            Engine::builder(store).projection(counts("counts")).config(eager()).start().unwrap()
        })
        .collect();
    for round in 0..5 {
        for n in 0..10 {
            engines[(round + n) % 2].push(&[count(&instance(n), 1)]).unwrap();
        }
    }
    for n in 0..10 {
        engines[0].await_position("counts", &instance(n), 5, LONG).unwrap();
    }
    assert_eq!(sum::<P>(&stores[0], "counts", None), 50);
}

// Contract: D2: the engine did not hear of an event in between. It catches up with the instance and skips nothing.
both!(a_gap_in_the_queue_is_caught_up);
pub(crate) fn a_gap_in_the_queue_is_caught_up<P: Place>(place: &P) {
    let store = place.open();
    let (heard, _) = Unreliable::new(true, false).around(store.clone());
    let engine = Engine::builder(heard).projection(counts("counts")).config(lazy()).start().unwrap();
    let unheard = place.open();
    for round in 1..=5 {
        unheard.push(&[count("a", 100)]).unwrap();
        let pushed = engine.push(&[count("a", 1)]).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
        assert_eq!(sum::<P>(&store, "counts", None), 101 * round);
    }
}

// Contract: D2: an event from the queue needs one transaction, and no lease to take and give back.
both!(events_from_the_queue_need_no_lease);
pub(crate) fn events_from_the_queue_need_no_lease<P: Place>(place: &P) {
    let (store, seen) = Unreliable::new(true, false).around(place.open());
    let engine = Engine::builder(store.clone()).projection(counts("counts")).config(lazy()).start().unwrap();
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    let mut applied = 1;
    // A tick that the first run asked for may still find some of the first events. No tick comes after it.
    eventually("twenty pushes without a lease", || {
        let before = seen.leases();
        for _ in 0..20 {
            let pushed = engine.push(&[count("a", 1)]).unwrap();
            engine.await_pushed("counts", &pushed, LONG).unwrap();
        }
        applied += 20;
        seen.leases() == before
    });
    assert_eq!(sum::<P>(store.inner(), "counts", None), applied);
}

// Contract: D2: if another process holds a lease, its instance is left to that process until the lease ends.
both!(events_of_what_another_holds_are_left_to_it);
pub(crate) fn events_of_what_another_holds_are_left_to_it<P: Place>(place: &P) {
    let (store, seen) = Unreliable::new(true, false).around(place.open());
    let engine = Engine::builder(store.clone()).projection(counts("counts")).config(eager()).start().unwrap();
    let pushed = engine.push(&[count("a", 1), count("b", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    let (key, other, a) = (counts("counts").key(), uuid::Uuid::from_u128(5), ["a".into()]);
    // The lease is short enough that it does not look like the lease of a wrong clock.
    let lease = eager().lease * 3;
    eventually("the lease", || store.inner().acquire(&key, &a, other, lease).unwrap().len() == 1);
    let asked = seen.leases();
    let pushed = engine.push(&[count("a", 1), count("b", 1)]).unwrap();
    engine.await_position("counts", "b", 2, LONG).unwrap();
    eventually("a try for the lease", || seen.leases() > asked);
    assert_eq!(sum::<P>(store.inner(), "counts", Some("a")), 1);
    store.inner().release(&key, &a, other).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
}

// Contract: J1: a pause from before the start of an engine holds before the engine's first look too.
both!(a_starting_engine_knows_what_is_paused);
pub(crate) fn a_starting_engine_knows_what_is_paused<P: Place>(place: &P) {
    let engine = start(place.open(), &["counts"], eager());
    let pushed = engine.push(&[count("a", 1), count("b", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    engine.shutdown(LONG).unwrap();
    crate::pause(&place.open(), "counts", Some("a"), true);
    let (look, held_up) = crossbeam_channel::bounded::<()>(0);
    let (store, _) = Unreliable { held_up: Some(held_up), ..Unreliable::new(true, false) }.around(place.open());
    // One worker applies events in the order of pushes.
    let config = lazy().workers(1);
    let engine = Engine::builder(store.clone()).projection(counts("counts")).config(config).start().unwrap();
    let paused = engine.push(&[count("a", 10)]).unwrap();
    let pushed = engine.push(&[count("b", 10)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!((sum::<P>(store.inner(), "counts", Some("a")), sum::<P>(store.inner(), "counts", Some("b"))), (1, 11));
    drop(look);
    engine.admin().resume("counts", Some("a"), &crate::by()).unwrap();
    engine.await_pushed("counts", &paused, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    let (forgetful, _) = Unreliable { forgetful: true, ..Unreliable::new(true, false) }.around(place.open());
    let started = Engine::builder(forgetful).projection(counts("counts")).config(lazy()).start();
    let error = started.map(drop).expect_err("it cannot know what is paused");
    assert!(error.to_string().contains("reading what is paused"), "{error}");
}

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

// Contract: F6, L7: a member should take some pairs first, but never does. Other members can still take them.
both!(pairs_that_their_first_taker_leaves_alone_are_taken);
pub(crate) fn pairs_that_their_first_taker_leaves_alone_are_taken<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), &["counts"], eager());
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    let idler =
        Member { process: uuid::Uuid::from_u128(77), name: "idler".into(), projections: vec![("counts".into(), 1)] };
    store.heartbeat(&idler, Duration::from_secs(15)).unwrap();
    eventually("two members", || engine.health().unwrap().members == 2);
    for n in 0..20 {
        store.push(&[count(&instance(n), 1)]).unwrap();
    }
    for n in 0..20 {
        engine.await_position("counts", &instance(n), 1, LONG).unwrap();
    }
}

// Contract: E2: while nothing happens, ticks do not look at all pairs, also if something is stopped.
both!(a_calm_engine_looks_for_signs_only);
pub(crate) fn a_calm_engine_looks_for_signs_only<P: Place>(place: &P) {
    let (store, seen) = Unreliable::new(true, true).around(place.open());
    let stops = HandlerConfig::default().max_failure_count(1).retries(0).policy(Policy::Stop);
    let builder = Engine::builder(store.clone()).projection_with(counts("counts"), stops).config(eager());
    let engine = builder.start().unwrap();
    let pushed = engine.push(&[count("a", 1), count("b", 13)]).unwrap();
    engine.await_pushed("counts", &pushed[..1], LONG).unwrap();
    assert!(engine.await_pushed("counts", &pushed[1..], LONG).is_err());
    eventually("success", || engine.health().unwrap().projections[0].succeeded);
    let looks = || (seen.looks(), seen.looks.1.load(Ordering::SeqCst));
    let (before, _) = looks();
    eventually("two ticks", || looks().0 >= before + 2);
    let before = looks();
    eventually("twenty ticks", || looks().0 >= before.0 + 20);
    assert!(looks().1 <= before.1 + 1, "one look anyway: {before:?}, {:?}", looks());
    store.push(&[count("a", 1)]).unwrap();
    engine.await_position("counts", "a", 2, LONG).unwrap();
    assert!(looks().1 > before.1);
}

// Contract: L7
both!(the_ticker_alone_suffices);
pub(crate) fn the_ticker_alone_suffices<P: Place>(place: &P) {
    run(place, true);
}

// Contract: L7
both!(everything_heard_twice_happens_once);
pub(crate) fn everything_heard_twice_happens_once<P: Place>(place: &P) {
    run(place, false);
}
