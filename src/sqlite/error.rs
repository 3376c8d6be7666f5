//! SQLite's result codes as kinds of error.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;

use rusqlite::{Error, ErrorCode, ffi};

use super::contains::TWICE;
use crate::conninfo::shown;
use crate::error::{StoreError, StoreErrorKind as Kind};
use crate::sql::TYPE_CHECK;

/// The remedy if the log is gone, which may hold the latest commits.
pub(super) const LOG_IS_GONE: &str = "; put the files back that end in -wal and -shm, or stop every process that uses the \
    database, remove those files, look whether PRAGMA integrity_check finds the file whole, restore it from a backup if \
    not, and start again";

/// The code of a write that waited too long for another one.
pub(super) const BUSY: &str = "SQLite code 5";

/// The remedy if access is denied. SQLite makes the files of its log in the folder, even to read.
pub(super) const ACCESS: &str = "; check that its folder exists, and that this user may write the file, its folder, and the files next to it that end in -wal and -shm, on a \
    file system that is not mounted read-only; to read only what nobody writes, `file:PATH?mode=ro&immutable=1` needs none of them";

/// An URI of which nothing is written, whatever this user may do.
pub(super) const ASKED: &str = "; to write, leave mode=ro and immutable=1 out of its path";

/// The beginning of SQLite's words about a view or a trigger that does not fit with the tables.
const BROKEN: &str = "error in ";

/// The remedy for such an object.
const MEND_OR_DROP: &str = "; SQLite changes no table while this object names what is not there: mend it or drop it";

/// The remedy if the name of an object is taken.
const NAME_TAKEN: &str = "; something else has this name here: rename that, or choose another file";

/// An error with only SQLite's own words. Its source would repeat the code and the general meaning of the code.
#[derive(Debug)]
struct Said(Error);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Error::SqliteFailure(failure, None) => f.write_str(ffi::code_to_str(failure.extended_code)),
            other => fmt::Display::fmt(other, f),
        }
    }
}

impl StdError for Said {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0 {
            Error::SqliteFailure(..) | Error::SqlInputError { .. } => None,
            other => other.source(),
        }
    }
}

pub(super) fn store(doing: &str, error: Error) -> StoreError {
    let kind = kind(&error);
    let code = error.sqlite_error().map(|error| format!("SQLite code {}", error.extended_code));
    let said = Said(error);
    let words = said.to_string();
    let mut error = StoreError::new(doing, kind, said);
    match kind {
        Kind::Schema if words.starts_with(BROKEN) => error = error.with_remedy(MEND_OR_DROP),
        Kind::Schema if words.contains("already exists") => error = error.with_remedy(NAME_TAKEN),
        Kind::Replaced => error = error.with_remedy(LOG_IS_GONE),
        Kind::ReadOnly | Kind::CannotOpen => error = error.with_remedy(ACCESS),
        _ => {}
    }
    match code {
        Some(code) => error.with_code(code),
        None => error,
    }
}

/// The error of an opening. Its words name what was to be opened, without a part that may be a secret.
pub(crate) fn masked(error: Error, path: &Path) -> Error {
    match error {
        Error::SqliteFailure(failure, Some(words)) => {
            let place = path.to_string_lossy();
            Error::SqliteFailure(failure, Some(words.replace(&*place, &shown(&place))))
        }
        other => other,
    }
}

fn kind(error: &Error) -> Kind {
    match error {
        Error::SqliteFailure(failure, text) => failure_kind(*failure, text.as_deref().unwrap_or_default()),
        Error::SqlInputError { error, msg, .. } => failure_kind(*error, msg),
        Error::Utf8Error(..) | Error::FromSqlConversionFailure(..) | Error::IntegralValueOutOfRange(..) => Kind::Data,
        _ => Kind::Usage,
    }
}

fn failure_kind(failure: ffi::Error, text: &str) -> Kind {
    match failure.extended_code {
        ffi::SQLITE_BUSY_SNAPSHOT => return Kind::Conflict,
        ffi::SQLITE_CONSTRAINT_DATATYPE => return Kind::Data,
        // The index of a log names pages that the log does not have: the log was removed or cut short.
        ffi::SQLITE_IOERR_SHORT_READ => return Kind::Replaced,
        _ => {}
    }
    match failure.code {
        // Only a deadline interrupts a statement here.
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OperationInterrupted => Kind::Timeout,
        // PostgreSQL refuses such a value by its types, SQLite by checks.
        ErrorCode::ConstraintViolation if text.ends_with(TYPE_CHECK) => Kind::Data,
        ErrorCode::ConstraintViolation => Kind::Constraint,
        ErrorCode::TooBig | ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange => Kind::Data,
        ErrorCode::ReadOnly => Kind::ReadOnly,
        ErrorCode::DiskFull => Kind::Full,
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => Kind::Corrupt,
        ErrorCode::CannotOpen => Kind::CannotOpen,
        ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => Kind::Denied,
        ErrorCode::Unknown => unknown_kind(text),
        _ => Kind::Other,
    }
}

/// SQLite has one code for all errors of SQL itself; only its words tell them apart.
fn unknown_kind(text: &str) -> Kind {
    let says = |words: &str| text.contains(words);
    if says("no such table") || says("no such column") || says("has no column") || says("already exists") {
        Kind::Schema
    } else if says("overflow") || says("malformed") || says("JSON") || says(TWICE) {
        Kind::Data
    } else {
        Kind::Usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;

    // Contract: O4: a text contains SQLite's words once, with the code.
    #[test]
    fn sqlite_is_quoted_once() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)").unwrap();
        let told = |sql: &str| chain(&store("trying", db.execute_batch(sql).unwrap_err()));
        assert_eq!(told("INSERT INTO t VALUES (1)"), "trying failed (SQLite code 1555): UNIQUE constraint failed: t.a");
        assert!(!told("SELECT FROM").contains("Error code"), "{}", told("SELECT FROM"));
        let bare = Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None);
        let said = chain(&store("trying", bare));
        assert_eq!(said.matches("locked").count(), 1, "{said}");
        assert!(said.contains("SQLite code 5"), "{said}");
    }
}
