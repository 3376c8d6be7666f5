//! Checkpoints that do not belong to the store's history, and a read model in another database: Contract: G5, G6.

use std::sync::Arc;

use readside::error::TriggerError;
use readside::health::StopCause;
use readside::store::ProjectionStore;
use readside::{ProjectionHandler, SqliteStore};

use crate::{config, count, counts, patient, push, rows, stopped, store};

fn two(source: &SqliteStore, models: &SqliteStore) -> ProjectionHandler {
    ProjectionHandler::new(Arc::new(source.clone()), Arc::new(models.clone()), counts(), config()).unwrap()
}

// Contract: G5
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

// Contract: G6: a backup was restored. The store is the same, but it is shorter, or has other events after the
// backup.
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

// Contract: G1: the checkpoint was set back while events were on their way.
#[test]
fn a_checkpoint_that_was_set_back_stops_the_work() {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1)]);
    two(&store, &store).trigger(&["a"]).unwrap();
    push(&store, &[count("a", "x", 2)]);
    let handler = two(&store, &store);
    let fetched = handler.fetch_events(&["a"]).unwrap();
    let id = readside::store::EventSource::store_id(&store).unwrap();
    let back = readside::store::Checkpoint { instance: "a".into(), position: 0, event: None, store: id };
    store
        .transaction(&mut |tx| tx.save(&counts().key(), std::slice::from_ref(&back), readside::store::Log::Here))
        .unwrap();
    let processed = handler.process(fetched);
    assert!(matches!(processed.stopped[0].cause, StopCause::Reset), "{:?}", processed.stopped);
    assert_eq!(rows(&store), ["a/x=1"]);
}

/// Sets the log of an instance back to this position.
type Cut<'c> = &'c dyn Fn(&str, i64);

fn on_sqlite(test: fn(&SqliteStore, &SqliteStore, Cut<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let [store, other] = [0, 1].map(|_| SqliteStore::open(&path).unwrap());
    ProjectionStore::setup(&store, &[&counts()]).unwrap();
    let client = readside::rusqlite::Connection::open(&path).unwrap();
    client.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    test(&store, &other, &|instance, position| client.execute_batch(&cut("readside_", instance, position)).unwrap());
}

#[cfg(feature = "postgres")]
fn on_postgres(test: fn(&readside::PostgresStore, &readside::PostgresStore, Cut<'_>)) {
    use readside::postgres_driver::{Client, NoTls};
    let database = crate::common::postgres::database();
    let [store, other] = [0, 1].map(|_| readside::PostgresStore::connect(database.url()).unwrap());
    ProjectionStore::setup(&store, &[&counts()]).unwrap();
    let client = std::cell::RefCell::new(Client::connect(database.url(), NoTls).unwrap());
    test(&store, &other, &|instance, position| {
        client.borrow_mut().batch_execute(&cut("readside.", instance, position)).unwrap();
    });
}

fn cut(prefix: &str, instance: &str, position: i64) -> String {
    let of = format!("WHERE instance_id = '{instance}'");
    format!(
        "BEGIN; DELETE FROM {prefix}events {of} AND position > {position}; \
         UPDATE {prefix}instances SET head = {position}, head_event = \
         (SELECT event_id FROM {prefix}events {of} AND position = {position}) {of}; \
         UPDATE {prefix}heads SET head = {position} {of} AND head > {position}; COMMIT"
    )
}

/// The traits of the stores of both databases.
trait Both: readside::EngineStore + readside::testing::laws::Models + Clone {}
impl<S: readside::EngineStore + readside::testing::laws::Models + Clone> Both for S {}

fn of<S: Both>(store: &S) -> ProjectionHandler {
    ProjectionHandler::new(Arc::new(store.clone()), Arc::new(store.clone()), counts(), config()).unwrap()
}

fn lawful<S: Both>(store: &S) {
    let report = readside::testing::laws::check(store, store, &counts()).unwrap();
    assert!(report.is_lawful(), "{report}");
}

fn is_changed(processed: &readside::Processed) -> bool {
    processed.stopped.iter().any(|stopped| matches!(stopped.cause, StopCause::HistoryChanged { .. }))
}

/// Events were read. Before they are written, they vanish, and others take their positions.
fn what_was_read_of_a_lost_history_is_not_written<S: Both>(store: &S, other: &S, cut: Cut<'_>) {
    let handler = of(store);
    store.push(&[count("a", "x", 1), count("b", "x", 1)]).unwrap();
    handler.trigger(&["a", "b"]).unwrap();
    store.push(&[count("a", "x", 2), count("a", "x", 4), count("b", "x", 2)]).unwrap();
    let fetched = handler.fetch_events(&["a", "b"]).unwrap();
    cut("a", 1);
    other.push(&[count("a", "x", 100), count("a", "x", 200), count("a", "x", 400)]).unwrap();
    let processed = handler.process(fetched);
    assert!(is_changed(&processed) && processed.applied == 1, "{processed:?}");
    handler.trigger(&["a", "b"]).unwrap();
    lawful(store);
}

// Contract: L10
#[test]
fn what_was_read_of_a_lost_history_is_not_written_on_sqlite() {
    on_sqlite(what_was_read_of_a_lost_history_is_not_written);
}

// Contract: L10
#[cfg(feature = "postgres")]
#[test]
fn what_was_read_of_a_lost_history_is_not_written_on_postgres() {
    on_postgres(what_was_read_of_a_lost_history_is_not_written);
}

/// The log loses events that are on their way, and the next events get their positions.
fn events_by_hand_of_a_lost_history_are_not_written<S: Both>(store: &S, other: &S, cut: Cut<'_>) {
    let handler = of(store);
    let subscription = store.subscribe(readside::subscription::Topics::all());
    store.push(&[count("a", "x", 1)]).unwrap();
    let first = subscription.drain().events;
    assert_eq!(handler.process_events(&first).applied, 1);
    store.push(&[count("a", "x", 2), count("a", "x", 4)]).unwrap();
    let lost = subscription.drain().events;
    cut("a", 1);
    assert!(is_changed(&handler.process_events(&lost)), "they lie behind the end of the log");
    other.push(&[count("a", "x", 100), count("a", "x", 200)]).unwrap();
    assert!(is_changed(&handler.process_events(&lost)), "others stand in their places");
    store.push(&[count("a", "x", 400)]).unwrap();
    let mixed = [lost, subscription.drain().events].concat();
    let positions: Vec<i64> = mixed.iter().map(readside::Event::position).collect();
    assert_eq!(positions, [2, 3, 4], "without a hole, but of two histories");
    assert!(!handler.process_events(&mixed).stopped.is_empty());
    handler.trigger(&["a"]).unwrap();
    lawful(store);
}

// Contract: L10
#[test]
fn events_by_hand_of_a_lost_history_are_not_written_on_sqlite() {
    on_sqlite(events_by_hand_of_a_lost_history_are_not_written);
}

// Contract: L10
#[cfg(feature = "postgres")]
#[test]
fn events_by_hand_of_a_lost_history_are_not_written_on_postgres() {
    on_postgres(events_by_hand_of_a_lost_history_are_not_written);
}

/// A failure on record names a position. Another event may have this position now.
fn a_record_of_a_lost_event_is_not_applied_to_another<S: Both>(events: &S, other: &S, cut: Cut<'_>) {
    let (models, _) = store();
    let models = Arc::new(models);
    let parks = config().max_failure_count(1);
    let handler = ProjectionHandler::new(Arc::new(events.clone()), models.clone(), counts(), parks).unwrap();
    events.push(&[count("a", "x", 1), count("a", "x", 13)]).unwrap();
    handler.trigger(&["a"]).unwrap();
    cut("a", 1);
    other.push(&[count("a", "x", 2)]).unwrap();
    let by = readside::failure::By::new("ada", "the reducer is mended");
    for outcome in [handler.retry("a", 2, &by), handler.discard("a", 2, &by)] {
        assert!(
            matches!(&outcome, Err(readside::error::FailureError::Trigger(TriggerError::Stopped { stopped, .. }))
                if matches!(stopped[0].cause, StopCause::HistoryDiverged { .. })),
            "{outcome:?}"
        );
    }
    assert_eq!(rows(&models), ["a/x=1"]);
}

// Contract: L10, H3
#[test]
fn a_record_of_a_lost_event_is_not_applied_to_another_on_sqlite() {
    on_sqlite(a_record_of_a_lost_event_is_not_applied_to_another);
}

// Contract: L10, H3
#[cfg(feature = "postgres")]
#[test]
fn a_record_of_a_lost_event_is_not_applied_to_another_on_postgres() {
    on_postgres(a_record_of_a_lost_event_is_not_applied_to_another);
}

/// The log in another database is set back between reading and writing.
fn a_log_in_another_database_is_asked_before_the_commit<S: Both>(events: &S, other: &S, cut: Cut<'_>) {
    let (models, _) = store();
    let handler =
        ProjectionHandler::new(Arc::new(events.clone()), Arc::new(models.clone()), counts(), config()).unwrap();
    events.push(&[count("a", "x", 1), count("a", "x", 2)]).unwrap();
    let fetched = handler.fetch_events(&["a"]).unwrap();
    cut("a", 1);
    other.push(&[count("a", "x", 10)]).unwrap();
    assert!(is_changed(&handler.process(fetched)));
    assert_eq!(rows(&models), Vec::<String>::new());
    handler.trigger(&["a"]).unwrap();
    assert_eq!(rows(&models), ["a/x=11"]);
}

// Contract: L10, G5
#[test]
fn a_log_in_another_database_is_asked_before_the_commit_on_sqlite() {
    on_sqlite(a_log_in_another_database_is_asked_before_the_commit);
}

// Contract: L10, G5
#[cfg(feature = "postgres")]
#[test]
fn a_log_in_another_database_is_asked_before_the_commit_on_postgres() {
    on_postgres(a_log_in_another_database_is_asked_before_the_commit);
}

/// A pass makes two attempts, and the first one has committed some events. In between, the checkpoint is set back.
fn what_is_set_back_between_attempts_is_not_written_again<S: Both>(store: &S, _other: &S, _cut: Cut<'_>) {
    let (calls, back) = (std::sync::atomic::AtomicUsize::new(0), store.clone());
    let key = counts().key();
    let projection = readside::Projection::new("counts", 1)
        .table(
            readside::table::Table::new("counts")
                .column(readside::table::text("thing"))
                .column(readside::table::integer("n"))
                .primary_key(["thing"]),
        )
        .on(move |e, p: crate::Counted| {
            if p.by == 13 {
                if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
                    let store = readside::store::EventSource::store_id(&back).unwrap();
                    let reset = readside::store::Checkpoint { instance: "a".into(), position: 0, event: None, store };
                    let save = &mut |tx: &mut dyn readside::store::ProjectionTransaction| {
                        tx.save(&key, std::slice::from_ref(&reset), readside::store::Log::Here)
                    };
                    back.transaction(save).unwrap();
                }
                return Err(readside::error::ReduceError::new("bad luck"));
            }
            readside::statement::upsert(
                ["thing"],
                [readside::statement::set("thing", e.aggregate_id()), readside::statement::increment("n", p.by)],
            )
        });
    let config = patient().retries(1);
    let handler = ProjectionHandler::new(Arc::new(store.clone()), Arc::new(store.clone()), projection, config).unwrap();
    store.push(&[count("a", "x", 1), count("a", "x", 1), count("a", "y", 13)]).unwrap();
    let fetched = handler.fetch_events(&["a"]).unwrap();
    let processed = handler.process(fetched);
    assert!(matches!(processed.stopped[0].cause, StopCause::Reset), "{processed:?}");
    let model = readside::testing::laws::Models::model(store, &counts(), "a").unwrap();
    assert_eq!(model.state.position, 0, "it stays where it was set back to");
    let rows = format!("{:?}", model.tables);
    assert!(rows.contains("Integer(2)"), "nothing was written again: {rows}");
}

// Contract: L2
#[test]
fn what_is_set_back_between_attempts_is_not_written_again_on_sqlite() {
    on_sqlite(what_is_set_back_between_attempts_is_not_written_again);
}

// Contract: L2
#[cfg(feature = "postgres")]
#[test]
fn what_is_set_back_between_attempts_is_not_written_again_on_postgres() {
    on_postgres(what_is_set_back_between_attempts_is_not_written_again);
}
