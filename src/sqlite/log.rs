//! The length of the write-ahead log.
//!
//! SQLite starts the log from its beginning when the file contains all of it and no connection reads it. The log grows
//! during a long read, and keeps its length after the read.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::connection::wait_for;
use super::place::log_length;
use super::{Sqlite, error};
use crate::error::StoreError;
use crate::inspect::{Finding, bytes};

/// If a log is longer than this, a write tries to empty it afterwards.
const LONG: u64 = 64 << 20;

/// The shortest time between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// A person should look at a log that is longer than this.
pub(super) const WORTH_A_LOOK: u64 = 256 << 20;

/// What keeps a log from being emptied.
#[derive(Debug, PartialEq, Eq)]
enum Emptied {
    Yes,
    /// The file lacks a part of it, because a connection reads an earlier state.
    Read,
    /// A connection uses it at this moment.
    InUse,
}

/// Empties the log without waiting for other connections.
fn empty(conn: &Connection) -> rusqlite::Result<Emptied> {
    wait_for(conn, Duration::ZERO)?;
    let checkpoint = |mode: &str| {
        conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok((row.get::<_, i64>(0)? != 0, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })
    };
    Ok(match checkpoint("PASSIVE")? {
        (true, ..) => Emptied::InUse,
        (false, pages, written) if written < pages => Emptied::Read,
        (false, ..) if checkpoint("TRUNCATE")?.0 => Emptied::InUse,
        (false, ..) => Emptied::Yes,
    })
}

impl Sqlite {
    /// Empties a long log, unless another connection prevents it. A later write tries again.
    pub(super) fn shorten_log(&self, conn: &Connection) {
        let Some(path) = self.file().filter(|path| log_length(path) > LONG) else { return };
        {
            let mut last = self.shortened.lock();
            if last.is_some_and(|at| at.elapsed() < PAUSE) {
                return;
            }
            *last = Some(Instant::now());
        }
        let outcome = empty(conn).and_then(|emptied| wait_for(conn, self.options.busy_timeout).map(|()| emptied));
        match outcome {
            Ok(emptied) => log::debug!("emptying the log of {:?}: {emptied:?}", path.display()),
            Err(error) => {
                let error = error::store("emptying the write-ahead log", error);
                log::debug!("{}", crate::error::chain(&error));
            }
        }
    }

    /// Blames readers for a long log only if they keep it from being emptied.
    pub(super) fn examine_log(&self, worth_a_look: u64) -> Result<Finding, StoreError> {
        let Some(path) = self.file() else { return Ok(Finding::ok("log", "none, in memory")) };
        let shown = |length: u64| bytes(i64::try_from(length).unwrap_or(i64::MAX));
        let before = log_length(path);
        let text = format!("write-ahead log of {}", shown(before));
        if before < worth_a_look {
            return Ok(Finding::ok("log", text));
        }
        let doing = "looking why the write-ahead log is long";
        let conn = self.open_again(self.path.as_deref().unwrap_or(path), doing)?;
        if conn.is_readonly("main").map_err(|error| error::store(doing, error))? {
            return Ok(Finding::warn("log", text, "the next write empties it, unless somebody reads it for long then"));
        }
        let read = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        let emptied = read.and_then(|()| empty(&conn)).map_err(|error| error::store(doing, error))?;
        Ok(match emptied {
            Emptied::Yes => Finding::ok("log", format!("{text}, which nobody read; it is emptied now")),
            Emptied::Read => Finding::warn(
                "log",
                format!("{text}, of which a part cannot go into the file because somebody reads what was before"),
                "end long reads of this file: while one lasts, the log only grows",
            ),
            Emptied::InUse => {
                Finding::warn("log", format!("{text}, in use at this moment"), "look again; the next writes empty it")
            }
        })
    }
}
