//! `PRAGMA data_version` shows that another connection wrote. The new rows show which instances are concerned.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{Sqlite, error};
use crate::db::DbStore;
use crate::error::StoreError;
use crate::sealed::Sealed;
use crate::store::{NotificationListener, Notifications, Notifier};

/// How often to look at the file. A look takes a few microseconds.
const EVERY: Duration = Duration::from_millis(10);

/// If there are more new events than this, the news concerns everything.
const MANY: i64 = 1000;

const DOING: &str = "listening for pushes of other processes";

/// An instance and an aggregate type.
type Concerned = (Arc<str>, Arc<str>);

#[derive(Debug)]
struct Watcher {
    store: DbStore<Sqlite>,
    watched: Option<Watched>,
}

#[derive(Debug)]
struct Watched {
    conn: Connection,
    version: i64,
    last: i64,
    /// The id of the last command, how many are open, and how many processes are on the list.
    commands: (i64, i64, i64),
}

impl Notifier for DbStore<Sqlite> {
    fn listener(&self) -> Box<dyn NotificationListener> {
        Box::new(Watcher { store: self.clone(), watched: None })
    }

    /// Does nothing: the file itself shows that it changed.
    fn announce(&self, _news: &Notifications) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Watched {
    fn open(path: &std::path::Path, store: &DbStore<Sqlite>) -> Result<Self, StoreError> {
        let conn = store.backend().open_again(path, DOING)?;
        let mut watched = Self { conn, version: 0, last: 0, commands: (0, 0, 0) };
        watched.version = watched.data_version()?;
        watched.last = watched.newest()?;
        watched.commands = watched.newest_commands()?;
        Ok(watched)
    }

    fn data_version(&self) -> Result<i64, StoreError> {
        let read = || self.conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0));
        read().map_err(|error| error::store(DOING, error))
    }

    fn newest(&self) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(rowid), 0) FROM readside_events";
        self.conn.query_row(sql, [], |row| row.get(0)).map_err(|error| error::store(DOING, error))
    }

    fn newest_commands(&self) -> Result<(i64, i64, i64), StoreError> {
        let sql = "SELECT (SELECT coalesce(max(rowid), 0) FROM readside_commands), \
             (SELECT count(*) FROM readside_commands WHERE state IN ('asked', 'taken')), \
             (SELECT count(*) FROM readside_members)";
        let read = self.conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        read.map_err(|error| error::store(DOING, error))
    }

    fn news(&mut self) -> Result<Notifications, StoreError> {
        let version = self.data_version()?;
        if version == self.version {
            return Ok(Notifications::default());
        }
        self.version = version;
        let (last, newest) = (self.last, self.newest()?);
        self.last = newest;
        // A new command, a new answer to one, or a process that came or went concerns all.
        let (before, commands) = (self.commands, self.newest_commands()?);
        self.commands = commands;
        if newest < last || newest - last > MANY || before != commands {
            return Ok(Notifications { instances: Vec::new(), all: true });
        }
        Ok(Notifications { instances: self.since(last)?, all: false })
    }

    fn since(&self, last: i64) -> Result<Vec<Concerned>, StoreError> {
        let read = || {
            let sql = "SELECT DISTINCT instance_id, aggregate_type FROM readside_events WHERE rowid > ?1";
            let mut select = self.conn.prepare_cached(sql)?;
            let rows = select.query_map(params![last], |row| {
                Ok((Arc::from(row.get::<_, String>(0)?), Arc::from(row.get::<_, String>(1)?)))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| error::store(DOING, error))
    }
}

impl Sealed for Watcher {}

impl NotificationListener for Watcher {
    fn listen(&mut self, wait: Duration) -> Result<Notifications, StoreError> {
        let Some(path) = &self.store.backend().path else {
            // Only this process can write into its memory.
            std::thread::park_timeout(wait);
            return Ok(Notifications::default());
        };
        let Some(watched) = &mut self.watched else {
            self.watched = Some(Watched::open(path, &self.store)?);
            return Ok(Notifications { instances: Vec::new(), all: true });
        };
        let deadline = crate::clock::deadline(wait);
        loop {
            let news = self.store.backend().check(DOING).and_then(|()| watched.news());
            match &news {
                Err(_) => self.watched = None,
                Ok(news) if news.is_empty() && Instant::now() < deadline => {
                    std::thread::park_timeout(EVERY.min(wait));
                    continue;
                }
                Ok(_) => {}
            }
            return news;
        }
    }

    fn deaf(&self) -> Option<String> {
        None
    }
}
