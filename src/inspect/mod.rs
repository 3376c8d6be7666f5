//! What operators look at: how projections are doing, which process works on what, and whether the database is fit.

mod finding;
mod format;
mod status;
mod survey;
mod views;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use finding::Examined;
pub use finding::{Finding, Severity};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use format::bytes;
pub use status::{ActiveLease, LeaseQuery, MemberStatus, Mismatch, Paused, ProjectionStatus, Status};
pub use survey::Survey;
pub(crate) use survey::{Asked, Counts, Depth, Leased, Part};
pub use views::{
    Activity, ActivityKind, FailureGroup, FailureGroups, InstanceCheckpoint, InstanceHead, InstanceLag, Lineage,
    LineageTable,
};

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::error::StoreError;
use crate::query::Flaw;
use crate::retention::Operation;
use crate::sealed::Sealed;
use crate::state::ProjectionKey;

/// The version of the engine's own tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaVersion {
    /// The version in the database; 0 if it was never set up.
    pub found: i64,
    /// The newest version that this library knows.
    pub known: i64,
}

/// An object that a service added to a read table, and that the table's definition does not declare. A switch or a
/// removal has to deal with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hanging {
    /// The projection.
    pub projection: String,
    /// The version of the build to which the table belongs.
    pub version: u32,
    /// The mark of this build; `None` for the build with the plain name.
    pub build: Option<String>,
    /// Readers see this build.
    pub is_live: bool,
    /// The table.
    pub table: String,
    /// What it is, with its name.
    pub what: String,
    /// A rebuild moves it to the new table.
    pub moves: bool,
}

/// Something that the code declares for a table which readers see, and that the database lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lacking {
    /// The projection.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// The table.
    pub table: String,
    /// What it is, with its name.
    pub what: String,
}

/// A store that can be inspected without the code of its projections, because the database holds what they registered.
///
/// It is sealed: only this library implements it.
pub trait Inspect: Sealed + fmt::Debug + Send + Sync {
    /// The version of the engine's own tables. If the database has none, this is no error.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn schema(&self) -> Result<SchemaVersion, StoreError>;

    /// How all builds of all projections are doing. Counts the system instance only if `system` is true.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn status(&self, system: bool) -> Result<Status, StoreError>;

    /// As [`status`](Self::status), for a caller that looks again and again: reads some instances anew, and takes the
    /// counts of the others from the survey. So one look costs the same at any size. The first look reads everything,
    /// and so does one after a build came, went or was reset. [`Status::counted_from`] tells how old the counts are.
    ///
    /// # Errors
    /// When the store cannot be read. The survey then stays as it was, or is newer.
    fn look(&self, system: bool, survey: &mut Survey) -> Result<Status, StoreError>;

    /// The processes that announced themselves, with the number of their leases. Counts nothing else.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn processes(&self) -> Result<Vec<MemberStatus>, StoreError>;

    /// Leases by projection and instance: those that processes hold, and those that dead processes left behind.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn active_leases(&self, query: &LeaseQuery) -> Result<Vec<ActiveLease>, StoreError>;

    /// Checkpoints of this store that name another event than the log has at their position. Compares at most `limit`
    /// of the checkpoints that are not above their head.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn mismatches(&self, limit: usize) -> Result<Vec<Mismatch>, StoreError>;

    /// What logs lack. Looks at the first instances that together have this many events.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn flawed(&self, events: usize) -> Result<Vec<Flaw>, StoreError>;

    /// Objects that services added to read tables, and that depend on these tables or have to be moved in a switch.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn hanging(&self) -> Result<Vec<Hanging>, StoreError>;

    /// What the code declares for the tables that readers see, and the database lacks: indexes, checks, generated
    /// columns, comments, grants, policies.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn lacking(&self) -> Result<Vec<Lacking>, StoreError>;

    /// Tables and views of read models that are missing, and views that read something else than they should; in words.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn out_of_place(&self) -> Result<Vec<String>, StoreError>;

    /// Erasures, removals and archivals that began and did not end, the latest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn unfinished(&self, limit: usize) -> Result<Vec<Operation>, StoreError>;

    /// Instances in which a build is behind, those with the most lag first, at most `limit`. Empty if the events are in
    /// another database.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn most_behind(&self, build: &ProjectionKey, limit: usize) -> Result<Vec<InstanceLag>, StoreError>;

    /// Instances of this log whose names begin with `prefix`, in byte order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn instance_heads(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<InstanceHead>, StoreError>;

    /// The checkpoints of all builds in an instance. Leaves out builds of a single instance.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn checkpoints(&self, instance: &str) -> Result<Vec<InstanceCheckpoint>, StoreError>;

    /// Failed events, grouped by build, event type, class and state; only those of `build`, if it is given. Leaves out
    /// events that wait for others, and discarded events. Reads at most `most` records.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn failure_groups(&self, build: Option<&ProjectionKey>, most: usize) -> Result<FailureGroups, StoreError>;

    /// What people did and asked for, the latest first, before the one with this id, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn activity(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Activity>, StoreError>;

    /// Which event types feed which tables and columns, as the projections declared it. Leaves out builds beside the
    /// live one.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn lineage(&self) -> Result<Vec<Lineage>, StoreError>;

    /// Examines the database itself: version, privileges, space, and poolers between it and this process. Waits at most
    /// `patience` for an answer. What it cannot find out is a finding, too.
    fn examine(&self, patience: Duration) -> Vec<Finding>;
}
