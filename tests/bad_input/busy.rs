//! Locks that others hold, and the last possible position: Contract: A1, L4.

use readside::EventStore;
use readside::error::{PushError, chain};
use readside::store::ProjectionStore;

use crate::{PATIENCE, Store, command, positions};

// Contract: A1: the error says whom the push waited for, and that nothing was stored.
both!(a_push_that_waits_too_long_says_for_whom);
pub(crate) fn a_push_that_waits_too_long_says_for_whom<S: Store>(store: &S) {
    store.push(&[command("a", "0")]).unwrap();
    store.transaction_of_ones_own(true, &mut |tx| {
        let _ = tx.push(&[command("a", "1")]).unwrap();
        let error = store.push(&[command("a", "2")]).unwrap_err();
        let PushError::Busy { instance, waited, .. } = &error else { panic!("{error:?}") };
        assert_eq!((instance.as_str(), *waited >= PATIENCE), ("a", true), "{waited:?}");
        let text = chain(&error);
        assert!(text.starts_with("nothing pushed: instance \"a\" was locked") && text.ends_with("try again"), "{text}");
        assert!(error.is_transient());
    });
    store.push(&[command("a", "3")]).unwrap();
    assert_eq!(positions(store, "a"), [1, 2, 3]);
}

// Contract: A1
both!(positions_end_at_the_last_one);
pub(crate) fn positions_end_at_the_last_one<S: Store>(store: &S) {
    store.push(&[command("a", "0")]).unwrap();
    store.sql(&format!("UPDATE {} SET head = 9223372036854775806", store.table("instances")));
    let error = store.push(&[command("a", "1"), command("a", "2")]).unwrap_err();
    assert!(matches!(&error, PushError::PositionsExhausted { wanted: 2, .. }), "{error:?}");
    assert_eq!(positions(store, "a"), [1]);
    store.push(&[command("a", "1")]).unwrap();
    let projection = crate::names::people("people", 1);
    crate::trigger(store, &projection, &["a"]).unwrap();
    let states = store.states(&projection.key(), &["a".into()]).unwrap();
    assert_eq!((states[0].position, store.rows(&projection, "people").len()), (i64::MAX, 2));
    assert!(matches!(store.push(&[command("a", "2")]), Err(PushError::PositionsExhausted { .. })));
}

// Contract: A1: the error names the holder of the lock, and L4: another tenant is not held up.
#[cfg(feature = "postgres")]
#[test]
fn the_holder_is_named_and_others_are_not_held_up() {
    let store = crate::OnPostgres::new();
    store.push(&[command("a", "0"), command("b", "0")]).unwrap();
    store.transaction_of_ones_own(false, &mut |tx| {
        let _ = tx.push(&[command("a", "1")]).unwrap();
        store.push(&[command("b", "1")]).unwrap();
        match store.push(&[command("a", "2")]) {
            Err(PushError::Busy { holder: Some(holder), .. }) => {
                assert_eq!(holder.application, "the legacy service");
                assert!(holder.pid > 0 && holder.since.is_some_and(|since| since >= PATIENCE), "{holder:?}");
            }
            other => panic!("{other:?}"),
        }
    });
    assert_eq!((positions(&store, "a"), positions(&store, "b")), (vec![1], vec![1, 2]));
}

/// A session with this name that has locked the counter of an instance. It did so inside a savepoint and released the
/// savepoint, as `push_in` does.
#[cfg(feature = "postgres")]
fn holding(store: &crate::OnPostgres, name: &str, instance: &str) -> readside::postgres_driver::Client {
    let mut config: readside::postgres_driver::Config = store.database.url().parse().unwrap();
    config.application_name(name);
    let mut client = config.connect(readside::postgres_driver::NoTls).unwrap();
    client
        .batch_execute(&format!(
            "BEGIN; CREATE TEMPORARY TABLE mine (id int); SAVEPOINT s; \
             INSERT INTO readside.instances VALUES ('{instance}', 0) ON CONFLICT (instance_id) DO UPDATE SET head = 0; \
             RELEASE SAVEPOINT s"
        ))
        .unwrap();
    client
}

// Contract: A1: neither an older session that holds another counter nor a session that waits too is taken for the
// holder. This holds also while the counter is being created.
#[cfg(feature = "postgres")]
#[test]
fn of_several_sessions_the_holder_is_named() {
    let store = crate::OnPostgres::new();
    store.sql("INSERT INTO readside.instances VALUES ('a', 0), ('b', 0)");
    let patient = readside::PostgresStore::connect(store.database.url()).unwrap();
    for instance in ["a", "new"] {
        let older = holding(&store, "an older one", "b");
        let mut holder = holding(&store, "the holder", instance);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| patient.push(&[command(instance, "1")]));
            let waits =
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
            crate::common::eventually("the wait", || store.number(waits) > 0);
            let commands = [command("a0", "1"), command(instance, "1")];
            let mut outcomes = vec![store.push(&commands)];
            store.transaction_of_ones_own(false, &mut |tx| {
                // The push does not wait for what its caller has locked.
                let _ = tx.push(&[command("a0", "1")]).unwrap();
                outcomes.push(tx.push(&commands).map(|pushed| pushed.events));
                tx.sql("SELECT 1");
            });
            for outcome in outcomes {
                match outcome {
                    Err(PushError::Busy { holder: Some(holder), waited, .. }) => {
                        assert_eq!(holder.application, "the holder", "{instance}: {holder:?}");
                        assert!(waited >= PATIENCE, "{waited:?}");
                    }
                    other => panic!("{instance}: {other:?}"),
                }
            }
            holder.batch_execute("ROLLBACK").unwrap();
            waiting.join().unwrap().unwrap();
        });
        drop(older);
    }
}

// Contract: A1: on a file, the error names a thread of this process if one holds the lock. A process that waits
// itself is not named.
#[cfg(feature = "sqlite")]
#[test]
fn a_writer_of_this_process_is_named_and_no_other() {
    let store = crate::OnSqlite::new();
    let busy = |outcome: Result<Vec<readside::Event>, PushError>| match outcome {
        Err(PushError::Busy { holder, .. }) => holder,
        other => panic!("{other:?}"),
    };
    store
        .transaction(&mut |_| {
            let holder = busy(store.push(&[command("a", "1")])).expect("this process writes");
            assert_eq!((holder.pid, holder.application.as_str()), (i64::from(std::process::id()), "this process"));
            Ok(())
        })
        .unwrap();
    store.transaction_of_ones_own(false, &mut |_| {
        let pushes_are_over = std::sync::atomic::AtomicBool::new(false);
        let holders = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !pushes_are_over.load(std::sync::atomic::Ordering::SeqCst) {
                    store.transaction(&mut |_| Ok(())).unwrap_err();
                }
            });
            let outcomes: Vec<_> = (0..5).map(|_| store.push(&[command("a", "1")])).collect();
            pushes_are_over.store(true, std::sync::atomic::Ordering::SeqCst);
            outcomes.into_iter().map(busy).collect::<Vec<_>>()
        });
        assert_eq!(holders, vec![None; 5], "nobody knows the other process, and who waits too is not the holder");
    });
}

// Contract: A1, A4: a transaction that has not written yet waits for the file inside the push.
#[cfg(feature = "sqlite")]
#[test]
fn a_push_into_a_transaction_that_cannot_write_yet_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = readside::SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    let mut own = readside::rusqlite::Connection::open(&path).unwrap();
    own.busy_timeout(PATIENCE).unwrap();
    let transaction = own.transaction().unwrap();
    store
        .transaction(&mut |_| {
            match store.push_in(&transaction, &[command("a", "1")]) {
                Err(PushError::Busy { instance, waited, holder: Some(holder) }) => {
                    assert_eq!((instance.as_str(), waited >= PATIENCE), ("a", true), "{waited:?}");
                    assert_eq!(holder.application, "this process");
                }
                other => panic!("{other:?}"),
            }
            Ok(())
        })
        .unwrap();
    store.push_in(&transaction, &[command("a", "1")]).unwrap().token.fire();
}

// Contract: A1: times never decrease with positions, even if the clock jumps back.
#[cfg(feature = "sqlite")]
#[test]
fn a_clock_that_jumps_back_does_not_turn_times_round() {
    use readside::clock::ManualClock;
    use readside::{SqliteOptions, SqliteStore};
    use std::time::{Duration, SystemTime};
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(5000);
    let clock = ManualClock::at(later);
    let options = SqliteOptions::default().clock(std::sync::Arc::new(clock.clone()));
    let store = SqliteStore::in_memory_with(options).unwrap();
    store.setup().unwrap();
    let push = |id: &str| store.push(&[command("a", id)]).unwrap()[0].created_at();
    assert_eq!(push("1"), later);
    clock.set(SystemTime::UNIX_EPOCH);
    assert_eq!(push("2"), later);
    clock.set(later + Duration::from_secs(1));
    assert_eq!(push("3"), later + Duration::from_secs(1));
}
