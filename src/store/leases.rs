//! Leases, and who is alive.

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
/// All times are on this database's clock. A lease is advice for speed: what is applied is right without it.
///
/// It is sealed: only this library implements it.
pub trait LeaseStore: Sealed + fmt::Debug + Send + Sync {
    /// Has the database end transactions of this store that are idle for about half of this lease time, or sooner.
    /// A process that hangs then releases its rows before others may take its leases over. An engine says so
    /// before it begins.
    fn hold_within(&self, lease: Duration);

    /// Has the database's own lists of sessions show this name, unless what names the database brings one. An engine says so
    /// before it begins.
    fn call_itself(&self, name: &str);

    /// Takes the leases of these instances that are free, the owner's own, or expired, and returns exactly those
    /// obtained. Never waits for another holder.
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

    /// Extends all leases of the owner that have not expired, and returns them. One whose row is locked by a
    /// transaction may be left out.
    ///
    /// # Errors
    /// When the store fails.
    fn renew(&self, owner: Uuid, lease: Duration) -> Result<Vec<Renewal>, StoreError>;

    /// Gives back the leases of these instances that are still the owner's.
    ///
    /// # Errors
    /// When the store fails.
    fn release(&self, projection: &ProjectionKey, instances: &[Arc<str>], owner: Uuid) -> Result<(), StoreError>;

    /// Takes or keeps the lead of a projection's first run; false when somebody else has it.
    ///
    /// # Errors
    /// When the store fails.
    fn lead(&self, projection: &ProjectionKey, owner: Uuid, lease: Duration) -> Result<bool, StoreError>;

    /// Which of these have succeeded once.
    ///
    /// # Errors
    /// When the store fails.
    fn succeeded(&self, projections: &[ProjectionKey]) -> Result<Vec<bool>, StoreError>;

    /// Records the success of the first run, which its leader alone may do; false when it was recorded before, or the
    /// lead is somebody else's.
    ///
    /// # Errors
    /// When the store fails.
    fn succeed(&self, projection: &ProjectionKey, owner: Uuid) -> Result<bool, StoreError>;

    /// Announces a process for this long, and returns all that are alive, with this one, in the same order everywhere.
    ///
    /// # Errors
    /// When the store fails.
    fn heartbeat(&self, member: &Member, time_to_live: Duration) -> Result<Vec<Member>, StoreError>;

    /// Notes for a process on the list how many of its updates and deletes met no row, for each of its builds, since
    /// it was started. It writes only what differs from the note.
    ///
    /// # Errors
    /// When the store fails.
    fn tell_missed(&self, process: Uuid, missed: &[(ProjectionKey, u64)]) -> Result<(), StoreError>;

    /// Takes a process off the list and frees what it holds.
    ///
    /// # Errors
    /// When the store fails.
    fn leave(&self, process: Uuid) -> Result<(), StoreError>;

    /// True when this is the database at that [`EventStore::location`](crate::EventStore::location), so that one query sees
    /// the heads of its log together with the states. A copy of the database is another database.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn is_at(&self, location: &str) -> Result<bool, StoreError>;

    /// The pairs that lag, in one query for all projections; `None` when the events are in another database, so that
    /// heads and states have to be compared by the caller.
    ///
    /// # Errors
    /// When the store fails.
    fn lagging(&self, source: Uuid, request: &LagRequest) -> Result<Option<Vec<Lag>>, StoreError>;

    /// The instances in which any of the projections is behind, whatever keeps it from being worked on; a pair that lags
    /// is always in one of them. `None` when the store cannot tell more cheaply than [`lagging`](Self::lagging), or the
    /// events are in another database.
    ///
    /// # Errors
    /// When the store fails.
    fn lagging_instances(&self, source: Uuid, request: &LagRequest) -> Result<Option<Vec<Arc<str>>>, StoreError>;

    /// The pairs of these projections, in all instances or those named, whose checkpoints are not part of the log: above its end, and where
    /// `thorough`, also those at which another event stands than the one they name. `relevant` is the end of the instance.
    /// `None` when the events are in another database.
    ///
    /// # Errors
    /// When the store fails.
    fn diverged(&self, source: Uuid, request: &LagRequest, thorough: bool) -> Result<Option<Vec<Lag>>, StoreError>;

    /// A text that changes whenever something may begin to lag: with every push, and with everything that moves a checkpoint
    /// back; and when what is paused or built changes. While it is the same as before a look, nothing lags that did not lag then. `None` when the store cannot tell;
    /// then every look goes over everything.
    ///
    /// # Errors
    /// When the store fails.
    fn change_token(&self, source: Uuid) -> Result<Option<String>, StoreError>;

    /// What is paused: projection, and the instance unless all of it is. Commands pause and resume
    /// ([`CommandStore::ask`](crate::store::CommandStore::ask)).
    ///
    /// # Errors
    /// When the store fails.
    fn pauses(&self) -> Result<Vec<Pause>, StoreError>;
}
