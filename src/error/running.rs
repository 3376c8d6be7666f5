//! Passes, waiting, stopping, and errors of reducers.

use crate::plain::{listed, plain};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::{StoreError, chain};
use crate::clock::spoken;

type BoxedError = Box<dyn StdError + Send + Sync>;

/// A pass that did not bring all of its instances to the head.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TriggerError {
    /// No instance was named. An empty list never means all instances.
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
        /// Where and why, in order of the instances. It is never empty.
        stopped: Vec<crate::stop_cause::Stopped>,
    },
    /// The engine runs no projection of this name.
    #[error("the engine runs no projection {projection:?}; check the spelling, or give it to the engine")]
    UnknownProjection {
        /// The name.
        projection: String,
    },
    /// A reducer made the call.
    #[error(
        "a reducer cannot trigger projection {projection:?}: it could wait for itself; a reducer only makes statements of its event"
    )]
    InsideReducer {
        /// The projection.
        projection: String,
    },
    /// Code of the service, or of this library, panicked outside of a reducer.
    #[error(
        "a pass of projection {projection:?} panicked ({}); what was committed stays; remove the cause, then trigger it again",
        plain(panic)
    )]
    Panicked {
        /// The projection.
        projection: String,
        /// The text of the panic.
        panic: String,
    },
    /// The database failed before any instance was looked at.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn describe(stopped: &[crate::stop_cause::Stopped]) -> String {
    let Some(first) = stopped.first() else { return "no instance".to_owned() };
    match stopped.len() - 1 {
        0 => first.to_string(),
        more => format!("{first} (and {more} more)"),
    }
}

/// A watch that could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// Readers see no projection of this name.
    #[error(
        "readers of this database see no projection {projection:?}, so there is nothing to watch; name one that is set up"
    )]
    UnknownProjection {
        /// The name.
        projection: String,
    },
    /// There are too many watches already.
    #[error("there are {most} watches already, the most that an engine allows; drop those that nobody needs")]
    TooMany {
        /// The most watches that may exist.
        most: usize,
    },
    /// The engine was shut down.
    #[error("the engine is shut down, so nothing can be watched; start another one")]
    ShutDown,
    /// The states could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A wait for a read model that ended before the read model had handled the events.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwaitError {
    /// The engine runs no projection of this name.
    #[error("the engine runs no projection {projection:?}; check the spelling, or give it to the engine")]
    UnknownProjection {
        /// The name.
        projection: String,
    },
    /// It took too long. The read model may not have handled the events yet.
    #[error("projection {projection:?} did not reach position {position} of instance {instance:?} within {}; it is at {checkpoint}{}", spoken(*waited), why.as_ref().map(|why| format!(": {}", plain(&why.to_string()))).unwrap_or_default())]
    TimedOut {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The position that the caller waited for.
        position: i64,
        /// The present checkpoint.
        checkpoint: i64,
        /// How long the caller waited.
        waited: Duration,
        /// What holds it up, as far as any process knows: an event that fails, or any other
        /// [standstill](crate::health::StopCause::StandsStill), with its remedy.
        why: Option<Box<crate::stop_cause::StopCause>>,
    },
    /// The event was left out because it failed too often.
    #[error(
        "projection {projection:?} went on without event {position} of instance {instance:?}, which is on record as failed; remove the cause, then retry or discard it"
    )]
    EventFailed {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The event.
        position: i64,
    },
    /// The log no longer has the event: the store was restored to an older state, a standby without the event was
    /// promoted, or the tenant was removed.
    #[error(
        "event {position} of instance {instance:?}, which projection {projection:?} was to handle, is not in the log any \
         more: the store was restored, a server without it took over, or the tenant was removed; push it again if it \
         still counts"
    )]
    EventLost {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The position that it had.
        position: i64,
    },
    /// The instance waits for a person, because of an event or because its history diverged.
    #[error("projection {projection:?} is stopped in {stopped}")]
    Stopped {
        /// The projection.
        projection: String,
        /// Where and why.
        stopped: Box<crate::stop_cause::Stopped>,
    },
    /// The engine was shut down during the wait.
    #[error("the engine was shut down before that; start another one")]
    ShutDown,
    /// A reducer made the call.
    #[error(
        "a reducer cannot wait for projection {projection:?}: it could wait for itself; a reducer only makes statements of its event"
    )]
    InsideReducer {
        /// The projection.
        projection: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Threads that did not end in time, for instance because a call of a driver hangs. They end with the process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these threads did not end in time: {}", listed(threads, ", "))]
pub struct ShutdownError {
    /// Their names.
    pub threads: Vec<String>,
}

/// An error of a reducer. Every type that implements `std::error::Error` converts into it by `?`.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// fn reduce(text: &str) -> Reduced {
///     let _number: i32 = text.parse()?;
///     noop()
/// }
/// assert!(reduce("x").unwrap_err().downcast_ref::<std::num::ParseIntError>().is_some());
/// ```
pub struct ReduceError {
    source: BoxedError,
}

impl ReduceError {
    /// An error with a text of the service.
    pub fn new(text: impl Into<String>) -> Self {
        Self { source: text.into().into() }
    }

    /// The cause as a concrete type, if it has that type.
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
        f.write_str(&chain(self.source.as_ref()))
    }
}
