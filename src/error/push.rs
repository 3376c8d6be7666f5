//! Pushes and payloads.

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{StoreError, TextFault};
use crate::clock::spoken;
use crate::event::Expected;
use crate::plain::plain;
use crate::value::time_text;

/// The holder of a lock that others wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id of the database session, or of this process.
    pub pid: i64,
    /// The name that the holder gave itself, possibly empty.
    pub application: String,
    /// How long its transaction had been open, if that is known.
    pub since: Option<Duration>,
    /// What the database says that the holder is doing; possibly empty.
    pub state: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if !self.application.is_empty() {
            write!(f, " ({})", plain(&self.application))?;
        }
        if let Some(since) = self.since {
            write!(f, ", since {}", spoken(since))?;
        }
        if self.state.is_empty() { Ok(()) } else { write!(f, ", {}", plain(&self.state)) }
    }
}

/// A push that did not succeed. Nothing was stored, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// An expected version does not hold.
    #[error(
        "nothing pushed: {} {aggregate_id:?} of instance {instance:?} was expected at {expected}, but is at version {found}; read it again and decide again",
        plain(aggregate_type)
    )]
    Conflict {
        /// The tenant.
        instance: String,
        /// Type of the aggregate.
        aggregate_type: String,
        /// Id of the aggregate.
        aggregate_id: String,
        /// What the event expected.
        expected: Expected,
        /// The version found; 0 when there is none.
        found: i64,
    },
    /// A value that has to be unique is taken.
    #[error("nothing pushed: {} (unique constraint {constraint:?} of instance {instance:?})", plain(message))]
    UniqueViolation {
        /// Which event of the push, from 0.
        index: usize,
        /// The tenant.
        instance: String,
        /// The type of the unique constraint.
        constraint: String,
        /// The message that the caller gave for this case.
        message: String,
    },
    /// The push did not get the instance's counter in time.
    #[error("nothing pushed: instance {instance:?} was locked by another push for more than {}{}; try again", spoken(*waited), holder.as_ref().map(|h| format!(", held by {h}")).unwrap_or_default())]
    Busy {
        /// The first of the tenants that the push waited for.
        instance: String,
        /// How long the push waited.
        waited: Duration,
        /// The session that held it, if that could be found out.
        holder: Option<Holder>,
    },
    /// The first import of a database did not get the tables of events in time, to make the index of event ids.
    #[error(
        "nothing pushed: the first import makes the index of event ids, and others held the tables of events for more \
         than {}; pause the pushes and try again, or make the index beforehand, on PostgreSQL by \
         CREATE INDEX CONCURRENTLY (see docs/importing.md)",
        spoken(*waited)
    )]
    IndexBusy {
        /// How long the import waited.
        waited: Duration,
        /// What the database says.
        source: StoreError,
    },
    /// The push key was used before for other events.
    #[error(
        "nothing pushed: push key {key:?} of instance {instance:?} was used before for other events; a repeated push must bring the same ones"
    )]
    PushKeyReused {
        /// The tenant.
        instance: String,
        /// The key.
        key: String,
    },
    /// An event cannot be stored.
    #[error("nothing pushed: the {field} of event {index} cannot be stored")]
    Invalid {
        /// Which event of the push, from 0.
        index: usize,
        /// The field that is at fault.
        field: &'static str,
        /// Why.
        source: InvalidEvent,
    },
    /// The positions of an instance are used up.
    #[error("nothing pushed: instance {instance:?} is at position {head} and has no room for {wanted} more events")]
    PositionsExhausted {
        /// The tenant.
        instance: String,
        /// Its head.
        head: i64,
        /// How many events were to be pushed.
        wanted: usize,
    },
    /// An imported event has an earlier time than the event before it.
    #[error(
        "nothing pushed: event {index} was created at {}, but the one in front of it in instance {instance:?} at {}; import \
         events in their order, into an instance that has no later ones",
        time_text(*created_at),
        time_text(*before)
    )]
    TimeGoesBack {
        /// Which event of the push, from 0.
        index: usize,
        /// The tenant.
        instance: String,
        /// The time of the imported event.
        created_at: SystemTime,
        /// The time of the event before it.
        before: SystemTime,
    },
    /// An imported event has a time in the future of the database's clock. All later events of the instance would need
    /// a time at least as late, because times never decrease.
    #[error(
        "nothing pushed: event {index} for instance {instance:?} was created at {}, but here it is {}; set the clocks right, or \
         give it another time",
        time_text(*created_at),
        time_text(*now)
    )]
    TimeAhead {
        /// Which event of the push, from 0.
        index: usize,
        /// The tenant.
        instance: String,
        /// The time of the imported event.
        created_at: SystemTime,
        /// The time of the database's clock, or that of the last event if that is later.
        now: SystemTime,
    },
    /// An imported event has the id of an existing event of the instance.
    #[error(
        "nothing pushed: the id {id} of event {index} exists in instance {instance:?} already; import each event once"
    )]
    IdExists {
        /// Which event of the push, from 0.
        index: usize,
        /// The tenant.
        instance: String,
        /// The id.
        id: Uuid,
    },
    /// Another writer pushed to an instance during its import.
    #[error(
        "nothing pushed: somebody else pushed to instance {instance:?} while it was imported; stop those pushes, remove it, \
         and import it again"
    )]
    ImportDisturbed {
        /// The tenant.
        instance: String,
    },
    /// The instance was removed.
    #[error("nothing pushed: instance {instance:?} was removed; open it again first if it is to live on")]
    InstanceRemoved {
        /// The tenant.
        instance: String,
    },
    /// The transaction cannot take a push.
    #[error("nothing pushed: {reason}")]
    Transaction {
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
    /// The database failed. `CommitUnknown` means that the events may be stored: push again with the same push key.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PushError {
    /// True when the same push may succeed later without a change.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::IndexBusy { .. } => true,
            Self::Store(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// Why an event cannot be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEvent {
    /// The text must not be empty.
    #[error("it is empty")]
    Empty,
    /// Only an import keeps the id or the time that an event has elsewhere.
    #[error("the store gives it, and only an import keeps it: push by push_imported, or leave it out")]
    OfImport,
    /// The number must be positive, and small enough for both databases.
    #[error("it is {0}, but has to be between 1 and 2147483647")]
    NotPositive(i64),
    /// The text is longer than an index allows.
    #[error("it has {length} bytes, {limit} are allowed; shorten it: long texts belong into the payload")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The text holds something that a database cannot store unchanged.
    #[error(transparent)]
    Text(#[from] TextFault),
    /// The payload could not be turned into JSON.
    #[error("it could not be serialized")]
    Serialize(#[source] serde_json::Error),
}

/// A payload that differs from what the reader expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The text does not fit the type.
    #[error(
        "payload of {} (revision {revision}) at position {position} of instance {instance:?} does not fit {wanted}",
        plain(event_type)
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
        /// What the decoder says.
        source: serde_json::Error,
    },
    /// An upcast failed.
    #[error("upcast of {} from revision {revision} failed", plain(event_type))]
    Upcast {
        /// Type of the event.
        event_type: String,
        /// The revision that the payload had.
        revision: u32,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The event contradicts the events before it. The error says why in the service's words.
    #[error("the event does not fit the state before it")]
    Unfit(#[source] Box<dyn StdError + Send + Sync>),
}

impl PayloadError {
    /// The error for an [`Aggregate`](crate::Aggregate) that cannot take an event in, made from an error or a text of
    /// the service.
    ///
    /// # Examples
    /// ```
    /// use readside::Decimal;
    /// use readside::error::{PayloadError, chain};
    /// fn add(balance: Decimal, amount: Decimal) -> Result<Decimal, PayloadError> {
    ///     balance.checked_add(amount).ok_or_else(|| PayloadError::unfit("the balance has more than 18 digits"))
    /// }
    /// let huge = Decimal::new(999_999_999_999_999_999, 0)?;
    /// let error = add(huge, huge).unwrap_err();
    /// assert_eq!(chain(&error), "the event does not fit the state before it: the balance has more than 18 digits");
    /// # Ok::<(), readside::error::TextFault>(())
    /// ```
    pub fn unfit(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unfit(error.into())
    }
}
