//! Where a projection stands in an instance, and why it stopped there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::error::{StoreError, full};

/// The name and version under which a projection keeps its state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectionKey {
    /// Name.
    pub name: Arc<str>,
    /// Version, from 1.
    pub version: u32,
}

/// The state of a projection in one instance; a row that does not exist reads as position 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// The tenant.
    pub instance: Arc<str>,
    /// Every wanted event up to here is in the tables.
    pub position: i64,
    /// Id of the event at `position`, none at 0.
    pub event: Option<Uuid>,
    /// Id of the event store that the position belongs to, none before the first event.
    pub store: Option<Uuid>,
    /// The event that holds the instance up, if one does.
    pub blocked: Option<Blocked>,
    /// Who holds the lease, whether it has expired or not.
    pub owner: Option<Uuid>,
    /// Which holder that is, counted from the first.
    pub epoch: i64,
}

/// An event that could not be applied and holds its instance up.
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

/// What is to be written as the new state of an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The tenant.
    pub instance: Arc<str>,
    /// The new position.
    pub position: i64,
    /// Id of the event there.
    pub event: Option<Uuid>,
    /// Id of the event store.
    pub store: Uuid,
}

/// What kind of error an event met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
        }
    }

    /// The class of a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Reducer, Self::Panic, Self::Statement, Self::Constraint, Self::Data, Self::Transient]
            .into_iter()
            .find(|class| class.as_str() == word)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of an event after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeldState {
    /// It is tried again after a while; the instance waits.
    Failing,
    /// The instance waits for a person.
    Stopped,
    /// The projection went on without it.
    Skipped,
}

impl HeldState {
    /// The word under which the state is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Stopped => "stopped",
            Self::Skipped => "skipped",
        }
    }

    /// The state of a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Failing, Self::Stopped, Self::Skipped].into_iter().find(|state| state.as_str() == word)
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
    /// What becomes of the event.
    pub state: HeldState,
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
pub struct HeldEvent {
    /// The last attempt.
    pub attempt: Attempt,
    /// When it failed first.
    pub first_at: std::time::SystemTime,
    /// When it failed last.
    pub last_at: std::time::SystemTime,
}

/// Where and why a pass left an instance before its head.
#[derive(Debug, Clone)]
pub struct Stopped {
    /// The tenant.
    pub instance: Arc<str>,
    /// The event or checkpoint at which it stopped.
    pub position: i64,
    /// Why.
    pub cause: StopCause,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instance {:?} at position {}: {}", self.instance, self.position, self.cause)
    }
}

/// Why a pass left an instance.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StopCause {
    /// An event fails and is tried again later.
    Failing(Blocked),
    /// An event failed too often; a person has to act.
    Stopped(Blocked),
    /// The checkpoint is not part of the event store's history: the store was restored to an older state or
    /// exchanged.
    HistoryDiverged {
        /// What was found.
        found: String,
    },
    /// Events are missing between the checkpoint and the events given.
    Gap {
        /// The checkpoint.
        checkpoint: i64,
    },
    /// The checkpoint was set back meanwhile.
    Reset,
    /// Another process has the lease now and does the work.
    LeaseLost,
    /// The work was cancelled.
    Cancelled,
    /// The database failed; nothing is counted against an event.
    Store(StoreError),
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing(event) => write!(
                f,
                "its event fails ({}: {}), attempt {}, next in {:.1} s",
                event.class,
                event.error,
                event.attempts,
                event.retry_in.as_secs_f64()
            ),
            Self::Stopped(event) => write!(
                f,
                "its event failed {} times ({}: {}) and waits for a person: mend the cause, then retry or discard it",
                event.attempts, event.class, event.error
            ),
            Self::HistoryDiverged { found } => write!(
                f,
                "the event store's history is not the one this projection was built from ({found}); \
                 connect the right store, or reset the projection so that it is rebuilt from this one"
            ),
            Self::Gap { checkpoint } => {
                write!(f, "events are missing after checkpoint {checkpoint}; fetch them from the store")
            }
            Self::Reset => f.write_str("its checkpoint was set back meanwhile; trigger it again"),
            Self::LeaseLost => f.write_str("another process has taken it over"),
            Self::Cancelled => f.write_str("the work was cancelled"),
            Self::Store(error) => f.write_str(&full(error)),
        }
    }
}
