//! Builds of read models: a live one, and shadows that are filled meanwhile.

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

/// Tables of a projection that are empty at first, that nobody else sees, and that are gone afterwards.
///
/// It is sealed: only this library implements it.
pub trait Replay: Sealed {
    /// Applies a statement; one that is refused changes nothing.
    ///
    /// # Errors
    /// Why it is refused, or that the store fails.
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

/// Work on such tables.
pub type Replaying<'w> = &'w mut dyn FnMut(&mut dyn Replay) -> Result<(), Error>;

/// Where builds are registered, compared and exchanged: in the database of the read models.
///
/// It is sealed: only this library implements it.
pub trait BuildStore: Sealed + fmt::Debug + Send + Sync {
    /// All builds of all projections.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn builds(&self) -> Result<Vec<Build>, StoreError>;

    /// Makes the tables of a build where there are none, removes what is left of an earlier one that is not wanted any
    /// more, and registers it as being built by this command. One that is under construction goes on. Its tables get what
    /// people hung on those that readers see; returned is what they will be without.
    ///
    /// # Errors
    /// See [`SwitchError`]: what would refuse the switch is said here.
    fn begin(&self, build: &Projection, command: Uuid) -> Result<Vec<String>, SwitchError>;

    /// Moves a build into another phase, unless it is in none of these; false then.
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

    /// Has a build that was kept be filled again, for this command.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn revive(&self, build: &ProjectionKey, command: Uuid) -> Result<(), SwitchError>;

    /// Instances that have a state in one of these builds, by bytes, behind `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn instances_of(
        &self,
        builds: &[ProjectionKey],
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError>;

    /// Compares two builds in those of these instances in which both stand at the same position, and adds to the
    /// comparison. Returns the others with both positions.
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

    /// Has readers see this build, in one transaction, during which the live one does not move. `catch_up` is called
    /// for the instances in which it lags behind the live one; without it the switch happens although the build lags.
    /// The call waits this long for readers that use the tables; new readers wait meanwhile.
    ///
    /// # Errors
    /// See [`SwitchError`]; nothing has changed then.
    fn go_live(
        &self,
        build: &ProjectionKey,
        patience: Duration,
        catch_up: Option<CatchUp<'_>>,
    ) -> Result<(), SwitchError>;

    /// Exchanges rows, state and failures of one instance of the live build for those of a build beside it, in one
    /// transaction.
    ///
    /// # Errors
    /// See [`SwitchError`]; nothing has changed then.
    fn exchange(&self, build: &Projection, instance: &Arc<str>, catch_up: CatchUp<'_>) -> Result<(), SwitchError>;

    /// Removes a build that readers do not see: tables, states, failures; false when there is none.
    ///
    /// # Errors
    /// [`SetupError::Dependents`] where something of the service's own stands on its tables; when the store fails.
    fn remove(&self, build: &ProjectionKey) -> Result<bool, SetupError>;

    /// Foreign keys of the service's own tables that refer to the tables of a build, in words.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn referring(&self, projection: &Projection) -> Result<Vec<String>, StoreError>;

    /// Instances whose removal has begun and not come to its end, by bytes: what is left of their logs is in no build.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn half_removed(&self) -> Result<Vec<Arc<str>>, StoreError>;

    /// Empties these instances of a read model: rows, state and failures, but for what people gave up. Returns how many rows
    /// went.
    ///
    /// # Errors
    /// When the store fails.
    fn empty(&self, projection: &Projection, instances: &[Arc<str>]) -> Result<u64, StoreError>;

    /// What people gave up is applied again when it is met; in one instance or all. Returns how many events that are.
    ///
    /// # Errors
    /// When the store fails.
    fn forget_discarded(&self, build: &ProjectionKey, instance: Option<&str>) -> Result<u64, StoreError>;

    /// Takes back that the first run has succeeded.
    ///
    /// # Errors
    /// When the store fails.
    fn revoke(&self, projection: &ProjectionKey) -> Result<(), StoreError>;

    /// Instances that have a state or a row, by bytes, behind `after`, at most `limit`.
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

    /// One instance, read from one snapshot: while an engine works, state and rows must fit each other.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn model(&self, projection: &Projection, instance: &str) -> Result<Model, StoreError>;

    /// Runs the work on tables of the projection, where its custom SQL needs this database to mean what it means in the
    /// read model. False when SQLite in memory does as well; nothing was done then.
    ///
    /// # Errors
    /// Those of the work, and when the store fails.
    fn replay(&self, projection: &Projection, work: Replaying<'_>) -> Result<bool, Error>;
}
