//! Builds of read models: a live one, and shadows that are being filled.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::transaction::ProjectionTransaction;
use crate::builds::{Build, Comparison, LaggingInstance, Model, Phase};
use crate::error::{Error, SetupError, StoreError, SwitchError};
use crate::projection::Projection;
use crate::sealed::Sealed;
use crate::state::ProjectionKey;
use crate::statement::Statement;
use crate::table::Table;
use crate::value::Value;

/// A row of a read table: names and values of its columns, the instance first.
type Columns = Vec<(String, Value)>;

/// Brings the instances of a build up to date inside the transaction that locks them.
pub type CatchUp<'c> = &'c mut dyn FnMut(&mut dyn ProjectionTransaction, &[LaggingInstance]) -> Result<(), StoreError>;

/// Temporary tables of a projection. They begin empty, nobody else sees them, and they are gone afterwards.
///
/// It is sealed: only this library implements it.
pub trait Replay: Sealed {
    /// Applies a statement. A refused statement changes nothing.
    ///
    /// # Errors
    /// When the statement is refused, or when the store fails.
    fn apply(&mut self, instance: &str, statement: &Statement) -> Result<(), StoreError>;

    /// The rows of an instance, table by table.
    ///
    /// # Errors
    /// When the store fails.
    fn rows(&mut self, instance: &str) -> Result<Vec<Vec<Columns>>, StoreError>;

    /// The row with this primary key.
    ///
    /// # Errors
    /// When the store fails.
    fn find(&mut self, table: &Table, instance: &str, key: &[Value]) -> Result<Option<Columns>, StoreError>;
}

/// Work on temporary tables.
pub type Replaying<'w> = &'w mut dyn FnMut(&mut dyn Replay) -> Result<(), Error>;

/// Where builds are registered, compared and exchanged, in the database of the read models.
///
/// It is sealed: only this library implements it.
pub trait BuildStore: Sealed + fmt::Debug + Send + Sync {
    /// All builds of all projections.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn builds(&self) -> Result<Vec<Build>, StoreError>;

    /// Makes the tables of a build if there are none, and registers the build under this command. It removes the
    /// remains of an earlier, abandoned build; a build under construction goes on. The tables get what people added to
    /// those that readers see. Returns the things that they cannot get.
    ///
    /// # Errors
    /// See [`SwitchError`]. Anything that would refuse the switch is reported here already.
    fn begin(&self, build: &Projection, command: Uuid) -> Result<Vec<String>, SwitchError>;

    /// Moves a build into another phase. Returns false when it is in none of the phases given as `from`.
    ///
    /// # Errors
    /// When the store fails.
    fn enter(
        &self,
        build: &ProjectionKey,
        from: &[Phase],
        to: Phase,
        trouble: Option<&str>,
    ) -> Result<bool, StoreError>;

    /// Begins to fill a kept build again, for this command.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn revive(&self, build: &ProjectionKey, command: Uuid) -> Result<(), SwitchError>;

    /// Instances that have a state in one of these builds, in order of their bytes, after `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn instances_of(
        &self,
        builds: &[ProjectionKey],
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError>;

    /// Compares two builds in those of these instances in which both have the same position, and adds the result to the
    /// comparison. Returns the other instances with both positions.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn compare(
        &self,
        old: &ProjectionKey,
        new: &ProjectionKey,
        instances: &[Arc<str>],
        equal: &[LaggingInstance],
        into: &mut Comparison,
    ) -> Result<Vec<LaggingInstance>, StoreError>;

    /// Makes readers see this build, in one transaction, during which the live one does not move. It calls `catch_up`
    /// for the instances in which the build lags behind the live one. Without `catch_up` the switch happens although
    /// the build lags. The call waits this long for readers that use the tables; new readers wait meanwhile.
    ///
    /// # Errors
    /// See [`SwitchError`]; nothing has changed then.
    fn go_live(
        &self,
        build: &ProjectionKey,
        patience: Duration,
        catch_up: Option<CatchUp<'_>>,
    ) -> Result<(), SwitchError>;

    /// Exchanges rows, state and failures of one instance of the live build for those of another build, in one
    /// transaction.
    ///
    /// # Errors
    /// See [`SwitchError`]; nothing has changed then.
    fn exchange(&self, build: &Projection, instance: &Arc<str>, catch_up: CatchUp<'_>) -> Result<(), SwitchError>;

    /// Removes a build that readers do not see: tables, states, failures. Returns false when there is none.
    ///
    /// # Errors
    /// [`SetupError::Dependents`] when an object of the service depends on its tables; others when the store fails.
    fn remove(&self, build: &ProjectionKey) -> Result<bool, SetupError>;

    /// The foreign keys by which the service's tables refer to the tables of a build, in words.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn referring(&self, projection: &Projection) -> Result<Vec<String>, StoreError>;

    /// The instances whose removal has begun and not finished, in order of their bytes. No build holds the rest of
    /// their logs.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn half_removed(&self) -> Result<Vec<Arc<str>>, StoreError>;

    /// Empties these instances of a read model: rows, state, and failures other than discarded ones. Returns the number
    /// of removed rows.
    ///
    /// # Errors
    /// When the store fails.
    fn empty(&self, projection: &Projection, instances: &[Arc<str>]) -> Result<u64, StoreError>;

    /// Makes discarded events apply again when a pass meets them, in one instance or in all. Returns their number.
    ///
    /// # Errors
    /// When the store fails.
    fn forget_discarded(&self, build: &ProjectionKey, instance: Option<&str>) -> Result<u64, StoreError>;

    /// Records that the first run has not succeeded.
    ///
    /// # Errors
    /// When the store fails.
    fn revoke(&self, projection: &ProjectionKey) -> Result<(), StoreError>;

    /// Instances that have a state or a row, in order of their bytes, after `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn instances(
        &self,
        projection: &Projection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError>;

    /// The row with this primary key, as readers of this build see it.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn find(
        &self,
        projection: &Projection,
        table: &Table,
        instance: &str,
        key: &[Value],
    ) -> Result<Option<Vec<(String, Value)>>, StoreError>;

    /// One instance, read from one snapshot, so that state and rows fit each other while an engine works.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn model(&self, projection: &Projection, instance: &str) -> Result<Model, StoreError>;

    /// Runs the work on temporary tables of the projection in this database, if the projection's custom SQL needs the
    /// same database as the read model. Returns false, and does nothing, when SQLite in memory is good enough.
    ///
    /// # Errors
    /// The errors of the work, and others when the store fails.
    fn replay(&self, projection: &Projection, work: Replaying<'_>) -> Result<bool, Error>;
}
