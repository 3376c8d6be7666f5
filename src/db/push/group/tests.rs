//! What becomes of pushes whose transactions fail: a leader that never answers, and how often a push is tried. The
//! normal case, and real databases, are tested in `tests/grouped.rs` and `tests/bad_input/retried.rs`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::Holder;
use crate::query::Query;
use crate::sql::Dialect;
use crate::sqlite::{Sqlite, SqliteStore};
use crate::store::EventStore;
use crate::subscription::Topics;

fn added() -> Push {
    Push::of(&[NewEvent::raw("a", "user", "u", "added")]).unwrap()
}

/// What becomes of a transaction after its work.
enum Fate {
    Panics,
    /// It is rolled back, with this error.
    Fails(StoreError),
    /// It is committed, and the answer is lost.
    Unanswered,
    Happens,
}

/// A database that decides what becomes of each transaction. `fate` gets the number of the transaction, from 1.
struct Spoiled {
    store: SqliteStore,
    count: AtomicUsize,
    fate: Box<dyn Fn(usize) -> Fate + Send + Sync>,
}

impl Spoiled {
    fn new(store: &SqliteStore, fate: impl Fn(usize) -> Fate + Send + Sync + 'static) -> Self {
        Self { store: store.clone(), count: AtomicUsize::new(0), fate: Box::new(fate) }
    }

    fn sqlite(&self) -> &Sqlite {
        self.store.backend()
    }
}

impl fmt::Debug for Spoiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spoiled").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Backend for Spoiled {
    fn read<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.sqlite().read(doing, work)
    }

    fn read_own(
        &self,
        query: &crate::db::OwnQuery<'_>,
        each: &mut dyn FnMut(&[String], Vec<crate::value::Value>) -> bool,
    ) -> Result<(), StoreError> {
        self.sqlite().read_own(query, each)
    }

    fn write<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        let fate = (self.fate)(self.count.fetch_add(1, Ordering::SeqCst) + 1);
        let is_unanswered = matches!(fate, Fate::Unanswered);
        let done = self.sqlite().write(doing, |conn| {
            let done = work(conn)?;
            match fate {
                Fate::Panics => panic!("a panic that the test expects"),
                Fate::Fails(error) => Err(E::from(error)),
                Fate::Unanswered | Fate::Happens => Ok(done),
            }
        })?;
        if is_unanswered { Err(failure(StoreErrorKind::CommitUnknown).into()) } else { Ok(done) }
    }

    fn holder(&self, instances: &[String]) -> Option<Holder> {
        self.sqlite().holder(instances)
    }
    fn dialect(&self) -> Dialect {
        self.sqlite().dialect()
    }
    fn catalogue(&self) -> &'static dyn crate::db::objects::Catalogue {
        self.sqlite().catalogue()
    }
    fn has_one_writer(&self) -> bool {
        true
    }
    fn patience(&self) -> Duration {
        Duration::from_mins(1)
    }
    fn connections(&self) -> Option<usize> {
        None
    }
    fn location(&self) -> Result<String, StoreError> {
        self.sqlite().location()
    }
    fn scrub(&self) -> Result<Option<String>, StoreError> {
        self.sqlite().scrub()
    }
    fn back_up(&self, to: &std::path::Path, goes_on: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, StoreError> {
        self.sqlite().back_up(to, goes_on)
    }

    fn at_home(&self, script: String) -> String {
        script
    }

    fn migrations(&self) -> &'static [&'static str] {
        self.sqlite().migrations()
    }
}

// Contract: A1, L8: members of a leader that panics hear that the outcome is unknown, and the line goes on.
#[test]
fn a_leader_that_panics_leaves_nobody_waiting() {
    let store = SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    let (pushes, bus) = (Arc::new(Pushes::default()), Bus::default());
    let heard = bus.subscribe(Topics::all());
    let seen = Arc::clone(&pushes);
    // The leader's transaction begins when the others wait in line.
    let backend = Spoiled::new(&store, move |_| {
        while !format!("{:?}", seen.line).contains("waiting: 3") {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        Fate::Panics
    });
    let push = || pushes.push(&backend, &bus, added());
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let pushing: Vec<_> = (0..4).map(|_| scope.spawn(|| catch_unwind(AssertUnwindSafe(push)))).collect();
        pushing.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let unknown = |outcome: &Result<Accepted, PushError>| match outcome {
        Err(error) => commit_unknown(error).is_some(),
        Ok(_) => false,
    };
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1, "the leader's own panic");
    assert_eq!(outcomes.iter().flatten().filter(|outcome| unknown(outcome)).count(), 3);
    assert!(store.filter(&Query::new()).unwrap().is_empty() && heard.drain().is_empty());
    let after = pushes.push(store.backend(), &bus, added());
    assert_eq!((after.unwrap().events[0].position(), heard.drain().events.len()), (1, 1));
}

fn failure(kind: StoreErrorKind) -> StoreError {
    StoreError::new("pushing events", kind, "spoilt by a test").with_code("5")
}

/// The position of the stored event or the kind of the error, and the number of transactions.
fn pushed(
    store: &SqliteStore,
    fate: impl Fn(usize) -> Fate + Send + Sync + 'static,
) -> (Result<i64, PushError>, usize) {
    let (pushes, bus, backend) = (Pushes::default(), Bus::default(), Spoiled::new(store, fate));
    let outcome = pushes.push(&backend, &bus, added()).map(|accepted| accepted.events[0].position());
    (outcome, backend.count.into_inner())
}

// Contract: A1: what was rolled back in favour of others is tried again, a bounded number of times, and stored once.
#[test]
fn a_conflict_is_tried_again() {
    let store = SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    let conflicts =
        |times: usize| move |n| if n <= times { Fate::Fails(failure(StoreErrorKind::Conflict)) } else { Fate::Happens };
    let (outcome, count) = pushed(&store, conflicts(RETRIES));
    assert_eq!((outcome.unwrap(), count), (1, RETRIES + 1));
    let (outcome, count) = pushed(&store, conflicts(RETRIES + 1));
    let error = outcome.unwrap_err();
    assert!(is_conflict(&error) && error.is_transient(), "{error:?}");
    assert_eq!((count, store.filter(&Query::new()).unwrap().len()), (RETRIES + 1, 1));
}

// Contract: A1, L6: other trouble reaches the caller after one attempt.
#[test]
fn other_trouble_is_not_tried_again() {
    use StoreErrorKind as K;
    let store = SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    for kind in [K::Connection, K::Timeout, K::Full, K::Constraint, K::CommitUnknown] {
        let (outcome, count) = pushed(&store, move |_| Fate::Fails(failure(kind)));
        match outcome.unwrap_err() {
            PushError::Busy { instance, .. } => assert_eq!((kind, instance.as_str()), (K::Timeout, "a")),
            PushError::Store(error) => assert_eq!(error.kind(), kind),
            other => panic!("{other:?}"),
        }
        assert_eq!((count, store.filter(&Query::new()).unwrap().len()), (1, 0), "{kind:?}");
    }
    let (outcome, count) = pushed(&store, |_| Fate::Unanswered);
    assert!(commit_unknown(&outcome.unwrap_err()).is_some());
    assert_eq!((count, store.filter(&Query::new()).unwrap().len()), (1, 1), "it happened, and not twice");
}
