//! Where a projection stands in an instance, and why it stopped there.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::clock::spoken;
use crate::error::{StoreError, chain};
use crate::failure::Blocked;
use crate::plain::plain;
use crate::standstill::{Standstill, StandstillKind};

/// The name and version under which a projection keeps its state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectionKey {
    /// Name.
    pub name: Arc<str>,
    /// Version, from 1.
    pub version: u32,
}

/// Stands between the name of a projection and what marks a build beside its live one.
pub(crate) const SHADOW: char = '#';

/// The mark of a build of one instance, of which rows are taken and never the tables.
pub(crate) const PART: &str = "part";

impl ProjectionKey {
    /// The name of the projection that it is a build of.
    #[must_use]
    pub fn projection(&self) -> &str {
        self.name.split(SHADOW).next().unwrap_or_default()
    }

    /// The mark of a build beside the live one of its version; none for the one under the plain name.
    #[must_use]
    pub fn mark(&self) -> Option<&str> {
        self.name.split_once(SHADOW).map(|(_, mark)| mark)
    }
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
    /// True when events of it are on record as failed, parked or behind a parked one.
    pub held: bool,
    /// True while it is worked on event by event, because a process died that worked on it.
    pub careful: bool,
    /// The event that is being tried in this way.
    pub mark: Option<Mark>,
}

/// Says that an event is being tried, so that it is known if the process does not survive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Position of the event.
    pub position: i64,
    /// The holder's epoch.
    pub epoch: i64,
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

/// In which database the events stand that checkpoints name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// In the database of the read models: the transaction that moves a checkpoint sees the event itself.
    Here,
    /// In another one: its source was asked for the event before the transaction began.
    Elsewhere,
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
    /// What was known of the log is not what it holds now: it was restored, or another server answers. The pass reads the
    /// log again.
    HistoryChanged {
        /// What was found.
        found: String,
    },
    /// The read tables hold rows of the instance, and no checkpoint says which events they are of: the states were deleted, or
    /// states and tables were restored apart.
    RowsWithoutCheckpoint,
    /// The log of the instance is not whole: events are missing, or lie above their heads.
    LogIncomplete {
        /// What was found.
        found: String,
    },
    /// Events are missing between the checkpoint and the events given.
    Gap {
        /// The checkpoint.
        checkpoint: i64,
    },
    /// A process died that worked on it. A worker of an engine finds out whether an event is to blame, step by step.
    Suspect,
    /// The checkpoint was set back meanwhile.
    Reset,
    /// Another process has the lease now and does the work.
    LeaseLost,
    /// Readers see a version that no living engine runs.
    Unfed {
        /// What becomes of that, or what to do about it.
        why: String,
    },
    /// The work was cancelled.
    Cancelled,
    /// The database failed; nothing is counted against an event.
    Store(StoreError),
    /// Something else keeps it from moving, as this process or another one found.
    StandsStill(Box<Standstill>),
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing(event) => write!(
                f,
                "its event fails ({}: {}), attempt {}, next in {}",
                event.class,
                plain(&event.error),
                event.attempts,
                spoken(event.retry_in)
            ),
            Self::Stopped(event) => write!(
                f,
                "its event failed {} times ({}: {}) and waits for a person: mend the cause, then retry or discard it",
                event.attempts,
                event.class,
                plain(&event.error)
            ),
            Self::HistoryDiverged { found } => write!(
                f,
                "the event store's history is not the one this projection was built from ({found}); \
                 connect the right store, or reset the projection so that it is rebuilt from this one"
            ),
            Self::HistoryChanged { found } => write!(
                f,
                "the event store's history changed beneath the work ({found}); nothing was written, trigger it again"
            ),
            Self::RowsWithoutCheckpoint => write!(
                f,
                "its read tables hold rows, and no checkpoint says which events they are of; {}",
                StandstillKind::Orphaned.remedy()
            ),
            Self::LogIncomplete { found } => {
                write!(f, "the log of the instance is not whole ({found}); {}", StandstillKind::Incomplete.remedy())
            }
            Self::Gap { checkpoint } => {
                write!(f, "events are missing after checkpoint {checkpoint}; fetch them from the store")
            }
            Self::Suspect => f.write_str(
                "a process died while it worked on it; an engine's worker goes on event by event and finds out why, \
                 triggers wait for that",
            ),
            Self::Reset => f.write_str("its checkpoint was set back meanwhile; trigger it again"),
            Self::LeaseLost => f.write_str("another process has taken it over"),
            Self::Unfed { why } => f.write_str(why),
            Self::Cancelled => f.write_str("the work was cancelled"),
            Self::Store(error) => f.write_str(&chain(error)),
            Self::StandsStill(found) => write!(f, "{found}; {}", found.kind.remedy()),
        }
    }
}
