//! Processes that are stopped for longer than their lease, also with rows locked: Contract: F3, F4, F8, L4.

use std::time::Duration;

use readside::postgres_driver::{Client, NoTls};
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{Engine, EventStore, PostgresOptions, PostgresStore, error};

use crate::common::child::{Child, until_told};
use crate::common::postgres::database;
use crate::common::random::{Random, seed};
use crate::load::{Acknowledged, LONG, eager, eventually, lawful, ledger, moved, start, under_load};

/// How long the row locks of a stopped process last.
const IDLE: Duration = Duration::from_secs(1);

/// Counts the waits for advisory locks in this database. `pg_locks` shows those of all databases.
const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

fn open(place: &str) -> PostgresStore {
    let options = PostgresOptions::default().lock_timeout(IDLE).idle_in_transaction_timeout(IDLE);
    PostgresStore::connect_with(place, options).unwrap()
}

/// The process that the tests below start: an engine that runs until its input ends.
#[test]
#[ignore = "run as a process of its own by the tests that follow"]
fn process() {
    let store = open(&std::env::var("READSIDE_TEST_PLACE").unwrap());
    let engine = start(store);
    until_told();
    engine.shutdown(LONG).unwrap();
}

/// The same process with a slow projection. A session that holds the advisory lock 1 stops its statements.
#[test]
#[ignore = "run as a process of its own by the tests that follow"]
fn slow_process() {
    let store = open(&std::env::var("READSIDE_TEST_PLACE").unwrap());
    let engine = Engine::builder(store).projection(slow()).config(eager()).start().unwrap();
    until_told();
    engine.shutdown(LONG).unwrap();
}

/// Pushes one event. Its connection may be cut off meanwhile.
#[test]
#[ignore = "run as a process of its own by the tests that follow"]
fn pushing_process() {
    let store = open(&std::env::var("READSIDE_TEST_PLACE").unwrap());
    match store.push(&[moved("a", "slow", 1)]) {
        Err(error::PushError::Store(error)) => assert!(error.is_transient(), "{error}"),
        other => panic!("{other:?}"),
    }
}

/// Waits inside the transaction in which it writes, if the aggregate asks for that.
fn slow() -> Projection {
    let table = Table::new("sums").column(text("thing")).column(integer("n")).primary_key(["thing"]);
    // The statement does not need the instance, `$1`.
    let wait = "SELECT pg_advisory_xact_lock_shared(1) WHERE $1::text IS NOT NULL";
    let wait = Dialects::each(wait, "UPDATE readside_instances SET head = head WHERE $1 IS NULL");
    Projection::new("sums", 1).table(table).sql("wait", wait).on(|e, p: crate::load::Moved| {
        let row = upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)]);
        if e.aggregate_id() != "slow" {
            return row;
        }
        multi([exec::<Value>("wait", []), row])
    })
}

// Contract: F3, F4: if another process took over, the writes of a process that wakes are refused.
#[test]
fn processes_stopped_past_their_lease_do_no_harm() {
    let database = database();
    let store = open(database.url());
    ProjectionStore::setup(&store, &[&ledger()]).unwrap();
    let begin = || Child::start("stopped::process", &[("READSIDE_TEST_PLACE", database.url())], |_| {});
    let children = [begin(), begin()];
    let (acknowledged, mut random) = (Acknowledged::default(), Random::new(seed()));
    under_load(&store, 2, &acknowledged, || {
        for n in 0..4 {
            std::thread::sleep(random.millis(50, 300));
            children[n % 2].signal("-STOP");
            // This is longer than the lease, and longer than the row locks last.
            std::thread::sleep(eager().lease + random.millis(50, 400));
            children[n % 2].signal("-CONT");
        }
    });
    let report = lawful(&store, &acknowledged);
    assert!(children.into_iter().all(Child::end));
    println!("4 stops: {report}");
}

// Contract: F8, L4: the server releases its state rows, and the other processes do its work.
#[test]
fn a_process_stopped_with_rows_locked_lets_go_of_them() {
    let database = database();
    let store = open(database.url());
    ProjectionStore::setup(&store, &[&slow()]).unwrap();
    let child = Child::start("stopped::slow_process", &[("READSIDE_TEST_PLACE", database.url())], |_| {});
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    client.batch_execute("SELECT pg_advisory_lock(1)").unwrap();
    let acknowledged = Acknowledged::default();
    acknowledged.add(&store.push(&[moved("a", "slow", 1), moved("b", "x", 1)]).unwrap());
    eventually("a transaction that waits", || client.query_one(WAITING, &[]).unwrap().get::<_, i64>(0) > 0);
    child.signal("-STOP");
    client.batch_execute("SELECT pg_advisory_unlock(1)").unwrap();
    let engine = Engine::builder(store.clone()).projection(slow()).config(eager()).start().unwrap();
    let pushed = store.push(&[moved("c", "x", 1), moved("d", "x", 1)]).unwrap();
    acknowledged.add(&pushed);
    engine.await_pushed("sums", &pushed, LONG).unwrap();
    engine.await_position("sums", "a", 1, LONG).unwrap();
    engine.await_position("sums", "b", 1, LONG).unwrap();
    child.signal("-CONT");
    acknowledged.add(&store.push(&[moved("a", "x", 1), moved("b", "x", 1)]).unwrap());
    eventually("the end of the work", || {
        let report = readside::testing::laws::check(&store, &store, &slow()).unwrap();
        assert!(report.is_lawful() && report.held() == 0, "{report}");
        report.behind().is_empty()
    });
    assert!(child.end());
    engine.shutdown(LONG).unwrap();
}

// Contract: F8: nobody waits longer than the server allows for a push of a stopped process.
#[test]
fn a_pusher_stopped_with_its_instance_locked_lets_go_of_it() {
    let database = database();
    let store = open(database.url());
    ProjectionStore::setup(&store, &[&ledger()]).unwrap();
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    // A push with this text waits between the lock of its counter and its commit.
    client
        .batch_execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END';
             CREATE TRIGGER slow BEFORE INSERT ON readside.events FOR EACH ROW
             WHEN (NEW.aggregate_id = 'slow') EXECUTE FUNCTION slow();
             SELECT pg_advisory_lock(1)",
        )
        .unwrap();
    let child = Child::start("stopped::pushing_process", &[("READSIDE_TEST_PLACE", database.url())], |_| {});
    eventually("a push that waits", || client.query_one(WAITING, &[]).unwrap().get::<_, i64>(0) > 0);
    child.signal("-STOP");
    client.batch_execute("SELECT pg_advisory_unlock(1)").unwrap();
    let (engine, acknowledged) = (start(store.clone()), Acknowledged::default());
    let mut pushed = Vec::new();
    eventually("the instance", || match store.push(&[moved("a", "x", 1)]) {
        Ok(events) => {
            pushed = events;
            true
        }
        Err(error::PushError::Busy { .. }) => false,
        Err(error) => panic!("{error}"),
    });
    assert_eq!(pushed[0].position(), 1, "what the stopped one wrote is gone");
    acknowledged.add(&pushed);
    engine.await_pushed("sums", &pushed, LONG).unwrap();
    child.signal("-CONT");
    assert!(child.end());
    println!("others pushed: {}", lawful(&store, &acknowledged));
    engine.shutdown(LONG).unwrap();
}
