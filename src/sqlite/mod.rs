//! The embedded store: one file in WAL mode, one writer at a time, any number of readers.
//!
//! Here is only what differs from PostgreSQL: connections, values, and writing row by row.

mod backup;
mod conn;
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
mod place;
mod push;
mod reading;
mod value;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, TransactionState};

use crate::clock::{Clock, SystemClock, deadline, spoken};
use crate::conninfo::{Look, look, shown};
use crate::db::{Backend, Conn, DbStore, OwnQuery};
use crate::error::{Holder, PushError, StoreError, StoreErrorKind};
use crate::event::NewEvent;
use crate::inspect::Finding;
use crate::setters::setters;
use crate::sql::Dialect;
use crate::subscription::PushedIn;
use crate::value::Value;
#[cfg(feature = "cli")]
pub(crate) use error::masked;
use handle::Handle;
use place::{Identity, Place};

/// Event store and projection store in one SQLite file.
pub type SqliteStore = DbStore<Sqlite>;

/// The first SQLite without the bug that could lose a WAL reset.
const OLDEST: i32 = 3_051_003;

/// Idle readers that are kept open.
const IDLE_READERS: usize = 8;

/// Statements that each connection keeps prepared.
const PREPARED: usize = 128;

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
];

/// How to open a file.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::time::{Duration, SystemTime};
/// use readside::{SqliteOptions, SqliteStore};
/// use readside::clock::ManualClock;
/// let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH)); // a test moves it by hand
/// let options = SqliteOptions::default().busy_timeout(Duration::from_secs(10)).clock(clock);
/// let store = SqliteStore::in_memory_with(options)?;
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// How long a write waits for another one, of this or another process. Zero: not at all; `Duration::MAX`: for ever, or
    /// 24 days for another process. Default: 5 s.
    pub busy_timeout: Duration,
    /// The clock that stamps events and times retries. Default: the system's.
    pub clock: Arc<dyn Clock>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), clock: Arc::new(SystemClock) }
    }
}

setters! { SqliteOptions:
    busy_timeout: set Duration,
    clock: set Arc<dyn Clock>,
}

/// A path, or an URI of a file, of which nothing shows what may be a secret.
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
    /// None in memory, where the writer is the only connection.
    path: Option<Location>,
    /// The file that the writer has opened.
    place: Option<Place>,
    options: SqliteOptions,
    writer: Mutex<Connection>,
    /// Since when this process writes.
    writing: Mutex<Option<Instant>>,
    /// When a long log was looked at last.
    shortened: Mutex<Option<Instant>>,
    readers: Mutex<Vec<Connection>>,
    /// Of read tables, for reads of the service's own.
    columns: reading::KnownColumns,
}

impl DbStore<Sqlite> {
    /// Opens a database file, and makes one if there is none. Tables are made by [`setup`](Self::setup).
    ///
    /// Where processes that were killed left a write-ahead log behind, the file is checked once, which takes about half
    /// a second for 100 MB. Others that open it meanwhile wait for up to `busy_timeout`.
    ///
    /// What looks like a connection string of PostgreSQL is refused (`Usage`) and not shown, since it may hold a password; a
    /// path that looks so is taken with `./` before it.
    ///
    /// A path that begins with `file:` is taken as an SQLite URI, for instance `file:service.db?mode=ro`. What may not be written
    /// can be read, as long as SQLite can make the `-wal` and `-shm` files beside it or finds them there; where it cannot, and
    /// nobody writes the file, `file:service.db?immutable=1` can; it is refused beside a write-ahead log that is not empty, since
    /// SQLite would leave that unread.
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
    /// When the file cannot be opened or is no SQLite database, when it has a second name (a hard link), when a log
    /// lies beside it that does not belong to it (`Corrupt`), or when another process keeps it locked.
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

    /// Stores the events inside a transaction of the caller's, on the same database file, so that rows of a service
    /// and its events are stored together or not at all. Call it last, and commit soon: other writers of the file wait.
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

/// The connection string of a server, or one with a slip, is no path, and nothing shows it.
fn refuse_server(path: &Path) -> Result<(), StoreError> {
    if look(&path.to_string_lossy()) == Look::File {
        return Ok(());
    }
    let why = "the path looks like the connection string of a PostgreSQL server, and is not shown, since it may hold a password";
    let remedy = "; open that by PostgresStore, or begin the path of a file with ./ or ../";
    Err(StoreError::new("opening the database", StoreErrorKind::Usage, why).with_remedy(remedy))
}

/// A later change of the working directory must not change the file.
fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    if is_uri(path) { Ok(path.to_owned()) } else { std::path::absolute(path) }
}

fn is_uri(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with("file:"))
}

/// The first connection to a file, which is made if there is none.
fn open_place(path: &Path, options: &SqliteOptions) -> Result<(Connection, Option<Place>), StoreError> {
    let doing = "opening the database";
    let path_of_file = (!is_uri(path)).then_some(path);
    if let Some(path) = path_of_file {
        place::refuse_log_without_file(path, doing)?;
    }
    let before = path_of_file.and_then(|path| Identity::at(path).ok());
    let conn = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
    let mut place = Place::of(&conn, path_of_file, before.as_ref())?;
    if let Some(place) = &place {
        place::refuse_log_without_file(place.path(), doing)?;
    }
    // Until this connection has the log open.
    let _turn = match &place {
        Some(place) => {
            let again = || connect(path, OpenFlags::empty());
            Some(left::refuse_foreign_log(place.file(), options.busy_timeout, again)?)
        }
        None => None,
    };
    use_log(&conn, options)?;
    if let Some(place) = &mut place {
        place.keep_log(&conn, doing)?;
    }
    Ok((conn, place))
}

fn connect(path: &Path, create: OpenFlags) -> Result<Connection, StoreError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    Connection::open_with_flags(path, flags)
        .map_err(|error| error::store("opening the database", error::masked(error, path)))
}

fn use_log(conn: &Connection, options: &SqliteOptions) -> Result<(), StoreError> {
    let doing = "opening the database";
    prepare(conn, options)?;
    // Whatever its journal is, it can be read: the first read tells.
    if conn.is_readonly("main").map_err(|error| error::store(doing, error))? {
        return refuse_unread_log(conn, doing);
    }
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(|error| error::store(doing, error))?;
    if mode == "wal" {
        return log::limit(conn).map_err(|error| error::store(doing, error));
    }
    let why = format!("it cannot use a write-ahead log here (journal mode {mode})");
    Err(StoreError::new(doing, StoreErrorKind::CannotOpen, why))
}

/// SQLite reads a file that is said to be immutable without its log, in which lies what was stored last.
fn refuse_unread_log(conn: &Connection, doing: &str) -> Result<(), StoreError> {
    let Some(log) = conn.path().filter(|path| !path.is_empty()).map(|path| place::log_of(Path::new(path))) else {
        return Ok(());
    };
    if !std::fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        return Ok(());
    }
    let mode: String =
        conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(|error| error::store(doing, error))?;
    if mode == "wal" {
        return Ok(());
    }
    let why = format!("the write-ahead log {:?} would not be read, and may hold what was stored last", log.display());
    Err(StoreError::new(doing, StoreErrorKind::CannotOpen, why).with_remedy(
        "; open it without immutable=1 where its folder may be written, or copy the file together with that log into such a folder",
    ))
}

/// How long the connection waits for others, rounded up to milliseconds; 24 days at most.
fn wait_for(conn: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let millis = patience.as_nanos().div_ceil(1_000_000);
    conn.busy_timeout(Duration::from_millis(
        u64::from(i32::MAX.unsigned_abs()).min(u64::try_from(millis).unwrap_or(u64::MAX)),
    ))
}

fn prepare(conn: &Connection, options: &SqliteOptions) -> Result<(), StoreError> {
    let doing = "preparing the connection";
    if rusqlite::version_number() < OLDEST {
        let found = format!("SQLite {} can lose data, 3.51.3 or newer is needed", rusqlite::version());
        return Err(StoreError::new(doing, StoreErrorKind::Version, found));
    }
    let set = || {
        wait_for(conn, options.busy_timeout)?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.pragma_update(None, "secure_delete", true)?;
        conn.set_prepared_statement_cache_capacity(PREPARED);
        // A plan does not depend on what is bound. Otherwise SQLite prepares many statements anew for each use.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        contains::add(conn)
    };
    set().map_err(|error| error::store(doing, error))
}

impl Sqlite {
    fn new(path: Option<PathBuf>, place: Option<Place>, writer: Connection, options: SqliteOptions) -> Self {
        let path = path.map(Location);
        let (writing, shortened, readers) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (writer, columns) = (Mutex::new(writer), Mutex::default());
        Self { path, place, options, writer, writing, shortened, readers, columns }
    }

    /// None in memory.
    fn file(&self) -> Option<&Path> {
        self.place.as_ref().map(Place::path)
    }

    /// That the file is still at its path, where there is one.
    fn check(&self, doing: &str) -> Result<(), StoreError> {
        self.place.as_ref().map_or(Ok(()), |place| place.check(doing))
    }

    /// This error, or, where the file is not at its path any more, that. What may not be written is named.
    fn failed(&self, doing: &str, error: rusqlite::Error) -> StoreError {
        self.check(doing).err().unwrap_or_else(|| {
            let error = error::store(doing, error);
            if error.kind() == StoreErrorKind::ReadOnly { self.named(doing, error) } else { error }
        })
    }

    /// SQLite refuses the first change only, where nobody knows any more what would have to be writable.
    fn check_writable(&self, conn: &Connection, doing: &str) -> Result<(), StoreError> {
        if !conn.is_readonly("main").map_err(|error| self.failed(doing, error))? {
            return Ok(());
        }
        let error = StoreError::new(doing, StoreErrorKind::ReadOnly, "the file is open for reading only");
        Err(self.named(doing, error.with_remedy(error::ACCESS)))
    }

    fn named(&self, doing: &str, error: StoreError) -> StoreError {
        let Some(place) = &self.place else { return error };
        error.doing(format!("{doing}, {},", place.needed()))
    }

    /// Waits for other threads of this process.
    fn writer(&self, doing: &str, until: Instant) -> Result<MutexGuard<'_, Connection>, StoreError> {
        let since = Instant::now();
        self.writer.try_lock_until(until).ok_or_else(|| {
            let why = format!("another thread of this process held it for {}", spoken(since.elapsed()));
            StoreError::new(doing, StoreErrorKind::Timeout, why).with_code(error::BUSY)
        })
    }

    /// Waits for other processes, for what is left of the time.
    fn begin<'c>(&self, conn: &'c mut Connection, doing: &str, until: Instant) -> Result<Transaction<'c>, StoreError> {
        let failed = |error| self.failed(doing, error);
        if !conn.is_autocommit() {
            // A roll-back failed before, for instance on a broken disk.
            conn.execute_batch("ROLLBACK").map_err(failed)?;
        }
        wait_for(conn, until.saturating_duration_since(Instant::now())).map_err(failed)?;
        // Dropped without commit, by an error or a panic, it rolls back.
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        wait_for(&transaction, self.options.busy_timeout).map_err(failed)?;
        // Under the lock of the file, which may have been waited for.
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
        // Before anything is read, which may open a log.
        self.place.as_ref().map_or(Ok(()), |place| place.check_opened(&conn, doing))?;
        use_log(&conn, &self.options)?;
        Ok(conn)
    }

    fn handle<'c>(&'c self, conn: &'c Connection) -> Handle<'c> {
        Handle::new(conn, self.options.clock.as_ref())
    }
}

/// Nobody can tell whether the commit went into the file before somebody moved it, nor whether it is ever put back.
fn unknown(doing: &str, error: StoreError) -> StoreError {
    StoreError::new(doing, StoreErrorKind::CommitUnknown, error)
}

/// Clears the mark when the write is over, however it ends.
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

    /// In memory: a change of the file's schema would have all of it read again, and take its one lock.
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

    /// Only a writer of this process is known: SQLite does not tell about others.
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

    /// The file, as long as it is at its path. What is in memory is no other store's.
    fn location(&self) -> Result<String, StoreError> {
        self.check("asking which database this is")?;
        Ok(self.place.as_ref().map_or_else(|| format!("{:p}", &raw const *self), Place::identity))
    }

    /// Freed space is overwritten as it is freed (`secure_delete`); the write-ahead log goes into the file here.
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
mod tests;
