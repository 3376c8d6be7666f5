//! Checkpoints that do not belong to the store's history, and a read model in another database: SPEC G5, G6.

use std::sync::Arc;

use readside::{ProjectionHandler, ProjectionStore, SqliteStore, StopCause};

use crate::{config, count, counts, push, rows, stopped, store};

fn two(source: &SqliteStore, models: &SqliteStore) -> ProjectionHandler {
    ProjectionHandler::new(Arc::new(source.clone()), Arc::new(models.clone()), counts(), config()).unwrap()
}

// SPEC G5
#[test]
fn the_read_model_may_live_in_another_database() {
    let ((events, _), (models, _)) = (store(), store());
    push(&events, &[count("a", "x", 1), count("b", "x", 2)]);
    two(&events, &models).trigger(&["a", "b"]).unwrap();
    assert_eq!((rows(&models), rows(&events)), (vec!["a/x=1".to_owned(), "b/x=2".to_owned()], vec![]));
    assert_eq!(models.states(&counts().key(), &[Arc::from("a")]).unwrap()[0].position, 1);
}

fn diverged(source: &SqliteStore, models: &SqliteStore) -> String {
    let stopped = stopped(two(source, models).trigger(&["a"]));
    assert!(matches!(stopped[0].cause, StopCause::HistoryDiverged { .. }), "{stopped:?}");
    stopped[0].to_string()
}

// SPEC G6: a backup was restored: the same store, but shorter, or with other events after it.
#[test]
fn a_store_restored_to_an_older_state_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, backup) = (folder.path().join("events.db"), folder.path().join("backup.db"));
    let (models, _) = store();
    let events = SqliteStore::open(&path).unwrap();
    events.setup().unwrap();
    push(&events, &[count("a", "x", 1)]);
    let copy = readside::rusqlite::Connection::open(&path).unwrap();
    copy.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    push(&events, &[count("a", "x", 2)]);
    two(&events, &models).trigger(&["a"]).unwrap();
    let restored = SqliteStore::open(&backup).unwrap();
    let text = diverged(&restored, &models);
    assert!(text.contains("the checkpoint is at 2, the store ends at 1"), "{text}");
    push(&restored, &[count("a", "x", 50), count("a", "x", 60)]);
    let text = diverged(&restored, &models);
    assert!(text.contains("another event stands at the checkpoint 2") && text.contains("reset"), "{text}");
    assert_eq!(rows(&models), ["a/x=3"]);
    let (other, _) = store();
    push(&other, &[count("a", "x", 1), count("a", "x", 2), count("a", "x", 3)]);
    let text = diverged(&other, &models);
    assert!(text.contains("belongs to event store"), "{text}");
}

// SPEC G1: a checkpoint that was set back while events were on their way.
#[test]
fn a_checkpoint_that_was_set_back_stops_the_work() {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1)]);
    two(&store, &store).trigger(&["a"]).unwrap();
    push(&store, &[count("a", "x", 2)]);
    let handler = two(&store, &store);
    let fetched = handler.fetch_events(&["a"]).unwrap();
    let id = readside::EventSource::store_id(&store).unwrap();
    let back = readside::Checkpoint { instance: "a".into(), position: 0, event: None, store: id };
    store.transaction(&mut |tx| tx.save(&counts().key(), std::slice::from_ref(&back))).unwrap();
    let processed = handler.process(fetched);
    assert!(matches!(processed.stopped[0].cause, StopCause::Reset), "{:?}", processed.stopped);
    assert_eq!(rows(&store), ["a/x=1"]);
}
