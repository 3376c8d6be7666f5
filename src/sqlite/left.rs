//! A log that processes left behind because they ended without closing the file, and whether it belongs to the file.
//!
//! SQLite takes any log next to a file for the file's own. A later log next to an older copy mixes the two states.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode};

use super::place;
use crate::clock::deadline;
use crate::error::{StoreError, StoreErrorKind as Kind};

const DOING: &str = "looking whether the write-ahead log belongs to the file";

const REMEDY: &str = "; if the file is a copy that was put there, stop every process that uses it, remove the files next to \
     it that end in -wal and -shm, and start again; otherwise restore it from a backup";

/// While a process keeps this, no other process decides about the log.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "the lock ends with the file")] Option<File>);

/// If no process has the log open, refuses it when file and log together are damaged. `connect` opens the file.
pub(super) fn refuse_foreign_log(
    file: &Path,
    patience: Duration,
    connect: impl FnOnce() -> Result<Connection, StoreError>,
) -> Result<Turn, StoreError> {
    let log = place::log_of(file);
    if !std::fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        return Ok(Turn(None));
    }
    // Without turns, two processes that start at once would each see that the other one has the log open.
    let turn = turn(&log, patience)?;
    let Some(damage) = damage(&connect()?) else { return Ok(turn) };
    let why = format!("{:?} and the log {:?} do not fit together: {damage}", file.display(), log.display());
    Err(StoreError::new(DOING, Kind::Corrupt, why).with_remedy(REMEDY))
}

/// What is wrong with the file and its log, unless another connection has them open.
fn damage(conn: &Connection) -> Option<String> {
    let check = || {
        conn.busy_timeout(Duration::ZERO)?;
        // Neither file nor log is touched: the log's index is kept in memory, and closing does not write the log back.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))?;
        let mut check = conn.prepare("PRAGMA quick_check(100)")?;
        check.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
    };
    let found = match check() {
        Ok(found) => found.into_iter().find(|found| is_damage(found)),
        Err(Error::SqliteFailure(failure, text))
            if matches!(failure.code, ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) =>
        {
            Some(text.unwrap_or_else(|| failure.to_string()))
        }
        // Other processes have it open. Or something else stops this connection, which then stops the opening, too.
        Err(_) => None,
    };
    found.map(|found| found.replace('\n', " ").chars().take(300).collect())
}

/// True for damage. A row that breaks a constraint of a service's own table is none: it may be old.
fn is_damage(found: &str) -> bool {
    found != "ok" && !found.contains(" constraint failed in ") && !found.contains(" value in ")
}

/// A lock on the log, of a kind that SQLite does not use.
#[cfg(unix)]
fn turn(log: &Path, patience: Duration) -> Result<Turn, StoreError> {
    let until = deadline(patience);
    // If the log was removed meanwhile, there is nothing to decide about.
    let Ok(file) = File::open(log) else { return Ok(Turn(None)) };
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Turn(Some(file))),
            Err(std::fs::TryLockError::WouldBlock) if std::time::Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                let why = format!("another process looks at {:?}", log.display());
                return Err(StoreError::new(DOING, Kind::Timeout, why));
            }
            // The file system has no such locks.
            Err(std::fs::TryLockError::Error(_)) => return Ok(Turn(None)),
        }
    }
}

/// On this system such a lock would keep SQLite from the log.
#[cfg(not(unix))]
fn turn(_log: &Path, _patience: Duration) -> Result<Turn, StoreError> {
    Ok(Turn(None))
}
