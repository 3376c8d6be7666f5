//! The server store: many processes and machines on one PostgreSQL (13 or newer).
//!
//! Here is only what differs from SQLite: connections, values, and writing sets of rows. Every call is an unnamed typed
//! statement and every setting is local to its transaction, so that a pooler in transaction mode may stand between.

mod bulk;
mod conn;
mod error;
mod examine;
mod in_order;
mod pool;
mod push;
mod slices;
mod value;
mod wire;

use std::time::Duration;

use postgres::Transaction;

use crate::db::{Backend, Conn, DbStore};
use crate::error::{Holder, PushError, StoreError, StoreErrorKind};
use crate::event::Command;
use crate::inspect::Finding;
use crate::sql::Dialect;
use crate::subscription::PushedIn;
use crate::value::Value;
use conn::Session;
use pool::{Checked, Pool};

/// Event store and projection store in one PostgreSQL database.
pub type PostgresStore = DbStore<Postgres>;

const MIGRATIONS: &[&str] = &[
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
    include_str!("schema/005.sql"),
];

/// How to talk to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Connections at the same time, at most: an engine needs one for each worker and 3 more, each call of the service's own
    /// that runs at the same time needs another one. Beside these, listening takes one and keeping leases another. A worker
    /// that catches up reads and leases ahead on two more; where there is none, it waits until one is free. Default: 10.
    pub max_connections: usize,
    /// How long connecting, or waiting for a free connection, may take. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a statement waits for a lock, for instance of another push to the same instance. Default: 5 s.
    pub lock_timeout: Duration,
    /// How long a statement may run. Default: 30 s.
    pub statement_timeout: Duration,
    /// How long a transaction may be idle before the server ends it, so that a stopped process lets go of its locks.
    /// Default: 15 s.
    pub idle_in_transaction_timeout: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_connections: 10,
            connect_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            idle_in_transaction_timeout: Duration::from_secs(15),
        }
    }
}

/// A PostgreSQL database and the connections to it.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool,
    /// For what keeps leases, however busy the pool is.
    reserve: Pool,
    options: PostgresOptions,
}

impl DbStore<Postgres> {
    /// Connects to a database, `postgres://user:password@host:port/name`. Tables are made by [`setup`](Self::setup).
    ///
    /// The driver keeps a private runtime inside each connection: call this store from plain threads, not from async
    /// tasks, where the driver would panic.
    ///
    /// # Errors
    /// When the URL cannot be read, the server cannot be reached or refuses, or is older than PostgreSQL 13.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, PostgresOptions::default())
    }

    /// Connects to a database with options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let pool = Pool::open(url, &options)?;
        Ok(Self::from_backend(Postgres { reserve: pool.reserve(), pool, options }))
    }

    /// Stores the commands inside a transaction of the caller's, on the same database, so that rows of a service and its
    /// events are stored together or not at all. Call it last, and commit soon: other pushes to these instances wait.
    ///
    /// After an error nothing of the push remains and the transaction can go on. It is never retried, and leaves the
    /// settings of the session as they were. Fire the token after the commit.
    ///
    /// # Errors
    /// As [`push`](crate::EventStore::push).
    pub fn push_in(&self, transaction: &mut Transaction<'_>, commands: &[Command]) -> Result<PushedIn, PushError> {
        let mut session = Session::new(transaction);
        session.batch("SAVEPOINT readside_push")?;
        let outcome = self.push_in_savepoint(&mut session, commands);
        session.batch(match outcome {
            Ok(_) => "RELEASE SAVEPOINT readside_push",
            Err(_) => "ROLLBACK TO SAVEPOINT readside_push; RELEASE SAVEPOINT readside_push",
        })?;
        Ok(PushedIn { events: outcome?, token: self.dirty_token(commands) })
    }

    fn push_in_savepoint(
        &self,
        session: &mut dyn Conn,
        commands: &[Command],
    ) -> Result<Vec<crate::event::Event>, PushError> {
        let before = session.query("SELECT current_setting('lock_timeout'), current_setting('enable_sort')", &[])?;
        let patience = millis(self.backend().options.lock_timeout);
        session.query("SELECT set_config('lock_timeout', $1, true)", &[Value::from(patience)])?;
        let events = self.push_on(session, commands)?;
        if let Some(before) = before.first() {
            let set = "SELECT set_config('lock_timeout', $1, true), set_config('enable_sort', $2, true)";
            session.query(set, before)?;
        }
        Ok(events)
    }
}

/// A duration as the server reads it; 0 would mean none.
fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis().clamp(1, i32::MAX as u128))
}

impl Postgres {
    fn pool(&self) -> &Pool {
        &self.pool
    }

    /// One round trip: begin, and the time-outs of this transaction only.
    fn begin(&self, read_only: bool) -> String {
        let options = &self.options;
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED{}; SET LOCAL lock_timeout = '{}'; SET LOCAL statement_timeout = '{}'; \
             SET LOCAL idle_in_transaction_session_timeout = '{}'",
            if read_only { " READ ONLY" } else { " READ WRITE" },
            millis(options.lock_timeout),
            millis(options.statement_timeout),
            millis(options.idle_in_transaction_timeout)
        )
    }

    /// A connection on which a transaction is open. Nothing is lost with those that ended while they were idle: there is
    /// another one, at last a new one.
    fn begun<'p>(&self, pool: &'p Pool, doing: &str, read_only: bool) -> Result<Checked<'p>, StoreError> {
        let begin = self.begin(read_only);
        loop {
            let mut checked = pool.check_out(doing)?;
            let outcome = checked.client_in_use(doing)?.batch_execute(&begin);
            match outcome.map_err(|error| error::store(doing, &error)) {
                Ok(()) => return Ok(checked),
                Err(error) if checked.is_reused() && error.kind() == StoreErrorKind::Connection => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn run<T, E: From<StoreError>>(
        &self,
        pool: &Pool,
        doing: &str,
        read_only: bool,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut checked = self.begun(pool, doing, read_only)?;
        // Until it is clean again, dropping it closes the connection, and with it the transaction.
        let client = checked.client_in_use(doing)?;
        let mut session = Session::new(client);
        let outcome = work(&mut session);
        let aborted = session.is_aborted();
        match outcome {
            Ok(done) => {
                if aborted {
                    let why = "an error inside the transaction was passed over";
                    return Err(StoreError::new(doing, StoreErrorKind::Usage, why).into());
                }
                client.batch_execute("COMMIT").map_err(|error| error::commit(doing, &error))?;
                checked.clean();
                Ok(done)
            }
            Err(error) => {
                if client.batch_execute("ROLLBACK").is_ok() {
                    checked.clean();
                }
                Err(error)
            }
        }
    }
}

impl Backend for Postgres {
    fn read<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(&self.pool, doing, true, work)
    }

    fn write<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(&self.pool, doing, false, work)
    }

    fn write_apart<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(&self.reserve, doing, false, work)
    }

    /// The row of a counter holds the number of the transaction that locked it; after a savepoint that is not the number
    /// that sessions show, and then it is the oldest of those that have locked counters.
    fn holder(&self, instances: &[String]) -> Option<Holder> {
        let rows = self.read("looking for who holds a counter", |conn| {
            conn.query(
                "SELECT a.pid::int8, a.application_name, extract(epoch FROM clock_timestamp() - a.xact_start)::float8 \
                 FROM pg_stat_activity a WHERE a.pid <> pg_backend_pid() AND a.backend_xid IS NOT NULL \
                 AND EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.granted \
                   AND l.relation = to_regclass('readside.instances') AND l.mode = 'RowShareLock') \
                 ORDER BY NOT EXISTS (SELECT 1 FROM readside.instances i \
                   WHERE i.instance_id = ANY($1::text[]) AND i.xmax = a.backend_xid), a.xact_start LIMIT 1",
                &[Value::TextArray(instances.to_vec())],
            )
        });
        let rows: Vec<Vec<Value>> =
            rows.map_err(|error: StoreError| log::debug!("{}", crate::error::full(&error))).ok()?;
        match rows.into_iter().next()?.as_slice() {
            [Value::Integer(pid), Value::Text(application), since] => Some(Holder {
                pid: *pid,
                application: application.clone(),
                since: match since {
                    Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
                    _ => None,
                },
            }),
            _ => None,
        }
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn has_one_writer(&self) -> bool {
        false
    }

    fn patience(&self) -> Duration {
        self.options.lock_timeout
    }

    fn connections(&self) -> Option<usize> {
        Some(self.options.max_connections)
    }

    /// The server keeps old rows until they are vacuumed.
    fn scrub(&self) -> Result<Option<String>, StoreError> {
        let what = "PostgreSQL keeps dead rows in its files until autovacuum, or VACUUM, has been there; write-ahead log, \
                    replicas and backups end by their own rules";
        Ok(Some(what.to_owned()))
    }

    fn examine(&self, patience: Duration) -> Vec<Finding> {
        examine::examine(self, patience)
    }

    fn migrations(&self) -> &'static [&'static str] {
        MIGRATIONS
    }
}
