//! The contracts beneath the engine: where events come from, where they are pushed, where read models live.
//!
//! All traits are object safe, take `&self` and are open: a service may put a store of its own beneath the
//! engine, and tests wrap them to make calls fail. [`EventSource`] and [`ProjectionStore`] may be two databases.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::builds::BuildStore;
use crate::commands::CommandStore;
use crate::error::{PushError, SetupError, StoreError};
use crate::event::{Event, NewEvent};
use crate::failure::{Action, Aggregates, Attempt, By, FailedEvent, FailureQuery, FailureStatus, Intervention};
use crate::projection::Projection;
use crate::query::{EventBatch, Flaw, Head, HeadsRequest, Query, ReadRequest, Span};
use crate::standing::StandstillStore;
use crate::state::{Checkpoint, Log, ProjectionKey, State};
use crate::statement::Statement;
use crate::subscription::{Subscription, Topics};

/// Where a projection reads events.
///
/// A source owes the laws of order: positions of an instance are dense from 1 (or from behind those that were
/// [`removed`](Self::removed)) in the order of commits; who sees position `p` sees every position below. An event never
/// changes its position or its id.
///
/// # Errors
/// Every method returns [`StoreError`] with a kind that tells whether trying again can help.
pub trait EventSource: fmt::Debug + Send + Sync {
    /// The id of this store and its history; another store, or an emptied one, has another id.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn store_id(&self) -> Result<Uuid, StoreError>;

    /// Heads of instances, ascending by the bytes of the instance, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError>;

    /// One slice for each cursor, in the order of the cursors. See [`EventBatch`] for what it owes.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError>;

    /// The position up to which the events of an instance were removed for good: its log begins behind it. Default: 0, none
    /// were.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn removed(&self, _instance: &str) -> Result<i64, StoreError> {
        Ok(0)
    }

    /// In what these parts of logs are not whole, one flaw for each at most: positions without an event, or an event of a
    /// type above the head of that. What was removed for good is not missed. Asked when a read model is built anew, and by
    /// `verify`. Default: nothing is looked at.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn flaws(&self, _spans: &[Span]) -> Result<Vec<Flaw>, StoreError> {
        Ok(Vec::new())
    }

    /// A number that changes when what was read before may not be true any more, for instance because a connection was lost:
    /// another server may answer from now on. Default: 0, it never changes.
    fn generation(&self) -> u64 {
        0
    }

    /// Drops all that was kept of the log, because an event that was read is not there any more. Default: nothing is kept.
    fn forget(&self) {}
}

/// A source that events can be pushed to.
pub trait EventStore: EventSource {
    /// Stores all commands as events, or none of them, in one transaction, and returns the events in the order of
    /// the commands.
    ///
    /// # Errors
    /// See [`PushError`].
    fn push(&self, events: &[NewEvent]) -> Result<Vec<Event>, PushError>;

    /// The events that a query finds, in order of instance and position.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn filter(&self, query: &Query) -> Result<Vec<Event>, StoreError>;

    /// The instances of the events that a query finds, each once, by bytes. Order and limit of the query apply to
    /// instances.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn instance_ids(&self, query: &Query) -> Result<Vec<Arc<str>>, StoreError>;

    /// Hands events that are pushed through this store from now on to the subscription. Dropping the subscription
    /// ends it.
    fn subscribe(&self, topics: Topics) -> Subscription;
}

/// Where the tables, the states and the failures of projections live.
pub trait ProjectionStore: fmt::Debug + Send + Sync {
    /// Creates or migrates the engine's tables and those of the projections; safe to repeat and when many
    /// processes do it together.
    ///
    /// # Errors
    /// See [`SetupError`].
    fn setup(&self, projections: &[&Projection]) -> Result<(), SetupError>;

    /// Checks what `setup` would do and changes nothing.
    ///
    /// # Errors
    /// See [`SetupError`].
    fn verify(&self, projections: &[&Projection]) -> Result<(), SetupError>;

    /// The states of these instances, in their order; one that does not exist reads as position 0.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn states(&self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError>;

    /// The states of a projection that exist, by the bytes of their instances, behind `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn states_after(
        &self,
        projection: &ProjectionKey,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<State>, StoreError>;

    /// Runs `work` in one transaction and commits when it returns `Ok`; otherwise nothing of it remains.
    ///
    /// # Errors
    /// What `work` returned, or the store's own; `CommitUnknown` when the outcome is not known.
    fn transaction(
        &self,
        work: &mut dyn FnMut(&mut dyn ProjectionTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Recorded failures of a projection, by instance and position.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn failed_events(&self, projection: &ProjectionKey, query: &FailureQuery) -> Result<Vec<FailedEvent>, StoreError>;

    /// How many failures a query finds; its limit is none of it. Default: it counts what [`failed_events`](Self::failed_events)
    /// gives.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn failure_count(&self, projection: &ProjectionKey, query: &FailureQuery) -> Result<u64, StoreError> {
        Ok(self.failed_events(projection, &query.clone().limit(0))?.len() as u64)
    }

    /// How many failures are recorded in each state.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn failure_counts(&self, projection: &ProjectionKey) -> Result<Vec<(FailureStatus, u64)>, StoreError>;

    /// What people did about failures, the latest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn interventions(&self, projection: &ProjectionKey, limit: usize) -> Result<Vec<Intervention>, StoreError>;

    /// True when the event store of this id is in the database of these read models, so that one transaction sees both.
    /// Default: it is not, and its source is asked for the events that checkpoints name.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn holds(&self, _source: Uuid) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Connections that can be used at the same time, when that is bounded.
    fn connections(&self) -> Option<usize> {
        None
    }

    /// Makes this version the one that readers see, once it is as far as the live one in every instance. Does
    /// nothing when it is live already.
    ///
    /// # Errors
    /// [`SetupError::NotCaughtUp`] while it is behind.
    fn switch(&self, projection: &Projection) -> Result<(), SetupError>;

    /// Where commands to engines are kept; none when the store does not keep any.
    fn commands(&self) -> Option<&dyn CommandStore> {
        None
    }

    /// Where builds beside the live ones are kept; none when the store cannot rebuild.
    fn builds(&self) -> Option<&dyn BuildStore> {
        None
    }

    /// Where processes write down why they stand still; none when the store does not keep that.
    fn standstills(&self) -> Option<&dyn StandstillStore> {
        None
    }
}

/// A transaction on the read models.
///
/// After an error of any method other than [`apply_one`](Self::apply_one) the transaction can only be rolled back.
pub trait ProjectionTransaction {
    /// Locks the states of these instances until the end of the transaction, in order of the instances' bytes, and
    /// returns them in the order given. States that do not exist are made first.
    ///
    /// # Errors
    /// `Timeout` when another transaction holds one of them for too long.
    fn lock(&mut self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError>;

    /// Those of these instances of which the projection's tables hold rows. The engine asks before it applies the first
    /// events of an instance: rows without a checkpoint hold effects of nobody knows which events. Default: none.
    ///
    /// # Errors
    /// When the store fails.
    fn with_rows(&mut self, _projection: &Projection, _instances: &[Arc<str>]) -> Result<Vec<Arc<str>>, StoreError> {
        Ok(Vec::new())
    }

    /// The events above cursors as this transaction sees them, where the event store of this id is in this database and only
    /// this transaction can read it; none has the caller read them from the source. Default: none.
    ///
    /// # Errors
    /// When the store fails.
    fn slices(&mut self, _source: Uuid, _request: &ReadRequest) -> Result<Option<Vec<EventBatch>>, StoreError> {
        Ok(None)
    }

    /// Extends the leases of `owner` on rows that this transaction has locked, which their renewal passes over. False when it
    /// did not. Default: it does not.
    ///
    /// # Errors
    /// When the store fails.
    fn extend(
        &mut self,
        _projection: &ProjectionKey,
        _instances: &[Arc<str>],
        _owner: Uuid,
        _lease: std::time::Duration,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Has what follows in this transaction wait for no lock that is held, and be cut off after such a share of the time that
    /// a statement may take otherwise. Default: nothing changes.
    ///
    /// # Errors
    /// When the store fails.
    fn limit_waits(&mut self, _share: u32) -> Result<(), StoreError> {
        Ok(())
    }

    /// Applies the statements of some instances, those of each in order. The outcome is that of applying each alone, whatever
    /// way is taken.
    ///
    /// # Errors
    /// The first refusal; the transaction can only be rolled back then.
    fn apply(&mut self, projection: &Projection, batches: &[(Arc<str>, Vec<&Statement>)]) -> Result<(), StoreError>;

    /// Applies one statement, all or nothing: after a refusal the transaction stands as before and goes on.
    ///
    /// # Errors
    /// The refusal.
    fn apply_one(&mut self, projection: &Projection, instance: &str, statement: &Statement) -> Result<(), StoreError>;

    /// Moves checkpoints, in order of the instances' bytes.
    ///
    /// With [`Log::Here`] each moves only to an event that stands at that position in this database, and only where the
    /// database still holds the event store that the checkpoint names. So nothing is written that another history led to.
    ///
    /// # Errors
    /// `Diverged` when such an event is not there; what the store failed with.
    fn save(&mut self, projection: &ProjectionKey, checkpoints: &[Checkpoint], log: Log) -> Result<(), StoreError>;

    /// Records failed attempts at events in place of earlier ones. [`State::held`] follows.
    ///
    /// # Errors
    /// When the store fails.
    fn record(&mut self, projection: &ProjectionKey, attempts: &[Attempt]) -> Result<(), StoreError>;

    /// Removes the records of events that held the instance up and are behind it now. [`State::held`] follows.
    ///
    /// # Errors
    /// When the store fails.
    fn clear(&mut self, projection: &ProjectionKey, instance: &str, up_to: i64) -> Result<(), StoreError>;

    /// Removes the records of these events. [`State::held`] follows.
    ///
    /// # Errors
    /// When the store fails.
    fn forget(&mut self, projection: &ProjectionKey, instance: &str, positions: &[i64]) -> Result<(), StoreError>;

    /// Recorded failures, as [`ProjectionStore::failed_events`] gives them, as this transaction sees them.
    ///
    /// # Errors
    /// When the store fails.
    fn failed_events(
        &mut self,
        projection: &ProjectionKey,
        query: &FailureQuery,
    ) -> Result<Vec<FailedEvent>, StoreError>;

    /// Type and id of those aggregates, of those with these ids, of which events are parked.
    ///
    /// # Errors
    /// When the store fails.
    fn parked(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        ids: &[Arc<str>],
    ) -> Result<Aggregates, StoreError>;

    /// Writes down which event is being tried, with the holder's epoch; without one, that none is.
    ///
    /// # Errors
    /// When the store fails.
    fn mark(&mut self, projection: &ProjectionKey, instance: &str, event: Option<i64>) -> Result<(), StoreError>;

    /// Ends the work event by event: [`State::careful`] is false from now on.
    ///
    /// # Errors
    /// When the store fails.
    fn relax(&mut self, projection: &ProjectionKey, instance: &str) -> Result<(), StoreError>;

    /// Keeps what a person did about the failure of an event.
    ///
    /// # Errors
    /// When the store fails.
    fn note(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        position: i64,
        action: Action,
        by: &By,
    ) -> Result<(), StoreError>;

    /// The same for many events of an instance.
    ///
    /// # Errors
    /// When the store fails.
    fn note_all(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        positions: &[i64],
        action: Action,
        by: &By,
    ) -> Result<(), StoreError> {
        positions.iter().try_for_each(|position| self.note(projection, instance, *position, action, by))
    }
}
