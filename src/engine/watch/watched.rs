//! What is watched, how far its watchers were told, and which changes are remembered for those that come back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::builds::{Build, Phase};
use crate::engine::watch::changes::{self, LiveChange, Queue, WatchMark};
use crate::state::{ProjectionKey, State};

/// A build that readers see, from one switch or reset to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveBuild {
    pub(crate) key: ProjectionKey,
    /// The last switch. A switch within a version exchanges the names of builds, but not this id.
    pub(crate) command: Option<Uuid>,
    pub(crate) resets: i64,
}

impl LiveBuild {
    pub(crate) fn of(builds: &[Build], projection: &str) -> Option<Self> {
        let live = builds.iter().find(|build| build.phase == Phase::Live && build.key.projection() == projection)?;
        Some(Self { key: live.key.clone(), command: live.command, resets: live.resets })
    }
}

/// How far the watchers were told. A read now has every event up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) position: i64,
    pub(crate) event: Option<Uuid>,
    pub(crate) anew: i64,
}

impl From<&State> for Seen {
    fn from(state: &State) -> Self {
        Self { position: state.position, event: state.event, anew: state.anew }
    }
}

/// A read model in one instance that somebody watches, or watched not long ago.
#[derive(Debug)]
pub(crate) struct Pair {
    /// `None` until it is read.
    pub(crate) known: Option<(LiveBuild, Seen)>,
    pub(crate) era: u64,
    /// The last changes of this era. Each one continues where the one before it ended.
    pub(crate) last: VecDeque<(i64, LiveChange)>,
    pub(crate) queues: Vec<Arc<Queue>>,
    /// Since when nobody watches.
    left: Option<Instant>,
    /// The transactions of this process that may change it and are under way, and how many there were in all.
    pub(crate) flights: usize,
    pub(crate) flown: u64,
}

impl Pair {
    pub(crate) fn new(era: u64) -> Self {
        let (last, queues) = (VecDeque::new(), Vec::new());
        Self { known: None, era, last, queues, left: None, flights: 0, flown: 0 }
    }

    pub(crate) fn tell(&mut self, from: i64, change: LiveChange) {
        self.queues.retain(|queue| !queue.is_closed());
        self.queues.iter().for_each(|queue| queue.put(&change));
        self.last.push_back((from, change));
        let keys = |last: &VecDeque<(i64, LiveChange)>| changes::keys_of(last.iter().map(|(_, change)| change));
        while self.last.len() > changes::MOST || (self.last.len() > 1 && keys(&self.last) > changes::MOST_KEYS) {
            self.last.pop_front();
        }
    }

    /// The changes after a mark. `None` when they are not known.
    pub(crate) fn since(&self, mark: &WatchMark, hub: u64, position: i64) -> Option<Vec<LiveChange>> {
        if mark.hub != hub || mark.era != self.era || mark.position > position {
            return None;
        }
        let missed = self.last.iter().filter(|(_, change)| change.position > mark.position);
        let missed: Vec<&(i64, LiveChange)> = missed.collect();
        let begins = missed.first().map_or(position, |(from, _)| *from);
        (begins <= mark.position).then(|| missed.into_iter().map(|(_, change)| change.clone()).collect())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The pairs by projection and instance.
    pub(crate) pairs: HashMap<Arc<str>, HashMap<Arc<str>, Pair>>,
    eras: u64,
    pub(crate) closed: bool,
}

impl Watched {
    pub(crate) fn next_era(&mut self) -> u64 {
        self.eras += 1;
        self.eras
    }

    pub(crate) fn pair(&mut self, projection: &str, instance: &str) -> Option<&mut Pair> {
        self.pairs.get_mut(projection)?.get_mut(instance)
    }

    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.pairs.values_mut().flat_map(HashMap::values_mut)
    }

    /// Forgets what nobody has watched for this long.
    pub(crate) fn clean(&mut self, linger: Duration) {
        for pairs in self.pairs.values_mut() {
            pairs.retain(|_, pair| {
                pair.queues.retain(|queue| !queue.is_closed());
                if !pair.queues.is_empty() {
                    pair.left = None;
                    return true;
                }
                let is_remembered =
                    pair.known.is_some() && pair.left.get_or_insert_with(Instant::now).elapsed() < linger;
                pair.flights > 0 || is_remembered
            });
        }
        self.pairs.retain(|_, pairs| !pairs.is_empty());
    }
}
