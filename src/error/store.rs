//! Calls to a database, and values that no database can hold.

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
    /// Replaces the remedy of the kind.
    remedy: Option<&'static str>,
    source: Option<Arc<Cause>>,
}

/// The cause. It may be an error of the service whose drop panics.
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

/// What kind of trouble a database call met. It decides whether trying again can help, and whose fault the trouble is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The database could not be reached, or the connection broke. Nothing was committed.
    Connection,
    /// The connection broke during a commit. The commit may or may not have happened.
    CommitUnknown,
    /// A lock, a connection or the result of a statement did not come in time.
    Timeout,
    /// The database rolled back because of other transactions (serialization failure, deadlock).
    Conflict,
    /// A constraint of a table refused the row.
    Constraint,
    /// The database refused a value: out of range, malformed, or too large.
    Data,
    /// User, password or privileges are not sufficient.
    Denied,
    /// The link to the server is not protected as required: the certificate is wrong, or there is no TLS. Nothing was
    /// sent.
    Insecure,
    /// The database, or its storage, only allows reading.
    ReadOnly,
    /// The disk, or the quota, is full.
    Full,
    /// The file cannot be opened.
    CannotOpen,
    /// The path now leads to another file than the one that was opened, or to none, or the write-ahead log is gone. The
    /// store reads and writes nothing until the opened file is back, because the files next to the path belong to it.
    Replaced,
    /// The file is not a database, or is damaged.
    Corrupt,
    /// The event that a checkpoint names is not in the log, so this is not the log that was read.
    Diverged,
    /// The schema is not what this version expects: a table is missing, or setup has not run.
    Schema,
    /// This version of the database, or of the library that accesses it, cannot be used.
    Version,
    /// The operation is not possible with this store, or not here.
    Unsupported,
    /// The engine itself made a wrong call.
    Usage,
    /// Anything else. The source says what.
    Other,
}

impl StoreErrorKind {
    /// The remedy, or an empty text when there is none to name.
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
                "; put the file back that was there, or stop every process that uses this path, remove the files next to \
                 it that end in -wal and -shm, put the other file in place and start again"
            }
            Self::Corrupt => "; check that the path names a readside database, or restore it from a backup",
            Self::Diverged => "; the log was restored or exchanged meanwhile, it is read again",
            Self::Schema => "; check that this is the right database, then run setup(), or put back what is missing",
            _ => "",
        }
    }
}

impl StoreError {
    /// An error of a custom store: what was being done, the kind, and the cause.
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

    /// Sets a remedy that fits better than that of the kind. It begins with `; `.
    pub(crate) fn with_remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// The cause alone, for a text that says itself what was being done and what helps.
    pub(crate) fn cause(&self) -> String {
        self.source().map_or_else(|| super::chain(self), super::chain)
    }

    /// The same error with another description of what was being done.
    #[must_use]
    pub fn doing(mut self, doing: impl Into<String>) -> Self {
        self.doing = doing.into();
        self
    }

    /// The same error with another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: StoreErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The kind of trouble.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The database's code, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// True when the same call may succeed later without a change of data or code.
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

    /// True for trouble that passes without help: connections, locks, other transactions.
    pub(crate) fn passes(&self) -> bool {
        use StoreErrorKind as K;
        matches!(self.kind, K::Connection | K::Insecure | K::CommitUnknown | K::Timeout | K::Conflict)
    }

    /// True when the database itself cannot be reached or is full, so that other work would fail, too.
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

    /// True when the database refused a row, a value or SQL of the service. Then the statement is at fault. When a read
    /// table or a column is missing (`Schema`), no statement is at fault.
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

/// Why both databases cannot store a text, a JSON document or another value alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// PostgreSQL cannot hold the character NUL.
    #[error("it holds the character NUL at byte {at}, which no text column can store")]
    Nul {
        /// Offset in bytes.
        at: usize,
    },
    /// Half of a surrogate pair is not a character.
    #[error("it holds half of a surrogate pair at byte {at}, which is not a character")]
    LoneSurrogate {
        /// Offset in bytes.
        at: usize,
    },
    /// The document is nested deeper than decoders allow.
    #[error("it is nested deeper than {limit} levels at byte {at}, which no decoder would read back")]
    TooDeep {
        /// Offset in bytes.
        at: usize,
        /// The limit, in levels.
        limit: usize,
    },
    /// The text is not JSON.
    #[error("it is not valid JSON: {}", plain(why))]
    NotJson {
        /// What the parser says.
        why: String,
    },
    /// The number is NaN or infinite.
    #[error("it is NaN or infinite, which not every database can store")]
    NotFinite,
    /// The time lies outside of the years 1 to 9999.
    #[error(
        "it lies outside of 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z, which is what both databases hold"
    )]
    TimeOutOfRange,
    /// The text is not a decimal number, for instance NaN.
    #[error("it is not a decimal number; write digits such as -19.99, without an exponent")]
    NotDecimal,
    /// The decimal number has too many digits. The library does not round.
    #[error("it has more than {limit} digits, or more of them behind the point, and nothing is rounded")]
    TooManyDigits {
        /// The limit, in digits.
        limit: u8,
    },
    /// The integer does not fit 64 bits with a sign.
    #[error("it lies outside of -9223372036854775808 to 9223372036854775807, which is what both databases hold")]
    IntegerOutOfRange,
    /// The text is not a day, or not one that columns can hold.
    #[error("it is not a date; write one from 0001-01-01 to 9999-12-31, like these")]
    NotDate,
    /// The text is not a time of day.
    #[error("it is not a time of day; write one from 00:00:00 to 23:59:59.999999, like these")]
    NotTime,
    /// The duration does not fit 64 bits of microseconds.
    #[error("it is longer than 9223372036854775807 microseconds, which is what both databases hold")]
    DurationOutOfRange,
    /// The JSON document for a column has a number that is out of range.
    #[error("the number at byte {at} has more digits than PostgreSQL holds: 131072 before the point, 16383 behind it")]
    NumberOutOfRange {
        /// Offset in bytes.
        at: usize,
    },
}
