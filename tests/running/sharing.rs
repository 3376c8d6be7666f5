//! Several engines on one database: Contract: A7, F6, L2, L7.

use std::sync::atomic::Ordering;
use std::time::Duration;

use readside::store::{LeaseStore, Member, NotificationListener, Notifications, Notifier, ProjectionStore};
use readside::subscription::PushedIn;
use readside::{Engine, EventStore, HandlerConfig, Policy, PostgresOptions, PostgresStore, postgres_driver};

use crate::unreliable::Unreliable;
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
    // Behind a pooler in transaction mode nobody hears anything.
    let options = PostgresOptions::default().listen_url(place.url());
    let open = || PostgresStore::connect_with(&place.store_url(), options.clone()).unwrap();
    let (own, other) = (open(), open());
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
