//! Leases, and which processes are alive.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::error::StoreError;
use crate::lease::{Lag, LagRequest, Lease, Member, Pause, Renewal};
use crate::sealed::Sealed;
use crate::state::ProjectionKey;

/// Keeps leases, members and pauses, in the database of the projections' states.
///
/// All times are on this database's clock. A lease only saves work: what is applied is right without it, too.
///
/// It is sealed: only this library implements it.
pub trait LeaseStore: Sealed + fmt::Debug + Send + Sync {
    /// Makes the database end transactions of this store that are idle for about half of this lease time, or sooner. So
    /// a process that hangs releases its rows before others may take its leases. An engine calls this before it begins.
    fn hold_within(&self, lease: Duration);

    /// Makes the database's own lists of sessions show this name, unless the connection settings bring one. An engine
    /// calls this before it begins.
    fn call_itself(&self, name: &str);

    /// Takes the leases of these instances that are free, expired or already the owner's. Returns exactly those that it
    /// got. Never waits for another holder.
    ///
    /// # Errors
    /// When the store fails.
    fn acquire(
        &self,
        projection: &ProjectionKey,
        instances: &[Arc<str>],
        owner: Uuid,
        lease: Duration,
    ) -> Result<Vec<Lease>, StoreError>;

    /// Extends all leases of the owner that have not expired, and returns them. It may leave out one whose row is
    /// locked by a transaction.
    ///
    /// # Errors
    /// When the store fails.
    fn renew(&self, owner: Uuid, lease: Duration) -> Result<Vec<Renewal>, StoreError>;

    /// Gives back the leases of these instances that are still the owner's.
    ///
    /// # Errors
    /// When the store fails.
    fn release(&self, projection: &ProjectionKey, instances: &[Arc<str>], owner: Uuid) -> Result<(), StoreError>;

    /// Takes or keeps the lead of a projection's first run. Returns false when another process has it.
    ///
    /// # Errors
    /// When the store fails.
    fn lead(&self, projection: &ProjectionKey, owner: Uuid, lease: Duration) -> Result<bool, StoreError>;

    /// Whether each of these has succeeded once.
    ///
    /// # Errors
    /// When the store fails.
    fn succeeded(&self, projections: &[ProjectionKey]) -> Result<Vec<bool>, StoreError>;

    /// Records the success of the first run, which only its leader may do. Returns false when it was recorded before,
    /// or when another process has the lead.
    ///
    /// # Errors
    /// When the store fails.
    fn succeed(&self, projection: &ProjectionKey, owner: Uuid) -> Result<bool, StoreError>;

    /// Announces a process for this long. Returns all living processes, including this one, in the same order
    /// everywhere.
    ///
    /// # Errors
    /// When the store fails.
    fn heartbeat(&self, member: &Member, time_to_live: Duration) -> Result<Vec<Member>, StoreError>;

    /// Notes for a process on the list how many of its updates and deletes met no row, for each of its builds, since
    /// it was started; and why it does not hear of pushes of other processes, unless it hears. It writes only what differs
    /// from the note.
    ///
    /// # Errors
    /// When the store fails.
    fn tell(&self, process: Uuid, missed: &[(ProjectionKey, u64)], deaf: Option<&str>) -> Result<(), StoreError>;

    /// Takes a process off the list and frees what it holds.
    ///
    /// # Errors
    /// When the store fails.
    fn leave(&self, process: Uuid) -> Result<(), StoreError>;

    /// True when this database is at that [`EventStore::location`](crate::EventStore::location), so that one query sees
    /// the heads of its log together with the states. A copy of the database is another database.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn is_at(&self, location: &str) -> Result<bool, StoreError>;

    /// The pairs that lag, in one query for all projections. `None` when the events are in another database: then the
    /// caller has to compare heads and states.
    ///
    /// # Errors
    /// When the store fails.
    fn lagging(&self, source: Uuid, request: &LagRequest) -> Result<Option<Vec<Lag>>, StoreError>;

    /// The instances in which any of the projections lags, whatever keeps it from being worked on. Every pair that lags
    /// is in one of them. `None` when the store cannot tell at a lower cost than [`lagging`](Self::lagging), or when
    /// the events are in another database.
    ///
    /// # Errors
    /// When the store fails.
    fn lagging_instances(&self, source: Uuid, request: &LagRequest) -> Result<Option<Vec<Arc<str>>>, StoreError>;

    /// The pairs of these projections whose checkpoints are not part of the log, in all instances or in the named ones.
    /// Such a checkpoint is above the end of the log, or, if `thorough`, at a position where the log has another event
    /// than the checkpoint names. `relevant` is the end of the instance. `None` when the events are in another
    /// database.
    ///
    /// # Errors
    /// When the store fails.
    fn diverged(&self, source: Uuid, request: &LagRequest, thorough: bool) -> Result<Option<Vec<Lag>>, StoreError>;

    /// A text that changes whenever something may begin to lag: with every push, with everything that moves a
    /// checkpoint back, and when pauses or builds change. While it is the same as before a look, nothing lags that did
    /// not lag then. `None` when the store cannot tell. Then every look covers everything.
    ///
    /// # Errors
    /// When the store fails.
    fn change_token(&self, source: Uuid) -> Result<Option<String>, StoreError>;

    /// The pauses: the projection, and the instance unless the whole projection is paused. Commands pause and resume
    /// ([`CommandStore::ask`](crate::store::CommandStore::ask)).
    ///
    /// # Errors
    /// When the store fails.
    fn pauses(&self) -> Result<Vec<Pause>, StoreError>;
}
