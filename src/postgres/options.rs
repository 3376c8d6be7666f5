//! Options for connections to a server.

use std::fmt;
use std::time::Duration;

use super::connector::PostgresConnector;
use super::home;
use crate::error::{StoreError, StoreErrorKind};
use crate::setters::setters;

/// Options for connections to a server. A duration that is too long to be counted, such as `Duration::MAX`, means no
/// limit.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use readside::{PostgresOptions, PostgresStore};
/// let options = PostgresOptions::default()
///     .max_connections(20)
///     .lock_timeout(Duration::from_secs(2))
///     .statement_timeout(Duration::MAX); // no limit
/// let store = PostgresStore::connect_with("postgres://app@localhost/service", options)?;
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The largest number of connections at the same time. An engine needs one for each worker and 3 more. Each call
    /// of the service that runs at the same time needs another one. In addition, listening takes one, and renewing
    /// leases takes one. A worker that catches up can use two more to read and lease ahead. If none is free, it
    /// waits. Default: 10.
    pub max_connections: usize,
    /// How long connecting to each address, or waiting for a free connection, may take. `connect_timeout` in the
    /// connection string takes precedence. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a statement waits for a lock, for instance of another push to the same instance. With zero it does
    /// not wait. Default: 5 s.
    pub lock_timeout: Duration,
    /// How long a statement may run. Without `tcp_user_timeout` in the connection string, this is also how long sent
    /// data may stay unacknowledged. Default: 30 s.
    pub statement_timeout: Duration,
    /// How long a transaction may be idle before the server ends it, so that a stopped process releases its locks.
    /// When an engine runs on the store, this is at most half of its lease, but at least one second. Default: 15 s.
    pub idle_in_transaction_timeout: Duration,
    /// How long a connection is used at most, so that a changed address is noticed. Each connection's time is up to a
    /// fifth shorter, at random. With zero a connection serves one call. Default: 30 min.
    pub max_lifetime: Duration,
    /// How long an unused connection is kept. This is checked when a connection is taken or given back. With zero no
    /// unused connection is kept. Default: 10 min.
    pub idle_timeout: Duration,
    /// A connector for TLS that replaces the feature `tls`, and works without it too. TLS is then required, unless
    /// the connection string names an `sslmode`. Default: none.
    pub connector: Option<PostgresConnector>,
    /// Reads libpq's variables for what the connection string does not say: `PGHOST`, `PGUSER`, `PGSERVICE`,
    /// `PGPASSFILE`, `PGSSLMODE` and so on. See [`from_env`](Self::from_env). Default: no.
    pub environment: bool,
    /// A connection string for listening to pushes of other processes. Use it to go past a pooler in transaction
    /// mode, where LISTEN hears nothing. It has to name the same database. Default: none, which listens through the
    /// same address as everything else.
    pub listen_url: Option<String>,
    /// The schema of the engine's own tables. With several schemas, independent sets of tables live in one database,
    /// each with its own events. The name has up to 63 small letters, digits and `_`, and is not one of the server's
    /// own (`pg_…`). Read tables are where their projections say. Default: `readside`.
    pub schema: String,
}

/// Leaves out the secrets of `listen_url`.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("max_connections", &self.max_connections)
            .field("connect_timeout", &self.connect_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("idle_in_transaction_timeout", &self.idle_in_transaction_timeout)
            .field("max_lifetime", &self.max_lifetime)
            .field("idle_timeout", &self.idle_timeout)
            .field("connector", &self.connector)
            .field("environment", &self.environment)
            .field("listen_url", &self.listen_url.as_ref().map(|_| "***"))
            .field("schema", &self.schema)
            .finish()
    }
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
            connector: None,
            environment: false,
            listen_url: None,
            schema: home::USUAL.to_owned(),
        }
    }
}

setters! { PostgresOptions:
    max_connections: set usize,
    connect_timeout: set Duration,
    lock_timeout: set Duration,
    statement_timeout: set Duration,
    idle_in_transaction_timeout: set Duration,
    max_lifetime: set Duration,
    idle_timeout: set Duration,
    connector: some PostgresConnector,
    environment: set bool,
    listen_url: some String,
    schema: into String,
}

impl PostgresOptions {
    /// The default options, with libpq's variables for what the connection string does not say. The store reads the
    /// variables once, when it connects.
    ///
    /// # Examples
    /// ```no_run
    /// use readside::{PostgresOptions, PostgresStore};
    /// // Host, user, password and database come from PGHOST, PGUSER, PGPASSWORD and PGDATABASE.
    /// let store = PostgresStore::connect_with("postgres://", PostgresOptions::from_env())?;
    /// # Ok::<(), readside::Error>(())
    /// ```
    #[must_use]
    pub fn from_env() -> Self {
        Self { environment: true, ..Self::default() }
    }

    /// Names the first value that cannot be used. It does not show a wrong schema name, which may be a secret in the
    /// wrong place.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let zero = [
            ("max_connections", self.max_connections == 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("statement_timeout", self.statement_timeout.is_zero()),
            ("idle_in_transaction_timeout", self.idle_in_transaction_timeout.is_zero()),
        ];
        let doing = "reading the options of the database";
        if let Some((name, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            let why = format!("{name} is zero, but has to be more");
            return Err(StoreError::new(doing, StoreErrorKind::Usage, why));
        }
        let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        let schema = &*self.schema;
        let is_own = schema.starts_with("pg_") || schema == "information_schema";
        let begins = schema.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_');
        if !begins || is_own || schema.len() > 63 || !schema.chars().all(is_part) {
            let why =
                "schema has to be 1 to 63 small letters, digits and _, no digit first, and none of the server's own";
            return Err(StoreError::new(doing, StoreErrorKind::Usage, why));
        }
        Ok(())
    }
}
