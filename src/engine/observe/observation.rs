//! What an observer hears.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::command::CommandState;
use crate::failure::{FailureClass, FailureStatus};
use crate::standstill::StandstillKind;

/// What an engine did or found, as its observer hears of it. It holds no payloads.
///
/// # Examples
/// ```
/// use readside::observe::Observation;
///
/// fn line(seen: &Observation) -> Option<String> {
///     Some(match seen {
///         Observation::Applied(batch) => format!("{}: {} events", batch.projection, batch.events),
///         Observation::Failed(failed) => format!("{}: event {} failed", failed.projection, failed.position),
///         Observation::StandsStill(one) => format!("{}: {}", one.projection, one.reason),
///         _ => return None, // more kinds may come
///     })
/// }
/// # let _ = line;
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Observation {
    /// A transaction that applied events was committed.
    Applied(AppliedBatch),
    /// An event failed, and again each time that the engine tries it again. A person's retry of a parked event is told
    /// to that person.
    Failed(FailedAttempt),
    /// A projection, or an instance of it, stands still here. Told again when the kind of reason or the position
    /// changes.
    StandsStill(StandsStill),
    /// What stood still does not any more.
    GoesOn(GoesOn),
    /// This process carries out a command (a rebuild, a reset), or its answer is on record.
    Command(CommandStep),
    /// This process has had readers see another build.
    Switched {
        /// The projection.
        projection: Arc<str>,
        /// The version that readers see now. After a rebuild it is the one from before.
        version: u32,
    },
    /// A version of a projection has reached every head once. One of the processes tells so.
    FirstSuccess {
        /// The projection.
        projection: Arc<str>,
        /// Its version.
        version: u32,
    },
    /// The processes that share the work are others than before.
    HandOver {
        /// How many share it from now on, with this one.
        processes: usize,
    },
}

/// A committed transaction.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AppliedBatch {
    /// The projection.
    pub projection: Arc<str>,
    /// Its version.
    pub version: u32,
    /// Readers do not see it: a rebuild, or a version that has not taken its place yet.
    pub is_hidden: bool,
    /// Instances in which events were applied.
    pub instances: usize,
    /// Events that were applied.
    pub events: usize,
    /// Time spent on reading events since the batch before. Pages are read ahead, so it is of the projection, not of
    /// these very events. All batches together have spent what `readside_work_seconds_total` says.
    pub reading: Duration,
    /// Time spent in reducers since the batch before, likewise.
    pub reducing: Duration,
    /// How long the transaction took.
    pub writing: Duration,
    /// From the push of the event that waited longest until readers saw it; none where they do not.
    pub visible_after: Option<Duration>,
    /// When it was committed, by the clock of this process.
    pub at: SystemTime,
    /// The first different `traceparent`s of its events' metadata, as many as
    /// [`observed_traces`](crate::EngineConfig::observed_traces) asks for.
    pub traces: Vec<String>,
}

/// An event that failed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// The projection.
    pub projection: Arc<str>,
    /// Its version.
    pub version: u32,
    /// Readers do not see it: a rebuild, or a version that has not taken its place yet.
    pub is_hidden: bool,
    /// The tenant.
    pub instance: Arc<str>,
    /// Position of the event.
    pub position: i64,
    /// Id of the event.
    pub event_id: Option<Uuid>,
    /// Type of its aggregate.
    pub aggregate_type: Arc<str>,
    /// Id of its aggregate.
    pub aggregate_id: Arc<str>,
    /// Type of the event.
    pub event_type: Arc<str>,
    /// Attempts, with this one.
    pub attempts: u32,
    /// What becomes of it: it is tried again, parked, left out, or its instance is stopped.
    pub state: FailureStatus,
    /// Time until it is tried again; zero where a person has to act.
    pub retry_in: Duration,
    /// Class of the error.
    pub class: FailureClass,
    /// The text of the error, 500 characters at most.
    pub error: String,
    /// `traceparent` of its metadata, where it has the form of the W3C.
    pub trace: Option<String>,
    /// When it failed, by the clock of this process.
    pub at: SystemTime,
}

/// Why something stands still, as this process found it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StandsStill {
    /// The projection.
    pub projection: Arc<str>,
    /// Its version.
    pub version: u32,
    /// It is about a rebuild beside what readers see.
    pub is_rebuild: bool,
    /// The tenant; none where it is all of the projection, or many of its tenants.
    pub instance: Option<Arc<str>>,
    /// What keeps it: [`Diverged`](StandstillKind::Diverged) is a checkpoint that is not part of the log.
    pub kind: StandstillKind,
    /// The reason in words, 500 characters at most.
    pub reason: String,
}

/// What does not stand still any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GoesOn {
    /// The projection.
    pub projection: Arc<str>,
    /// Its version.
    pub version: u32,
    /// It is about a rebuild beside what readers see.
    pub is_rebuild: bool,
    /// The tenant; none where it is all of the projection, or many of its tenants.
    pub instance: Option<Arc<str>>,
    /// What had kept it.
    pub kind: StandstillKind,
    /// For how long, as far as this process knows.
    pub after: Duration,
}

/// A command that this process carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandStep {
    /// Its id, the same in each step.
    pub id: Uuid,
    /// The projection.
    pub projection: Arc<str>,
    /// What it is: `rebuild`, `reset`, `switch`, …
    pub kind: &'static str,
    /// Who asked.
    pub who: Arc<str>,
    /// [`Taken`](CommandState::Taken) as it begins; [`Done`](CommandState::Done) or [`Failed`](CommandState::Failed)
    /// once its answer is on record. One that is cut short is begun again, here or elsewhere.
    pub state: CommandState,
}
