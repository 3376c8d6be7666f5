//! What is counted of all builds in all instances, part by part, so that one look costs the same at any size.

use std::ops::Range;
use std::time::SystemTime;

use uuid::Uuid;

use crate::state::ProjectionKey;

/// How many parts a look reads at most, once all of them were read.
const PARTS: usize = 3;

/// What a caller of [`Inspect::look`](super::Inspect::look) keeps between two looks: the counts of the instances that
/// the next look does not read again. Each caller has its own. It holds numbers only, about 50 kB for each million of
/// pairs of an instance and a projection and each ten projections.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use readside::inspect::{Inspect, Survey};
/// use readside::{EventStore, SqliteStore};
///
/// let store = SqliteStore::in_memory()?;
/// store.setup()?;
/// let mut survey = Survey::default();
/// for _ in 0..3 {
///     let status = store.look(false, &mut survey)?;
///     assert!(status.counted_from <= status.at);
/// }
/// # }
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Survey {
    /// What was counted; counts of anything else are of no use.
    asked: Option<Asked>,
    /// In the order of instances. Together they cover all instances.
    parts: Vec<Part>,
    next: usize,
    /// What one look is for; `None` for a caller that looks again.
    once: Option<Depth>,
}

/// What a caller that looks once wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// All figures.
    Figures,
    /// Whether anything is stuck, and the verdicts.
    Verdicts,
}

/// What a survey counts: the builds with their types, and how often each was reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) system: bool,
    pub(crate) builds: Vec<(ProjectionKey, Vec<String>, i64)>,
}

/// The counts of some instances.
#[derive(Debug)]
pub(crate) struct Part {
    /// The last one of them; `None` in the last part, which has no end.
    pub(crate) last: Option<String>,
    pub(crate) at: SystemTime,
    /// By the number of the build.
    pub(crate) counts: Vec<Counts>,
}

/// What is counted of one build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Instances with events that concern it.
    pub(crate) instances: u64,
    /// Those with a checkpoint.
    pub(crate) begun: u64,
    pub(crate) lagging: u64,
    /// How many positions these are behind.
    pub(crate) events: i64,
    /// How many positions are handled.
    pub(crate) handled: i64,
    /// When the oldest unhandled event was stored.
    pub(crate) oldest: Option<SystemTime>,
    pub(crate) moved_at: Option<SystemTime>,
    /// How many checkpoints are above their heads, and the first such instance.
    pub(crate) ahead: Option<(i64, String)>,
    pub(crate) leased: Option<Leased>,
    /// True if a state names the event store of this database.
    pub(crate) fed_here: bool,
    /// Another event store that a state names.
    pub(crate) fed_from: Option<Uuid>,
    /// Held events by state.
    pub(crate) held: Vec<(String, u64)>,
    /// Leases by process.
    pub(crate) leases: Vec<(Uuid, u64)>,
}

/// Instances that have been leased for long and do not move.
#[derive(Debug, Clone)]
pub(crate) struct Leased {
    pub(crate) count: i64,
    /// The first of them, with its holder.
    pub(crate) instance: String,
    pub(crate) owner: Option<Uuid>,
    pub(crate) since: Option<SystemTime>,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.instances += other.instances;
        self.begun += other.begun;
        self.lagging += other.lagging;
        self.events = self.events.saturating_add(other.events);
        self.handled = self.handled.saturating_add(other.handled);
        self.oldest = [self.oldest, other.oldest].into_iter().flatten().min();
        self.moved_at = self.moved_at.max(other.moved_at);
        self.ahead = match (self.ahead.take(), &other.ahead) {
            (Some((some, first)), Some((more, other))) => Some((some + more, first.min(other.clone()))),
            (one, other) => one.or_else(|| other.clone()),
        };
        self.leased = match (self.leased.take(), &other.leased) {
            (Some(one), Some(other)) => {
                let count = one.count + other.count;
                let first = if other.instance < one.instance { other.clone() } else { one };
                Some(Leased { count, ..first })
            }
            (one, other) => one.or_else(|| other.clone()),
        };
        self.fed_here |= other.fed_here;
        self.fed_from = self.fed_from.or(other.fed_from);
        for (state, count) in &other.held {
            sum(&mut self.held, state, *count);
        }
        for (process, count) in &other.leases {
            sum(&mut self.leases, process, *count);
        }
    }

    /// How many events are held in this state.
    pub(crate) fn held(&self, state: &str) -> u64 {
        self.held.iter().find(|(of, _)| of == state).map_or(0, |(_, count)| *count)
    }
}

/// Adds to the count of one of few.
fn sum<K: PartialEq + Clone>(counts: &mut Vec<(K, u64)>, of: &K, count: u64) {
    match counts.iter_mut().find(|(known, _)| known == of) {
        Some((_, known)) => *known += count,
        None => counts.push((of.clone(), count)),
    }
}

impl Survey {
    /// For one look that counts everything.
    pub(crate) fn of_figures() -> Self {
        Self { once: Some(Depth::Figures), ..Self::default() }
    }

    /// For one look that tells verdicts, and leaves out what they do not depend on.
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "only commands judge alone"))]
    pub(crate) fn of_verdicts() -> Self {
        Self { once: Some(Depth::Verdicts), ..Self::default() }
    }

    pub(crate) fn once(&self) -> Option<Depth> {
        self.once
    }

    /// Begins anew unless the counts are about the same. Returns which parts are to be read now. All instances are
    /// one part until they were read.
    pub(crate) fn due(&mut self, asked: &Asked) -> Range<usize> {
        if self.asked.as_ref() != Some(asked) || self.once.is_some() {
            *self = Self { asked: Some(asked.clone()), once: self.once, ..Self::default() };
        }
        if self.next >= self.parts.len() {
            self.next = 0;
        }
        self.next..(self.next + PARTS).min(self.parts.len().max(1))
    }

    /// The instances of a part: those after the first name, up to the other one.
    pub(crate) fn bounds(&self, part: usize) -> (Option<String>, Option<String>) {
        let last = |part: usize| self.parts.get(part).and_then(|part| part.last.clone());
        (part.checked_sub(1).and_then(last), last(part))
    }

    /// Puts parts that cover the same instances in the place of these ones.
    pub(crate) fn put(&mut self, old: Range<usize>, new: Vec<Part>) {
        let old = old.start..old.end.min(self.parts.len());
        self.next = old.start + new.len();
        self.parts.splice(old, new);
    }

    /// The sums over all parts, and when the oldest of them was counted.
    pub(crate) fn sums(&self) -> (Vec<Counts>, Option<SystemTime>) {
        let builds = self.asked.as_ref().map_or(0, |asked| asked.builds.len());
        let mut sums = vec![Counts::default(); builds];
        for part in &self.parts {
            for (sum, counts) in sums.iter_mut().zip(&part.counts) {
                sum.add(counts);
            }
        }
        (sums, self.parts.iter().map(|part| part.at).min())
    }
}
