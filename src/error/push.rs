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

/// Who holds a lock that others wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id of the database session, or of this process.
    pub pid: i64,
    /// The name that the holder gave itself, possibly empty.
    pub application: String,
    /// How long its transaction had been open, if known.
    pub since: Option<Duration>,
    /// What the database says that it does, as far as it does; possibly empty.
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

/// A push that did not succeed. Unless it says otherwise, nothing was stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// An expected version does not hold.
    #[error(
        "nothing pushed: {} {aggregate_id:?} of instance {instance:?} was expected at {expected}, but is at version {found}; read it again and decide anew",
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
        /// The tenant.
        instance: String,
        /// The type of the unique constraint.
        constraint: String,
        /// The message that the caller gave for this case.
        message: String,
    },
    /// The instance's counter was not had in time.
    #[error("nothing pushed: instance {instance:?} was locked by another push for more than {}{}; try again", spoken(*waited), holder.as_ref().map(|h| format!(", held by {h}")).unwrap_or_default())]
    Busy {
        /// The first of the tenants that were waited for.
        instance: String,
        /// How long it was waited for.
        waited: Duration,
        /// Who held it, if that could be found out.
        holder: Option<Holder>,
    },
    /// The push key was used before, for other events.
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
    #[error("nothing pushed: instance {instance:?} stands at position {head} and has no room for {wanted} more events")]
    PositionsExhausted {
        /// The tenant.
        instance: String,
        /// Its head.
        head: i64,
        /// How many events were to be pushed.
        wanted: usize,
    },
    /// The time that an imported event brings lies before that of the event in front of it.
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
        /// The time that the event brings.
        created_at: SystemTime,
        /// That of the event in front of it.
        before: SystemTime,
    },
    /// The time that an imported event brings is yet to come by the database's clock. All later events of the instance
    /// would have to bear it, since times never decrease.
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
        /// The time that the event brings.
        created_at: SystemTime,
        /// The time of the database's clock, or that of the last event if that is later.
        now: SystemTime,
    },
    /// The id that an imported event brings is that of an event of the instance.
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
    /// Somebody else pushed to an instance that is being imported.
    #[error(
        "nothing pushed: somebody else pushed to instance {instance:?} while it was imported; stop who pushes to it, remove it, \
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

/// Why an event cannot be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEvent {
    /// It must not be empty.
    #[error("it is empty")]
    Empty,
    /// What an event was elsewhere is kept by an import only.
    #[error("the store gives it, and only an import keeps it: push by push_imported, or leave it out")]
    OfImport,
    /// It must be a positive number that both databases hold.
    #[error("it is {0}, but has to be between 1 and 2147483647")]
    NotPositive(i64),
    /// It is longer than an index takes.
    #[error("it has {length} bytes, {limit} are allowed; name it more shortly, long texts belong into the payload")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
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
        /// The decoder's words.
        source: serde_json::Error,
    },
    /// An upcast did not succeed.
    #[error("upcast of {} from revision {revision} failed", plain(event_type))]
    Upcast {
        /// Type of the event.
        event_type: String,
        /// The revision it had.
        revision: u32,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// What an event says does not go together with what those before it said, in words of the service's own.
    #[error("the event does not fit the state before it")]
    Unfit(#[source] Box<dyn StdError + Send + Sync>),
}

impl PayloadError {
    /// That an [`Aggregate`](crate::Aggregate) cannot take an event in: an error of the service's own, or its words.
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
