//! The service's own queries, and connections that the store lends to the service.

use std::time::Duration;

use postgres::types::Type;
use postgres::{Client, IsolationLevel, SimpleQueryMessage, Transaction};

use super::pool::Checked;
use super::server::{Postgres, millis};
use super::session::typed;
use super::value::Param;
use super::{cell, error, link};
use crate::db::{DbStore, ENDED, EachRow, OwnQuery, READ_ENDED, Reader};
use crate::error::{StoreError, StoreErrorKind};
use crate::value::refuse_nul;

/// How many rows of a long read are fetched at a time.
const PART: usize = 200;

/// The server's code for a write in a read-only transaction.
const READ_ONLY: &str = "25006";

/// The server's code for a statement in a transaction that has failed.
const FAILED: &str = "25P02";

/// When the transaction began, by the server's clock. That stays the same until it ends, whatever happens in it.
const BEGAN: &str = "SELECT (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint";

/// Undoes what a service may have set for the session. Prepared statements stay, for the service to use again.
const RESET: &str = "RESET SESSION AUTHORIZATION; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); \
     DISCARD TEMP";

impl DbStore<Postgres> {
    /// Lends one of the pool's connections, so that a service needs no second pool. The connection is in a read-only
    /// transaction that sees one snapshot (`REPEATABLE READ`). A statement may take 30 seconds
    /// ([`reader`](Self::reader) sets another time). At the end the transaction is rolled back, and the settings of
    /// the session are reset.
    ///
    /// # Examples
    /// ```no_run
    /// use readside::PostgresStore;
    /// use readside::error::{StoreError, StoreErrorKind};
    /// let store = PostgresStore::connect("postgres://service@localhost/service")?;
    /// let users: i64 = store.with_client(|client| {
    ///     let row = client.query_one("SELECT count(*) FROM users WHERE instance_id = $1", &[&"acme"]);
    ///     row.map(|row| row.get(0)).map_err(|error| StoreError::new("counting users", StoreErrorKind::Other, error))
    /// })?;
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error of `work`, or of the database. `Usage` if `work` ended the transaction itself, by a statement: what it
    /// ran after that could write.
    pub fn with_client<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.reader().with_client(work)
    }

    /// Lends a connection of the pool with a transaction that may write, so that rows of a service and events
    /// ([`push_in`](Self::push_in)) are stored together. The transaction is committed if `work` returns `Ok`, and
    /// rolled back otherwise. Fire the token of `push_in` after that. A statement may take as long as
    /// [`PostgresOptions::statement_timeout`](crate::PostgresOptions) allows.
    ///
    /// # Examples
    /// ```no_run
    /// use readside::{NewEvent, PostgresStore};
    /// use readside::error::{StoreError, StoreErrorKind};
    /// let store = PostgresStore::connect("postgres://service@localhost/service")?;
    /// let pushed = store.with_transaction(|transaction| {
    ///     transaction.execute("INSERT INTO carts VALUES ($1)", &[&"c1"])
    ///         .map_err(|error| StoreError::new("adding a cart", StoreErrorKind::Other, error))?;
    ///     store.push_in(transaction, &[NewEvent::raw("acme", "cart", "c1", "cart.opened")])
    /// })?;
    /// pushed.token.fire();
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error of `work`, or of the database. `CommitUnknown` if the connection was lost during the commit. `Usage`
    /// if `work` ignored an error of a statement without a savepoint: then nothing could be committed. Also `Usage` if
    /// `work` ended the transaction itself, by a statement: then what it did is stored only as far as it committed it.
    pub fn with_transaction<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let store = self.backend();
        let lending = Lending {
            read_only: false,
            doing: "a transaction of the service's own",
            within: store.options.statement_timeout,
        };
        lend(store, &lending, work)
    }
}

impl Reader<'_, Postgres> {
    /// See [`DbStore::with_client`].
    ///
    /// # Errors
    /// The error of `work`, or of the database.
    pub fn with_client<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let lending = Lending { read_only: true, doing: "a read of the service's own", within: self.within };
        lend(self.store.backend(), &lending, work)
    }
}

struct Lending<'d> {
    read_only: bool,
    doing: &'d str,
    /// The time limit for each statement.
    within: Duration,
}

impl Postgres {
    /// The time limits of a service's own transaction.
    fn times(&self, within: Duration) -> String {
        let lock = millis(self.options.lock_timeout.min(within));
        format!(
            "SET LOCAL lock_timeout = '{lock}'; SET LOCAL statement_timeout = '{}'; \
             SET LOCAL idle_in_transaction_session_timeout = '{}'",
            millis(within),
            self.longest_idle()
        )
    }
}

fn lend<T, E: From<StoreError>>(
    store: &Postgres,
    lending: &Lending<'_>,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let times = store.times(lending.within);
    loop {
        let connect = store.options.connect_timeout.min(lending.within);
        let mut checked = store.pool().check_out_within(lending.doing, connect)?;
        if !checked.is_reused() {
            store.places.forget();
        }
        if begins(&mut checked, lending)? {
            return lend_on(&mut checked, lending, &times, work);
        }
    }
}

/// True if the connection is still alive. Nothing is lost with a connection that ended while it was idle.
fn begins(checked: &mut Checked<'_>, lending: &Lending<'_>) -> Result<bool, StoreError> {
    let client = checked.client_in_use(lending.doing)?;
    // Any answer proves that the connection is alive.
    let outcome = link::guarded(lending.doing, || client.batch_execute("SELECT 1"))?;
    let Err(error) = outcome.map_err(|error| error::store(lending.doing, &error)) else { return Ok(true) };
    let end = error::end(&error);
    checked.ends(end);
    if !checked.is_reused() || end.is_none() { Err(error) } else { Ok(false) }
}

fn lend_on<T, E: From<StoreError>>(
    checked: &mut Checked<'_>,
    lending: &Lending<'_>,
    times: &str,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let doing = lending.doing;
    let failed = |error: postgres::Error| error::store(doing, &error);
    // Until the connection is clean again, dropping it closes it, which ends the transaction.
    let client = checked.client_in_use(doing)?;
    let begun = if lending.read_only {
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start()
    } else {
        // This obeys a `default_transaction_read_only` that a person has set.
        client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start()
    };
    let mut transaction = begun.map_err(failed)?;
    let start = began(&mut transaction, &format!("{times}; {BEGAN}")).map_err(failed)?;
    let outcome = work(&mut transaction);
    let ended = if outcome.is_err() {
        transaction.rollback().map_err(failed)
    } else {
        end(transaction, lending, start.as_deref())
    };
    let is_clean = ended.is_ok() && client.batch_execute(RESET).is_ok();
    checked.ends(ended.as_ref().err().and_then(error::end));
    if is_clean {
        checked.clean();
    }
    let done = outcome?;
    ended?;
    Ok(done)
}

/// Asks when the transaction began, by SQL that ends with [`BEGAN`].
fn began(transaction: &mut Transaction<'_>, sql: &str) -> Result<Option<String>, postgres::Error> {
    let value = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    Ok(transaction.simple_query(sql)?.iter().find_map(value))
}

/// Commits, or rolls a read back, unless a statement failed, or the service itself ended the transaction. The server
/// would answer a commit by rolling back in the first case, and with no more than a warning in the second.
fn end(mut transaction: Transaction<'_>, lending: &Lending<'_>, start: Option<&str>) -> Result<(), StoreError> {
    let (doing, read_only) = (lending.doing, lending.read_only);
    let roll_back = |transaction: Transaction<'_>| transaction.rollback().map_err(|error| error::store(doing, &error));
    let why = match began(&mut transaction, BEGAN) {
        Ok(now) if now.as_deref() == start && read_only => return roll_back(transaction),
        Ok(now) if now.as_deref() == start => {
            return transaction.commit().map_err(|error| error::commit(doing, &error));
        }
        Ok(_) if read_only => READ_ENDED,
        Ok(_) => ENDED,
        Err(error) => {
            let error = error::store(doing, &error);
            match error.code() {
                Some(FAILED) if read_only => return roll_back(transaction),
                Some(FAILED) => {
                    "the transaction went on after an error inside it, so nothing since it began was committed"
                }
                _ => return Err(error),
            }
        }
    };
    roll_back(transaction)?;
    Err(StoreError::new(doing, StoreErrorKind::Usage, why))
}

pub(super) fn read_own(store: &Postgres, query: &OwnQuery<'_>, each: EachRow<'_>) -> Result<(), StoreError> {
    refuse_nul(query.doing, &query.params)?;
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}; SET LOCAL cursor_tuple_fraction = 1",
        store.times(query.within)
    );
    let connect = store.options.connect_timeout.min(query.within);
    let mut checked = store.begun_by(store.pool(), query.doing, connect, |client| client.batch_execute(&begin))?;
    let client = checked.client_in_use(query.doing)?;
    let outcome = rows(client, query, each);
    let rolled_back = client.batch_execute("ROLLBACK").map_err(|error| error::store(query.doing, &error));
    let end = |outcome: &Result<(), StoreError>| outcome.as_ref().err().and_then(error::end);
    checked.ends(end(&outcome).max(end(&rolled_back)));
    if rolled_back.is_ok() {
        checked.clean();
    }
    outcome
}

fn rows(client: &mut Client, query: &OwnQuery<'_>, each: EachRow<'_>) -> Result<(), StoreError> {
    let failed = |error: postgres::Error| of_read(query.doing, &error);
    let params: Vec<Param<'_>> = query.params.iter().map(Param).collect();
    let params = typed(&params);
    if !query.in_parts {
        let found = client.query_typed(&query.sql, &params).map_err(failed)?;
        return hand_out(&found, query, each).map(|_| ());
    }
    let declare = format!("DECLARE readside_rows NO SCROLL CURSOR FOR {}", query.sql);
    client.execute_typed(&declare, &params).map_err(failed)?;
    let fetch = format!("FETCH {PART} FROM readside_rows");
    loop {
        let found =
            client.query_typed(&fetch, &[] as &[(&(dyn postgres::types::ToSql + Sync), Type)]).map_err(failed)?;
        if !hand_out(&found, query, each)? || found.len() < PART {
            return Ok(());
        }
    }
}

/// Hands out rows. Returns false if the caller wants no more.
fn hand_out(found: &[postgres::Row], query: &OwnQuery<'_>, each: EachRow<'_>) -> Result<bool, StoreError> {
    let Some(first) = found.first() else { return Ok(true) };
    let names: Vec<String> = first.columns().iter().map(|column| column.name().to_owned()).collect();
    for row in found {
        let row = cell::row(row).map_err(|error| error.doing(query.doing))?;
        if !each(&names, row) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A read that tries to write is an error of the caller, and says nothing about the server.
fn of_read(doing: &str, error: &postgres::Error) -> StoreError {
    match error.as_db_error().filter(|db| db.code().code() == READ_ONLY) {
        Some(db) => StoreError::new(doing, StoreErrorKind::Usage, db.message().to_owned())
            .with_remedy("; it would write, which a read must not"),
        None => error::store(doing, error),
    }
}
