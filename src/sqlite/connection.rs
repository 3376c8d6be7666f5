//! How a connection to a file is opened, and how it is prepared.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::options::SqliteOptions;
use super::place::{self, Identity, Place};
use super::{contains, error, left};
use crate::conninfo::{Look, look};
use crate::error::{StoreError, StoreErrorKind};

/// The first SQLite version without the bug that could corrupt a database when the WAL was reset.
const OLDEST: i32 = 3_051_003;

/// How many prepared statements each connection keeps.
const PREPARED: usize = 128;

/// How long a log may stay when it begins again. A smaller limit costs time, because the file has to grow again.
const KEPT: u64 = 16 << 20;

/// Lets SQLite shorten the log to this limit when it begins again.
fn limit_log(conn: &Connection) -> rusqlite::Result<()> {
    let kept = i64::try_from(KEPT).unwrap_or(i64::MAX);
    conn.pragma_update_and_check(None, "journal_size_limit", kept, |_| Ok(()))
}

/// Refuses a path that looks like the connection string of a server, even a mistyped one. The error does not show the
/// path.
pub(super) fn refuse_server(path: &Path) -> Result<(), StoreError> {
    if look(&path.to_string_lossy()) == Look::File {
        return Ok(());
    }
    let why = "the path looks like the connection string of a PostgreSQL server, and is not shown, since it may hold a password";
    let remedy = "; open that by PostgresStore, or begin the path of a file with ./ or ../";
    Err(StoreError::new("opening the database", StoreErrorKind::Usage, why).with_remedy(remedy))
}

/// Makes the path absolute: a later change of the working directory must not change the file.
pub(super) fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    if is_uri(path) { Ok(path.to_owned()) } else { std::path::absolute(path) }
}

fn is_uri(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with("file:"))
}

/// The path is an URI that asks SQLite for a connection which only reads.
pub(super) fn asks_to_read(path: &Path) -> bool {
    let query = path.to_str().filter(|_| is_uri(path)).and_then(|text| text.split('#').next()?.split_once('?'));
    query.is_some_and(|(_, query)| {
        query.split('&').any(|part| match part.split_once('=') {
            Some(("mode", mode)) => mode == "ro",
            Some(("immutable", on)) => !matches!(on, "0" | "no" | "off" | "false"),
            _ => false,
        })
    })
}

/// The first connection to a file. It makes the file if there is none.
pub(super) fn open_place(path: &Path, options: &SqliteOptions) -> Result<(Connection, Option<Place>), StoreError> {
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
    // This turn is kept until the connection has the log open.
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

pub(super) fn connect(path: &Path, create: OpenFlags) -> Result<Connection, StoreError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    Connection::open_with_flags(path, flags)
        .map_err(|error| error::store("opening the database", error::masked(error, path)))
}

pub(super) fn use_log(conn: &Connection, options: &SqliteOptions) -> Result<(), StoreError> {
    let doing = "opening the database";
    prepare(conn, options)?;
    // Whether a read-only file can be read depends on its journal: the first read shows it.
    if conn.is_readonly("main").map_err(|error| error::store(doing, error))? {
        return refuse_unread_log(conn, doing);
    }
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(|error| error::store(doing, error))?;
    if mode == "wal" {
        return limit_log(conn).map_err(|error| error::store(doing, error));
    }
    let why = format!("it cannot use a write-ahead log here (journal mode {mode})");
    Err(StoreError::new(doing, StoreErrorKind::CannotOpen, why))
}

/// Refuses to open a file as immutable if its log is not empty: SQLite would not read the log, which holds the latest
/// commits.
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

/// Sets how long the connection waits for others, rounded up to milliseconds; 24 days at most.
pub(super) fn wait_for(conn: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let millis = patience.as_nanos().div_ceil(1_000_000);
    conn.busy_timeout(Duration::from_millis(
        u64::from(i32::MAX.unsigned_abs()).min(u64::try_from(millis).unwrap_or(u64::MAX)),
    ))
}

pub(super) fn prepare(conn: &Connection, options: &SqliteOptions) -> Result<(), StoreError> {
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
        // The plan must not depend on bound values. Otherwise SQLite prepares many statements again for each use.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        contains::add(conn)
    };
    set().map_err(|error| error::store(doing, error))
}
