//! A system clock that jumps back and forth beneath the engine: Contract: L5, F1, A1.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use readside::clock::ManualClock;
use readside::query::{Query, SubQuery};
use readside::store::{LeaseStore, ProjectionStore};
use readside::{Event, EventStore, SqliteOptions, SqliteStore};

use crate::common::random::{Random, seed};
use crate::load::{Acknowledged, LONG, eventually, instances, lawful, start, under_load};

// Contract: L5: leases, heartbeats and back-offs work on a clock that is wrong by up to a day in either direction.
#[test]
fn the_engine_does_not_care_what_time_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(SystemTime::now());
    let open = || {
        let options = SqliteOptions::default().busy_timeout(LONG).clock(Arc::new(clock.clone()));
        SqliteStore::open_with(folder.path().join("test.db"), options).unwrap()
    };
    let store = open();
    let engines = [start(store.clone()), start(open())];
    let (acknowledged, mut random) = (Acknowledged::default(), Random::new(seed()));
    let mut jumps = 0;
    under_load(&store, 2, &acknowledged, || {
        while jumps < 100 {
            let hours = Duration::from_secs(random.next() % (24 * 3600));
            let now = SystemTime::now();
            clock.set(if random.one_in(2) { now + hours } else { now - hours });
            jumps += 1;
            let before = acknowledged.len();
            eventually("pushes go on", || acknowledged.len() > before);
        }
    });
    // The clock stands still at its last time, and the work still ends.
    let report = lawful(&store, &acknowledged);
    for instance in instances() {
        let events = store.filter(&Query::new().or(SubQuery::new().instance(&instance))).unwrap();
        assert!(events.is_sorted_by_key(Event::created_at), "created_at never decreases with position");
    }
    for engine in engines {
        assert!(engine.health().unwrap().loops.iter().all(|each| each.alive && each.restarts == 0));
        engine.shutdown(LONG).unwrap();
    }
    println!("{jumps} jumps of the clock: {report}");
}

// Contract: L5, F6: the lease of a dead process ends, also if the clock is set back by a day after its death.
#[test]
fn a_lease_from_a_clock_that_was_wrong_does_not_last_for_ever() {
    let clock = ManualClock::at(SystemTime::now() + Duration::from_hours(24));
    let options = SqliteOptions::default().busy_timeout(LONG).clock(Arc::new(clock.clone()));
    let store = SqliteStore::in_memory_with(options).unwrap();
    ProjectionStore::setup(&store, &[&crate::load::ledger()]).unwrap();
    let dead = uuid::Uuid::from_u128(1);
    let names: Vec<Arc<str>> = instances().into_iter().map(Arc::from).collect();
    let taken = store.acquire(&crate::load::ledger().key(), &names, dead, Duration::from_secs(1)).unwrap();
    assert_eq!(taken.len(), names.len());
    clock.set(SystemTime::now());
    let acknowledged = Acknowledged::default();
    acknowledged.add(&store.push(&[crate::load::moved(&names[0], "x", 1)]).unwrap());
    let engine = start(store.clone());
    let report = lawful(&store, &acknowledged);
    engine.shutdown(LONG).unwrap();
    println!("{report}");
}
