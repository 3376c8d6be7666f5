//! The server store: many processes and machines on one PostgreSQL (13 or newer).
//!
//! Here is only what differs from SQLite: connections, values, and writing sets of rows. Every call is an unnamed typed
//! statement and every setting is local to its transaction, so that a pooler in transaction mode may stand between.

mod address;
mod bulk;
mod conn;
mod dial;
mod error;
mod event_batches;
mod examine;
mod holder;
mod in_order;
mod link;
mod notify;
mod objects;
mod places;
mod pool;
mod push;
mod rights;
mod value;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postgres::Transaction;

use crate::db::{Backend, Conn, DbStore, row};
use crate::error::{Holder, PushError, SetupError, StoreError, StoreErrorKind};
use crate::event::NewEvent;
use crate::inspect::Finding;
use crate::projection::Projection;
use crate::sql::Dialect;
use crate::subscription::PushedIn;
use crate::value::Value;
use address::Address;
use conn::Session;
use places::TableSchemas;
use pool::{Checked, Pool};

/// Event store and projection store in one PostgreSQL database.
pub type PostgresStore = DbStore<Postgres>;

const MIGRATIONS: &[&str] = &[
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
    include_str!("schema/005.sql"),
    include_str!("schema/006.sql"),
    include_str!("schema/007.sql"),
];

/// How to talk to a server. A duration that is too long to be counted with, such as `Duration::MAX`, is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Connections at the same time, at most: an engine needs one for each worker and 3 more, each call of the service's own
    /// that runs at the same time needs another one. Beside these, listening takes one and keeping leases another. A worker
    /// that catches up reads and leases ahead on two more; where there is none, it waits until one is free. Default: 10.
    pub max_connections: usize,
    /// How long connecting to each address, or waiting for a free connection, may take. `connect_timeout` of the connection
    /// string counts more. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a statement waits for a lock, for instance of another push to the same instance. Zero: not at all.
    /// Default: 5 s.
    pub lock_timeout: Duration,
    /// How long a statement may run, and, without `tcp_user_timeout` in the connection string, how long what was sent may
    /// stay without a receipt. Default: 30 s.
    pub statement_timeout: Duration,
    /// How long a transaction may be idle before the server ends it, so that a stopped process lets go of its locks. Once an
    /// engine runs on the store, half of its lease at most, but a second at least. Default: 15 s.
    pub idle_in_transaction_timeout: Duration,
    /// How long a connection is used at most, up to a fifth less by chance, so that an address that moved is looked up anew.
    /// Zero: for one call only. Default: 30 min.
    pub max_lifetime: Duration,
    /// How long a connection that nobody uses is kept; looked at when another one is taken or given back. Zero: not at all.
    /// Default: 10 min.
    pub idle_timeout: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_connections: 10,
            connect_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            idle_in_transaction_timeout: Duration::from_secs(15),
            max_lifetime: Duration::from_mins(30),
            idle_timeout: Duration::from_mins(10),
        }
    }
}

impl PostgresOptions {
    /// Names the first value with which nothing could be done.
    fn check(&self) -> Result<(), StoreError> {
        let zero = [
            ("max_connections", self.max_connections == 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("statement_timeout", self.statement_timeout.is_zero()),
            ("idle_in_transaction_timeout", self.idle_in_transaction_timeout.is_zero()),
        ];
        let Some((name, _)) = zero.iter().find(|(_, is_zero)| *is_zero) else { return Ok(()) };
        let why = format!("{name} is zero, but has to be more");
        Err(StoreError::new("reading the options of the database", StoreErrorKind::Usage, why))
    }
}

/// What a transaction may do, and how long it waits.
#[derive(Clone, Copy)]
struct Terms {
    read_only: bool,
    /// For a connection.
    connect: Duration,
    /// For each lock.
    lock: Duration,
}

/// A PostgreSQL database and the connections to it.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool,
    /// For what keeps leases, however busy the pool is.
    reserve: Pool,
    places: TableSchemas,
    options: PostgresOptions,
    /// How long a transaction may be idle, in milliseconds: what the options say, or less where an engine's leases are short.
    longest_idle: AtomicU64,
}

/// Even for the shortest leases a transaction may be idle for so long: a busy machine needs that now and then.
const SHORTEST_IDLE: Duration = Duration::from_secs(1);

impl DbStore<Postgres> {
    /// Connects to a database, `postgres://user:password@host:port/name` or `host=… dbname=… user=…`. Tables are made by
    /// [`setup`](Self::setup).
    ///
    /// The string is read as libpq reads it, with several hosts, each with its port, and `target_session_attrs`; each
    /// address has the whole time-out to itself. What is not supported, TLS first of all, is refused by name. A string
    /// that cannot be read is never shown, since it may hold a password; nor is one in which libpq would take a part of
    /// the password for a host or a database, as with a second `@`.
    ///
    /// The driver keeps a private runtime inside each connection: call this store from plain threads, for instance by
    /// `spawn_blocking`. On a thread that drives an asynchronous runtime the driver panics; that is caught, and each call is
    /// refused there as `Usage`.
    ///
    /// # Errors
    /// When an option is of no use, when the connection string cannot be read, the server cannot be reached or refuses, or is older than PostgreSQL 13.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, PostgresOptions::default())
    }

    /// Connects to a database with options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(url: &str, mut options: PostgresOptions) -> Result<Self, StoreError> {
        options.check()?;
        let address = Address::read(url, &options)?;
        if let Some(timeout) = address.timeout {
            options.connect_timeout = timeout;
        }
        let pool = Pool::open(address, &options)?;
        let (longest_idle, places) =
            (AtomicU64::new(whole_millis(options.idle_in_transaction_timeout)), TableSchemas::default());
        Ok(Self::from_backend(Postgres { reserve: pool.reserve(), pool, options, longest_idle, places }))
    }

    /// Stores the commands inside a transaction of the caller's, on the same database, so that rows of a service and its
    /// events are stored together or not at all. Call it last, and commit soon: other pushes to these instances wait.
    ///
    /// After an error nothing of the push remains and the transaction can go on. It is never retried, and leaves the
    /// settings of the session as they were. Fire the token after the commit.
    ///
    /// # Errors
    /// As [`push`](crate::EventStore::push).
    pub fn push_in(&self, transaction: &mut Transaction<'_>, commands: &[NewEvent]) -> Result<PushedIn, PushError> {
        let mut session = Session::new(transaction, None);
        session.batch("SAVEPOINT readside_push")?;
        let outcome = self.push_in_savepoint(&mut session, commands);
        session.batch(match outcome {
            Ok(_) => "RELEASE SAVEPOINT readside_push",
            Err(_) => "ROLLBACK TO SAVEPOINT readside_push; RELEASE SAVEPOINT readside_push",
        })?;
        let events = outcome.map_err(|error| self.name_holder(&mut session, commands, error))?;
        Ok(PushedIn { events, token: self.dirty_token(commands) })
    }

    /// Says who held what was waited for in vain, after the roll-back to the savepoint.
    fn name_holder(&self, session: &mut dyn Conn, commands: &[NewEvent], error: PushError) -> PushError {
        let PushError::Busy { instance, waited, holder: None } = error else { return error };
        let own = session.query("SELECT pg_backend_pid()::int8", &[]);
        let own = own.ok().and_then(|rows| rows.first().and_then(|own| row::int(own, 0).ok()));
        let instances: Vec<String> = commands.iter().map(|command| command.instance.to_string()).collect();
        let holder = self.backend().holder_but(&instances, own.unwrap_or_default());
        PushError::Busy { instance, waited, holder }
    }

    fn push_in_savepoint(
        &self,
        session: &mut dyn Conn,
        commands: &[NewEvent],
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

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A connection of the caller's own, made as those of a store.
#[cfg(feature = "cli")]
pub(crate) fn client(url: &str) -> Result<postgres::Client, StoreError> {
    let (options, doing) = (PostgresOptions::default(), "connecting to the database");
    let address = Address::read(url, &options)?;
    let patience = address.timeout.unwrap_or(options.connect_timeout);
    dial::connect(&address, crate::clock::deadline(patience), patience, doing).map(|(client, _)| client)
}

/// A time-out as the server reads it, rounded up. 0 means that there is none, as for one that it cannot count to.
fn millis(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000).max(1);
    format!("{}ms", i32::try_from(millis).unwrap_or(0))
}

impl Postgres {
    fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A transaction as usual.
    fn terms(&self, read_only: bool) -> Terms {
        Terms { read_only, connect: self.options.connect_timeout, lock: self.options.lock_timeout }
    }

    /// One round trip: begin, and the time-outs of this transaction only. Whoever has set `default_transaction_read_only`
    /// for the role or the database is obeyed.
    fn begin(&self, terms: Terms) -> String {
        let options = &self.options;
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED{}; SET LOCAL lock_timeout = '{}'; SET LOCAL statement_timeout = '{}'; \
             SET LOCAL idle_in_transaction_session_timeout = '{}'",
            if terms.read_only { " READ ONLY" } else { "" },
            millis(terms.lock),
            millis(options.statement_timeout),
            millis(Duration::from_millis(self.longest_idle.load(Ordering::Relaxed)))
        )
    }

    /// Who holds counters that were waited for, which is not this session.
    fn holder_but(&self, instances: &[String], session: i64) -> Option<Holder> {
        let found = holder::find(self, instances, session);
        found.map_err(|error| log::debug!("{}", crate::error::chain(&error))).ok()?
    }

    /// A connection on which a transaction is open. Nothing is lost with those that ended while they were idle: there is
    /// another one, at last a new one.
    fn begun<'p>(&self, pool: &'p Pool, doing: &str, terms: Terms) -> Result<Checked<'p>, StoreError> {
        let begin = self.begin(terms);
        loop {
            let mut checked = pool.check_out_within(doing, terms.connect)?;
            if !checked.is_reused() {
                self.places.forget();
            }
            let client = checked.client_in_use(doing)?;
            let outcome = link::guarded(doing, || client.batch_execute(&begin))?;
            let Err(error) = outcome.map_err(|error| error::store(doing, &error)) else { return Ok(checked) };
            let end = error::end(&error);
            checked.ends(end);
            if !checked.is_reused() || end.is_none() {
                return Err(error);
            }
        }
    }

    fn run<T, E: From<StoreError>>(
        &self,
        pool: &Pool,
        doing: &str,
        terms: Terms,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut checked = self.begun(pool, doing, terms)?;
        let access = checked.access();
        // Until it is clean again, dropping it closes the connection, and with it the transaction.
        let client = checked.client_in_use(doing)?;
        let mut session = Session::knowing(client, Some(pool.role()), access, &self.places);
        let outcome = work(&mut session);
        let (aborted, end) = (session.is_aborted(), session.end());
        if session.has_missed() {
            self.places.forget();
        }
        match outcome {
            Ok(_) if aborted => {
                checked.ends(end);
                let why = "an error inside the transaction was passed over";
                Err(StoreError::new(doing, StoreErrorKind::Usage, why).into())
            }
            Ok(done) => {
                let committed = client.batch_execute("COMMIT").map_err(|error| error::commit(doing, &error));
                checked.ends(end.max(committed.as_ref().err().and_then(error::end)));
                committed?;
                checked.clean();
                Ok(done)
            }
            Err(error) => {
                let rolled_back = client.batch_execute("ROLLBACK").map_err(|error| error::store(doing, &error));
                checked.ends(end.max(rolled_back.as_ref().err().and_then(error::end)));
                if rolled_back.is_ok() {
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
        self.run(&self.pool, doing, self.terms(true), work)
    }

    fn write<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(&self.pool, doing, self.terms(false), work)
    }

    fn write_within<T, E: From<StoreError>>(
        &self,
        doing: &str,
        patience: Duration,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        let terms = self.terms(false);
        self.run(&self.pool, doing, Terms { lock: terms.lock.min(patience), ..terms }, work)
    }

    fn write_reserved<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(&self.reserve, doing, self.terms(false), work)
    }

    fn holder(&self, instances: &[String]) -> Option<Holder> {
        self.holder_but(instances, 0)
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

    fn hold_within(&self, lease: Duration) {
        let idle = whole_millis((lease / 2).max(SHORTEST_IDLE));
        self.longest_idle.fetch_min(idle, Ordering::Relaxed);
    }

    fn call_itself(&self, name: &str) {
        self.pool.call_itself(name);
    }

    fn connections(&self) -> Option<usize> {
        Some(self.options.max_connections)
    }

    fn generation(&self) -> u64 {
        self.pool.generation()
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

    fn grants(&self, role: &str, projections: &[&Projection]) -> Result<String, SetupError> {
        rights::grants(self, role, projections)
    }

    fn migrations(&self) -> &'static [&'static str] {
        MIGRATIONS
    }
}
