//! The server store: many processes and machines on one PostgreSQL (13 or newer).
//!
//! This folder holds only what differs from SQLite: connections, values, and writing sets of rows. Every call is an
//! unnamed typed statement, and every setting is local to its transaction. So a pooler in transaction mode works.

mod access;
mod address;
mod bulk;
mod cell;
mod channel;
mod conn;
mod connector;
mod dial;
mod dress;
mod error;
mod event_batches;
mod examine;
mod holder;
mod home;
mod in_order;
mod link;
mod notify;
mod objects;
mod options;
mod places;
mod pool;
mod push;
mod reading;
mod rights;
mod secured;
mod security;
mod server;
mod session;
#[cfg(feature = "tls")]
mod tls;
mod value;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postgres::Transaction;
use uuid::Uuid;

use crate::db::{Backend, Conn, DbStore, OwnQuery, row};
use crate::error::{Holder, PushError, SetupError, StoreError};
use crate::event::NewEvent;
use crate::inspect::Finding;
use crate::projection::Projection;
use crate::sql::Dialect;
use crate::store::Notifications;
use crate::subscription::PushedIn;
use crate::value::Value;
use address::Address;
pub use connector::PostgresConnector;
use home::Home;
pub use options::PostgresOptions;
use places::TableSchemas;
use pool::Pool;
pub(crate) use server::Postgres;
use server::{SHORTEST_IDLE, Terms, millis};
use session::Session;

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
    include_str!("schema/008.sql"),
    include_str!("schema/009.sql"),
    include_str!("schema/010.sql"),
    include_str!("schema/011.sql"),
];

impl DbStore<Postgres> {
    /// Connects to a database, `postgres://user:password@host:port/name` or `host=… dbname=… user=…`.
    /// [`setup`](Self::setup) creates the tables.
    ///
    /// The string is read as libpq 17 reads it: with several hosts and their ports, `target_session_attrs`, services,
    /// password files and TLS. Each address has the whole time-out. With [`PostgresOptions::from_env`] the variables
    /// `PGHOST` and so on count too. An unsupported setting is refused by name. Errors never show a string that
    /// cannot be read, since it may hold a password. A string in which libpq would take a part of the password for a
    /// host or a database, as with a second `@`, is refused and not shown either.
    ///
    /// TLS needs the feature `tls`, or [`PostgresOptions::connector`]. `sslmode` says how much protection you want.
    /// Without it, TLS is used if the server offers it, and plain text to another machine is logged as a warning.
    ///
    /// The driver keeps a private runtime inside each connection, so call this store from plain threads, for instance
    /// by `spawn_blocking`. On a thread that drives an asynchronous runtime the driver would panic. The store catches
    /// that and refuses each call with a `Usage` error.
    ///
    /// # Errors
    /// When an option cannot be used, when the connection string cannot be read, or when the server cannot be
    /// reached, refuses the connection, or is older than PostgreSQL 13.
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
        let listen = options.listen_url.as_deref().map(|url| Address::read(url, &options)).transpose();
        let listen = listen.map_err(|error| error.doing("reading listen_url, the connection string for listening"))?;
        let pool = Pool::open(address, &options)?;
        let listen = listen.map(|address| pool.elsewhere(address));
        let (longest_idle, places) =
            (AtomicU64::new(whole_millis(options.idle_in_transaction_timeout)), TableSchemas::default());
        let origin = Uuid::now_v7();
        let (reserve, home) = (pool.reserve(), Home::new(&options.schema));
        Ok(Self::from_backend(Postgres { pool, reserve, listen, places, home, options, origin, longest_idle }))
    }

    /// Stores the events inside the caller's transaction on the same database, so that rows of a service and its
    /// events are stored together or not at all. Call it last, and commit soon: other pushes to these instances wait.
    ///
    /// After an error nothing of the push remains, and the transaction can go on. The store never retries the push,
    /// and leaves the settings of the session as they were. Fire the token after the commit.
    ///
    /// # Errors
    /// As [`push`](crate::EventStore::push).
    pub fn push_in(&self, transaction: &mut Transaction<'_>, commands: &[NewEvent]) -> Result<PushedIn, PushError> {
        let mut session = Session::new(transaction, &self.backend().home, None);
        session.batch("SAVEPOINT readside_push")?;
        let outcome = self.push_in_savepoint(&mut session, commands);
        session.batch(match outcome {
            Ok(_) => "RELEASE SAVEPOINT readside_push",
            Err(_) => "ROLLBACK TO SAVEPOINT readside_push; RELEASE SAVEPOINT readside_push",
        })?;
        let events =
            outcome.map_err(|error| self.explained(commands, self.name_holder(&mut session, commands, error)))?;
        Ok(PushedIn { events, token: self.dirty_token(commands) })
    }

    /// Finds who held the lock on which the push timed out, after the rollback to the savepoint.
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
        let settings = "SELECT current_setting('lock_timeout'), current_setting('enable_sort'), \
            current_setting('row_security')";
        let before = session.query(settings, &[])?;
        let patience = millis(self.backend().options.lock_timeout);
        let set = "SELECT set_config('lock_timeout', $1, true), set_config('row_security', 'off', true)";
        session.query(set, &[Value::from(patience)])?;
        let events = self.push_on(session, commands)?;
        if let Some(before) = before.first() {
            let set = "SELECT set_config('lock_timeout', $1, true), set_config('enable_sort', $2, true), \
                set_config('row_security', $3, true)";
            session.query(set, before)?;
        }
        Ok(events)
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Opens a connection for the caller, in the same way as a store opens its own.
#[cfg(feature = "cli")]
pub(crate) fn client(url: &str) -> Result<postgres::Client, StoreError> {
    let (options, doing) = (PostgresOptions::from_env(), "connecting to the database");
    let address = Address::read(url, &options)?;
    let patience = address.timeout.unwrap_or(options.connect_timeout);
    dial::connect(&address, crate::clock::deadline(patience), patience, doing).map(|dialed| dialed.client)
}

impl Postgres {
    /// Finds who holds the counters on which this push waited. This session is never the answer.
    fn holder_but(&self, instances: &[String], session: i64) -> Option<Holder> {
        let found = holder::find(self, instances, session);
        found.map_err(|error| log::debug!("{}", crate::error::chain(&error))).ok()?
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

    fn read_own(
        &self,
        query: &OwnQuery<'_>,
        each: &mut dyn FnMut(&[String], Vec<Value>) -> bool,
    ) -> Result<(), StoreError> {
        reading::read_own(self, query, each)
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

    fn catalogue(&self) -> &'static dyn crate::db::objects::Catalogue {
        &objects::Objects
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

    /// A copy of a server has the same identifier and the same database numbers, but it did not start in the same
    /// microsecond.
    fn location(&self) -> Result<String, StoreError> {
        let sql = "SELECT extract(epoch FROM pg_postmaster_start_time())::text || ' ' || d.oid::text \
                   FROM pg_database d WHERE d.datname = current_database()";
        self.read("asking which database this is", |conn| {
            let rows = conn.query(sql, &[])?;
            rows.first().map_or(Ok(""), |found| row::text(found, 0)).map(str::to_owned)
        })
    }

    fn generation(&self) -> u64 {
        self.pool.generation()
    }

    fn has_to_tell(&self) -> bool {
        true
    }

    fn tell(&self, news: &Notifications) -> Result<(), StoreError> {
        notify::tell_of_pushes(self, news)
    }

    /// The server keeps old rows until a vacuum removes them.
    fn scrub(&self) -> Result<Option<String>, StoreError> {
        let what = "PostgreSQL keeps the old rows in its files until VACUUM, or autovacuum, has run; the write-ahead log, \
                    replicas and backups keep them for as long as they are told to";
        Ok(Some(what.to_owned()))
    }

    fn examine(&self, patience: Duration) -> Vec<Finding> {
        examine::examine(self, patience)
    }

    fn grants(&self, role: &str, projections: &[&Projection]) -> Result<String, SetupError> {
        rights::grants(self, role, projections)
    }

    fn back_up(&self, _: &std::path::Path, _: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, StoreError> {
        let why = "PostgreSQL has its own tools for that";
        let error = StoreError::new("copying the database", crate::error::StoreErrorKind::Unsupported, why);
        Err(error.with_remedy("; use pg_dump for one database, or pg_basebackup for a server"))
    }

    fn at_home(&self, script: String) -> String {
        self.home.script(&script).into_owned()
    }

    fn migrations(&self) -> &'static [&'static str] {
        MIGRATIONS
    }
}
