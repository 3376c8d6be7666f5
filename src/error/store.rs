//! Calls to a database, and values that none can hold.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::net;
use crate::plain::plain;

/// A call to a database that did not succeed. Clones share the source.
#[derive(Debug, Clone)]
pub struct StoreError {
    doing: String,
    kind: StoreErrorKind,
    code: Option<String>,
    /// In place of the remedy that its kind has.
    remedy: Option<&'static str>,
    source: Option<Arc<Cause>>,
}

/// The cause, which may be an error of the service's own, whose drop may panic.
struct Cause(Option<Box<dyn StdError + Send + Sync>>);

impl Drop for Cause {
    fn drop(&mut self) {
        net::discard(self.0.take());
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What kind of trouble a database call met; decides whether trying again can help and whose fault it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The database could not be reached, or the connection broke. Nothing was committed.
    Connection,
    /// The connection broke while a commit was under way: it may have happened or not.
    CommitUnknown,
    /// A lock, a connection or a statement was not had in time.
    Timeout,
    /// The database rolled back for the sake of other transactions (serialization failure, deadlock).
    Conflict,
    /// A constraint of a table refused the row.
    Constraint,
    /// A value was refused: out of range, wrong form, too large.
    Data,
    /// User, password or privileges do not suffice.
    Denied,
    /// The link to the server cannot be protected as it has to be: its certificate, or no TLS at all. Nothing was sent.
    Insecure,
    /// The database, or the medium below it, only allows reading.
    ReadOnly,
    /// The disk, or the quota, is full.
    Full,
    /// The file cannot be opened.
    CannotOpen,
    /// Another file lies at the path than the one that was opened, or none, or its write-ahead log is gone. Nothing is
    /// read or written any more until what was opened is back: what lies beside the path belongs to it.
    Replaced,
    /// The file is no database, or is damaged.
    Corrupt,
    /// The event that a checkpoint should name is not in the log: this is not the log that was read.
    Diverged,
    /// The schema is not what this version expects: a table is missing, or setup has not run.
    Schema,
    /// The database, or the library below it, is of a version that cannot be used.
    Version,
    /// Not possible with this store, or here.
    Unsupported,
    /// A call that the engine itself made wrongly.
    Usage,
    /// Anything else; the source says what.
    Other,
}

impl StoreErrorKind {
    /// The remedy, where there is one to name.
    fn remedy(self) -> &'static str {
        match self {
            Self::Connection => "; check that the server runs and can be reached at this address",
            Self::CommitUnknown => "; the commit may have happened: read before repeating",
            Self::Timeout => "; somebody else holds it, try again",
            Self::Conflict => "; try again",
            Self::Denied => "; check user, password and privileges",
            Self::Insecure => "; check what the server's log says of TLS",
            Self::ReadOnly => "; open it with write access, or connect to the primary server",
            Self::Full => "; free some space, nothing was stored",
            Self::CannotOpen => "; check that its folder exists and that this user may read and write there",
            Self::Replaced => {
                "; put the file back that was there, or stop every process that uses this path, remove the files beside \
                 it that end in -wal and -shm, put the other file in place and start again"
            }
            Self::Corrupt => "; check that the path names a readside database, or restore it from a backup",
            Self::Diverged => "; the log was restored or exchanged meanwhile, it is read again",
            Self::Schema => "; run setup() first, or put back what is missing",
            _ => "",
        }
    }
}

impl StoreError {
    /// An error of a custom store: what was being done, of which kind, and its cause.
    pub fn new(
        doing: impl Into<String>,
        kind: StoreErrorKind,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { doing: doing.into(), kind, code: None, remedy: None, source: Some(Arc::new(Cause(Some(source.into())))) }
    }

    /// Adds the database's own code (SQLSTATE, or SQLite's result code).
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// A remedy that fits better than that of its kind; begins with `; `.
    pub(crate) fn with_remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// The same error in other words for what was being done.
    #[must_use]
    pub fn doing(mut self, doing: impl Into<String>) -> Self {
        self.doing = doing.into();
        self
    }

    /// The same error as one of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: StoreErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// What kind of trouble it was.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The database's own code, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// True when the same call may succeed later without anybody changing data or code.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        use StoreErrorKind as K;
        !matches!(
            self.kind,
            K::Constraint
                | K::Data
                | K::Schema
                | K::Version
                | K::Replaced
                | K::Corrupt
                | K::Diverged
                | K::Unsupported
                | K::Usage
        )
    }

    /// True for trouble that passes by itself: connections, locks, transactions of others.
    pub(crate) fn passes(&self) -> bool {
        use StoreErrorKind as K;
        matches!(self.kind, K::Connection | K::Insecure | K::CommitUnknown | K::Timeout | K::Conflict)
    }

    /// True when the database itself is out of reach or full, so that other work fares no better.
    pub(crate) fn concerns_all(&self) -> bool {
        use StoreErrorKind as K;
        matches!(
            self.kind,
            K::Connection
                | K::CommitUnknown
                | K::Insecure
                | K::Denied
                | K::ReadOnly
                | K::Full
                | K::CannotOpen
                | K::Replaced
        )
    }

    /// True when a row, a value or SQL of the service's own was refused, which is the fault of the statement that brought it.
    /// A read table that is missing, or lacks a column (`Schema`), is no statement's fault.
    #[must_use]
    pub fn is_statements_fault(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Constraint | StoreErrorKind::Data | StoreErrorKind::Usage)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", plain(&self.doing))?;
        if let Some(code) = &self.code {
            write!(f, " ({})", plain(code))?;
        }
        f.write_str(self.remedy.unwrap_or(self.kind.remedy()))
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref()?.0.as_deref().map(|source| source as _)
    }
}

/// Why a text, a JSON document or another value cannot be stored alike on both databases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// PostgreSQL cannot hold the character NUL.
    #[error("it holds the character NUL at byte {at}, which no text column can store")]
    Nul {
        /// Offset in bytes.
        at: usize,
    },
    /// Half of a surrogate pair is no character.
    #[error("it holds half of a surrogate pair at byte {at}, which is not a character")]
    LoneSurrogate {
        /// Offset in bytes.
        at: usize,
    },
    /// Nested deeper than decoders go.
    #[error("it is nested deeper than {limit} levels at byte {at}, which no decoder would read back")]
    TooDeep {
        /// Offset in bytes.
        at: usize,
        /// The limit, in levels.
        limit: usize,
    },
    /// Not JSON at all.
    #[error("it is not valid JSON: {}", plain(why))]
    NotJson {
        /// The parser's words.
        why: String,
    },
    /// NaN or an infinity.
    #[error("it is NaN or infinite, which not every database can store")]
    NotFinite,
    /// Outside of the years 1 to 9999.
    #[error(
        "it lies outside of 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z, which is what both databases hold"
    )]
    TimeOutOfRange,
    /// No decimal number, for instance NaN.
    #[error("it is not a decimal number; write digits such as -19.99, without an exponent")]
    NotDecimal,
    /// A decimal number with too many digits. Nothing is rounded.
    #[error("it has more than {limit} digits, or more of them behind the point, and nothing is rounded")]
    TooManyDigits {
        /// The limit, in digits.
        limit: u8,
    },
    /// An integer beyond 64 bits with a sign.
    #[error("it lies outside of -9223372036854775808 to 9223372036854775807, which is what both databases hold")]
    IntegerOutOfRange,
    /// No day, or none that columns hold.
    #[error("it is not a date; write one from 0001-01-01 to 9999-12-31, like these")]
    NotDate,
    /// No time of day.
    #[error("it is not a time of day; write one from 00:00:00 to 23:59:59.999999, like these")]
    NotTime,
    /// A length of time beyond 64 bits of microseconds.
    #[error("it is longer than 9223372036854775807 microseconds, which is what both databases hold")]
    DurationOutOfRange,
    /// A number in a JSON document for a column.
    #[error("the number at byte {at} has more digits than PostgreSQL holds: 131072 before the point, 16383 behind it")]
    NumberOutOfRange {
        /// Offset in bytes.
        at: usize,
    },
}
