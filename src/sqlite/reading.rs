//! Reads that a service writes: on a connection that only reads, as of one snapshot, with a deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rusqlite::{CachedStatement, Connection, Transaction};

use super::connection::wait_for;
use super::handle::{self, Handle};
use super::{IDLE_READERS, Sqlite, Writing, error, unknown, value};
use crate::clock::deadline;
use crate::db::{DbStore, ENDED, EachRow, OwnQuery, READ_ENDED, Reader, column_types};
use crate::error::{StoreError, StoreErrorKind};
use crate::value::ColumnType;

/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 10_000;

/// When a read has to end. In a long read, each part moves it.
type Until = Arc<Mutex<Instant>>;

/// The known columns of read tables, as of a version of the file's schema.
pub(super) type KnownColumns = Mutex<Option<(i64, Arc<Columns>)>>;

/// The types of columns, by table and column.
type Columns = HashMap<String, HashMap<String, ColumnType>>;

impl DbStore<Sqlite> {
    /// Lends one of the store's connections, so that a service needs no second pool for reads. A read transaction is
    /// open on it, for 30 seconds at most ([`reader`](Self::reader) sets another time), and is rolled back at the end.
    /// In memory it is the only connection: do not call the store meanwhile.
    ///
    /// # Examples
    /// ```
    /// use readside::SqliteStore;
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// let tables: i64 = store.with_client(|client| {
    ///     client.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |row| row.get(0))
    ///         .map_err(|error| readside::error::StoreError::new("counting tables", readside::error::StoreErrorKind::Other, error))
    /// })?;
    /// assert!(tables > 10);
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error of `work`, or of the database. `Usage` if `work` ended the transaction itself, by a statement.
    pub fn with_client<T, E: From<StoreError>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        self.reader().with_client(work)
    }

    /// Lends the writing connection with an immediate transaction, so that rows of a service and events
    /// ([`push_in`](Self::push_in)) are stored together. It is committed if `work` returns `Ok`, and rolled back
    /// otherwise. Fire the token of `push_in` after that. All other writers wait meanwhile. Do not push by the store
    /// itself inside of `work`: such a push waits for this transaction, and fails as `Busy` in the end.
    ///
    /// # Examples
    /// ```
    /// use readside::{NewEvent, SqliteStore};
    /// use readside::error::{PushError, StoreError, StoreErrorKind};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("service.db");
    /// let store = SqliteStore::open(&path)?;
    /// store.setup()?;
    /// let pushed = store.with_transaction(|transaction| {
    ///     transaction.execute_batch("CREATE TABLE carts (id TEXT PRIMARY KEY); INSERT INTO carts VALUES ('c1')")
    ///         .map_err(|error| StoreError::new("adding a cart", StoreErrorKind::Other, error))?;
    ///     store.push_in(transaction, &[NewEvent::raw("acme", "cart", "c1", "cart.opened")])
    /// })?;
    /// pushed.token.fire();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The error of `work`, or of the database; `CommitUnknown` if the file was moved away meanwhile. `Usage` if `work`
    /// ended the transaction itself, by a statement: then what it did is stored only as far as it committed it.
    pub fn with_transaction<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let (store, doing) = (self.backend(), "a transaction of the service's own");
        let until = deadline(store.options.busy_timeout);
        let mut conn = store.writer(doing, until)?;
        let transaction = store.begin(&mut conn, doing, until)?;
        let _writing = Writing::now(&store.writing);
        transaction.execute_batch("SAVEPOINT readside_lent").map_err(|error| store.failed(doing, error))?;
        let done = work(&transaction)?;
        // It is gone if the service itself ended the transaction, even if it began another one.
        if transaction.execute_batch("RELEASE readside_lent").is_err() {
            return Err(StoreError::new(doing, StoreErrorKind::Usage, ENDED).into());
        }
        transaction.commit().map_err(|error| store.failed(doing, error))?;
        store.check("looking at the file after the commit").map_err(|error| unknown(doing, error))?;
        store.shorten_log(&conn);
        Ok(done)
    }
}

impl Reader<'_, Sqlite> {
    /// See [`DbStore::with_client`].
    ///
    /// # Errors
    /// The error of `work`, or of the database.
    pub fn with_client<T, E: From<StoreError>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let until = Arc::new(Mutex::new(deadline(self.within)));
        lend(self.store.backend(), "a read of the service's own", &until, work)
    }
}

/// A connection in a transaction that only reads and has a deadline. When dropped, it restores the connection.
struct Lent<'c> {
    conn: &'c mut Connection,
    /// True for the connection that otherwise writes.
    is_writer: bool,
}

impl<'c> Lent<'c> {
    fn begin(conn: &'c mut Connection, is_writer: bool, until: &Until) -> rusqlite::Result<Self> {
        let until = Arc::clone(until);
        conn.progress_handler(STEPS, Some(move || Instant::now() >= *until.lock()))?;
        let lent = Self { conn, is_writer };
        lent.conn.pragma_update(None, "query_only", true)?;
        lent.conn.execute_batch("BEGIN; SAVEPOINT readside_lent")?;
        Ok(lent)
    }

    /// Runs the work, unless it ends the transaction itself: then the savepoint is gone.
    fn run<T, E: From<StoreError>>(&self, doing: &str, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let done = work(self.conn)?;
        if self.conn.execute_batch("RELEASE readside_lent").is_err() {
            return Err(StoreError::new(doing, StoreErrorKind::Usage, READ_ENDED).into());
        }
        Ok(done)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // This comes first: the deadline must not end the roll-back.
        let _ = self.conn.progress_handler(0, None::<fn() -> bool>);
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        if self.is_writer {
            let _ = self.conn.pragma_update(None, "query_only", false);
        }
    }
}

fn lend<T, E: From<StoreError>>(
    store: &Sqlite,
    doing: &str,
    until: &Until,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let begun = |error| E::from(error::store(doing, error));
    let Some(path) = &store.path else {
        let mut conn = store.writer(doing, deadline(store.options.busy_timeout).min(*until.lock()))?;
        if !conn.is_autocommit() {
            conn.execute_batch("ROLLBACK").map_err(begun)?;
        }
        let lent = Lent::begin(&mut conn, true, until).map_err(begun)?;
        return lent.run(doing, work);
    };
    let mut conn = store.reader(path, doing)?;
    wait_for(&conn, store.options.busy_timeout).map_err(begun)?;
    let outcome = {
        let lent = Lent::begin(&mut conn, false, until).map_err(begun)?;
        lent.run(doing, work)
    };
    let mut readers = store.readers.lock();
    if readers.len() < IDLE_READERS && conn.is_autocommit() {
        readers.push(conn);
    }
    outcome
}

pub(super) fn read_own(store: &Sqlite, query: &OwnQuery<'_>, each: EachRow<'_>) -> Result<(), StoreError> {
    let until = Arc::new(Mutex::new(deadline(query.within)));
    lend(store, query.doing, &until, |conn| {
        let failed = |error| error::store(query.doing, error);
        let mut statement = conn.prepare_cached(&query.sql).map_err(failed)?;
        if !statement.readonly() {
            let why = "it would write, which a read must not";
            return Err(StoreError::new(query.doing, StoreErrorKind::Usage, why));
        }
        let kinds = kinds(store, &mut store.handle(conn), &statement)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        handle::bind(&mut statement, &query.params)?;
        let mut rows = statement.raw_query();
        while let Some(found) = rows.next().map_err(failed)? {
            let values = handle::row(found)?.into_iter().zip(&kinds);
            let typed = values.map(|(found, kind)| kind.map_or(found.clone(), |kind| value::typed(found, kind)));
            if !each(&names, typed.collect()) {
                break;
            }
            if query.in_parts {
                *until.lock() = deadline(query.within);
            }
        }
        Ok(())
    })
}

/// The types of a query's columns, for those that are columns of read tables. Views are followed to their tables.
fn kinds(
    store: &Sqlite,
    handle: &mut Handle<'_>,
    statement: &CachedStatement<'_>,
) -> Result<Vec<Option<ColumnType>>, StoreError> {
    let origins = statement.columns_with_metadata();
    let origins = origins.map(|column| Some((column.table_name()?.to_owned(), column.origin_name()?.to_owned())));
    let origins: Vec<Option<(String, String)>> = origins.collect();
    if origins.iter().flatten().all(|(table, _)| table.starts_with("readside_")) {
        return Ok(vec![None; origins.len()]);
    }
    let known = known(store, handle)?;
    let kind = |origin: &Option<(String, String)>| {
        let (table, column) = origin.as_ref()?;
        known.get(table)?.get(column).copied()
    };
    Ok(origins.iter().map(kind).collect())
}

/// What is on record about read tables; read again after the schema of the file has changed.
fn known(store: &Sqlite, handle: &mut Handle<'_>) -> Result<Arc<Columns>, StoreError> {
    let version: rusqlite::Result<i64> = handle.conn.pragma_query_value(None, "schema_version", |row| row.get(0));
    let version = version.map_err(|error| error::store("reading the version of the schema", error))?;
    if let Some((of, known)) = &*store.columns.lock()
        && *of == version
    {
        return Ok(Arc::clone(known));
    }
    let known = Arc::new(column_types(handle)?);
    *store.columns.lock() = Some((version, Arc::clone(&known)));
    Ok(known)
}
