//! Contract: L1: a reader who sees a position sees every position below it, while pushes run in parallel, roll back
//! and stay open.
//!
//! The same reader that finds no holes in the stores does find the holes of a reader and of a push that are wrong on
//! purpose.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use readside::error::chain;
use readside::failure::By;
use readside::query::{Cursor, EventFilter, ReadRequest};
use readside::store::EventSource;
use readside::testing::conformance;
use readside::{Event, EventStore, Expected, NewEvent};

const PUSHERS: usize = 6;
const PUSHES: usize = 40;
const INSTANCES: [&str; 2] = ["a", "b"];

fn command(instance: &str, id: &str) -> NewEvent {
    NewEvent::raw(instance, "user", id, "added")
}

/// Follows the instances as a projection does, and counts what it should never see.
#[derive(Debug, Default, PartialEq)]
struct Reader {
    cursors: HashMap<&'static str, i64>,
    /// Events with a position other than the next one.
    holes: usize,
    seen: usize,
}

impl Reader {
    fn read(&mut self, source: &dyn EventSource) {
        let cursor = |name: &&'static str| Cursor { instance: Arc::from(*name), after: self.at(name) };
        let cursors: Vec<Cursor> = INSTANCES.iter().map(cursor).collect();
        let wanted = EventFilter { aggregate_types: vec!["user".into()], event_types: vec!["added".into()] };
        let request = ReadRequest { cursors, wanted, limit: 7, max_bytes: usize::MAX };
        for (name, slice) in INSTANCES.into_iter().zip(source.read(&request).unwrap()) {
            let mut last = self.at(name);
            for event in &slice.events {
                self.holes += usize::from(event.position() != last + 1);
                last = event.position();
                self.seen += 1;
            }
            self.cursors.insert(name, slice.scanned().0);
        }
    }

    fn at(&self, name: &str) -> i64 {
        self.cursors.get(name).copied().unwrap_or(0)
    }

    /// Reads until there are no new events.
    fn read_all(&mut self, source: &dyn EventSource) {
        loop {
            let before: i64 = self.cursors.values().sum();
            self.read(source);
            if self.cursors.values().sum::<i64>() == before {
                return;
            }
        }
    }
}

/// Pushes inside the pusher's own transaction, which stays open while `meanwhile` runs, and is then committed or
/// rolled back.
type Held = Box<dyn Fn(&[NewEvent], &mut dyn FnMut(), bool) -> bool + Send + Sync>;

/// Every third push fails after it has locked its counter, every fourth stays open, and every eighth is rolled back.
fn push_all(store: &dyn EventStore, held: &Held, pusher: usize) -> usize {
    let mut stored = 0;
    for n in 0..PUSHES {
        let id = format!("{pusher}-{n}");
        let mut commands = vec![command(INSTANCES[n % 2], &id), command(INSTANCES[(n + pusher) % 2], &id)];
        if n % 4 == 0 {
            let mut look = || Reader::default().read(store);
            stored += if held(&commands, &mut look, n % 8 == 0) { 2 } else { 0 };
            continue;
        }
        let fails = n % 3 == 0;
        if fails {
            commands.push(command("a", "never").expect(Expected::Version(7)));
        }
        match store.push(&commands) {
            Ok(events) => stored += events.len(),
            Err(error) => assert!(fails, "{}", chain(&error)),
        }
    }
    stored
}

fn by() -> By {
    By::new("ada", "a test")
}

fn append(store: &dyn EventStore, event: &Event) {
    let new = NewEvent::raw(event.instance(), event.aggregate_type(), event.aggregate_id(), event.event_type());
    store.push(&[new.payload_json(event.payload_json())]).unwrap();
}

/// Counts down when it is dropped, so that nobody waits for a thread that panicked.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn no_holes(store: &dyn EventStore, held: &Held) {
    let (stored, running) = (AtomicUsize::new(0), AtomicUsize::new(PUSHERS));
    let reader = std::thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let (stored, running) = (&stored, Running(&running));
            scope.spawn(move || {
                let _running = running;
                stored.fetch_add(push_all(store, held, pusher), Ordering::SeqCst);
            });
        }
        let mut reader = Reader::default();
        while running.load(Ordering::SeqCst) > 0 {
            reader.read(store);
        }
        reader.read_all(store);
        reader
    });
    assert_eq!(reader.holes, 0, "a reader that sees a position sees every position below");
    assert_eq!(reader.seen, stored.load(Ordering::SeqCst), "nothing is lost");
    assert!(reader.seen > PUSHERS * PUSHES / 2);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;
    use readside::SqliteStore;
    use readside::error::StoreError;
    use readside::query::HeadsRequest;
    use readside::rusqlite::{Connection, TransactionBehavior};
    use readside::testing::{Answer, Call, Faults, FaultyStore};

    fn held(store: SqliteStore, path: std::path::PathBuf) -> Held {
        Box::new(move |commands, meanwhile, commits| {
            let mut db = Connection::open(&path).unwrap();
            db.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
            let pushed = store.push_in(&tx, commands).unwrap();
            meanwhile();
            if commits {
                tx.commit().unwrap();
                pushed.token.fire();
            }
            commits
        })
    }

    // Contract: L1
    #[test]
    fn sqlite_leaves_no_holes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let options = readside::SqliteOptions::default().busy_timeout(std::time::Duration::from_secs(30));
        let store = SqliteStore::open_with(&path, options).unwrap();
        store.setup().unwrap();
        no_holes(&store, &held(store.clone(), path));
    }

    // Contract: A0, L1, L10
    #[test]
    fn sqlite_is_a_source_as_the_engine_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let options = readside::SqliteOptions::default().busy_timeout(std::time::Duration::from_secs(30));
        let store = SqliteStore::open_with(&path, options).unwrap();
        store.setup().unwrap();
        let lose = |instance: &str, position: i64| {
            let sql = "DELETE FROM readside_events WHERE instance_id = ?1 AND position = ?2";
            let db = Connection::open(&path).unwrap();
            assert_eq!(db.execute(sql, (instance, position)).unwrap(), 1);
        };
        let remove = |instance: &str| {
            store.remove_instance(instance, &by(), |_| ()).unwrap();
            store.reopen_instance(instance, &by()).unwrap();
        };
        let append = |event: &Event| append(&store, event);
        conformance::event_source(&store, &append).removing(&remove).losing(&lose).assert();
    }

    /// Reads events first and heads later. In between, an event is pushed, as another process could do at any time.
    struct HeadsAfterEvents(SqliteStore);

    impl Faults for HeadsAfterEvents {
        fn after(&self, _: &Call, answer: Answer<'_>) -> Result<(), StoreError> {
            let Answer::Batches(batches) = answer else { return Ok(()) };
            self.0.push(&[command("a", "between")]).unwrap();
            let instances = batches.iter().map(|batch| Arc::clone(&batch.instance)).collect();
            let request = HeadsRequest { instances, limit: batches.len(), ..HeadsRequest::default() };
            for later in self.0.heads(&request)? {
                let Some(batch) = batches.iter_mut().find(|batch| batch.instance == later.instance) else { continue };
                batch.head = later.head;
                let at = readside::query::SubQuery::new().instance(&later.instance).after(later.head - 1);
                batch.head_id = self.0.filter(&readside::query::Query::new().or(at))?.first().map(Event::id);
            }
            Ok(())
        }
    }

    // Contract: L1, L3: the test finds the wrong reader.
    #[test]
    fn a_reader_that_reads_heads_after_events_loses_some() {
        let store = SqliteStore::in_memory().unwrap();
        store.setup().unwrap();
        store.push(&[command("a", "1")]).unwrap();
        let mut reader = Reader::default();
        reader.read(&FaultyStore::new(store.clone(), Arc::new(HeadsAfterEvents(store.clone()))));
        reader.read_all(&store);
        let stored = store.filter(&readside::query::Query::new()).unwrap().len();
        assert!(reader.seen < stored, "{reader:?} of {stored}");
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::*;
    use readside::PostgresStore;
    use readside::postgres_driver::{Client, NoTls};

    fn held(store: PostgresStore, url: String) -> Held {
        Box::new(move |commands, meanwhile, commits| {
            let mut client = Client::connect(&url, NoTls).unwrap();
            let mut tx = client.transaction().unwrap();
            let pushed = store.push_in(&mut tx, commands).unwrap();
            meanwhile();
            if commits {
                tx.commit().unwrap();
                pushed.token.fire();
            }
            commits
        })
    }

    // Contract: A0, L1, L10
    #[test]
    fn postgres_is_a_source_as_the_engine_needs_it() {
        let database = common::postgres::database();
        let store = PostgresStore::connect(database.url()).unwrap();
        store.setup().unwrap();
        let lose = |instance: &str, position: i64| {
            let sql = "DELETE FROM readside.events WHERE instance_id = $1 AND position = $2";
            let mut client = Client::connect(database.url(), NoTls).unwrap();
            assert_eq!(client.execute(sql, &[&instance, &position]).unwrap(), 1);
        };
        let remove = |instance: &str| {
            store.remove_instance(instance, &by(), |_| ()).unwrap();
            store.reopen_instance(instance, &by()).unwrap();
        };
        let append = |event: &Event| append(&store, event);
        conformance::event_source(&store, &append).removing(&remove).losing(&lose).assert();
    }

    // Contract: L1
    #[test]
    fn postgres_leaves_no_holes() {
        let database = common::postgres::database();
        let options = readside::PostgresOptions::default().lock_timeout(std::time::Duration::from_secs(30));
        let store = PostgresStore::connect_with(database.url(), options).unwrap();
        store.setup().unwrap();
        no_holes(&store, &held(store.clone(), database.url().to_owned()));
    }

    // Contract: L1, A4: counters are locked in one order, also if some of them have to be created first.
    #[test]
    fn a_push_that_waits_for_a_new_instance_holds_no_other() {
        let database = common::postgres::database();
        let store = PostgresStore::connect(database.url()).unwrap();
        store.setup().unwrap();
        store.push(&[command("b", "1")]).unwrap();
        let mut clients = [(); 3].map(|()| Client::connect(database.url(), NoTls).unwrap());
        let [first, second, watch] = &mut clients;
        let mut first = first.transaction().unwrap();
        let made = store.push_in(&mut first, &[command("a", "1")]).unwrap();
        std::thread::scope(|scope| {
            let store = &store;
            let waiting = scope.spawn(move || {
                let mut second = second.transaction().unwrap();
                let both = store.push_in(&mut second, &[command("a", "2"), command("b", "2")]).unwrap();
                second.commit().unwrap();
                both.token.fire();
            });
            let waits =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            common::eventually("the wait", || {
                assert!(!waiting.is_finished(), "it has to wait for the first one to make the instance");
                watch.query_one(waits, &[]).unwrap().get::<_, i64>(0) > 0
            });
            let other = store.push_in(&mut first, &[command("b", "3")]).unwrap();
            first.commit().unwrap();
            made.token.fire();
            other.token.fire();
        });
        assert_eq!(store.filter(&readside::query::Query::new()).unwrap().len(), 5);
    }

    /// A push that takes its position from a sequence, without a lock on the instance's counter.
    struct Unlocked(Client);

    impl Unlocked {
        fn take_position(&mut self) -> i64 {
            self.0.batch_execute("BEGIN").unwrap();
            self.0.query_one("SELECT nextval('positions')", &[]).unwrap().get(0)
        }

        fn commit(&mut self, position: i64) {
            self.0
                .execute(
                    "INSERT INTO readside.events VALUES ('a', $1, gen_random_uuid(), 'user', 'u', $1, 'added', 1, \
                     clock_timestamp(), '', '', '{}', '{}', NULL)",
                    &[&position],
                )
                .unwrap();
            for sql in [
                "UPDATE readside.instances SET head = greatest(head, $1) WHERE instance_id = 'a'",
                "UPDATE readside.heads SET head = greatest(head, $1) WHERE instance_id = 'a'",
            ] {
                self.0.execute(sql, &[&position]).unwrap();
            }
            self.0.batch_execute("COMMIT").unwrap();
        }
    }

    // Contract: L1: the test finds the wrong push.
    #[test]
    fn a_push_that_allots_positions_without_the_lock_leaves_holes() {
        let database = common::postgres::database();
        let store = PostgresStore::connect(database.url()).unwrap();
        store.setup().unwrap();
        store.push(&[command("a", "u0")]).unwrap();
        let mut slow = Unlocked(Client::connect(database.url(), NoTls).unwrap());
        let mut fast = Unlocked(Client::connect(database.url(), NoTls).unwrap());
        slow.0.batch_execute("CREATE SEQUENCE positions START 2").unwrap();
        let mut reader = Reader::default();
        let (first, second) = (slow.take_position(), fast.take_position());
        fast.commit(second);
        reader.read_all(&store);
        slow.commit(first);
        reader.read_all(&store);
        let stored = store.filter(&readside::query::Query::new()).unwrap().len();
        assert_eq!((reader.holes, reader.seen, stored), (1, 2, 3));
    }
}
