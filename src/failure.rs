//! Events that could not be applied, what happens to them, and what people do about them.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// The event that could not be applied and holds its instance up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Its position.
    pub position: i64,
    /// Attempts so far.
    pub attempts: u32,
    /// True when a person has to act; false while it is tried again.
    pub stopped: bool,
    /// Time until the next attempt, zero when it is due.
    pub retry_in: Duration,
    /// Class of the last error.
    pub class: FailureClass,
    /// Text of the last error.
    pub error: String,
}

/// What kind of error an event met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FailureClass {
    /// The reducer returned an error.
    Reducer,
    /// The reducer panicked.
    Panic,
    /// The statement does not fit the projection's tables.
    Statement,
    /// A constraint refused the row.
    Constraint,
    /// The database refused a value.
    Data,
    /// Not the event's fault: connection, lock, disk. Never counted.
    Transient,
    /// The process did not survive the event.
    Crash,
    /// An earlier event of its aggregate is parked; this one was not tried.
    Predecessor,
}

impl FailureClass {
    /// The word under which the class is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reducer => "reducer",
            Self::Panic => "panic",
            Self::Statement => "statement",
            Self::Constraint => "constraint",
            Self::Data => "data",
            Self::Transient => "transient",
            Self::Crash => "crash",
            Self::Predecessor => "predecessor",
        }
    }

    /// The class of a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Reducer,
            Self::Panic,
            Self::Statement,
            Self::Constraint,
            Self::Data,
            Self::Transient,
            Self::Crash,
            Self::Predecessor,
        ]
        .into_iter()
        .find(|class| class.as_str() == word)
    }

    /// True when waiting does not help: a reducer is a pure function of its event, and what its statement asks for does
    /// not fit the existing rows. [`HandlerConfig::max_lasting_failure_count`](crate::HandlerConfig) counts these.
    ///
    /// # Examples
    /// ```
    /// use readside::failure::FailureClass;
    /// assert!(FailureClass::Reducer.is_lasting() && FailureClass::Data.is_lasting());
    /// assert!(!FailureClass::Constraint.is_lasting(), "the row that is missing may come from somebody else");
    /// ```
    #[must_use]
    pub fn is_lasting(self) -> bool {
        matches!(self, Self::Reducer | Self::Panic | Self::Statement | Self::Data)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an event produced no statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReduceFailure {
    /// Whether the reducer returned an error, panicked, or made a statement that does not fit the tables.
    pub class: FailureClass,
    /// The text of the error with its causes, without what decoders quote from payloads.
    pub error: String,
}

/// What happens to an event after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureStatus {
    /// It is tried again after a while; the instance waits.
    Failing,
    /// The instance waits for a person.
    Stopped,
    /// The projection goes on without it, and holds back all later events of its aggregate until a person acts.
    Parked,
    /// It was not tried and waits for a parked event of its aggregate.
    Behind,
    /// The projection went on without it.
    Skipped,
    /// A person gave it up: it is never applied, not even in a rebuild. It no longer counts as a failure, and is listed
    /// only when this state is asked for.
    Discarded,
}

impl FailureStatus {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Failing, Self::Stopped, Self::Parked, Self::Behind, Self::Skipped, Self::Discarded];

    /// The word under which the state is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Stopped => "stopped",
            Self::Parked => "parked",
            Self::Behind => "behind",
            Self::Skipped => "skipped",
            Self::Discarded => "discarded",
        }
    }

    /// The state of a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for FailureStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed attempt at an event, to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The tenant.
    pub instance: Arc<str>,
    /// Position of the event.
    pub position: i64,
    /// Type of its aggregate.
    pub aggregate_type: Arc<str>,
    /// Id of its aggregate.
    pub aggregate_id: Arc<str>,
    /// Type of the event.
    pub event_type: Arc<str>,
    /// Attempts, with this one.
    pub attempts: u32,
    /// What happens to the event.
    pub state: FailureStatus,
    /// Class of the error.
    pub class: FailureClass,
    /// Text of the error.
    pub error: String,
    /// Time until the next attempt.
    pub retry_in: Duration,
}

/// A recorded failure.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FailedEvent {
    /// The last attempt.
    pub attempt: Attempt,
    /// When it failed first.
    pub first_at: SystemTime,
    /// When it failed last.
    pub last_at: SystemTime,
}

/// Types and ids of aggregates.
pub type Aggregates = HashSet<(Arc<str>, Arc<str>)>;

/// Selects recorded failures. By default all of them, in order of instance and position.
///
/// # Examples
/// ```
/// use readside::failure::{FailureQuery, FailureStatus};
/// let query = FailureQuery::all().instance("main").states([FailureStatus::Parked, FailureStatus::Stopped]).limit(20);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "it is a question"]
pub struct FailureQuery {
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) aggregate: Option<(Arc<str>, Arc<str>)>,
    pub(crate) states: Vec<FailureStatus>,
    pub(crate) positions: Option<(i64, i64)>,
    pub(crate) event_type: Option<Arc<str>>,
    pub(crate) class: Option<FailureClass>,
    pub(crate) after: Option<(Arc<str>, i64)>,
    pub(crate) limit: usize,
}

impl FailureQuery {
    /// Selects all failures.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only in this instance.
    pub fn instance(mut self, instance: &str) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// Only those of the aggregate with this type and id.
    pub fn aggregate(mut self, aggregate_type: &str, aggregate_id: &str) -> Self {
        self.aggregate = Some((aggregate_type.into(), aggregate_id.into()));
        self
    }

    /// Only in these states.
    pub fn states(mut self, states: impl IntoIterator<Item = FailureStatus>) -> Self {
        self.states = states.into_iter().collect();
        self
    }

    /// Only those between these positions, both included.
    pub fn positions(mut self, from: i64, to: i64) -> Self {
        self.positions = Some((from, to));
        self
    }

    /// Only those of events of this type.
    pub fn event_type(mut self, event_type: &str) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// Only those whose last error was of this class.
    pub fn class(mut self, class: FailureClass) -> Self {
        self.class = Some(class);
        self
    }

    /// Only those after this place, at which the previous page ended.
    pub fn after_place(mut self, instance: &str, position: i64) -> Self {
        self.after = Some((instance.into(), position));
        self
    }

    /// Only those after this one, with which the previous page ended.
    pub fn after(mut self, last: &FailedEvent) -> Self {
        self.after = Some((Arc::clone(&last.attempt.instance), last.attempt.position));
        self
    }

    /// At most this many; 0 for no limit.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// What a person did about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Had it tried again.
    Retry,
    /// Gave it up.
    Discard,
}

impl Action {
    /// The word under which the action is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
        }
    }

    /// The action of a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Retry, Self::Discard].into_iter().find(|action| action.as_str() == word)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who acts, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct By {
    /// Who, for people.
    pub who: String,
    /// Why.
    pub why: String,
}

impl By {
    /// A person with a reason.
    pub fn new(who: impl Into<String>, why: impl Into<String>) -> Self {
        Self { who: who.into(), why: why.into() }
    }
}

/// The result of retrying failures.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RetryOutcome {
    /// Events that are in the read model now, and were not before.
    pub applied: u64,
    /// Events that were on record before, without skipped ones: those of the parked event's aggregate or, if all were
    /// tried, those of the projection.
    pub before: u64,
    /// The number of these events that are on record afterwards.
    pub after: u64,
    /// Where the work began, if not at the named event: that event is done, or waits for this one.
    pub went_on: Option<i64>,
    /// Events that fail again, if all were tried; at most a hundred.
    pub refused: Vec<Refused>,
    /// How many more events fail again.
    pub not_named: u64,
}

/// An event that fails again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refused {
    /// The tenant.
    pub instance: String,
    /// The position of the event.
    pub position: i64,
    /// Class of the error; `None` when it could not be tried.
    pub class: Option<FailureClass>,
    /// Why.
    pub error: String,
}

/// A record of what a person did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intervention {
    /// The tenant.
    pub instance: Arc<str>,
    /// Position of the event.
    pub position: i64,
    /// What was done.
    pub action: Action,
    /// By whom, and why.
    pub by: By,
    /// When, by the database's clock.
    pub at: SystemTime,
}
