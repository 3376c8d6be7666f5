//! A database that is cut off, vanishes, or has a locked row: Contract: C5, E6, L4, L6, L7.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use readside::health::StopCause;

use readside::testing::{Call, Faults, FaultyStore};
use readside::{Engine, EventStore, HandlerConfig, PostgresOptions, PostgresStore, ProjectionHandler, error};

use crate::common::postgres::{Database, database};
use crate::common::proxy::Proxy;
use crate::{LONG, count, counts, eager, eventually, instance, start, sum};

fn behind_proxy() -> (Database, PostgresStore, Proxy, Engine) {
    let database = database();
    let store = PostgresStore::connect(database.url()).unwrap();
    let proxy = Proxy::before(database.url());
    let config = eager().lease(Duration::from_secs(1));
    let engine = start(PostgresStore::connect(&proxy.url(database.url())).unwrap(), &["counts"], config);
    (database, store, proxy, engine)
}

fn all_counted(store: &PostgresStore, engine: &Engine, pushed: i64) {
    eventually("the end of the work", || {
        let found = sum::<Database>(store, "counts", None);
        assert!(found <= pushed, "something was counted twice");
        found == pushed
    });
    eventually("an engine that is well", || {
        engine.health().is_ok_and(|health| health.projections[0].lagging_instances == 0)
    });
    assert!(engine.health().unwrap().loops.iter().all(|l| l.alive && l.restarts == 0));
}

// Contract: L6, L7: every connection is cut again and again, at any point of a commit.
#[test]
fn connections_that_are_cut_lose_and_repeat_nothing() {
    let (_database, store, proxy, engine) = behind_proxy();
    let mut pushed = 0;
    for _ in 0..50 {
        for n in 0..20 {
            store.push(&[count(&instance(n), 1)]).unwrap();
            pushed += 1;
        }
        proxy.cut();
    }
    all_counted(&store, &engine, pushed);
    engine.shutdown(LONG).unwrap();
}

// Contract: C5, E6: when the database comes back, the engine goes on without help.
#[test]
fn a_database_that_vanishes_for_a_while_is_caught_up_with() {
    let (_database, store, proxy, engine) = behind_proxy();
    store.push(&[count("a", 1)]).unwrap();
    engine.await_position("counts", "a", 1, LONG).unwrap();
    proxy.vanish(true);
    for _ in 0..50 {
        store.push(&[count("a", 1)]).unwrap();
    }
    // Several ticks and renewals fail meanwhile.
    eventually("failing reads", || engine.health().is_err());
    let gone = Instant::now();
    eventually("the end of the outage", || gone.elapsed() > Duration::from_secs(2));
    proxy.vanish(false);
    all_counted(&store, &engine, 51);
}

// Contract: J1: if a call of the driver hangs, the shutdown reports it and does not wait for it.
#[test]
fn a_frozen_connection_does_not_hold_up_the_stop() {
    let (_database, store, proxy, engine) = behind_proxy();
    store.push(&[count("a", 1)]).unwrap();
    engine.await_position("counts", "a", 1, LONG).unwrap();
    proxy.freeze(true);
    let begin = Instant::now();
    // Ticks and renewals are frequent, so a call hangs by now or soon.
    eventually("a hanging loop", || begin.elapsed() > Duration::from_secs(1));
    let late = engine.shutdown(Duration::from_secs(1)).unwrap_err();
    assert!(late.threads.iter().any(|name| name.starts_with("readside-")), "{late}");
    proxy.cut();
}

/// Counts how often a transaction waits its full time for the lock of a tenant's state.
#[derive(Default)]
struct Waits {
    is_limited: AtomicBool,
    full: AtomicUsize,
}

impl Faults for Waits {
    fn before(&self, call: &mut Call) -> Result<(), error::StoreError> {
        match call.name {
            "ProjectionStore::transaction" => self.is_limited.store(false, Ordering::SeqCst),
            "ProjectionTransaction::limit_waits" => self.is_limited.store(true, Ordering::SeqCst),
            "ProjectionTransaction::lock" if call.names("tenant-000") && !self.is_limited.load(Ordering::SeqCst) => {
                self.full.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
        Ok(())
    }
}

// Contract: L4: a locked state row delays the other tenants by at most one time-out.
#[test]
fn one_tenants_lock_does_not_hold_up_the_others() {
    let database = database();
    let options = PostgresOptions::default().lock_timeout(Duration::from_secs(1));
    let store = Arc::new(PostgresStore::connect_with(database.url(), options).unwrap());
    let config = HandlerConfig::default().retries(0);
    let waits = Arc::new(Waits::default());
    let models = Arc::new(FaultyStore::new(Arc::unwrap_or_clone(store.clone()), waits.clone()));
    let handler = ProjectionHandler::new(store.clone(), models, counts("counts"), config).unwrap();
    handler.setup().unwrap();
    for n in 0..20 {
        store.push(&[count(&instance(n), 1)]).unwrap();
    }
    let names: Vec<String> = (0..20).map(instance).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    handler.trigger(&names).unwrap();
    for n in 0..20 {
        store.push(&[count(&instance(n), 1)]).unwrap();
    }
    let mut other =
        readside::postgres_driver::Client::connect(database.url(), readside::postgres_driver::NoTls).unwrap();
    let mut tx = other.transaction().unwrap();
    let lock = "SELECT 1 FROM readside.projection_states WHERE instance_id = 'tenant-000' FOR UPDATE";
    tx.execute(lock, &[]).unwrap();
    waits.full.store(0, Ordering::SeqCst);
    match handler.trigger(&names) {
        Err(error::TriggerError::Stopped { stopped, .. }) => {
            assert_eq!((stopped.len(), &*stopped[0].instance), (1, "tenant-000"));
            assert!(matches!(&stopped[0].cause, StopCause::Store(error) if error.is_transient()), "{stopped:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(waits.full.load(Ordering::SeqCst), 1);
    assert_eq!(sum::<Database>(&store, "counts", None), 39);
    tx.rollback().unwrap();
    handler.trigger(&names).unwrap();
    assert_eq!(sum::<Database>(&store, "counts", None), 40);
}
