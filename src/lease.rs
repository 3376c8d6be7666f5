//! What several processes agree on: who works on which instance until when, who is alive, and where there is work.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::error::StoreError;
use crate::state::ProjectionKey;

/// The right to work on an instance for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The tenant.
    pub instance: Arc<str>,
    /// Grows with each new holder, so that a former one is found out.
    pub epoch: i64,
    /// True when the work goes event by event: a process that held it died, and an event may be to blame.
    pub careful: bool,
}

/// A lease that was extended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The projection.
    pub projection: ProjectionKey,
    /// The lease.
    pub lease: Lease,
}

/// An instance in which a projection is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// Which projection, as its place in the request.
    pub projection: usize,
    /// The tenant.
    pub instance: Arc<str>,
    /// The relevant head.
    pub relevant: i64,
    /// The checkpoint.
    pub checkpoint: i64,
}

/// Which of the pairs that are behind count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lagging {
    /// Those that the one who asks may work on now.
    Free,
    /// Also what is leased, paused or waits for its next attempt; all but what waits for a person.
    Open,
    /// All of them.
    All,
}

/// Which lag is looked for.
#[derive(Debug, Clone)]
pub struct LagRequest {
    /// Projections with the aggregate types they want.
    pub projections: Vec<(ProjectionKey, Vec<String>)>,
    /// Looks at these instances only; empty for all.
    pub instances: Vec<Arc<str>>,
    /// Who asks: the own leases do not count as somebody else's work.
    pub owner: Uuid,
    /// Which pairs count.
    pub lagging: Lagging,
    /// True when the system instance counts too.
    pub system: bool,
    /// A failing event that waits for longer waits because of a wrong clock.
    pub longest_wait: Duration,
    /// How long leases last; one that ends much later comes from a wrong clock and is free.
    pub lease: Duration,
    /// At most so many pairs, or instances, 1 or more. Where there are more pairs, projections take turns: each that is behind
    /// has its first pair among them before another one has its second.
    pub limit: usize,
}

/// Keeps at most so many: of each projection the first, then of each the second, and so on.
pub(crate) fn in_turns(lags: &mut Vec<Lag>, limit: usize) {
    if lags.len() <= limit {
        return;
    }
    let mut turns: HashMap<usize, usize> = HashMap::new();
    lags.sort_by_cached_key(|lag| {
        let turn = turns.entry(lag.projection).or_default();
        *turn += 1;
        *turn
    });
    lags.truncate(limit);
}

/// A process that takes part in the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id, made anew at each start.
    pub process: Uuid,
    /// Its name, for people.
    pub name: String,
    /// Name and version of each projection that it runs.
    pub projections: Vec<(String, u32)>,
}

impl Member {
    /// Whether it runs this projection, in this version if one is named.
    pub(crate) fn can_do(&self, projection: &str, version: Option<u32>) -> bool {
        let fits = |(name, own): &(String, u32)| name == projection && version.is_none_or(|version| version == *own);
        self.projections.iter().any(fits)
    }
}

/// A projection, and the instance unless all of it is meant.
pub type Pause = (String, Option<Arc<str>>);

/// Where leases, members and pauses are kept: beside the states of the projections.
///
/// All times are on this database's clock. A lease is advice for speed: what is applied is right without it.
pub trait LeaseStore: fmt::Debug + Send + Sync {
    /// Has the database end transactions of this store that stand idle for about half of a lease that lasts so long, or
    /// sooner: a process that stands still then lets go of its rows before others may take its leases over. An engine says so
    /// before it begins. Default: nothing is done, for stores whose transactions hold nobody up.
    fn hold_within(&self, _lease: Duration) {}

    /// Has the database's own lists of sessions show this name, unless what names the database brings one. An engine says so
    /// before it begins. Default: nothing is done, for databases without such lists.
    fn call_itself(&self, _name: &str) {}

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

    /// Announces a process for so long, and returns all that are alive, with this one, in the same order everywhere.
    ///
    /// # Errors
    /// When the store fails.
    fn heartbeat(&self, member: &Member, time_to_live: Duration) -> Result<Vec<Member>, StoreError>;

    /// Takes a process off the list and frees what it holds.
    ///
    /// # Errors
    /// When the store fails.
    fn leave(&self, process: Uuid) -> Result<(), StoreError>;

    /// The pairs that lag, in one query for all projections; none when the events are in another database, so that
    /// heads and states have to be compared by the caller.
    ///
    /// # Errors
    /// When the store fails.
    fn lagging(&self, source: Uuid, request: &LagRequest) -> Result<Option<Vec<Lag>>, StoreError>;

    /// The instances in which any of the projections is behind, whatever keeps it from being worked on; a pair that lags
    /// is always in one of them. None when the store cannot tell more cheaply than [`lagging`](Self::lagging), or the
    /// events are in another database.
    ///
    /// # Errors
    /// When the store fails.
    fn lagging_instances(&self, source: Uuid, request: &LagRequest) -> Result<Option<Vec<Arc<str>>>, StoreError> {
        let _ = (source, request);
        Ok(None)
    }

    /// The pairs of these projections, in all instances or those named, whose checkpoints are not part of the log: above its end, and where
    /// `thorough`, also those at which another event stands than the one they name. `relevant` is the end of the instance.
    /// None when the events are in another database.
    ///
    /// # Errors
    /// When the store fails.
    fn diverged(&self, source: Uuid, request: &LagRequest, thorough: bool) -> Result<Option<Vec<Lag>>, StoreError> {
        let _ = (source, request, thorough);
        Ok(None)
    }

    /// A text that changes whenever something may begin to lag: with every push, and with everything that moves a checkpoint
    /// back; and when what is paused or built changes. While it is the same as before a look, nothing lags that did not lag then. None when the store cannot tell;
    /// then every look goes over everything.
    ///
    /// # Errors
    /// When the store fails.
    fn change_token(&self, source: Uuid) -> Result<Option<String>, StoreError> {
        let _ = source;
        Ok(None)
    }

    /// What is paused: projection, and the instance unless all of it is. Commands pause and resume
    /// ([`CommandStore::ask`](crate::CommandStore::ask)).
    ///
    /// # Errors
    /// When the store fails.
    fn pauses(&self) -> Result<Vec<Pause>, StoreError>;
}

/// News of other processes' pushes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notifications {
    /// Instances with new events, each with the aggregate types of some of them.
    pub instances: Vec<(Arc<str>, Arc<str>)>,
    /// There may be more, anywhere.
    pub all: bool,
}

impl Notifications {
    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty() && !self.all
    }
}

/// How a process hears of the pushes of others. A hint for speed: polling alone suffices.
pub trait NotificationListener: fmt::Debug + Send {
    /// Waits for news for so long at most; connects, and connects again, by itself. After each new connection the
    /// news are `all`.
    ///
    /// # Errors
    /// When the connection is lost; the next call tries again.
    fn listen(&mut self, wait: Duration) -> Result<Notifications, StoreError>;

    /// Why this wire hears nothing although it is connected, once it has found that out; none while it hears.
    fn deaf(&self) -> Option<String> {
        None
    }
}

/// A store whose pushes other processes can hear of.
pub trait Notifier: fmt::Debug + Send + Sync {
    /// A wire of one's own.
    fn wire(&self) -> Box<dyn NotificationListener>;

    /// Tells other processes of pushes that were committed here.
    ///
    /// # Errors
    /// When the store fails; nobody hears of it then before their next poll.
    fn announce(&self, news: &Notifications) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: L4
    #[test]
    fn no_projection_crowds_out_another() {
        let lag = |projection| Lag { projection, instance: "a".into(), relevant: 1, checkpoint: 0 };
        let mut lags: Vec<Lag> = [0, 0, 0, 0, 2, 2, 1].map(lag).to_vec();
        in_turns(&mut lags, 7);
        assert_eq!(lags.len(), 7);
        in_turns(&mut lags, 5);
        assert_eq!(lags.iter().map(|lag| lag.projection).collect::<Vec<_>>(), [0, 2, 1, 0, 2]);
    }
}
