//! What several processes agree on: which of them works on an instance and until when, which are alive, and where there
//! is work.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::state::ProjectionKey;

/// The right to work on an instance for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The tenant.
    pub instance: Arc<str>,
    /// Grows with each new holder, so that an earlier holder can be recognized.
    pub epoch: i64,
    /// True when the holder works event by event: a process that held the lease died, and an event may be to blame.
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

/// An instance in which a projection lags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The projection, as its index in the request.
    pub projection: usize,
    /// The tenant.
    pub instance: Arc<str>,
    /// The relevant head.
    pub relevant: i64,
    /// The checkpoint.
    pub checkpoint: i64,
}

/// Which of the lagging pairs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lagging {
    /// The pairs that the asking process may work on now.
    Free,
    /// Also pairs that are leased, paused, or wait for their next attempt, but not those that wait for a person.
    Open,
    /// All pairs.
    All,
}

/// Which lag to look for.
#[derive(Debug, Clone)]
pub struct LagRequest {
    /// The projections, each with the aggregate types that it wants.
    pub projections: Vec<(ProjectionKey, Vec<String>)>,
    /// Only these instances. Empty for all.
    pub instances: Vec<Arc<str>>,
    /// The process that asks. Its own leases do not count as work of another process.
    pub owner: Uuid,
    /// Which pairs count.
    pub lagging: Lagging,
    /// True when the system instance counts too.
    pub system: bool,
    /// A failing event never waits longer than this. If one does, its time came from a wrong clock, and it is due.
    pub longest_wait: Duration,
    /// How long leases last. A lease that ends much later came from a wrong clock, and counts as free.
    pub lease: Duration,
    /// At most this many pairs, or instances; 1 or more. When there are more pairs, projections take turns: each
    /// lagging projection gets its first pair before any gets its second.
    pub limit: usize,
}

/// Keeps at most this many pairs: the first one of each projection, then the second one of each, and so on.
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
    /// Its id. Each start makes a new one.
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

/// A projection, and the instance, or `None` for the whole projection.
pub type Pause = (String, Option<Arc<str>>);

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
