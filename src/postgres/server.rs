//! A database, and its transactions on pooled connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postgres::Client;
use uuid::Uuid;

use super::home::Home;
use super::options::PostgresOptions;
use super::places::TableSchemas;
use super::pool::{Checked, Pool};
use super::session::Session;
use super::{error, link};
use crate::db::Conn;
use crate::error::{StoreError, StoreErrorKind};

/// What a transaction may do, and how long it waits.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) read_only: bool,
    /// For a connection.
    pub(super) connect: Duration,
    /// For each lock.
    pub(super) lock: Duration,
}

/// A PostgreSQL database and the connections to it.
#[derive(Debug)]
pub struct Postgres {
    pub(super) pool: Pool,
    /// For renewing leases, however busy the pool is.
    pub(super) reserve: Pool,
    /// By which one listens, where that is not the way of all else.
    pub(super) listen: Option<Pool>,
    pub(super) places: TableSchemas,
    /// Where the engine's tables are.
    pub(super) home: Home,
    pub(super) options: PostgresOptions,
    /// Whose pushes these are, in what is told to other processes.
    pub(super) origin: Uuid,
    /// How long a transaction may be idle, in milliseconds: what the options say, or less where an engine's leases are short.
    pub(super) longest_idle: AtomicU64,
}

/// Even for the shortest leases a transaction may be idle for this long: a busy machine needs that now and then.
pub(super) const SHORTEST_IDLE: Duration = Duration::from_secs(1);

impl Postgres {
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Connects to where one hears of pushes.
    pub(super) fn connect_to_listen(&self, doing: &str) -> Result<Client, StoreError> {
        self.listen.as_ref().unwrap_or(&self.pool).connect_anew(doing)
    }

    /// A transaction as usual.
    pub(super) fn terms(&self, read_only: bool) -> Terms {
        Terms { read_only, connect: self.options.connect_timeout, lock: self.options.lock_timeout }
    }

    /// One round trip: begin, and the settings of this transaction only. A `default_transaction_read_only` of the role or the
    /// database is obeyed. What policies would hide from the engine is an error of the server's then: rows that are not seen
    /// are not changed, and nothing would say so.
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

    /// A connection on which a transaction is open.
    pub(super) fn begun<'p>(&self, pool: &'p Pool, doing: &str, terms: Terms) -> Result<Checked<'p>, StoreError> {
        self.begun_by(pool, doing, terms.connect, &self.begin(terms))
    }

    /// A connection on which this has opened a transaction. Nothing is lost with those that ended while they were idle: there
    /// is another one, at last a new one.
    pub(super) fn begun_by<'p>(
        &self,
        pool: &'p Pool,
        doing: &str,
        connect: Duration,
        begin: &str,
    ) -> Result<Checked<'p>, StoreError> {
        loop {
            let mut checked = pool.check_out_within(doing, connect)?;
            if !checked.is_reused() {
                self.places.forget();
            }
            let client = checked.client_in_use(doing)?;
            let outcome = link::guarded(doing, || client.batch_execute(begin))?;
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
        // Until it is clean again, dropping it closes the connection, and with it the transaction.
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

/// A time-out as the server reads it, rounded up. 0 means that there is none, as for one that it cannot count to.
pub(super) fn millis(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000).max(1);
    format!("{}ms", i32::try_from(millis).unwrap_or(0))
}
