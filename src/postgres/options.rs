//! How to talk to a server.

use std::time::Duration;

use crate::error::{StoreError, StoreErrorKind};
use crate::setters::setters;

/// How to talk to a server. A duration that is too long to be counted with, such as `Duration::MAX`, is no limit.
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
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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

setters! { PostgresOptions:
    max_connections: set usize,
    connect_timeout: set Duration,
    lock_timeout: set Duration,
    statement_timeout: set Duration,
    idle_in_transaction_timeout: set Duration,
    max_lifetime: set Duration,
    idle_timeout: set Duration,
}

impl PostgresOptions {
    /// Names the first value with which nothing could be done.
    pub(super) fn check(&self) -> Result<(), StoreError> {
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
