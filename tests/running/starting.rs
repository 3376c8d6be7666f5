//! First runs, and what existed before them: Contract: E1, E5, G5, I1, J1, J5, L5.

use std::time::Duration;

use readside::query::{Query, SubQuery};
use readside::store::{Checkpoint, EventSource, LeaseStore, Log, Member, ProjectionStore, ProjectionTransaction};
use readside::{
    Engine, EngineConfig, Error, EventStore, HandlerConfig, Policy, PostgresOptions, PostgresStore, SqliteStore, error,
};

use crate::{LONG, Place, count, counts, eager, eventually, instance, lazy, start, sum};

// Contract: I1
both!(many_first_set_ups_at_once_make_one_schema);
pub(crate) fn many_first_set_ups_at_once_make_one_schema<P: Place>(place: &P) {
    let stores: Vec<P::Store> = (0..6).map(|_| place.open()).collect();
    let together = std::sync::Barrier::new(stores.len());
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(|| {
                together.wait();
                store.setup(&[&counts("counts"), &counts("others")]).unwrap();
            });
        }
    });
    let ids: Vec<uuid::Uuid> = stores.iter().map(|store| store.store_id().unwrap()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    stores[0].verify(&[&counts("counts"), &counts("others")]).unwrap();
}

// Contract: L5, E1
both!(a_backlog_is_caught_up_without_a_new_event);
pub(crate) fn a_backlog_is_caught_up_without_a_new_event<P: Place>(place: &P) {
    let store = place.open();
    store.setup(&[]).unwrap();
    for n in 0..60 {
        store.push(&[count(&instance(n), 1), count(&instance(n), 2)]).unwrap();
    }
    let engine = start(store.clone(), &["counts", "others"], lazy());
    for n in 0..60 {
        engine.await_position("counts", &instance(n), 2, LONG).unwrap();
        engine.await_position("others", &instance(n), 2, LONG).unwrap();
    }
    assert_eq!((sum::<P>(&store, "counts", None), sum::<P>(&store, "others", None)), (180, 180));
    let health = engine.health().unwrap();
    assert!(health.loops.len() == 6 && health.loops.iter().all(|l| l.alive && l.restarts == 0), "{health:?}");
    assert!(health.projections.iter().all(|p| p.lagging_instances == 0 && p.lag_age.is_none()));
}

fn announced(store: &impl EventStore) -> Vec<String> {
    let query = Query::new().or(SubQuery::new().instance("").event_type("system.projections.scheduler.succeeded"));
    let events = store.filter(&query).unwrap();
    assert!(events.iter().all(|e| (e.aggregate_type(), e.aggregate_id()) == ("system", "SYSTEM")));
    events.iter().map(|event| event.payload_json().to_owned()).collect()
}

// Contract: E5
both!(the_first_run_is_announced_once);
pub(crate) fn the_first_run_is_announced_once<P: Place>(place: &P) {
    let store = place.open();
    store.setup(&[]).unwrap();
    store.push(&[count("a", 1)]).unwrap();
    for _ in 0..2 {
        let engine = start(store.clone(), &["counts", "others"], eager());
        let second = start(place.open(), &["counts", "others"], eager());
        eventually("success", || engine.health().unwrap().projections.iter().all(|p| p.succeeded));
        engine.await_position("counts", "a", 1, LONG).unwrap();
        second.shutdown(LONG).unwrap();
        engine.shutdown(LONG).unwrap();
    }
    let mut events = announced(&store);
    events.sort();
    assert_eq!(events, [r#"{"name":"counts"}"#, r#"{"name":"others"}"#]);
    assert_eq!(sum::<P>(&store, "counts", None), 1);
}

// Contract: G5
both!(read_models_may_live_elsewhere);
pub(crate) fn read_models_may_live_elsewhere<P: Place>(place: &P) {
    let events = place.open();
    events.setup(&[]).unwrap();
    events.push(&[count("a", 1), count("b", 2)]).unwrap();
    let models = place.elsewhere();
    let engine =
        Engine::builder(events).models(models.clone()).projection(counts("counts")).config(eager()).start().unwrap();
    engine.await_position("counts", "a", 1, LONG).unwrap();
    engine.await_position("counts", "b", 1, LONG).unwrap();
    let pushed = engine.push(&[count("a", 10)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(sum::<P>(&models, "counts", None), 13);
    assert_eq!(engine.health().unwrap().projections[0].lagging_instances, 0);
    assert!(models.filter(&Query::new()).unwrap().is_empty());
}

// Contract: I1
both!(a_start_on_two_databases_sets_up_both);
pub(crate) fn a_start_on_two_databases_sets_up_both<P: Place>(place: &P) {
    let (events, models) = (place.open(), place.elsewhere());
    let builder = || Engine::builder(events.clone()).models(models.clone()).projection(counts("counts"));
    let refused = builder().config(eager().setup(false)).start().unwrap_err().to_string();
    assert!(refused.starts_with("in the database of the events, the engine's schema is missing"), "{refused}");
    let engine = builder().config(eager()).start().unwrap();
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    builder().config(eager().setup(false)).start().unwrap().shutdown(LONG).unwrap();
}

fn set_back<S: ProjectionStore + EventSource>(store: &S, name: &str, instance: &str, position: i64) {
    let (key, instances) = (counts(name).key(), [instance.into()]);
    let checkpoint = Checkpoint { instance: instance.into(), position, event: None, store: store.store_id().unwrap() };
    let save = &mut |tx: &mut dyn ProjectionTransaction| {
        tx.lock(&key, &instances)?;
        tx.save(&key, std::slice::from_ref(&checkpoint), Log::Elsewhere)
    };
    store.transaction(save).unwrap();
}

/// Less time than thirty ticks take, after which an engine looks at everything anyway.
const BEFORE_ANYWAY: Duration = Duration::from_secs(55);

fn seldom() -> EngineConfig {
    eager().requeue_every(BEFORE_ANYWAY / 25)
}

// Contract: L5: nothing was pushed, and nobody told the engine.
both!(a_state_that_is_set_back_is_found_by_a_calm_engine);
pub(crate) fn a_state_that_is_set_back_is_found_by_a_calm_engine<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(place.open(), &["counts", "others"], seldom());
    let pushed = engine.push(&[count("a", 1), count("b", 1)]).unwrap();
    for name in ["counts", "others"] {
        engine.await_pushed(name, &pushed, LONG).unwrap();
    }
    eventually("success", || engine.health().unwrap().projections.iter().all(|p| p.succeeded));
    place.sql("DELETE FROM counts_1 WHERE instance_id = 'b'");
    set_back(&store, "counts", "b", 0);
    eventually("the work", || sum::<P>(&store, "counts", Some("b")) == 1);
    assert_eq!(sum::<P>(&store, "counts", Some("a")) + sum::<P>(&store, "others", None), 3);
}

// Contract: L5: an instance has to wait while nothing else happens. It goes on as soon as it may.
both!(what_waits_is_found_when_it_may_go_on);
pub(crate) fn what_waits_is_found_when_it_may_go_on<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(place.open(), &["counts"], seldom());
    let pushed = engine.push(&[count("a", 1), count("b", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    // The lease belongs to a process that does nothing with it, and lasts over two ticks.
    let (key, other) = (counts("counts").key(), uuid::Uuid::from_u128(5));
    eventually("the lease", || store.acquire(&key, &["a".into()], other, Duration::from_secs(5)).unwrap().len() == 1);
    crate::pause(&store, "counts", Some("b"), true);
    store.push(&[count("a", 1), count("b", 1)]).unwrap();
    engine.await_position("counts", "a", 2, BEFORE_ANYWAY).unwrap();
    crate::pause(&store, "counts", Some("b"), false);
    engine.await_position("counts", "b", 2, BEFORE_ANYWAY).unwrap();
}

// Contract: E2: the system instance is left out unless the configuration asks for it, however its events become
// known.
both!(the_system_instance_counts_only_when_asked_for);
pub(crate) fn the_system_instance_counts_only_when_asked_for<P: Place>(place: &P) {
    let store = place.open();
    for (system_instance, expected) in [(false, 0), (true, 2)] {
        // One worker applies events in the order of pushes.
        let config = lazy().system_instance(system_instance).workers(1);
        let engine = start(store.clone(), &["counts"], config);
        let pushed = engine.push(&[count("a", 1)]).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
        let of_system = engine.push(&[count("", 1)]).unwrap();
        let pushed = engine.push(&[count("a", 1)]).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
        if system_instance {
            engine.await_pushed("counts", &of_system, LONG).unwrap();
        } else {
            let late = engine.await_pushed("counts", &of_system, Duration::from_millis(1)).unwrap_err();
            assert!(late.to_string().contains("HandlerConfig::system_instance(true)"), "{late}");
        }
        assert_eq!(sum::<P>(&store, "counts", Some("")), expected);
        engine.shutdown(LONG).unwrap();
    }
}

// Contract: J5
#[cfg(feature = "sqlite")]
#[test]
fn wrong_values_are_named_all_at_once() {
    let store = SqliteStore::in_memory().unwrap();
    let wrong = EngineConfig::default()
        .requeue_every(Duration::ZERO)
        .lease(Duration::from_millis(1))
        .handler(HandlerConfig::default().bulk_limit(0));
    match Engine::builder(store.clone()).config(wrong).start() {
        Err(Error::Config(error)) => assert_eq!(error.faults.len(), 3, "{error}"),
        other => panic!("{other:?}"),
    }
    let (longest, most) = (Duration::MAX, usize::MAX);
    let handler = HandlerConfig::default()
        .bulk_limit(most)
        .fetch_bytes(most)
        .concurrent_instances(most)
        .retries(u32::MAX)
        .retry_failed_after(longest)
        .max_failure_count(u32::MAX)
        .max_lasting_failure_count(u32::MAX)
        .backoff_base(longest)
        .backoff_cap(longest)
        .policy(Policy::Park);
    let name = "a\0b".to_owned();
    let config = lazy().name(name).requeue_every(longest).lease(longest).workers(most).handler(handler);
    let error = Engine::builder(store.clone()).config(config).start().map(drop).unwrap_err().to_string();
    let names = ["name", "requeue_every", "lease", "workers", "bulk_limit", "concurrent_instances", "retries"];
    for name in names.into_iter().chain(["retry_failed_after", "backoff_cap"]) {
        assert!(error.contains(&format!("{name} has to be")), "{name}: {error}");
    }
    let twice = Engine::builder(store.clone()).projection(counts("a")).projection(counts("a")).start();
    assert!(matches!(twice, Err(Error::Setup(_))), "{twice:?}");
    let unprepared = EngineConfig::default().setup(false);
    let outcome = Engine::builder(store).projection(counts("a")).config(unprepared).start();
    assert!(matches!(outcome, Err(Error::Setup(error::SetupError::Missing { .. }))), "{outcome:?}");
}

// Contract: E3: there are never more workers than connections.
#[cfg(feature = "postgres")]
#[test]
fn more_workers_than_connections_are_refused() {
    let database = crate::common::postgres::database();
    let options = PostgresOptions::default().max_connections(4);
    let store = PostgresStore::connect_with(database.url(), options).unwrap();
    let config = EngineConfig::default().workers(2);
    match Engine::builder(store.clone()).projection(counts("counts")).config(config).start() {
        Err(Error::Config(error)) => assert!(error.to_string().contains("workers has to be 1 or less"), "{error}"),
        other => panic!("{other:?}"),
    }
    let engine = Engine::builder(store).projection(counts("counts")).start().unwrap();
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
}

// Contract: F4
#[cfg(feature = "postgres")]
#[test]
fn leases_are_kept_while_all_connections_are_in_use() {
    let database = crate::common::postgres::database();
    let options = PostgresOptions::default().max_connections(1).connect_timeout(std::time::Duration::from_secs(3));
    let store = PostgresStore::connect_with(database.url(), options).unwrap();
    ProjectionStore::setup(&store, &[&counts("counts")]).unwrap();
    let (key, me, instances) = (counts("counts").key(), uuid::Uuid::from_u128(1), ["a".into()]);
    store.acquire(&key, &instances, me, LONG).unwrap();
    let member = Member { process: me, name: "test".into(), projections: Vec::new() };
    let kept = || Ok((store.renew(me, LONG)?.len(), store.heartbeat(&member, LONG)?.len()));
    store
        .transaction(&mut |_| {
            assert!(store.states(&key, &instances).is_err(), "the only connection is in use");
            assert_eq!(kept()?, (1, 1));
            Ok(())
        })
        .unwrap();
}
