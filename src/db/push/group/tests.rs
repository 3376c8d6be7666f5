//! A leader that never answers. The normal case, and real databases, are tested in `tests/grouped.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

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

/// A database that panics after the work of the first transaction in which pushes were gathered.
#[derive(Debug)]
struct Panics {
    store: SqliteStore,
    pushes: Arc<Pushes>,
    waiting: usize,
}

impl Panics {
    fn sqlite(&self) -> &Sqlite {
        self.store.backend()
    }
}

impl Backend for Panics {
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
        while !format!("{:?}", self.pushes.line).contains(&format!("waiting: {}", self.waiting)) {
            std::thread::park_timeout(std::time::Duration::from_millis(2));
        }
        self.sqlite().write(doing, |conn| {
            let _ = work(conn)?;
            panic!("a panic that the test expects")
        })
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
    let backend = Panics { store: store.clone(), pushes: Arc::clone(&pushes), waiting: 3 };
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
