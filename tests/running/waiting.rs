//! What is recorded while one waits for the lock of a state is seen once the lock is had: SPEC G1, H2.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use readside::postgres_driver::{Client, NoTls};
use readside::*;

use crate::common::postgres::database;
use crate::{LONG, counts, eventually};

fn failing() -> Attempt {
    Attempt {
        instance: "a".into(),
        position: 1,
        aggregate_type: "thing".into(),
        aggregate_id: "x".into(),
        event_type: "thing.counted".into(),
        attempts: 3,
        state: HeldState::Failing,
        class: FailureClass::Reducer,
        error: "bad luck".into(),
        retry_in: Duration::from_mins(1),
    }
}

// SPEC G1, H2: a statement that waited for a lock sees the locked row as it is now, but all other rows as they were.
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
