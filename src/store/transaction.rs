//! The transaction that moves a checkpoint together with the rows.

use std::sync::Arc;

use uuid::Uuid;

use crate::error::StoreError;
use crate::failure::{Action, Aggregates, Attempt, By, FailedEvent, FailureQuery};
use crate::projection::Projection;
use crate::query::{EventBatch, ReadRequest};
use crate::sealed::Sealed;
use crate::state::{Checkpoint, Log, ProjectionKey, State};
use crate::statement::Statement;

/// A transaction on the read models.
///
/// After an error of any method other than [`apply_one`](Self::apply_one) the transaction can only be rolled back.
///
/// It is sealed: only this library implements it.
pub trait ProjectionTransaction: Sealed {
    /// Locks the states of these instances until the end of the transaction, in order of the instances' bytes. Returns
    /// them in the order given. It first makes states that do not exist.
    ///
    /// # Errors
    /// `Timeout` when another transaction holds one of them for too long.
    fn lock(&mut self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError>;

    /// Those of these instances that have rows in the projection's tables. The engine asks this before it applies the
    /// first events of an instance: nobody knows which events produced rows that have no checkpoint.
    ///
    /// # Errors
    /// When the store fails.
    fn with_rows(&mut self, projection: &Projection, instances: &[Arc<str>]) -> Result<Vec<Arc<str>>, StoreError>;

    /// The events above cursors as this transaction sees them, if the event store with this id is in this database and
    /// no other connection can read it. If it returns `None`, the caller reads them from the source.
    ///
    /// # Errors
    /// When the store fails.
    fn event_batches(&mut self, source: Uuid, request: &ReadRequest) -> Result<Option<Vec<EventBatch>>, StoreError>;

    /// Extends the leases of `owner` on rows that this transaction has locked, because their renewal skips locked rows.
    /// Returns false when it did not.
    ///
    /// # Errors
    /// When the store fails.
    fn extend(
        &mut self,
        projection: &ProjectionKey,
        instances: &[Arc<str>],
        owner: Uuid,
        lease: std::time::Duration,
    ) -> Result<bool, StoreError>;

    /// For the rest of this transaction: do not wait for locks, and limit each statement to 1/`share` of the usual
    /// statement time-out.
    ///
    /// # Errors
    /// When the store fails.
    fn limit_waits(&mut self, share: u32) -> Result<(), StoreError>;

    /// Applies the statements of some instances, in order within each instance. The result is the same as applying each
    /// statement alone.
    ///
    /// # Errors
    /// The first refusal. The transaction can then only be rolled back.
    fn apply(&mut self, projection: &Projection, batches: &[(Arc<str>, Vec<&Statement>)]) -> Result<(), StoreError>;

    /// How many updates and deletes of this transaction met no row, as far as the database has reported it.
    fn missed(&self) -> u64;

    /// Applies one statement completely or not at all. After a refusal the transaction is as before and goes on.
    ///
    /// # Errors
    /// The refusal.
    fn apply_one(&mut self, projection: &Projection, instance: &str, statement: &Statement) -> Result<(), StoreError>;

    /// Moves checkpoints, in order of the instances' bytes.
    ///
    /// With [`Log::Here`] a checkpoint moves only to an event that is at that position in this database, and only if
    /// the database still holds the event store that the checkpoint names. So this writes nothing that another history
    /// led to.
    ///
    /// # Errors
    /// `Diverged` when such an event is not there; others when the store fails.
    fn save(&mut self, projection: &ProjectionKey, checkpoints: &[Checkpoint], log: Log) -> Result<(), StoreError>;

    /// Records failed attempts at events in place of earlier ones. It also updates [`State::held`].
    ///
    /// # Errors
    /// When the store fails.
    fn record(&mut self, projection: &ProjectionKey, attempts: &[Attempt]) -> Result<(), StoreError>;

    /// Removes the records of events that held the instance up and that it has passed. It also updates [`State::held`].
    ///
    /// # Errors
    /// When the store fails.
    fn clear(&mut self, projection: &ProjectionKey, instance: &str, up_to: i64) -> Result<(), StoreError>;

    /// Removes the records of these events. It also updates [`State::held`].
    ///
    /// # Errors
    /// When the store fails.
    fn forget(&mut self, projection: &ProjectionKey, instance: &str, positions: &[i64]) -> Result<(), StoreError>;

    /// Recorded failures as this transaction sees them. See
    /// [`failed_events`](crate::store::ProjectionStore::failed_events).
    ///
    /// # Errors
    /// When the store fails.
    fn failed_events(
        &mut self,
        projection: &ProjectionKey,
        query: &FailureQuery,
    ) -> Result<Vec<FailedEvent>, StoreError>;

    /// Type and id of those aggregates, among the ones with these ids, that have parked events.
    ///
    /// # Errors
    /// When the store fails.
    fn parked(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        ids: &[Arc<str>],
    ) -> Result<Aggregates, StoreError>;

    /// Makes the first held event of each of these aggregates the parked one. The events before it are done or given
    /// up.
    ///
    /// # Errors
    /// When the store fails.
    fn promote(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        aggregates: &Aggregates,
    ) -> Result<(), StoreError>;

    /// Records which event is being tried, with the holder's epoch. `None` records that none is.
    ///
    /// # Errors
    /// When the store fails.
    fn mark(&mut self, projection: &ProjectionKey, instance: &str, event: Option<i64>) -> Result<(), StoreError>;

    /// Ends the work event by event: [`State::careful`] is false from now on.
    ///
    /// # Errors
    /// When the store fails.
    fn relax(&mut self, projection: &ProjectionKey, instance: &str) -> Result<(), StoreError>;

    /// Records what a person did about the failure of an event.
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
    ) -> Result<(), StoreError>;
}
