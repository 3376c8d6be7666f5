//! Where read models are kept, with their states and failures.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::builds::BuildStore;
use super::commands::CommandStore;
use super::standstills::StandstillStore;
use super::transaction::ProjectionTransaction;
use crate::error::{SetupError, StoreError};
use crate::failure::{FailedEvent, FailureQuery, FailureStatus, Intervention};
use crate::inspect::Inspect;
use crate::projection::Projection;
use crate::sealed::Sealed;
use crate::state::{ProjectionKey, State};

/// Keeps the tables, the states and the failures of projections.
///
/// It is sealed: only this library implements it.
pub trait ProjectionStore: Sealed + fmt::Debug + Send + Sync {
    /// Creates or migrates the engine's tables and those of the projections. It is safe to repeat, and safe when many
    /// processes do it at once.
    ///
    /// # Errors
    /// See [`SetupError`].
    fn setup(&self, projections: &[&Projection]) -> Result<(), SetupError>;

    /// Checks what `setup` would do. Changes nothing.
    ///
    /// # Errors
    /// See [`SetupError`].
    fn verify(&self, projections: &[&Projection]) -> Result<(), SetupError>;

    /// The states of these instances, in their order. A state that does not exist has position 0.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn states(&self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError>;

    /// The existing states of a projection, in order of the instances' bytes, after `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn states_after(
        &self,
        projection: &ProjectionKey,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<State>, StoreError>;

    /// Runs `work` in one transaction. Commits when `work` returns `Ok`; otherwise rolls everything back.
    ///
    /// # Errors
    /// The error of `work`, or the store's. `CommitUnknown` when nobody knows whether the commit happened.
    fn transaction(
        &self,
        work: &mut dyn FnMut(&mut dyn ProjectionTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Recorded failures of a projection, by instance and position.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn failed_events(&self, projection: &ProjectionKey, query: &FailureQuery) -> Result<Vec<FailedEvent>, StoreError>;

    /// How many failures a query finds, whatever its limit.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn failure_count(&self, projection: &ProjectionKey, query: &FailureQuery) -> Result<u64, StoreError>;

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

    /// True when the event store with this id is in the database of these read models, so that one transaction sees
    /// both. Otherwise the engine asks its source for the events that checkpoints name.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn holds(&self, source: Uuid) -> Result<bool, StoreError>;

    /// The number of connections that can be used at the same time, if that is bounded.
    fn connections(&self) -> Option<usize>;

    /// The store of commands to engines.
    fn commands(&self) -> &dyn CommandStore;

    /// The store of builds, live ones and shadows.
    fn builds(&self) -> &dyn BuildStore;

    /// The store in which processes record why they stand still.
    fn standstills(&self) -> &dyn StandstillStore;

    /// Answers questions of people about how everything is doing.
    fn inspect(&self) -> &dyn Inspect;
}
