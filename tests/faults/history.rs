//! An event store that is restored to an older backup beneath a running engine: Contract: G6.

use std::time::Duration;

use readside::health::StopCause;
use readside::testing::laws::{self, Fault};
use readside::{Engine, Event, EventStore, NewEvent, PostgresStore, SqliteStore, error};

#[cfg(feature = "postgres")]
use crate::load::start;
use crate::load::{LONG, eager, ledger, moved};

fn push(store: &dyn EventStore, instance: &str, count: usize) -> Vec<Event> {
    let commands: Vec<NewEvent> = (0..count).map(|_| moved(instance, "x", 1)).collect();
    store.push(&commands).unwrap()
}

/// Checks that the instance stopped with a reason, that nothing of it moved, and that other instances go on.
fn diverged(engine: &Engine, events: &dyn EventStore, models: &dyn laws::Models, position: i64) {
    match engine.trigger("sums", &["a"]) {
        Err(error::TriggerError::Stopped { stopped, .. }) => {
            assert!(matches!(stopped[0].cause, StopCause::HistoryDiverged { .. }), "{stopped:?}");
        }
        other => panic!("{other:?}"),
    }
    let pushed = push(events, "b", 1);
    engine.await_pushed("sums", &pushed, LONG).unwrap();
    let report = laws::check(events, models, &ledger()).unwrap();
    let checkpoints = report.faults().iter().filter(|fault| fault.instance() == "a");
    let checkpoints: Vec<&Fault> = checkpoints.filter(|fault| !matches!(fault, Fault::Row { .. })).collect();
    assert!(
        matches!(checkpoints[..], [Fault::OtherEvent { position: at, .. } | Fault::Ahead { position: at, .. }]
            if *at == position),
        "the checkpoint stays where it was: {report}"
    );
    assert!(report.faults().iter().all(|fault| fault.instance() == "a"), "{report}");
    println!("{report}");
}

#[cfg(feature = "postgres")]
mod beneath {
    use readside::postgres_driver::{Client, NoTls};

    use super::*;
    use crate::common::postgres::{Database, database};

    /// Removes the events 6 to 10 of instance a, as if the event store had been restored.
    fn restored() -> (Database, PostgresStore, Engine) {
        let database = database();
        let store = PostgresStore::connect(database.url()).unwrap();
        let engine = start(store.clone());
        push(&store, "b", 3);
        let pushed = push(&store, "a", 10);
        engine.await_pushed("sums", &pushed, LONG).unwrap();
        let mut client = Client::connect(database.url(), NoTls).unwrap();
        let restore = "BEGIN; DELETE FROM readside.events WHERE instance_id = 'a' AND position > 5; \
             UPDATE readside.instances SET head = 5, head_event = (SELECT event_id FROM readside.events \
             WHERE instance_id = 'a' AND position = 5) WHERE instance_id = 'a'; \
             UPDATE readside.heads SET head = 5 WHERE instance_id = 'a'; COMMIT";
        client.batch_execute(restore).unwrap();
        (database, store, engine)
    }

    // Contract: G6
    #[test]
    fn a_checkpoint_ahead_of_a_restored_log_is_reported() {
        let (_database, store, engine) = restored();
        diverged(&engine, &store, &store, 10);
    }

    // Contract: G6: new events take the positions of lost ones. The engine must not skip those up to the checkpoint.
    #[test]
    fn events_pushed_by_another_process_after_a_restore_are_not_skipped() {
        let (database, _store, engine) = restored();
        let other = PostgresStore::connect(database.url()).unwrap();
        push(&other, "a", 7);
        diverged(&engine, &other, &other, 10);
    }

    // Contract: G6: the engine itself pushes the events. It sees them in its queue and need not read them.
    #[test]
    fn events_pushed_by_the_engine_itself_after_a_restore_are_not_skipped() {
        let (_database, store, engine) = restored();
        for count in [5, 1, 1] {
            push(&store, "a", count);
            // When this event of another instance is projected, the engine has looked at the events queued before it.
            let pushed = push(&store, "b", 1);
            engine.await_pushed("sums", &pushed, LONG).unwrap();
        }
        diverged(&engine, &store, &store, 10);
    }
}

// Contract: G6: the file with the events is restored between two engines. The read model is in another file.
#[test]
fn a_file_put_back_is_found_out_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("events.db"), folder.path().join("backup.db"));
    let models = SqliteStore::open(folder.path().join("models.db")).unwrap();
    let begin = || {
        let events = SqliteStore::open(&file).unwrap();
        events.setup().unwrap();
        let engine = Engine::builder(events.clone()).models(models.clone()).projection(ledger()).config(eager());
        (events, engine.start().unwrap())
    };
    let (events, engine) = begin();
    let before = [push(&events, "a", 5), push(&events, "b", 3)].concat();
    engine.await_pushed("sums", &before, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    drop((events, engine));
    std::fs::copy(&file, &backup).unwrap();
    let (events, engine) = begin();
    let lost = push(&events, "a", 5);
    engine.await_pushed("sums", &lost, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    drop((events, engine));
    std::fs::copy(&backup, &file).unwrap();
    let (events, engine) = begin();
    push(&SqliteStore::open(&file).unwrap(), "a", 7);
    let error = engine.await_position("sums", "a", 12, Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, error::AwaitError::Stopped { .. } | error::AwaitError::TimedOut { .. }), "{error}");
    diverged(&engine, &events, &models, 10);
    engine.shutdown(LONG).unwrap();
}
