//! What can go wrong, one enum per family of operation, all of which turn into [`Error`].
//!
//! `Display` says what was being done and what to do about it; the cause is in `source()`. [`full`] prints the
//! whole chain on one line.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::Expected;

type Cause = Box<dyn StdError + Send + Sync>;

/// Any error of this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// See [`PushError`].
    #[error(transparent)]
    Push(#[from] PushError),
    /// See [`StatementError`].
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// See [`PayloadError`].
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// See [`ProjectionError`].
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// See [`SetupError`].
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// See [`ConfigError`].
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// See [`TriggerError`].
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    /// See [`AwaitError`].
    #[error(transparent)]
    Await(#[from] AwaitError),
    /// See [`ShutdownError`].
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
}

/// The whole chain of an error on one line: what was being done, then each cause.
///
/// # Examples
/// ```
/// let error = "x".parse::<i32>().unwrap_err();
/// assert_eq!(readside::error::full(&error), "invalid digit found in string");
/// ```
#[must_use]
pub fn full(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

// ------------------------------------------------------------------------------------------------ databases

/// A call to a database that did not succeed. Clones share the source.
#[derive(Debug, Clone)]
pub struct StoreError {
    doing: String,
    kind: StoreErrorKind,
    code: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
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
    /// The database, or the medium below it, only allows reading.
    ReadOnly,
    /// The disk, or the quota, is full.
    Full,
    /// The file cannot be opened.
    CannotOpen,
    /// The file is no database, or is damaged.
    Corrupt,
    /// The schema is not what this version expects: a table is missing, or setup has not run.
    Schema,
    /// The database, or the library below it, is of a version that cannot be used.
    Version,
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
            Self::ReadOnly => "; open it with write access, or connect to the primary server",
            Self::Full => "; free some space, nothing was stored",
            Self::CannotOpen => "; check that its folder exists and that this user may read and write there",
            Self::Corrupt => "; check that the path names a readside database, or restore it from a backup",
            Self::Schema => "; run setup() first",
            _ => "",
        }
    }
}

impl StoreError {
    /// An error of a store of one's own: what was being done, of which kind, and its cause.
    pub fn new(
        doing: impl Into<String>,
        kind: StoreErrorKind,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { doing: doing.into(), kind, code: None, source: Some(Arc::from(source.into())) }
    }

    /// Adds the database's own code (SQLSTATE, or SQLite's result code).
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
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
        !matches!(self.kind, K::Constraint | K::Data | K::Schema | K::Version | K::Corrupt | K::Usage)
    }

    /// True when a row or a value was refused, which is the fault of the statement that brought it.
    #[must_use]
    pub fn is_statements_fault(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Constraint | StoreErrorKind::Data | StoreErrorKind::Schema | StoreErrorKind::Usage
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.doing)?;
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        f.write_str(self.kind.remedy())
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
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
    #[error("it holds half of a surrogate pair at byte {at}, which is no character")]
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
    #[error("it is not valid JSON: {why}")]
    NotJson {
        /// The parser's words.
        why: String,
    },
    /// NaN or an infinity.
    #[error("it is NaN or infinite, which not every database can store")]
    NotFinite,
    /// Outside of the years 0 to 9999.
    #[error("it lies outside of the years 0 to 9999")]
    TimeOutOfRange,
}

// ----------------------------------------------------------------------------------------------------- push

/// Who holds a lock that a push waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id of the database session, or of this process.
    pub pid: i64,
    /// The name that the holder gave itself, possibly empty.
    pub application: String,
    /// How long its transaction had been open, if known.
    pub since: Option<Duration>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if !self.application.is_empty() {
            write!(f, " ({})", self.application)?;
        }
        match self.since {
            Some(since) => write!(f, ", since {:.1} s", since.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// A push that did not succeed. Unless it says otherwise, nothing was stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// An expected version does not hold.
    #[error(
        "nothing pushed: {aggregate_type} {aggregate_id:?} of instance {instance:?} was expected at {expected}, but is at version {found}; read it again and decide anew"
    )]
    Conflict {
        /// The tenant.
        instance: String,
        /// Type of the aggregate.
        aggregate_type: String,
        /// Id of the aggregate.
        aggregate_id: String,
        /// What the command expected.
        expected: Expected,
        /// The version found; 0 when there is none.
        found: i64,
    },
    /// A value that has to be unique is taken.
    #[error("nothing pushed: {message} (unique constraint {constraint:?} of instance {instance:?})")]
    UniqueViolation {
        /// The tenant.
        instance: String,
        /// The type of the unique constraint.
        constraint: String,
        /// The message that the caller gave for this case.
        message: String,
    },
    /// The instance's counter was not had in time.
    #[error("nothing pushed: instance {instance:?} was locked by another push for more than {waited:?}{}; try again", holder.as_ref().map(|h| format!(", held by {h}")).unwrap_or_default())]
    Busy {
        /// The first of the tenants that were waited for.
        instance: String,
        /// How long it was waited for.
        waited: Duration,
        /// Who held it, if that could be found out.
        holder: Option<Holder>,
    },
    /// The push key was used before, for other commands.
    #[error(
        "nothing pushed: push key {key:?} of instance {instance:?} was used before for other commands; a repeated push must bring the same ones"
    )]
    PushKeyReused {
        /// The tenant.
        instance: String,
        /// The key.
        key: String,
    },
    /// A command cannot be stored.
    #[error("nothing pushed: the {field} of command {index} cannot be stored")]
    Invalid {
        /// Which command of the push, from 0.
        index: usize,
        /// The field that is at fault.
        field: &'static str,
        /// Why.
        source: InvalidCommand,
    },
    /// The positions of an instance are used up.
    #[error("nothing pushed: instance {instance:?} stands at position {head} and has no room for {wanted} more events")]
    PositionsExhausted {
        /// The tenant.
        instance: String,
        /// Its head.
        head: i64,
        /// How many events were to be pushed.
        wanted: usize,
    },
    /// A transaction that cannot take a push.
    #[error("nothing pushed: {reason}")]
    Transaction {
        /// What is wrong with it and what to do.
        reason: &'static str,
    },
    /// The database failed; `CommitUnknown` means that the events may be stored: push again with the same push key.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PushError {
    /// True when the same push may succeed later without a change.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Store(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// Why a command cannot be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCommand {
    /// It must not be empty.
    #[error("it is empty")]
    Empty,
    /// It must be a positive number.
    #[error("it is {0}, but has to be 1 or more")]
    NotPositive(i64),
    /// It holds what no database could store unchanged.
    #[error(transparent)]
    Text(#[from] TextFault),
    /// The payload could not be turned into JSON.
    #[error("it could not be serialized")]
    Serialize(#[source] serde_json::Error),
}

/// A payload that is not what the reader expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The text does not fit the type.
    #[error(
        "payload of {event_type} (revision {revision}) at position {position} of instance {instance:?} is no {wanted}"
    )]
    Decode {
        /// Type of the event.
        event_type: String,
        /// Revision of the payload.
        revision: u32,
        /// The tenant.
        instance: String,
        /// Position of the event.
        position: i64,
        /// Name of the Rust type.
        wanted: &'static str,
        /// The decoder's words.
        source: serde_json::Error,
    },
    /// An upcast did not succeed.
    #[error("upcast of {event_type} from revision {revision} failed")]
    Upcast {
        /// Type of the event.
        event_type: String,
        /// The revision it had.
        revision: u32,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
}

// ----------------------------------------------------------------------------------- statements, projections

/// A statement that cannot be built, or does not fit the tables of its projection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Nothing to write.
    #[error("{statement} has no values to write")]
    NoValues {
        /// Kind of statement.
        statement: &'static str,
    },
    /// No row was named.
    #[error("{statement} has no condition and would touch every row of the instance")]
    NoCondition {
        /// Kind of statement.
        statement: &'static str,
    },
    /// `upsert` and `copy` must know which rows are the same.
    #[error("{statement} names no conflict columns")]
    NoConflictColumns {
        /// Kind of statement.
        statement: &'static str,
    },
    /// `upsert` needs a value for each conflict column.
    #[error("upsert has no plain value for its conflict column {column:?}")]
    ConflictColumnWithoutValue {
        /// The column.
        column: String,
    },
    /// `copy` needs as many sources as targets.
    #[error("copy has {to} columns to write but {from} to read")]
    UnequalColumns {
        /// Number of target columns.
        to: usize,
        /// Number of sources.
        from: usize,
    },
    /// A column stands twice.
    #[error("column {column:?} is written twice")]
    DuplicateColumn {
        /// The column.
        column: String,
    },
    /// An assignment that makes no sense in this kind of statement.
    #[error("column {column:?} cannot be {how} in {statement}")]
    NotHere {
        /// The column.
        column: String,
        /// What was wanted.
        how: &'static str,
        /// Kind of statement.
        statement: &'static str,
    },
    /// A comparison with NULL that could never hold.
    #[error("column {column:?} is compared by {operator} with NULL, which never holds")]
    NullComparison {
        /// The column.
        column: String,
        /// The operator.
        operator: &'static str,
    },
    /// A value that not every database could hold.
    #[error("the value of column {column:?} cannot be stored")]
    BadValue {
        /// The column.
        column: String,
        /// Why.
        source: TextFault,
    },
    /// A value that could not be turned into JSON.
    #[error("the value of column {column:?} could not be serialized: {why}")]
    NotSerializable {
        /// The column.
        column: String,
        /// The serializer's words.
        why: String,
    },
    /// A value of the wrong type.
    #[error("column {column:?} of table {table:?} holds {wanted:?}, not {given}")]
    WrongType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The column's type.
        wanted: crate::value::ColumnType,
        /// What was given.
        given: String,
    },
    /// No such column.
    #[error("table {table:?} has no column {column:?}")]
    UnknownColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// No such table.
    #[error("the projection has no table {table:?}")]
    UnknownTable {
        /// The table.
        table: String,
    },
    /// The conflict columns are not known to be unique.
    #[error(
        "the conflict columns {columns:?} of table {table:?} are neither its primary key nor one of its unique constraints"
    )]
    UnknownConflict {
        /// The table.
        table: String,
        /// The columns.
        columns: Vec<String>,
    },
    /// A name that cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A name of a table, column or projection that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Empty.
    #[error("a {what} has an empty name")]
    Empty {
        /// What bears the name.
        what: &'static str,
    },
    /// Longer than PostgreSQL allows, which would cut it off.
    #[error("the {what} name {name:?} has {length} bytes with its version, {limit} are allowed")]
    TooLong {
        /// What bears the name.
        what: &'static str,
        /// The name.
        name: String,
        /// Its length in bytes, with what the engine adds to it.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// NUL or another control character.
    #[error("the {what} name {name:?} holds a control character")]
    Control {
        /// What bears the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Kept by the engine or a database for itself.
    #[error("the {what} name {name:?} is reserved: {why}")]
    Reserved {
        /// What bears the name.
        what: &'static str,
        /// The name.
        name: String,
        /// By whom.
        why: &'static str,
    },
    /// Given twice; SQLite does not tell upper from lower case.
    #[error("the {what} name {name:?} is used twice (upper and lower case count as the same)")]
    Duplicate {
        /// What bears the name.
        what: &'static str,
        /// The name.
        name: String,
    },
}

/// A projection whose definition does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// A projection without a name.
    #[error("a projection has no name")]
    NoProjection,
    /// A projection name used twice.
    #[error("two projections are named {name:?}")]
    DuplicateProjection {
        /// The name.
        name: String,
    },
    /// Versions count from 1.
    #[error("projection {projection:?} has version 0, versions count from 1")]
    NoVersion {
        /// The projection.
        projection: String,
    },
    /// A projection that reduces nothing.
    #[error("projection {projection:?} has no reducer")]
    NoReducer {
        /// The projection.
        projection: String,
    },
    /// Two reducers for one event type.
    #[error("projection {projection:?} has two reducers for {event_type:?} of aggregate {aggregate_type:?}")]
    DuplicateReducer {
        /// The projection.
        projection: String,
        /// The aggregate type.
        aggregate_type: String,
        /// The event type.
        event_type: String,
    },
    /// An upcast that would never run, or not as meant.
    #[error("the upcast of {event_type:?} from revision {revision} of projection {projection:?} {what}")]
    Upcast {
        /// The projection.
        projection: String,
        /// The event type.
        event_type: String,
        /// The revision that goes in.
        revision: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// A name in it cannot be used.
    #[error("projection {projection:?} has a name that cannot be used")]
    Name {
        /// The projection.
        projection: String,
        /// Which and why.
        source: NameError,
    },
    /// A table does not hold together.
    #[error("table {table:?} of projection {projection:?} {what}")]
    Table {
        /// The projection.
        projection: String,
        /// The table.
        table: String,
        /// What is wrong.
        what: String,
    },
}

/// A set-up, or a check of it, that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A name is taken by something else.
    #[error("projection {projection:?} needs the name {name:?}, which is taken by {by}; rename one of them")]
    NameTaken {
        /// The projection.
        projection: String,
        /// The name.
        name: String,
        /// What bears it now.
        by: String,
    },
    /// The definition changed and the version did not.
    #[error(
        "projection {projection:?} changed its event types or tables under the same version {version}; raise the version, so that it is rebuilt"
    )]
    DefinitionChanged {
        /// The projection.
        projection: String,
        /// Its version.
        version: u32,
    },
    /// A table is not as defined.
    #[error(
        "table {table:?} of projection {projection:?} is not as defined: {difference}; change it back, or raise the version so that it is rebuilt"
    )]
    TableDiffers {
        /// The projection.
        projection: String,
        /// The table.
        table: String,
        /// What differs.
        difference: String,
    },
    /// A table is missing and set-up is off.
    #[error("{what} is missing; run setup(), or have the owner of the database run what setup_sql() prints")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// The database was set up by a newer version of this library.
    #[error("the database has schema {found}, this version of readside knows up to {known}; update readside")]
    NewerSchema {
        /// The schema found.
        found: i64,
        /// The newest one known.
        known: i64,
    },
    /// A switch of versions before the new one is complete.
    #[error(
        "projection {projection:?} cannot switch from version {from} to {to}: {behind} instances are not as far yet (first: {instance:?}); trigger them first"
    )]
    NotCaughtUp {
        /// The projection.
        projection: String,
        /// The live version.
        from: u32,
        /// The new version.
        to: u32,
        /// How many instances are behind.
        behind: usize,
        /// One of them.
        instance: String,
    },
    /// A definition that does not hold together.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Configuration values that are not allowed, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Each wrong value with what is allowed.
    pub faults: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: {}", self.faults.join("; "))
    }
}

impl StdError for ConfigError {}

// -------------------------------------------------------------------------------------------------- trigger

/// A pass over some instances that did not bring all of them to the head.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TriggerError {
    /// No instance was named; that never means 'all'.
    #[error("projection {projection:?} was triggered without instances; name those to bring up to date")]
    NoInstances {
        /// The projection.
        projection: String,
    },
    /// Some instances stopped before the head; all others are up to date.
    #[error("projection {projection:?} stopped in {}", describe(stopped))]
    Stopped {
        /// The projection.
        projection: String,
        /// Where and why, in order of instances; never empty.
        stopped: Vec<crate::state::Stopped>,
    },
    /// The engine runs no projection of this name.
    #[error("the engine runs no projection {projection:?}")]
    UnknownProjection {
        /// The name.
        projection: String,
    },
    /// The database failed before any instance was looked at.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn describe(stopped: &[crate::state::Stopped]) -> String {
    let Some(first) = stopped.first() else { return "no instance".to_owned() };
    match stopped.len() - 1 {
        0 => first.to_string(),
        more => format!("{first} (and {more} more)"),
    }
}

/// Waiting for a read model that did not come to the end that was waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwaitError {
    /// The engine runs no projection of this name.
    #[error("the engine runs no projection {projection:?}")]
    UnknownProjection {
        /// The name.
        projection: String,
    },
    /// It took too long; the read model may be older than what was waited for.
    #[error("projection {projection:?} did not reach position {position} of instance {instance:?} within {waited:?}, it is at {checkpoint}{}", why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    TimedOut {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// What was waited for.
        position: i64,
        /// Where it stands.
        checkpoint: i64,
        /// For how long.
        waited: Duration,
        /// What holds it up, if that is known.
        why: Option<Box<crate::state::StopCause>>,
    },
    /// The event was left out because it failed too often.
    #[error(
        "projection {projection:?} went on without event {position} of instance {instance:?}, which is on record as failed"
    )]
    HeldBack {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The event.
        position: i64,
    },
    /// The instance is stopped until a person acts.
    #[error("projection {projection:?} is stopped in {stopped}")]
    Stopped {
        /// The projection.
        projection: String,
        /// Where and why.
        stopped: Box<crate::state::Stopped>,
    },
    /// The engine was shut down meanwhile.
    #[error("the engine was shut down")]
    ShutDown,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Threads that did not end in time, for instance because a call of a driver hangs. They end with the process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these threads did not end in time: {}", threads.join(", "))]
pub struct ShutdownError {
    /// Their names.
    pub threads: Vec<String>,
}

/// An error of a reducer: anything that implements `std::error::Error` turns into it by `?`.
///
/// # Examples
/// ```
/// use readside::{ReduceError, Reduced, noop};
/// fn reduce(text: &str) -> Reduced {
///     let _number: i32 = text.parse()?;
///     noop()
/// }
/// assert!(reduce("x").unwrap_err().downcast_ref::<std::num::ParseIntError>().is_some());
/// ```
pub struct ReduceError {
    source: Cause,
}

impl ReduceError {
    /// An error in words of one's own.
    pub fn new(text: impl Into<String>) -> Self {
        Self { source: text.into().into() }
    }

    /// The cause as a concrete type, if it is of that type.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.source.downcast_ref()
    }

    /// The cause.
    #[must_use]
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self.source.as_ref()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for ReduceError {
    fn from(error: E) -> Self {
        Self { source: Box::new(error) }
    }
}

impl fmt::Debug for ReduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl fmt::Display for ReduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&full(self.source.as_ref()))
    }
}
