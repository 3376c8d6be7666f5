//! Waits for locks and slow statements: who has to wait, and what is seen afterwards: Contract: G1, H2, L4.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use readside::failure::{Attempt, FailureClass, FailureStatus};
use readside::postgres_driver::{Client, NoTls};
use readside::prelude::*;
use readside::store::{BuildStore, ProjectionStore, ProjectionTransaction};
use readside::{Engine, EventStore, HandlerConfig, PostgresOptions, PostgresStore, ProjectionHandler, error};

use crate::common::postgres::database;
use crate::{Counted, LONG, count, counts, eventually, lazy};

fn failing() -> Attempt {
    Attempt {
        instance: "a".into(),
        position: 1,
        aggregate_type: "thing".into(),
        aggregate_id: "x".into(),
        event_type: "thing.counted".into(),
        attempts: 3,
        state: FailureStatus::Failing,
        class: FailureClass::Reducer,
        error: "bad luck".into(),
        retry_in: Duration::from_mins(1),
    }
}

// Contract: G1, H2: a statement that waited for a lock sees the new state of the locked row, but the old state of all
// other rows.
#[test]
fn a_failure_recorded_while_one_waited_for_the_lock_is_seen() {
    let database = database();
    let store = PostgresStore::connect(database.url()).unwrap();
    store.setup().unwrap();
    let key = counts("counts").key();
    let instances: [Arc<str>; 1] = ["a".into()];
    store.transaction(&mut |tx| tx.lock(&key, &instances).map(|_| ())).unwrap();
    let mut looker = Client::connect(database.url(), NoTls).unwrap();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let (send, receive) = channel();
    std::thread::scope(|scope| {
        store
            .transaction(&mut |tx| {
                tx.lock(&key, &instances)?;
                let (other, instances, send, key) = (store.clone(), instances.clone(), send.clone(), &key);
                scope.spawn(move || {
                    let look = &mut |tx: &mut dyn ProjectionTransaction| {
                        send.send(tx.lock(key, &instances)?.remove(0)).unwrap();
                        Ok(())
                    };
                    other.transaction(look).unwrap();
                });
                eventually("a wait for the lock", || looker.query_one(waiting, &[]).unwrap().get::<_, i64>(0) > 0);
                tx.record(key, &[failing()])
            })
            .unwrap();
    });
    let state = receive.recv_timeout(LONG).unwrap();
    assert_eq!(state.blocked.map(|blocked| (blocked.position, blocked.attempts)), Some((1, 3)));
}

// Contract: L4: a slow statement of one instance costs the others one time-out and a share of a second. After that it
// gets its full time only when all others are done.
#[test]
fn slow_statements_of_an_instance_come_last() {
    let database = database();
    let options = PostgresOptions::default().statement_timeout(Duration::from_millis(1200));
    let store = Arc::new(PostgresStore::connect_with(database.url(), options).unwrap());
    ProjectionStore::setup(store.as_ref(), &[&counts("counts")]).unwrap();
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    // Changes of a sequence stay when the statement is cut off.
    let slow = "CREATE SEQUENCE tries; CREATE SEQUENCE time_1; CREATE SEQUENCE time_2; CREATE SEQUENCE time_3; \
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        PERFORM setval(('time_' || nextval('tries'))::regclass, setting::int8) FROM pg_settings WHERE name = 'statement_timeout'; \
        PERFORM pg_sleep(600); RETURN NEW; END $$; \
        CREATE TRIGGER slow BEFORE INSERT ON counts_1 FOR EACH ROW WHEN (NEW.instance_id = 'b') EXECUTE FUNCTION slow()";
    client.batch_execute(slow).unwrap();
    store.push(&[count("a", 1), count("b", 1), count("c", 1)]).unwrap();
    let config = HandlerConfig::default().retries(0);
    let handler = ProjectionHandler::new(store.clone(), store.clone(), counts("counts"), config).unwrap();
    match handler.trigger(&["a", "b", "c"]) {
        Err(error::TriggerError::Stopped { stopped, .. }) => {
            assert_eq!((stopped.len(), &*stopped[0].instance), (1, "b"), "{stopped:?}");
        }
        other => panic!("{other:?}"),
    }
    let mut time = |sequence: &str| -> i64 {
        client.query_one(&format!("SELECT last_value FROM {sequence}"), &[]).unwrap().get(0)
    };
    assert_eq!(["tries", "time_1", "time_2", "time_3"].map(&mut time), [3, 1200, 400, 1200]);
    assert_eq!(store.read_rows(&counts("counts"), "counts").unwrap().len(), 2);
}

// Contract: L4: if the row of an instance is locked, its retries make no other instance wait.
#[test]
fn a_locked_row_keeps_no_other_instance_waiting() {
    let database = database();
    let options = PostgresOptions::default().lock_timeout(Duration::from_millis(100));
    let store = PostgresStore::connect_with(database.url(), options).unwrap();
    let start = || {
        let handler = HandlerConfig::default().retries(100);
        let config = lazy().handler(handler).workers(2).requeue_every(Duration::from_millis(50));
        crate::start(store.clone(), &["counts"], config)
    };
    let engine = start();
    let push = |engine: &Engine| engine.push(&[count("a", 1), count("b", 1)]).unwrap();
    engine.await_pushed("counts", &push(&engine), LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    store.push(&[count("a", 1), count("b", 1)]).unwrap();
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    let mut locks = client.transaction().unwrap();
    locks.execute("SELECT FROM counts_1 WHERE instance_id = 'a' FOR UPDATE", &[]).unwrap();
    let engine = start();
    for position in 2..8 {
        engine.await_position("counts", "b", position, LONG).unwrap();
        push(&engine);
    }
    let states = store.states(&counts("counts").key(), &["a".into()]).unwrap();
    assert_eq!(states[0].position, 1);
    locks.rollback().unwrap();
    engine.await_position("counts", "a", 8, LONG).unwrap();
    engine.await_position("counts", "b", 8, LONG).unwrap();
}

// Contract: E4: if a lease was taken ahead and lost before its turn, nobody works with it, and it no longer counts as
// held.
#[test]
fn a_lease_that_is_lost_before_its_turn_is_given_up() {
    const LEASE: Duration = Duration::from_secs(3);
    let database = database();
    let store = PostgresStore::connect(database.url()).unwrap();
    let ((go, held), (tell, told)) = (channel::<()>(), channel::<String>());
    let held = std::sync::Mutex::new(held);
    let plain = counts("counts");
    let projection = Projection::new("counts", 1).table(plain.tables()[0].clone()).on(move |e, p: Counted| {
        // The worker waits, but the thread that prepares its pages does not.
        if std::thread::current().name() != Some("readside-reader") {
            tell.send(e.instance().to_owned()).map_err(|e| ReduceError::new(e.to_string()))?;
            held.lock().unwrap().recv_timeout(LONG).map_err(|e| ReduceError::new(e.to_string()))?;
        }
        upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)])
    });
    ProjectionStore::setup(&store, &[&projection]).unwrap();
    store.push(&[count("a", 1), count("b", 1)]).unwrap();
    let alone = HandlerConfig::default().concurrent_instances(1);
    let config = lazy().lease(LEASE);
    let engine = Engine::builder(store.clone()).projection_with(projection, alone).config(config).start().unwrap();
    let state = |instance: &str| store.states(&plain.key(), &[instance.into()]).unwrap().remove(0);
    let first = told.recv_timeout(LONG).unwrap();
    let next = if first == "a" { "b" } else { "a" };
    eventually("a lease ahead of its turn", || state(next).owner.is_some());
    let other = uuid::Uuid::from_u128(7);
    // The lease is short enough that it is not taken for one of a wrong clock.
    let take = "UPDATE readside.projection_states SET owner = $1, epoch = epoch + 1, \
                leased_until = clock_timestamp() + interval '11 seconds' WHERE instance_id = $2";
    Client::connect(database.url(), NoTls).unwrap().execute(take, &[&other, &next]).unwrap();
    // Nobody renews the lease from now on. It may be trusted for this long.
    std::thread::sleep(LEASE);
    go.send(()).unwrap();
    engine.await_position("counts", &first, 1, LONG).unwrap();
    eventually("the end of the pass", || state(&first).owner.is_none());
    eventually("no lease", || engine.health().unwrap().projections[0].leases_here == 0);
    assert_eq!((state(next).owner, state(next).position), (Some(other), 0));
    engine.shutdown(LONG).unwrap();
}

// Contract: L4: if the table of a projection is locked, no other projection of the same tenants waits, because the
// last worker never works for it. The lock is held all the time.
#[test]
fn a_locked_table_keeps_no_other_projection_waiting() {
    let database = database();
    let (lock_timeout, statement_timeout) = (2 * LONG, 2 * LONG);
    let options = PostgresOptions::default().lock_timeout(lock_timeout).statement_timeout(statement_timeout);
    let store = PostgresStore::connect_with(database.url(), options).unwrap();
    let engine = crate::start(store.clone(), &["counts", "others"], lazy());
    let push = || engine.push(&[count("a", 1), count("b", 1)]).unwrap();
    let pushed = push();
    for name in ["counts", "others"] {
        engine.await_pushed(name, &pushed, LONG).unwrap();
    }
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    let mut locks = client.transaction().unwrap();
    locks.batch_execute("LOCK TABLE counts_1 IN ACCESS EXCLUSIVE MODE").unwrap();
    let waiting = "SELECT count(*) FROM pg_locks l WHERE NOT granted AND relation = 'counts_1'::regclass";
    let mut last = Vec::new();
    for round in 0..5 {
        last = push();
        eventually("a wait for the table", || locks.query_one(waiting, &[]).unwrap().get::<_, i64>(0) > 0);
        engine.await_pushed("others", &last, LONG).unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(locks.query_one(waiting, &[]).unwrap().get::<_, i64>(0) > 0, "it waits still");
    }
    let state = store.states(&counts("counts").key(), &["a".into(), "b".into()]).unwrap();
    assert_eq!((state[0].position, state[1].position), (1, 1));
    locks.rollback().unwrap();
    engine.await_pushed("counts", &last, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
}

// Contract: F8: a process that is stopped inside a transaction loses its row locks within its lease, whatever the
// options of its store say.
#[test]
fn a_transaction_that_stands_still_ends_within_the_lease() {
    let database = database();
    let (store, other) =
        (PostgresStore::connect(database.url()).unwrap(), PostgresStore::connect(database.url()).unwrap());
    let config = lazy().lease(Duration::from_secs(2));
    let engine = crate::start(store.clone(), &["counts"], config);
    let (key, instances, mut got) = (counts("counts").key(), ["a".into()], None);
    let outcome = store.transaction(&mut |tx| {
        tx.lock(&key, &instances)?;
        // The second store waits for less time than the options of the first store allow a transaction to be idle.
        got = Some(other.transaction(&mut |tx| tx.lock(&key, &instances).map(drop)));
        Ok(())
    });
    assert!(matches!(got, Some(Ok(()))), "{got:?}");
    assert!(outcome.is_err(), "it was ended by the server");
    engine.shutdown(LONG).unwrap();
}

// Contract: L2: a read as of one moment shows one build, also while a switch exchanges the names of the tables.
#[test]
fn a_model_is_read_of_one_build_while_names_are_exchanged() {
    let database = database();
    let store = PostgresStore::connect(database.url()).unwrap();
    let projection = counts("counts");
    ProjectionStore::setup(&store, &[&projection]).unwrap();
    store.push(&[count("a", 1)]).unwrap();
    let (source, models) = (Arc::new(store.clone()), Arc::new(store.clone()));
    let handler = ProjectionHandler::new(source, models, projection.clone(), HandlerConfig::default()).unwrap();
    handler.trigger(&["a"]).unwrap();
    let [mut other, mut looker] = [(); 2].map(|()| Client::connect(database.url(), NoTls).unwrap());
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    other.batch_execute("BEGIN; LOCK TABLE counts_1 IN ACCESS EXCLUSIVE MODE").unwrap();
    std::thread::scope(|scope| {
        let read = scope.spawn(|| BuildStore::model(&store, &projection, "a").unwrap());
        eventually("a wait for the lock", || looker.query_one(waiting, &[]).unwrap().get::<_, i64>(0) > 0);
        other
            .batch_execute(
                "ALTER TABLE counts_1 RENAME TO counts_old; CREATE TABLE counts_1 (LIKE counts_old INCLUDING ALL); \
                 INSERT INTO counts_1 VALUES ('a', 'x', 7); UPDATE readside.projection_states SET position = 9; COMMIT",
            )
            .unwrap();
        let model = read.join().unwrap();
        assert_eq!((model.state.position, model.tables[0].len()), (9, 1), "{model:?}");
        assert_eq!(model.tables[0][0][2].1, Value::Integer(7));
    });
}
