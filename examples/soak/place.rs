//! Where the soak runs.

use std::time::Duration;

use readside::testing::laws::Models;
use readside::{EngineStore, Event, NewEvent, SqliteOptions, SqliteStore, rusqlite};

use crate::Result;
use crate::chance::Chance;

/// A database of either kind.
pub(crate) trait Place: Clone + Send + Sync + 'static {
    type Store: EngineStore + Models + Clone;

    fn open(&self) -> Result<Self::Store>;

    /// The address that a process connects to.
    fn address(&self) -> String;

    /// The address for people, without secrets.
    fn shown(&self) -> String;

    /// Pushes in its own transaction, which stays open for a while and is then committed or rolled back.
    fn push_slowly(
        &self,
        store: &Self::Store,
        commands: &[NewEvent],
        open: Duration,
        commit: bool,
    ) -> Result<Vec<Event>>;

    /// Makes the database cut some connections. False if it has none.
    fn cut(&self, chance: &mut Chance) -> Result<bool>;
}

#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
}

impl Place for File {
    type Store = SqliteStore;

    fn open(&self) -> Result<SqliteStore> {
        let options = SqliteOptions::default().busy_timeout(Duration::from_secs(3));
        Ok(SqliteStore::open_with(&self.path, options)?)
    }

    fn address(&self) -> String {
        self.path.clone()
    }

    fn shown(&self) -> String {
        self.path.clone()
    }

    fn push_slowly(
        &self,
        store: &SqliteStore,
        commands: &[NewEvent],
        open: Duration,
        commit: bool,
    ) -> Result<Vec<Event>> {
        let mut connection = rusqlite::Connection::open(&self.path)?;
        connection.busy_timeout(Duration::from_secs(3))?;
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let pushed = store.push_in(&transaction, commands)?;
        std::thread::sleep(open);
        if commit {
            transaction.commit()?;
            pushed.token.fire();
        } else {
            transaction.rollback()?;
        }
        Ok(pushed.events)
    }

    fn cut(&self, _: &mut Chance) -> Result<bool> {
        Ok(false)
    }
}

#[cfg(feature = "postgres")]
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
}

#[cfg(feature = "postgres")]
impl Place for Server {
    type Store = readside::PostgresStore;

    fn open(&self) -> Result<readside::PostgresStore> {
        let options = readside::PostgresOptions::default()
            .lock_timeout(Duration::from_millis(700))
            .idle_in_transaction_timeout(Duration::from_secs(1));
        Ok(readside::PostgresStore::connect_with(&self.url, options)?)
    }

    fn address(&self) -> String {
        self.url.clone()
    }

    fn shown(&self) -> String {
        match self.url.rsplit_once('@') {
            Some((_, rest)) => format!("postgres://{rest}"),
            None => "PostgreSQL".to_owned(),
        }
    }

    fn push_slowly(
        &self,
        store: &Self::Store,
        commands: &[NewEvent],
        open: Duration,
        commit: bool,
    ) -> Result<Vec<Event>> {
        let mut client = readside::postgres_driver::Client::connect(&self.url, readside::postgres_driver::NoTls)?;
        let mut transaction = client.transaction()?;
        let pushed = store.push_in(&mut transaction, commands)?;
        std::thread::sleep(open);
        if commit {
            transaction.commit()?;
            pushed.token.fire();
        } else {
            transaction.rollback()?;
        }
        Ok(pushed.events)
    }

    fn cut(&self, chance: &mut Chance) -> Result<bool> {
        let mut client = readside::postgres_driver::Client::connect(&self.url, readside::postgres_driver::NoTls)?;
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid";
        let pids: Vec<i32> = client.query(sql, &[])?.iter().map(|row| row.get(0)).collect();
        for pid in pids {
            if chance.once_in(4) {
                client.execute("SELECT pg_terminate_backend($1)", &[&pid])?;
            }
        }
        Ok(true)
    }
}
