//! A filled log on PostgreSQL. Both sides catch up with it again and again.

use std::time::Duration;

use readside::postgres_driver::Client;
use readside::{NewEvent, PostgresStore, Projection};

use super::place::{Database, Postgres};
use super::{catch_up, fresh, handler, timed};

/// The work of a bench, on both sides.
pub(crate) trait Work {
    /// Plain names of the projection's tables. The primary table comes first.
    const TABLES: &'static [&'static str];

    fn projection(version: u32) -> Projection;

    /// Checks that the tables hold the result of all events. `name` turns a plain name into the table name of a side.
    fn check(&self, database: &Database, name: &dyn Fn(&str) -> String);
}

/// One connection of hand-written SQL that catches up with instances. Its table names begin with `floor_`.
pub(crate) type Floor = Box<dyn FnMut(&[String]) + Send>;

pub(crate) struct Filled<W> {
    pub(crate) work: W,
    pub(crate) database: Database,
    pub(crate) store: PostgresStore,
}

impl<W: Work> Filled<W> {
    pub(crate) fn new(server: &Postgres, work: W, log: impl IntoIterator<Item = NewEvent>) -> Self {
        let database = server.database();
        let store = database.store();
        super::fill(&store, log);
        database.tidy();
        Self { work, database, store }
    }

    /// Catches up with a new version from nothing: one handler with default settings, and a thread for each part of
    /// the instances.
    pub(crate) fn ours(&self, parts: &[&[String]]) -> Duration {
        let version = fresh();
        let handler = handler(&self.store, W::projection(version));
        self.database.settle();
        let time = timed(|| {
            std::thread::scope(|scope| {
                for part in parts {
                    scope.spawn(|| catch_up(&handler, part));
                }
            });
        });
        self.work.check(&self.database, &|table| format!("{table}_{version}"));
        time
    }

    /// The same in hand-written SQL, with a connection for each part of the instances.
    pub(crate) fn floor(&self, parts: &[&[String]], make: fn(&Database) -> Floor) -> Duration {
        self.floor_of(&self.work, parts, make)
    }

    /// As [`floor`](Self::floor), but does only a part of the work.
    pub(crate) fn floor_of(&self, work: &W, parts: &[&[String]], make: fn(&Database) -> Floor) -> Duration {
        make_tables::<W>(&self.store, &mut self.database.client());
        let mut floors: Vec<Floor> = parts.iter().map(|_| make(&self.database)).collect();
        self.database.settle();
        let time = timed(|| {
            std::thread::scope(|scope| {
                for (floor, part) in floors.iter_mut().zip(parts) {
                    scope.spawn(|| floor(part));
                }
            });
        });
        work.check(&self.database, &|table| format!("floor_{table}"));
        time
    }
}

/// Makes empty tables for a floor, equal to ours, and its checkpoints.
fn make_tables<W: Work>(store: &PostgresStore, client: &mut Client) {
    handler(store, W::projection(1));
    for table in W::TABLES {
        let drop = format!("DROP TABLE IF EXISTS floor_{table} CASCADE");
        client.batch_execute(&format!("{drop}; CREATE TABLE floor_{table} (LIKE {table}_1 INCLUDING ALL)")).unwrap();
    }
    super::floor::forget(client);
}
