//! A database, and transactions on its pooled connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postgres::Client;
use postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::home::Home;
use super::options::PostgresOptions;
use super::places::TableSchemas;
use super::pool::{Checked, Pool};
use super::session::Session;
use super::{error, link};
use crate::db::Conn;
use crate::error::{StoreError, StoreErrorKind};

/// What a transaction may do, and how long it may wait.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) read_only: bool,
    /// How long to wait for a connection.
    pub(super) connect: Duration,
    /// How long to wait for each lock.
    pub(super) lock: Duration,
}

/// A PostgreSQL database and the connections to it.
#[derive(Debug)]
pub struct Postgres {
    pub(super) pool: Pool,
    /// A separate connection that renews leases, however busy the pool is.
    pub(super) reserve: Pool,
    /// The connection for listening, if it has its own address.
    pub(super) listen: Option<Pool>,
    pub(super) places: TableSchemas,
    /// Where the engine's tables are.
    pub(super) home: Home,
    pub(super) options: PostgresOptions,
    /// Identifies this store in messages to other processes.
    pub(super) origin: Uuid,
    /// How long a transaction may be idle, in milliseconds: the time from the options, or less if an engine has short
    /// leases.
    pub(super) longest_idle: AtomicU64,
}

/// A transaction may always be idle for this long, even with the shortest leases. A busy machine sometimes needs it.
pub(super) const SHORTEST_IDLE: Duration = Duration::from_secs(1);

impl Postgres {
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Opens the connection for listening.
    pub(super) fn connect_to_listen(&self, doing: &str) -> Result<Client, StoreError> {
        self.listen.as_ref().unwrap_or(&self.pool).connect_anew(doing)
    }

    /// The terms of a usual transaction.
    pub(super) fn terms(&self, read_only: bool) -> Terms {
        Terms { read_only, connect: self.options.connect_timeout, lock: self.options.lock_timeout }
    }

    /// The statement that begins a transaction and makes its settings, in one round trip. It obeys a
    /// `default_transaction_read_only` of the role or the database. If a policy would hide rows from the engine, the
    /// server returns an error. Otherwise the engine would silently leave hidden rows unchanged.
    pub(super) fn begin(&self, terms: Terms) -> String {
        let options = &self.options;
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED{}; SET LOCAL lock_timeout = '{}'; SET LOCAL statement_timeout = '{}'; \
             SET LOCAL idle_in_transaction_session_timeout = '{}'; SET LOCAL row_security = off",
            if terms.read_only { " READ ONLY" } else { "" },
            millis(terms.lock),
            millis(options.statement_timeout),
            self.longest_idle()
        )
    }

    /// How long a transaction may be idle, as the server reads it.
    pub(super) fn longest_idle(&self) -> String {
        millis(Duration::from_millis(self.longest_idle.load(Ordering::Relaxed)))
    }

    /// Checks out a connection and begins a transaction on it.
    pub(super) fn begun<'p>(&self, pool: &'p Pool, doing: &str, terms: Terms) -> Result<Checked<'p>, StoreError> {
        let begin = self.begin(terms);
        self.begun_by(pool, doing, terms.connect, |client| client.batch_execute(&begin))
    }

    /// Runs a statement as a transaction of its own, in one round trip. The statement makes its settings itself, and
    /// may run twice.
    pub(super) fn at_once(
        &self,
        doing: &str,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<(), StoreError> {
        let run = |client: &mut Client| client.query_typed(sql, params).map(|_| ());
        self.begun_by(&self.pool, doing, self.options.connect_timeout, run)?.clean();
        Ok(())
    }

    /// Checks out a connection and runs `begin` on it. A connection that ended while it was idle loses no work, so
    /// the next one is tried. The last try opens a new connection.
    pub(super) fn begun_by<'p>(
        &self,
        pool: &'p Pool,
        doing: &str,
        connect: Duration,
        begin: impl Fn(&mut Client) -> Result<(), postgres::Error>,
    ) -> Result<Checked<'p>, StoreError> {
        loop {
            let mut checked = pool.check_out_within(doing, connect)?;
            if !checked.is_reused() {
                self.places.forget();
            }
            let client = checked.client_in_use(doing)?;
            let outcome = link::guarded(doing, || begin(client))?;
            let Err(error) = outcome.map_err(|error| error::store(doing, &error)) else { return Ok(checked) };
            let end = error::end(&error);
            checked.ends(end);
            if !checked.is_reused() || end.is_none() {
                return Err(error);
            }
        }
    }

    pub(super) fn run<T, E: From<StoreError>>(
        &self,
        pool: &Pool,
        doing: &str,
        terms: Terms,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut checked = self.begun(pool, doing, terms)?;
        let access = checked.access();
        // Until the connection is clean again, dropping it closes it, which ends the transaction.
        let client = checked.client_in_use(doing)?;
        let mut session = Session::knowing(client, &self.home, Some(pool.role()), access, &self.places);
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
                // A read commits nothing, so its outcome is never unknown.
                let failed = if terms.read_only { error::store } else { error::commit };
                let committed = client.batch_execute("COMMIT").map_err(|error| failed(doing, &error));
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

/// A time-out as the server reads it, rounded up. A time-out that is too long for the server becomes 0, which means
/// none.
pub(super) fn millis(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000).max(1);
    format!("{}ms", i32::try_from(millis).unwrap_or(0))
}
