//! Processes are killed with -9 at random moments, while they project and push: Contract: L1, L2, E5, F6.

use std::time::Duration;

use readside::query::{Query, SubQuery};
use readside::rusqlite::{Connection, TransactionBehavior};
use readside::store::ProjectionStore;
use readside::testing::laws::Models;
use readside::{EngineStore, Event, EventStore, NewEvent, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};

use crate::common::child::{Child, until_told};
use crate::common::random::{Random, seed};
use crate::load::{Acknowledged, LONG, eventually, lawful, ledger, push, say, some_commands, start};

const TEST: &str = "processes::process";
const PUSHERS: u64 = 2;

/// How many processes a test kills.
fn kills() -> usize {
    std::env::var("READSIDE_FAULT_KILLS").map_or(24, |kills| kills.parse().expect("READSIDE_FAULT_KILLS is a number"))
}

/// Pushes in the service's own transaction, which stays open for a while and is then committed or rolled back.
type Held<'h> = &'h (dyn Fn(&[NewEvent], Duration, bool) -> Vec<Event> + Sync);

/// The process that the tests below start: an engine, and threads that push until the input ends.
#[test]
#[ignore = "run as a process of its own by the tests that follow"]
fn process() {
    let place = std::env::var("READSIDE_TEST_PLACE").unwrap();
    #[cfg(feature = "postgres")]
    if place.starts_with("postgres") {
        return postgres::process(&place);
    }
    let store = open(&place);
    let held = |commands: &[NewEvent], wait: Duration, commits: bool| {
        let mut db = Connection::open(&place).unwrap();
        db.busy_timeout(LONG).unwrap();
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let pushed = store.push_in(&tx, commands).unwrap();
        std::thread::sleep(wait);
        if !commits {
            return Vec::new();
        }
        tx.commit().unwrap();
        pushed.token.fire();
        pushed.events
    };
    run(&store, &held);
}

fn open(place: &str) -> SqliteStore {
    SqliteStore::open_with(place, SqliteOptions::default().busy_timeout(LONG)).unwrap()
}

fn run(store: &(impl EngineStore + Clone), held: Held<'_>) {
    let engine = start(store.clone());
    let running = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let running = &running;
            scope.spawn(move || {
                let mut random = Random::new(u64::from(std::process::id()) * 10 + pusher);
                while running.load(std::sync::atomic::Ordering::SeqCst) {
                    push_one_way_or_another(store, held, &mut random);
                }
            });
        }
        until_told();
        running.store(false, std::sync::atomic::Ordering::SeqCst);
    });
    engine.shutdown(LONG).unwrap();
}

fn push_one_way_or_another(store: &dyn EventStore, held: Held<'_>, random: &mut Random) {
    if random.one_in(6) {
        say(&held(&some_commands(random), random.millis(0, 10), random.one_in(2)));
    } else {
        say(&push(store, random));
    }
    std::thread::sleep(random.millis(0, 5));
}

/// Runs three processes at a time. It kills a random one and replaces it, again and again.
fn kill_at_random<S: EngineStore + Models + Clone>(place: &str, store: &S) {
    ProjectionStore::setup(store, &[&ledger()]).unwrap();
    let acknowledged = Acknowledged::default();
    let begin = || {
        let heard = acknowledged.clone();
        Child::start(TEST, &[("READSIDE_TEST_PLACE", place)], move |line| heard.hear(&line))
    };
    let mut random = Random::new(seed());
    let mut children: Vec<Child> = (0..3).map(|_| begin()).collect();
    for _ in 0..kills() {
        std::thread::sleep(random.millis(10, 250));
        children.remove(random.below(3)).kill();
        children.push(begin());
    }
    let before = acknowledged.len();
    eventually("pushes after the last kill", || acknowledged.len() > before);
    assert!(children.into_iter().all(Child::end), "those that were left alone end well");
    // The leases of dead processes have to end without help.
    let engine = start(store.clone());
    let report = lawful(store, &acknowledged);
    eventually("the end of the first run", || engine.health().unwrap().projections[0].succeeded);
    engine.shutdown(LONG).unwrap();
    let first_runs = store.filter(&Query::new().or(SubQuery::new().instance(""))).unwrap();
    assert_eq!(first_runs.len(), 1, "the first run is announced once");
    println!("{} processes killed, {} events acknowledged: {report}", kills(), acknowledged.len());
}

// Contract: L1, L2, F6
#[test]
fn killed_processes_on_a_file_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let path = path.to_str().unwrap();
    kill_at_random(path, &open(path));
}

#[cfg(feature = "postgres")]
mod postgres {
    use readside::postgres_driver::{Client, NoTls};

    use super::*;
    use crate::common::postgres::database;

    pub(super) fn process(place: &str) {
        let second = Duration::from_secs(1);
        let options = PostgresOptions::default().idle_in_transaction_timeout(second);
        let store = PostgresStore::connect_with(place, options).unwrap();
        let held = |commands: &[NewEvent], wait: Duration, commits: bool| {
            let mut client = Client::connect(place, NoTls).unwrap();
            let mut tx = client.transaction().unwrap();
            let Ok(pushed) = store.push_in(&mut tx, commands) else { return Vec::new() };
            std::thread::sleep(wait);
            if !commits {
                return Vec::new();
            }
            tx.commit().unwrap();
            pushed.token.fire();
            pushed.events
        };
        run(&store, &held);
    }

    // Contract: L1, L2, F6
    #[test]
    fn killed_processes_on_postgres_lose_and_double_nothing() {
        let database = database();
        kill_at_random(database.url(), &PostgresStore::connect(database.url()).unwrap());
    }
}
