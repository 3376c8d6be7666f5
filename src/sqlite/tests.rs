//! Tests that need the inside of the store: a full disk, what becomes of statements, and what looks cost.

use super::SqliteStore;
use crate::error::{PushError, StoreError, StoreErrorKind};
use crate::event::NewEvent;
use crate::query::Query;
use crate::store::EventStore;

#[test]
fn a_full_disk_stores_nothing_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("test.db")).unwrap();
    store.setup().unwrap();
    let limit = |pages: i64| {
        let writer = store.backend().writer.lock();
        let _: i64 = writer.pragma_update_and_check(None, "max_page_count", pages, |row| row.get(0)).unwrap();
    };
    limit(40);
    let large = || NewEvent::raw("a", "user", "u", "added").payload(&"x".repeat(100_000));
    store.push(&[NewEvent::raw("a", "user", "u", "added")]).unwrap();
    match store.push(&[NewEvent::raw("a", "user", "u", "added"), large(), large()]) {
        Err(PushError::Store(error)) => {
            assert_eq!(error.kind(), StoreErrorKind::Full);
            assert!(error.to_string().contains("free some space, nothing was stored"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.filter(&Query::new()).unwrap().len(), 1);
    limit(1_000_000);
    assert_eq!(store.push(&[large()]).unwrap()[0].position(), 2);
}

// Contract: L10: an index of event ids costs each push, so the first import makes it, and looks ids up there.
#[test]
fn the_first_import_makes_the_index_of_event_ids() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("test.db")).unwrap();
    store.setup().unwrap();
    let plan = || {
        let sql = "EXPLAIN QUERY PLAN SELECT count(*) FROM readside_events e WHERE e.event_id = x'01'";
        let writer = store.backend().writer.lock();
        writer.query_row(sql, [], |row| row.get::<_, String>("detail")).unwrap()
    };
    let event = || NewEvent::raw("a", "user", "u", "added");
    let pushed = store.push(&[event()]).unwrap();
    assert!(plan().starts_with("SCAN"), "{}", plan());
    let again = store.push_imported(&[event().id(pushed[0].id())]);
    assert!(matches!(again, Err(PushError::IdExists { index: 0, .. })), "{again:?}");
    assert!(plan().starts_with("SCAN"), "what is refused leaves nothing: {}", plan());
    store.push_imported(&[event().id(uuid::Uuid::from_u128(1))]).unwrap();
    assert!(plan().contains("readside_events_by_id (event_id=?)"), "{}", plan());
    store.push(&[event()]).unwrap();
}

/// A store with an event, and its file.
#[cfg(unix)]
fn with_file() -> (tempfile::TempDir, std::path::PathBuf, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    store.push(&[NewEvent::raw("a", "user", "u", "added")]).unwrap();
    (folder, path, store)
}

// Contract: L6, L10: if somebody takes the file away during a commit, the store neither acknowledges the commit nor
// says that it was not stored.
#[cfg(unix)]
#[test]
fn a_commit_into_a_file_that_is_taken_away_is_not_known() {
    use crate::db::Backend;
    let (_folder, path, store) = with_file();
    let outcome: Result<(), StoreError> = store.backend().write("moving a head", |conn| {
        std::fs::rename(&path, path.with_extension("aside")).unwrap();
        conn.execute("UPDATE readside_instances SET head = 2", &[]).map(|_| ())
    });
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::CommitUnknown, "{error:?}");
    let text = crate::error::chain(&error);
    assert!(text.contains("may have happened") && text.contains("was removed or moved"), "{text}");
    std::fs::rename(path.with_extension("aside"), &path).unwrap();
    assert_eq!(store.push(&[NewEvent::raw("a", "user", "u", "added")]).unwrap()[0].position(), 3);
}

// Contract: L6, L10: the same for the write-ahead log, which holds the commit.
#[cfg(unix)]
#[test]
fn a_commit_into_a_log_that_is_taken_away_is_not_known() {
    use crate::db::Backend;
    let (_folder, path, store) = with_file();
    let log = super::place::log_of(&path);
    let outcome: Result<(), StoreError> = store.backend().write("moving a head", |conn| {
        std::fs::rename(&log, path.with_extension("aside")).unwrap();
        conn.execute("UPDATE readside_instances SET head = 2", &[]).map(|_| ())
    });
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::CommitUnknown, "{error:?}");
    let text = crate::error::chain(&error);
    assert!(text.contains("may have happened") && text.contains("integrity_check"), "{text}");
    std::fs::rename(path.with_extension("aside"), &log).unwrap();
    assert_eq!(store.push(&[NewEvent::raw("a", "user", "u", "added")]).unwrap()[0].position(), 3);
}

// Contract: A7, L10: the watcher does not follow the path to another file.
#[cfg(unix)]
#[test]
fn nothing_is_heard_from_another_file() {
    use crate::store::Notifier;
    use std::time::Duration;
    let (_folder, path, store) = with_file();
    let mut wire = store.listener();
    assert!(wire.listen(Duration::ZERO).unwrap().all);
    std::fs::rename(&path, path.with_extension("aside")).unwrap();
    // First the connection that it has, then the one that it would open.
    for _ in 0..2 {
        assert_eq!(wire.listen(Duration::ZERO).unwrap_err().kind(), StoreErrorKind::Replaced);
    }
    std::fs::rename(path.with_extension("aside"), &path).unwrap();
    assert!(wire.listen(Duration::ZERO).unwrap().all);
}

// Contract: A1: one deadline for a call. Time spent waiting for other threads is no longer there for other processes.
#[test]
fn who_has_no_time_left_does_not_wait_for_the_file() {
    use crate::db::Backend;
    use std::time::Duration;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let options = super::SqliteOptions { busy_timeout: Duration::from_hours(1), ..Default::default() };
    let store = SqliteStore::open_with(&path, options).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (send, outcome) = crossbeam_channel::bounded(1);
    let writer = store.clone();
    let waiting = std::thread::spawn(move || {
        let outcome: Result<(), StoreError> = writer.backend().write_within("a test", Duration::ZERO, |_| Ok(()));
        send.send(outcome).unwrap();
    });
    let error = outcome.recv_timeout(Duration::from_mins(1)).expect("it does not wait for an hour").unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout, "{error:?}");
    waiting.join().unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    store.setup().unwrap();
}

// Contract: L9
#[test]
fn a_log_that_a_reader_made_long_is_short_again_when_it_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    let user =
        |id: usize, bytes: usize| NewEvent::raw("a", "user", &format!("u{id}"), "added").payload(&"x".repeat(bytes));
    let length = || super::place::log_length(&path);
    let look = || store.backend().examine_log(1 << 20).unwrap();
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM readside_events").unwrap();
    for id in 0..10 {
        store.push(&[user(id, 4_000_000)]).unwrap();
    }
    assert!(length() > 40_000_000, "{}", length());
    let found = look();
    assert!(
        found.found.contains("somebody reads") && found.remedy.unwrap().contains("end long reads"),
        "{}",
        found.found
    );
    assert!(length() > 40_000_000);
    drop(reader);
    store.push(&[user(10, 1)]).unwrap();
    store.push(&[user(11, 1)]).unwrap();
    assert!(length() <= 16 << 20, "{}", length());
    // Nobody reads, so the finding blames nobody.
    store.push(&[user(12, 4_000_000)]).unwrap();
    assert!(length() > 1 << 20);
    let found = look();
    assert!(found.remedy.is_none() && found.found.contains("it is emptied now"), "{}", found.found);
    assert_eq!(length(), 0);
    assert_eq!(store.filter(&Query::new()).unwrap().len(), 13);
}

/// A store with this many builds, each of which lags in this many instances and has this many failures and acts.
pub(crate) fn crowded(builds: u32, instances: u32, failures: u32) -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("test.db")).unwrap();
    store.setup().unwrap();
    let number = |to: u32| format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {to})");
    let (of_builds, of_instances, of_failures) = (number(builds), number(instances), number(failures));
    let sql = format!(
        "INSERT INTO readside_instances (instance_id, head) {of_instances} SELECT printf('i%06d', i), 9 FROM n;
         INSERT INTO readside_heads SELECT instance_id, 'user', 9 FROM readside_instances;
         INSERT INTO readside_projections (name, version, definition, live, phase) {of_builds}
         SELECT printf('p%06d', i), 1, '{{\"events\":[[\"user\",[\"a\"]]],\"tables\":[]}}', 1, 'live' FROM n;
         INSERT INTO readside_projection_states (instance_id, projection, version, position, store)
         SELECT instance_id, name, 1, 3, (SELECT store_id FROM readside_store) FROM readside_instances, readside_projections;
         INSERT INTO readside_held_events {of_failures}
         SELECT 'i000001', name, 1, i, 'user', 'u', 'a', CASE i % 2 WHEN 0 THEN 'behind' ELSE 'parked' END, 1, 'reducer',
         'text', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z'
         FROM readside_projections, n;
         INSERT INTO readside_interventions {of_failures}
         SELECT randomblob(16), name, 1, 'i000001', i, 'retry', 'ada', '', '2026-01-01T00:00:00.000000Z'
         FROM readside_projections, n;
         ANALYZE;"
    );
    store.backend().writer.lock().execute_batch(&sql).unwrap();
    (folder, store)
}

/// How many statements the work runs, and how many hundred steps SQLite's machine takes for them.
pub(crate) fn cost(store: &SqliteStore, work: impl Fn(&SqliteStore)) -> (u64, u64) {
    // The first run opens connections and fills caches.
    work(store);
    let steps = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    for reader in store.backend().readers.lock().iter_mut() {
        let steps = std::sync::Arc::clone(&steps);
        let count = move || {
            steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            false
        };
        reader.progress_handler(100, Some(count)).unwrap();
    }
    super::handle::ASKED.with(|asked| asked.set(0));
    work(store);
    (super::handle::ASKED.with(std::cell::Cell::get), steps.load(std::sync::atomic::Ordering::Relaxed))
}

// Contract: S3: a look at everything runs as many statements for many builds, instances and failures as for few.
#[test]
fn a_look_asks_no_more_where_there_is_more() {
    use crate::inspect::Inspect;
    let status = |store: &SqliteStore| {
        let status = store.status(false).unwrap();
        let first = &status.projections[0];
        let instances = i64::try_from(first.instances).unwrap();
        assert_eq!((first.lagging_instances, first.lag_events), (first.instances, 6 * instances));
        assert_eq!(first.handled, 3 * instances);
    };
    let (_few, few) = crowded(3, 10, 5);
    let (_many, many) = crowded(60, 900, 50);
    let (asked, steps) = cost(&many, status);
    assert_eq!(asked, cost(&few, status).0);
    // It looks at each pair of a build and an instance a few times, and not once for each other pair: first it finds the
    // instances that have something to tell, then it counts these. Here all of them have.
    assert!(steps * 100 < 60 * 900 * 400, "{steps}00 steps");
    // A look that counts in parts does without the first of these.
    let look = |store: &SqliteStore| drop(store.look(false, &mut crate::inspect::Survey::default()).unwrap());
    let (_, steps) = cost(&many, look);
    assert!(steps * 100 < 60 * 900 * 300, "{steps}00 steps");
}

type Look<'l> = &'l dyn Fn(&SqliteStore);

// Contract: S3: a page costs as much in a large database as in one that just fills the page.
#[test]
fn a_page_costs_no_more_where_there_is_more() {
    use crate::failure::FailureQuery;
    use crate::inspect::{Inspect, LeaseQuery};
    use crate::state::ProjectionKey;
    use crate::store::ProjectionStore;
    let key = || ProjectionKey { name: "p000001".into(), version: 1 };
    let of_all: [(&str, Look<'_>); 7] = [
        ("instances", &|store| assert_eq!(store.instance_heads("i0", Some("i000002"), 5).unwrap().len(), 5)),
        ("groups", &|store| assert!(!store.failure_groups(None, 20).unwrap().complete)),
        ("groups of one", &|store| assert!(!store.failure_groups(Some(&key()), 20).unwrap().complete)),
        ("failures", &|store| {
            let query = FailureQuery::all().after_place("i000001", 3).limit(5);
            assert_eq!(store.failed_events(&key(), &query).unwrap().len(), 5);
        }),
        ("activity", &|store| assert_eq!(store.activity(None, 5).unwrap().len(), 5)),
        ("checkpoints", &|store| assert_eq!(store.checkpoints("i000003").unwrap()[0].head, Some(9))),
        ("leases", &|store| assert_eq!(store.active_leases(&LeaseQuery::all().limit(5)).unwrap().len(), 0)),
    ];
    let (_some, some) = crowded(4, 20, 40);
    let (_many, many) = crowded(4, 2_000, 4_000);
    for (view, look) in of_all {
        let (small, large) = (cost(&some, look), cost(&many, look));
        assert_eq!(small.0, large.0, "{view}");
        assert!(large.1 <= small.1 + 2, "{view}: {small:?}, then {large:?}");
    }
}

// Each look at an instance runs such statements. To prepare one again costs more than all the rest of the look.
#[test]
fn a_statement_stays_prepared_whatever_is_bound_to_it() {
    use super::handle::Handle;
    use crate::clock::SystemClock;
    use crate::db::Conn;
    let store = SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    let conn = store.backend().writer.lock();
    let mut handle = Handle::new(&conn, &SystemClock);
    let by_type = crate::sql::Dialect::Sqlite.any("aggregate_type", 2);
    let sql = format!("SELECT max(head) FROM readside_heads WHERE instance_id = $1 AND {by_type}");
    for instance in ["a", "b", "c"] {
        handle.query(&sql, &[instance.into(), crate::Value::TextArray(vec!["user".to_owned()])]).unwrap();
    }
    let statement = handle.prepare(&sql).unwrap();
    let times =
        [rusqlite::StatementStatus::RePrepare, rusqlite::StatementStatus::Run].map(|of| statement.get_status(of));
    assert_eq!(times, [0, 3]);
}

// Contract: A5: a long read goes page by page, and each page reads only its own events.
#[test]
fn a_page_is_found_without_sorting_what_is_left() {
    use super::handle::Handle;
    use crate::clock::SystemClock;
    let store = SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    store.push(&[NewEvent::raw("a", "user", "u", "added")]).unwrap();
    assert_eq!(store.filter(&Query::new().max_bytes(1)).unwrap().len(), 1);
    let conn = store.backend().writer.lock();
    let sizes = "SELECT octet_length(payload) + octet_length(metadata), instance_id, position FROM readside_all_events \
                 WHERE TRUE ORDER BY instance_id ASC, position ASC LIMIT $1";
    let statement = Handle::new(&conn, &SystemClock).prepare(sizes).unwrap();
    let times = [rusqlite::StatementStatus::Sort, rusqlite::StatementStatus::Run].map(|of| statement.get_status(of));
    assert_eq!(times, [0, 1], "sorted, of so many runs");
}

// Contract: H3: whether an event holds its instance up is asked in each transaction. That costs the same however many
// events were put aside.
#[test]
fn events_that_hold_an_instance_up_have_an_index() {
    let store = SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    let sql = "EXPLAIN QUERY PLAN SELECT position FROM readside_held_events WHERE projection = 'p' AND version = 1 \
               AND instance_id IN (SELECT value FROM json_each('[\"a\"]')) AND state IN ('failing', 'stopped')";
    let writer = store.backend().writer.lock();
    let plan: String = writer.query_row(sql, [], |row| row.get("detail")).unwrap();
    assert!(plan.contains("readside_held_events_blocking"), "{plan}");
}

/// How SQLite finds the rows of each statement that `work` runs.
fn plans(store: &SqliteStore, work: impl FnOnce()) -> Vec<(String, Vec<String>)> {
    use super::handle::TEXTS;
    TEXTS.set(Some(Vec::new()));
    work();
    let texts = TEXTS.take().unwrap();
    let writer = store.backend().writer.lock();
    let plan = |text: String| {
        let mut explained = writer.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
        let lines = explained.raw_query().mapped(|row| row.get("detail")).collect::<Result<_, _>>().unwrap();
        (text, lines)
    };
    texts.into_iter().map(plan).collect()
}

// Contract: H3: what is next in each aggregate is found by an index, so a retry of many costs the same for each.
#[test]
fn the_next_events_of_aggregates_are_found_by_an_index() {
    use crate::state::ProjectionKey;
    use crate::store::ProjectionStore;
    let store = SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    let key = ProjectionKey { name: "users".into(), version: 1 };
    let aggregates = [("user".into(), "u".into())].into_iter().collect();
    let plans = plans(&store, || store.transaction(&mut |tx| tx.promote(&key, "acme", &aggregates)).unwrap());
    let (_, plan) = plans.iter().find(|(text, _)| text.contains("SET state = 'parked'")).unwrap();
    let held: Vec<&String> = plan.iter().filter(|line| line.contains("held_events")).collect();
    assert!(held.iter().all(|line| line.starts_with("SEARCH")) && held.len() == 2, "{plan:?}");
    assert!(held[0].contains("position=?") && held[1].contains("held_events_by_aggregate"), "{plan:?}");
    assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{plan:?}");
}

// Contract: H3: whether an instance holds events is found from the highest position down. Removed ones are the lowest.
#[test]
fn whether_events_are_held_is_found_by_an_index() {
    use crate::state::ProjectionKey;
    use crate::store::ProjectionStore;
    let store = SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    let key = ProjectionKey { name: "users".into(), version: 1 };
    let plans = plans(&store, || store.transaction(&mut |tx| tx.forget(&key, "acme", &[1])).unwrap());
    let (text, plan) = plans.iter().find(|(text, _)| text.contains("SET held = ")).unwrap();
    let held: Vec<&String> = plan.iter().filter(|line| line.starts_with("SEARCH e ")).collect();
    assert!(
        held.len() == 1 && held[0].ends_with("by_build (projection=? AND version=? AND instance_id=?)"),
        "{plan:?}"
    );
    assert!(
        text.contains("position DESC LIMIT 1") && !plan.iter().any(|line| line.contains("TEMP B-TREE")),
        "{plan:?}"
    );
}

// Contract: S3: a part of the instances is found by the index, and each state by its key.
#[test]
fn a_part_of_the_instances_is_found_by_an_index() {
    use crate::inspect::{Inspect, Survey};
    let (_folder, store) = crowded(4, 30_000, 4);
    let plans = plans(&store, || drop(store.look(false, &mut Survey::default()).unwrap()));
    let parts: Vec<_> = plans.iter().filter(|(text, _)| text.contains("p AS MATERIALIZED")).collect();
    // The first part has an end and no beginning, the second one a beginning and no end.
    assert_eq!(parts.len(), 2);
    for (text, plan) in parts {
        for table in ["h", "s"] {
            let is_of = |line: &&String| line.split(' ').nth(1) == Some(table);
            let of: Vec<&String> = plan.iter().filter(is_of).collect();
            let is_found = |line: &&String| line.starts_with("SEARCH") && line.contains("instance_id");
            assert!(!of.is_empty() && of.iter().all(is_found), "{of:?} in {text}: {plan:#?}");
        }
    }
}
