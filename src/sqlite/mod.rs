//! The embedded store: one file in WAL mode, one writer at a time, any number of readers.
//!
//! This folder holds only what differs from PostgreSQL: connections, values, and writing row by row.

mod backup;
mod conn;
mod connection;
mod contains;
#[cfg(feature = "cli")]
mod disk;
mod error;
mod event_batches;
mod examine;
mod handle;
mod left;
mod log;
mod mount;
mod notify;
mod objects;
mod options;
mod place;
mod push;
mod reading;
mod value;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, TransactionState};

use crate::clock::{deadline, spoken};
use crate::conninfo::shown;
use crate::db::{Backend, Conn, DbStore, OwnQuery};
use crate::error::{Holder, PushError, StoreError, StoreErrorKind};
use crate::event::NewEvent;
use crate::inspect::Finding;
use crate::sql::Dialect;
use crate::subscription::PushedIn;
use crate::value::Value;
use connection::{asks_to_read, connect, open_place, prepare, refuse_server, resolve, use_log, wait_for};
#[cfg(feature = "cli")]
pub(crate) use error::masked;
use handle::Handle;
pub use options::SqliteOptions;
use place::Place;

/// Event store and projection store in one SQLite file.
pub type SqliteStore = DbStore<Sqlite>;

/// How many idle readers are kept open.
const IDLE_READERS: usize = 8;

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

/// A path, or the URI of a file. Its `Debug` output hides possible secrets.
struct Location(PathBuf);

impl std::ops::Deref for Location {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", shown(&self.0.to_string_lossy()))
    }
}

/// An open SQLite database.
#[derive(Debug)]
pub struct Sqlite {
    /// `None` in memory, where the writer is the only connection.
    path: Option<Location>,
    /// The file that the writer has opened.
    place: Option<Place>,
    options: SqliteOptions,
    writer: Mutex<Connection>,
    /// When the present write of this process began.
    writing: Mutex<Option<Instant>>,
    /// When this process last tried to empty a long log.
    shortened: Mutex<Option<Instant>>,
    readers: Mutex<Vec<Connection>>,
    /// The columns of read tables, for the service's own reads.
    columns: reading::KnownColumns,
}

impl DbStore<Sqlite> {
    /// Opens a database file, and makes one if there is none. Tables are made by [`setup`](Self::setup).
    ///
    /// If killed processes left a write-ahead log behind, the store checks the file once, which takes about half a
    /// second for 100 MB. Other processes that open it meanwhile wait for up to `busy_timeout`.
    ///
    /// The store refuses a path that looks like a connection string of PostgreSQL (`Usage`), and does not show it,
    /// because it may hold a password. To open a file with such a name, put `./` before it.
    ///
    /// A path that begins with `file:` is an SQLite URI, for instance `file:service.db?mode=ro`. A file that you may
    /// not write can be read if its `-wal` and `-shm` files exist or SQLite can make them. If it cannot, and no process
    /// writes the file, `file:service.db?immutable=1` works. The store refuses that next to a write-ahead log that is
    /// not empty, because SQLite would not read the log.
    ///
    /// # Examples
    /// ```
    /// use readside::SqliteStore;
    /// # let folder = tempfile::tempdir()?;
    /// # std::env::set_current_dir(&folder)?;
    /// let store = SqliteStore::open("service.db")?;
    /// store.setup()?; // an engine does that when it starts
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the file cannot be opened or is no SQLite database, when it has a second name (a hard link), when
    /// the log next to it belongs to another file (`Corrupt`), or when another process keeps it locked.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// Opens a database file with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, StoreError> {
        let path = path.as_ref();
        refuse_server(path)?;
        let doing = format!("opening the database \"{}\"", shown(&path.to_string_lossy()));
        let resolved = resolve(path).map_err(|error| StoreError::new(&*doing, StoreErrorKind::CannotOpen, error))?;
        let (writer, place) = open_place(&resolved, &options).map_err(|error| error.doing(doing))?;
        Ok(Self::from_backend(Sqlite::new(Some(resolved), place, writer, options)))
    }

    /// A database in memory, which ends with the last clone of the store. One connection serves reads and writes.
    ///
    /// # Examples
    /// ```
    /// use readside::{EventStore, NewEvent, SqliteStore};
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// store.push(&[NewEvent::raw("acme", "user", "u1", "user.added")])?;
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the SQLite library is too old.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::in_memory_with(SqliteOptions::default())
    }

    /// A database in memory with options.
    ///
    /// # Errors
    /// As [`in_memory`](Self::in_memory).
    pub fn in_memory_with(options: SqliteOptions) -> Result<Self, StoreError> {
        let doing = "opening a database in memory";
        let conn = Connection::open_in_memory().map_err(|error| error::store(doing, error))?;
        prepare(&conn, &options).map_err(|error| error.doing(doing))?;
        Ok(Self::from_backend(Sqlite::new(None, None, conn, options)))
    }

    /// Stores the events inside the caller's transaction on the same database file, so that a service's rows and its
    /// events are stored together or not at all. Call it last, and commit soon: other writers of the file wait.
    ///
    /// After an error nothing of the push remains and the transaction can go on. It is never retried. Fire the token
    /// after the commit.
    ///
    /// # Errors
    /// As [`push`](crate::EventStore::push); [`PushError::Transaction`] for a deferred transaction that has read
    /// already: begin it with `TransactionBehavior::Immediate`.
    pub fn push_in(&self, transaction: &Transaction<'_>, commands: &[NewEvent]) -> Result<PushedIn, PushError> {
        let doing = "pushing events in a transaction of the caller's";
        self.backend().check(doing)?;
        let since = Instant::now();
        begin_write(transaction, doing).map_err(|error| match error {
            PushError::Store(error) if error.kind() == StoreErrorKind::Timeout => self.busy(commands, since),
            error => error,
        })?;
        transaction.execute_batch("SAVEPOINT readside_push").map_err(|error| error::store(doing, error))?;
        let mut handle = Handle::new(transaction, self.backend().options.clock.as_ref());
        let outcome = self.push_on(&mut handle, commands);
        let end = match outcome {
            Ok(_) => "RELEASE readside_push",
            Err(_) => "ROLLBACK TO readside_push; RELEASE readside_push",
        };
        transaction.execute_batch(end).map_err(|error| error::store(doing, error))?;
        let events = outcome.map_err(|error| self.explained(commands, error))?;
        Ok(PushedIn { events, token: self.dirty_token(commands) })
    }
}

/// Makes the caller's transaction a writing one, or refuses it.
fn begin_write(transaction: &Transaction<'_>, doing: &str) -> Result<(), PushError> {
    let state = transaction.transaction_state(None::<&str>).map_err(|error| error::store(doing, error))?;
    match state {
        TransactionState::Write => Ok(()),
        TransactionState::None => {
            let write = "UPDATE readside_instances SET head = head WHERE FALSE";
            transaction.execute(write, []).map(|_| ()).map_err(|error| PushError::Store(error::store(doing, error)))
        }
        _ => Err(PushError::Transaction {
            reason: "the transaction is deferred and has read already, so it may never get to write; \
                     begin it with TransactionBehavior::Immediate",
        }),
    }
}

impl Sqlite {
    fn new(path: Option<PathBuf>, place: Option<Place>, writer: Connection, options: SqliteOptions) -> Self {
        let path = path.map(Location);
        let (writing, shortened, readers) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (writer, columns) = (Mutex::new(writer), Mutex::default());
        Self { path, place, options, writer, writing, shortened, readers, columns }
    }

    /// `None` in memory.
    fn file(&self) -> Option<&Path> {
        self.place.as_ref().map(Place::path)
    }

    /// Checks that the file is still at its path, if there is a file.
    fn check(&self, doing: &str) -> Result<(), StoreError> {
        self.place.as_ref().map_or(Ok(()), |place| place.check(doing))
    }

    /// This error, or, if the file is no longer at its path, an error that says so. Names the file if it may not be
    /// written.
    fn failed(&self, doing: &str, error: rusqlite::Error) -> StoreError {
        self.check(doing).err().unwrap_or_else(|| {
            let error = error::store(doing, error);
            if error.kind() == StoreErrorKind::ReadOnly { self.named(doing, error) } else { error }
        })
    }

    /// Checks that the file can be written. SQLite itself refuses only the first change, and does not say what has to
    /// be writable.
    fn check_writable(&self, conn: &Connection, doing: &str) -> Result<(), StoreError> {
        if !conn.is_readonly("main").map_err(|error| self.failed(doing, error))? {
            return Ok(());
        }
        if let Some(Location(path)) = self.path.as_ref().filter(|path| asks_to_read(&path.0)) {
            let doing = format!("{doing} in \"{}\"", shown(&path.to_string_lossy()));
            let error = StoreError::new(doing, StoreErrorKind::ReadOnly, "its path asks to be opened for reading only");
            return Err(error.with_remedy(error::ASKED));
        }
        let error = StoreError::new(doing, StoreErrorKind::ReadOnly, "the file is open for reading only");
        Err(self.named(doing, error.with_remedy(error::ACCESS)))
    }

    fn named(&self, doing: &str, error: StoreError) -> StoreError {
        let Some(place) = &self.place else { return error };
        error.doing(format!("{doing}, {},", place.needed()))
    }

    /// The writing connection. Waits for other threads of this process.
    fn writer(&self, doing: &str, until: Instant) -> Result<MutexGuard<'_, Connection>, StoreError> {
        let since = Instant::now();
        self.writer.try_lock_until(until).ok_or_else(|| {
            let why = format!("another thread of this process held it for {}", spoken(since.elapsed()));
            StoreError::new(doing, StoreErrorKind::Timeout, why).with_code(error::BUSY)
        })
    }

    /// Begins a write transaction. Waits for other processes, until the deadline.
    fn begin<'c>(&self, conn: &'c mut Connection, doing: &str, until: Instant) -> Result<Transaction<'c>, StoreError> {
        let failed = |error| self.failed(doing, error);
        if !conn.is_autocommit() {
            // An earlier roll-back failed, for instance on a broken disk.
            conn.execute_batch("ROLLBACK").map_err(failed)?;
        }
        wait_for(conn, until.saturating_duration_since(Instant::now())).map_err(failed)?;
        // If an error or a panic drops the transaction before its commit, it rolls back.
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        wait_for(&transaction, self.options.busy_timeout).map_err(failed)?;
        // This check runs under the lock of the file: the file may have been moved while this waited for the lock.
        self.check(doing)?;
        self.check_writable(&transaction, doing)?;
        Ok(transaction)
    }

    fn reader(&self, path: &Path, doing: &str) -> Result<Connection, StoreError> {
        self.check(doing)?;
        if let Some(conn) = self.readers.lock().pop() {
            return Ok(conn);
        }
        let conn = self.open_again(path, doing)?;
        conn.pragma_update(None, "query_only", true).map_err(|error| error::store(doing, error))?;
        Ok(conn)
    }

    /// Another connection to the same file.
    fn open_again(&self, path: &Path, doing: &str) -> Result<Connection, StoreError> {
        self.check(doing)?;
        let conn = connect(path, OpenFlags::empty())?;
        // This check runs before anything is read, because a read may open a log.
        self.place.as_ref().map_or(Ok(()), |place| place.check_opened(&conn, doing))?;
        use_log(&conn, &self.options)?;
        Ok(conn)
    }

    fn handle<'c>(&'c self, conn: &'c Connection) -> Handle<'c> {
        Handle::new(conn, self.options.clock.as_ref())
    }
}

/// Nobody knows whether the commit reached the file before a person moved it, nor whether the file ever comes back.
fn unknown(doing: &str, error: StoreError) -> StoreError {
    StoreError::new(doing, StoreErrorKind::CommitUnknown, error)
}

/// Clears the time when the write ends, however it ends.
struct Writing<'a>(&'a Mutex<Option<Instant>>);

impl<'a> Writing<'a> {
    fn now(since: &'a Mutex<Option<Instant>>) -> Self {
        *since.lock() = Some(Instant::now());
        Self(since)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Backend for Sqlite {
    fn read<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(path) = &self.path else {
            let conn = self.writer(doing, deadline(self.options.busy_timeout))?;
            return work(&mut self.handle(&conn));
        };
        let conn = self.reader(path, doing).map_err(|error| error.doing(doing))?;
        let outcome = work(&mut self.handle(&conn));
        let mut readers = self.readers.lock();
        if readers.len() < IDLE_READERS && conn.is_autocommit() {
            readers.push(conn);
        }
        outcome
    }

    fn read_own(
        &self,
        query: &OwnQuery<'_>,
        each: &mut dyn FnMut(&[String], Vec<Value>) -> bool,
    ) -> Result<(), StoreError> {
        reading::read_own(self, query, each)
    }

    /// Works in memory. In the file, a schema change would make every connection read the schema again, and would take
    /// the file's only lock.
    fn write_nowhere<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        SqliteStore::in_memory_with(self.options.clone())?.backend().write(doing, work)
    }

    fn write<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write_within(doing, self.options.busy_timeout, work)
    }

    fn write_within<T, E: From<StoreError>>(
        &self,
        doing: &str,
        patience: Duration,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        let until = deadline(patience);
        let mut conn = self.writer(doing, until)?;
        let transaction = self.begin(&mut conn, doing, until)?;
        let _writing = Writing::now(&self.writing);
        let done = work(&mut self.handle(&transaction))?;
        transaction.commit().map_err(|error| self.failed(doing, error))?;
        self.check("looking at the file after the commit").map_err(|error| unknown(doing, error))?;
        self.shorten_log(&conn);
        Ok(done)
    }

    /// Knows only a writer of this process: SQLite tells nothing about other processes.
    fn holder(&self, _instances: &[String]) -> Option<Holder> {
        let since = (*self.writing.lock())?;
        Some(Holder {
            pid: i64::from(std::process::id()),
            application: "this process".to_owned(),
            since: Some(since.elapsed()),
            state: String::new(),
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn catalogue(&self) -> &'static dyn crate::db::objects::Catalogue {
        &objects::Objects
    }

    fn has_one_writer(&self) -> bool {
        true
    }

    fn patience(&self) -> Duration {
        self.options.busy_timeout
    }

    fn connections(&self) -> Option<usize> {
        None
    }

    /// The file, if it is still at its path. A database in memory belongs to one store only.
    fn location(&self) -> Result<String, StoreError> {
        self.check("asking which database this is")?;
        Ok(self.place.as_ref().map_or_else(|| format!("{:p}", &raw const *self), Place::identity))
    }

    /// SQLite overwrites space as it is freed (`secure_delete`). This also moves the write-ahead log into the file.
    fn scrub(&self) -> Result<Option<String>, StoreError> {
        let doing = "emptying the write-ahead log";
        if self.path.is_none() {
            return Ok(None);
        }
        let conn = self.writer(doing, deadline(self.options.busy_timeout))?;
        self.check(doing)?;
        let busy: i64 = conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|error| error::store(doing, error))?;
        let what = "the write-ahead log was in use and could not be emptied; it is once PRAGMA wal_checkpoint(TRUNCATE) \
                    returns 0 first, or when the last process closes the file";
        Ok((busy != 0).then(|| what.to_owned()))
    }

    fn examine(&self, patience: Duration) -> Vec<Finding> {
        examine::examine(self, patience)
    }

    fn back_up(&self, to: &Path, goes_on: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, StoreError> {
        backup::back_up(self, to, goes_on)
    }

    fn at_home(&self, script: String) -> String {
        script
    }

    fn migrations(&self) -> &'static [&'static str] {
        MIGRATIONS
    }
}

#[cfg(test)]
pub(crate) mod tests;
