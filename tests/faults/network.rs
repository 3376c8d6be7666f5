//! A network between engine and PostgreSQL that delays, cuts, resets and freezes connections:
//! Contract: L2, L6, L7, F3.

use std::time::Duration;

use readside::query::{Query, SubQuery};
use readside::{Engine, EventStore, NewEvent, PostgresOptions, PostgresStore, error};

use crate::common::postgres::{Database, database};
use crate::common::proxy::{Fate, Proxy};
use crate::common::random::{Random, seed};
use crate::load::{Acknowledged, eventually, lawful, start, under_load};

/// Pushes go directly to the server, so the faults hit only the engine's connections.
fn behind_proxy() -> (Database, PostgresStore, Proxy, Engine) {
    let database = database();
    let store = PostgresStore::connect(database.url()).unwrap();
    let proxy = Proxy::before(database.url());
    let engine = start(through(&proxy, &database));
    (database, store, proxy, engine)
}

fn through(proxy: &Proxy, database: &Database) -> PostgresStore {
    let second = Duration::from_secs(1);
    let options = PostgresOptions::default().lock_timeout(second).idle_in_transaction_timeout(second);
    PostgresStore::connect_with(&proxy.url(database.url()), options).unwrap()
}

fn well(engine: &Engine) {
    eventually("an engine that is well", || engine.health().is_ok());
    assert!(engine.health().unwrap().loops.iter().all(|each| each.alive && each.restarts == 0));
    engine.shutdown(crate::load::LONG).unwrap();
}

/// The number of bytes between two cuts. With 1 every byte is tried, which takes a while.
fn step() -> usize {
    std::env::var("READSIDE_FAULT_STEP").map_or(31, |step| step.parse().expect("READSIDE_FAULT_STEP is a number"))
}

// Contract: L2, L6: the cuts go through a part of the conversation, in both directions.
#[test]
fn a_connection_may_be_cut_after_any_byte() {
    let (_database, store, proxy, engine) = behind_proxy();
    let acknowledged = Acknowledged::default();
    under_load(&store, 2, &acknowledged, || {
        for bytes in (0..4000).step_by(step()) {
            proxy.cut_after(bytes);
            eventually("the cut", || !proxy.is_armed());
        }
    });
    assert!(proxy.counts().0 >= 4000 / step(), "{:?}", proxy.counts());
    let report = lawful(&store, &acknowledged);
    well(&engine);
    println!("cuts {}: {report}", proxy.counts().0);
}

// Contract: L6: the connection is cut exactly when COMMIT is sent, or exactly when it is answered.
#[test]
fn a_commit_may_be_lost_or_unanswered() {
    let (_database, store, proxy, engine) = behind_proxy();
    let (acknowledged, mut random) = (Acknowledged::default(), Random::new(seed()));
    under_load(&store, 2, &acknowledged, || {
        // Only transactions that write the read model are affected. The others matter less.
        proxy.commits_of("sums_1", move || match random.below(4) {
            0 => Fate::Lost,
            1 => Fate::Unanswered,
            _ => Fate::Pass,
        });
        eventually("commits that are cut off", || proxy.counts().1 >= 40 && proxy.counts().2 >= 40);
        proxy.pass_commits();
    });
    let report = lawful(&store, &acknowledged);
    well(&engine);
    println!("commits lost {}, unanswered {}: {report}", proxy.counts().1, proxy.counts().2);
}

// Contract: L6: the same for the commits of pushes. An error says that nothing was stored, or that the outcome is
// unknown.
#[test]
fn a_pushers_commit_may_be_lost_or_unanswered() {
    let (database, store, proxy, engine) = behind_proxy();
    let pusher = through(&proxy, &database);
    let (acknowledged, mut random) = (Acknowledged::default(), Random::new(seed() + 1));
    proxy.commits_of("INSERT INTO", move || [Fate::Lost, Fate::Unanswered, Fate::Pass, Fate::Pass][random.below(4)]);
    let mut random = Random::new(seed());
    let mut stored = 0;
    for n in 0..60 {
        let key = format!("push-{n}");
        // A push key resolves an unknown outcome: the push is repeated until it gets an answer.
        let commands: Vec<NewEvent> =
            crate::load::some_commands(&mut random).into_iter().map(|each| each.push_key(&key)).collect();
        eventually("an answer", || match pusher.push(&commands) {
            Ok(events) => {
                stored += events.len();
                acknowledged.add(&events);
                true
            }
            Err(error::PushError::Store(error)) => {
                assert!(error.is_transient(), "{error}");
                false
            }
            Err(error) => panic!("{error}"),
        });
    }
    proxy.pass_commits();
    let report = lawful(&store, &acknowledged);
    let found = store.filter(&Query::new().or(SubQuery::new().aggregate_type("thing"))).unwrap().len();
    assert_eq!((found, acknowledged.len()), (stored, stored), "each push is stored once");
    well(&engine);
    println!("commits lost {}, unanswered {}: {report}", proxy.counts().1, proxy.counts().2);
}

// Contract: L2, L7
#[test]
fn delays_and_resets_change_nothing() {
    let (_database, store, proxy, engine) = behind_proxy();
    let (acknowledged, mut random) = (Acknowledged::default(), Random::new(seed()));
    under_load(&store, 2, &acknowledged, || {
        for _ in 0..30 {
            proxy.delay(random.millis(0, 15));
            proxy.reset_one();
            eventually("the reset", || !proxy.is_armed());
        }
        proxy.delay(Duration::ZERO);
    });
    assert!(proxy.counts().0 >= 30);
    let report = lawful(&store, &acknowledged);
    well(&engine);
    println!("resets {}: {report}", proxy.counts().0);
}

// Contract: F3, F8: writes that were frozen for longer than the lease are refused when they arrive.
#[test]
fn a_frozen_network_is_overtaken_and_then_refused() {
    let (database, store, proxy, engine) = behind_proxy();
    let other = start(PostgresStore::connect(database.url()).unwrap());
    let acknowledged = Acknowledged::default();
    for _ in 0..3 {
        under_load(&store, 2, &acknowledged, || {
            std::thread::sleep(Duration::from_millis(100));
            proxy.freeze(true);
        });
        // The other engine has to do all the work.
        let report = lawful(&store, &acknowledged);
        println!("frozen: {report}");
        under_load(&store, 1, &acknowledged, || proxy.freeze(false));
        eventually("an engine that is back", || engine.health().is_ok());
    }
    let report = lawful(&store, &acknowledged);
    println!("thawed: {report}");
    other.shutdown(crate::load::LONG).unwrap();
    well(&engine);
}
