//! Why a pass left an instance before it reached the head.

use std::fmt;
use std::sync::Arc;

use crate::clock::spoken;
use crate::error::{StoreError, chain};
use crate::failure::Blocked;
use crate::plain::plain;
use crate::standstill::{Standstill, StandstillKind};

/// Where and why a pass left an instance before it reached the head.
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
    /// An event failed too often. A person has to act.
    Stopped(Blocked),
    /// The checkpoint is not part of the event store's history: the store was restored to an older state, or exchanged.
    HistoryDiverged {
        /// What was found.
        found: String,
    },
    /// What this process knew of the log differs from what the log holds now: it was restored, or another server
    /// answers. The pass reads the log again.
    HistoryChanged {
        /// What was found.
        found: String,
    },
    /// The read tables hold rows of the instance, but no checkpoint says which events made them: the states were
    /// deleted, or states and tables were restored separately.
    RowsWithoutCheckpoint,
    /// The log of the instance is incomplete: events are missing, or are above their heads.
    LogIncomplete {
        /// What was found.
        found: String,
    },
    /// Events are missing between the checkpoint and the events given.
    Gap {
        /// The checkpoint.
        checkpoint: i64,
    },
    /// A process died while it worked on the instance. A worker of an engine finds out, event by event, whether one is
    /// to blame.
    Suspect,
    /// The checkpoint was set back in the meantime.
    Reset,
    /// Another process has the lease now and does the work.
    LeaseLost,
    /// Readers see a version that no living engine runs.
    Unfed {
        /// What will happen, or what to do about it.
        why: String,
    },
    /// This engine leaves the system instance out, and no other engine has handled it.
    SystemLeftOut,
    /// The work was cancelled.
    Cancelled,
    /// The database failed. This counts against no event.
    Store(StoreError),
    /// Something else keeps it from moving, as this process or another one has found.
    StandsStill(Box<Standstill>),
}

impl StopCause {
    /// The kind of standstill. `None` when it is on record already, passes at once, or is the work of another process.
    pub(crate) fn standstill(&self) -> Option<StandstillKind> {
        match self {
            // After the history changed, the pass reads it again. If that changes nothing, the note stays.
            Self::HistoryDiverged { .. } | Self::HistoryChanged { .. } => Some(StandstillKind::Diverged),
            Self::RowsWithoutCheckpoint => Some(StandstillKind::Orphaned),
            Self::LogIncomplete { .. } => Some(StandstillKind::Incomplete),
            Self::Store(error) => Some(StandstillKind::of(error)),
            _ => None,
        }
    }
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
                "its event failed {} times ({}: {}) and waits for a person: remove the cause, then retry or discard it",
                event.attempts,
                event.class,
                plain(&event.error)
            ),
            Self::HistoryDiverged { found } => write!(
                f,
                "the event store's history is not the one this projection was built from ({}); \
                 connect the right store, or reset the projection so that it is rebuilt from this one",
                plain(found)
            ),
            Self::HistoryChanged { found } => write!(
                f,
                "the event store's history changed beneath the work ({}); nothing was written, trigger it again",
                plain(found)
            ),
            Self::RowsWithoutCheckpoint => write!(
                f,
                "its read tables hold rows, and no checkpoint says which events they are of; {}",
                StandstillKind::Orphaned.remedy()
            ),
            Self::LogIncomplete { found } => {
                write!(
                    f,
                    "the log of the instance is not whole ({}); {}",
                    plain(found),
                    StandstillKind::Incomplete.remedy()
                )
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
            Self::Unfed { why } => f.write_str(&plain(why)),
            Self::SystemLeftOut => f.write_str(
                "this engine leaves the system instance \"\" out, and no other has handled it; build one with \
                 HandlerConfig::system_instance(true)",
            ),
            Self::Cancelled => f.write_str("the work was cancelled"),
            Self::Store(error) => f.write_str(&chain(error)),
            Self::StandsStill(found) => write!(f, "{found}; {}", found.kind.remedy()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StoreErrorKind;

    // Contract: L11
    #[test]
    fn a_stop_is_a_standstill_unless_it_passes_by_itself() {
        let stopped = StopCause::Store(StoreError::new("testing", StoreErrorKind::Full, "no"));
        assert_eq!(stopped.standstill(), Some(StandstillKind::Full));
        assert_eq!(StopCause::HistoryDiverged { found: "another".into() }.standstill(), Some(StandstillKind::Diverged));
        assert_eq!(StopCause::LeaseLost.standstill(), None, "another one goes on with it");
    }
}
