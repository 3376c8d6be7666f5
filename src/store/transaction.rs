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
    /// Locks the states of these instances until the end of the transaction, in order of the instances' bytes, and
    /// returns them in the order given. States that do not exist are made first.
    ///
    /// # Errors
    /// `Timeout` when another transaction holds one of them for too long.
    fn lock(&mut self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError>;

    /// Those of these instances of which the projection's tables hold rows. The engine asks before it applies the first
    /// events of an instance: rows without a checkpoint hold effects of nobody knows which events.
    ///
    /// # Errors
    /// When the store fails.
    fn with_rows(&mut self, projection: &Projection, instances: &[Arc<str>]) -> Result<Vec<Arc<str>>, StoreError>;

    /// The events above cursors as this transaction sees them, where the event store of this id is in this database and only
    /// this transaction can read it; none has the caller read them from the source.
    ///
    /// # Errors
    /// When the store fails.
    fn event_batches(&mut self, source: Uuid, request: &ReadRequest) -> Result<Option<Vec<EventBatch>>, StoreError>;

    /// Extends the leases of `owner` on rows that this transaction has locked, which their renewal passes over. False when it
    /// did not.
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

    /// Has what follows in this transaction wait for no lock that is held, and be cut off after such a share of the time that
    /// a statement may take otherwise.
    ///
    /// # Errors
    /// When the store fails.
    fn limit_waits(&mut self, share: u32) -> Result<(), StoreError>;

    /// Applies the statements of some instances, those of each in order. The outcome is that of applying each alone, whatever
    /// way is taken.
    ///
    /// # Errors
    /// The first refusal; the transaction can only be rolled back then.
    fn apply(&mut self, projection: &Projection, batches: &[(Arc<str>, Vec<&Statement>)]) -> Result<(), StoreError>;

    /// How many updates and deletes of this transaction met no row, as far as the database has told.
    fn missed(&self) -> u64;

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

    /// Removes the records of events that held the instance up and that it has passed. [`State::held`] follows.
    ///
    /// # Errors
    /// When the store fails.
    fn clear(&mut self, projection: &ProjectionKey, instance: &str, up_to: i64) -> Result<(), StoreError>;

    /// Removes the records of these events. [`State::held`] follows.
    ///
    /// # Errors
    /// When the store fails.
    fn forget(&mut self, projection: &ProjectionKey, instance: &str, positions: &[i64]) -> Result<(), StoreError>;

    /// Recorded failures, as [`failed_events`](crate::store::ProjectionStore::failed_events) gives them, as this transaction sees them.
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

    /// The first event that is still held of each of these aggregates of an instance becomes the parked one: those before it are
    /// done or given up.
    ///
    /// # Errors
    /// When the store fails.
    fn promote(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        aggregates: &Aggregates,
    ) -> Result<(), StoreError>;

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
    ) -> Result<(), StoreError>;
}
