//! The notes of what stands still: what is new, what the log has said, and what is over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::standstill::{StandstillKind, StandstillSubject, bounded};

/// The most instances of a projection that are noted one by one.
pub(super) const MOST: usize = 100;

/// The most further instances that are counted.
const COUNTED: usize = 10_000;

/// How often the log repeats a standstill with the same reason.
pub(super) const TELL_AGAIN: Duration = Duration::from_hours(1);

pub(crate) type StandstillKey = (usize, StandstillSubject);

/// A standstill as this process knows it.
#[derive(Debug)]
pub(crate) struct KnownStandstill {
    pub(crate) kind: StandstillKind,
    pub(crate) reason: String,
    /// The position at which it stands still. If it moves and stands still again, that is a new standstill.
    pub(crate) position: i64,
    pub(crate) since: Instant,
    /// When the log said so last.
    pub(crate) told: Instant,
    /// The last pass that found it.
    pub(crate) pass: u64,
    pub(crate) written: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) kept: BTreeMap<StandstillKey, KnownStandstill>,
    /// Instances beyond those that are noted one by one, each with the last pass that found it.
    pub(crate) others: HashMap<usize, HashMap<Arc<str>, u64>>,
    /// Standstills that were written and are over.
    pub(crate) gone: BTreeSet<StandstillKey>,
    /// The number of passes so far.
    pub(crate) pass: u64,
    /// What an observer has not heard yet.
    pub(super) news: Vec<News>,
}

/// A change of what is known.
#[derive(Debug)]
pub(super) enum News {
    Stands(StandstillKey, StandstillKind, String),
    GoesOn(StandstillKey, StandstillKind, Duration),
}

impl Notes {
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.gone.is_empty()
    }

    pub(crate) fn instances(&self, projection: usize) -> usize {
        let is_one = |key: &&StandstillKey| key.0 == projection && matches!(key.1, StandstillSubject::Instance(_));
        self.kept.keys().filter(is_one).count()
    }

    /// Returns true when it is new.
    pub(super) fn note(&mut self, key: StandstillKey, kind: StandstillKind, reason: &str, position: i64) -> bool {
        let (reason, pass) = (bounded(reason), self.pass);
        let known = self.kept.get_mut(&key).filter(|kept| kept.kind == kind && kept.position == position);
        if let Some(kept) = known {
            kept.pass = pass;
            if kept.reason != reason {
                (kept.reason, kept.written) = (reason, false);
            }
            return false;
        }
        let projection = key.0;
        if let StandstillSubject::Instance(instance) = &key.1
            && !self.kept.contains_key(&key)
        {
            if self.instances(projection) >= MOST {
                return self.count(projection, instance, kind);
            }
            if let Some(others) = self.others.get_mut(&projection) {
                others.remove(instance);
            }
        }
        self.gone.remove(&key);
        self.news.push(News::Stands(key.clone(), kind, reason.clone()));
        let now = Instant::now();
        self.kept.insert(key, KnownStandstill { kind, reason, position, since: now, told: now, pass, written: false });
        true
    }

    /// False when the log has said the same not long ago. For instances that are only counted, the log says it once.
    pub(super) fn is_news(&mut self, key: &StandstillKey, kind: StandstillKind, reason: &str, position: i64) -> bool {
        let now = Instant::now();
        if let Some(kept) = self.kept.get_mut(key) {
            let is_same = kept.kind == kind && kept.position == position && kept.reason == bounded(reason);
            let is_news = !is_same || now.duration_since(kept.told) >= TELL_AGAIN;
            if is_news {
                kept.told = now;
            }
            return is_news;
        }
        match (&key.1, self.others.get(&key.0)) {
            (StandstillSubject::Instance(instance), Some(others)) => {
                others.len() < COUNTED && !others.contains_key(instance)
            }
            _ => true,
        }
    }

    /// Notes an instance that is only counted. The next tick writes their number.
    fn count(&mut self, projection: usize, instance: &Arc<str>, kind: StandstillKind) -> bool {
        let others = self.others.entry(projection).or_default();
        if others.len() < COUNTED || others.contains_key(instance) {
            others.insert(Arc::clone(instance), self.pass);
        }
        let count = others.len();
        let reason = if count < COUNTED {
            format!("{count} more instances stand still")
        } else {
            format!("{count} more instances, or more, stand still")
        };
        self.note((projection, StandstillSubject::More), kind, &reason, 0)
    }

    /// Returns true when that changes what is written.
    pub(super) fn clear(&mut self, key: &StandstillKey) -> bool {
        let Some(kept) = self.kept.remove(key) else { return false };
        self.news.push(News::GoesOn(key.clone(), kept.kind, kept.since.elapsed()));
        // A standstill that is being written now is not marked as written yet.
        self.gone.insert(key.clone());
        kept.written
    }

    /// Clears it, unless it was found again since this pass began.
    pub(super) fn clear_before(&mut self, key: &StandstillKey, pass: u64) -> bool {
        self.kept.get(key).is_some_and(|kept| kept.pass < pass) && self.clear(key)
    }

    /// The same for an instance that is only counted.
    pub(super) fn clear_other(&mut self, projection: usize, instance: &Arc<str>, pass: u64) -> bool {
        let Some(others) = self.others.get_mut(&projection) else { return false };
        if others.get(instance).is_some_and(|found| *found < pass) {
            others.remove(instance);
        }
        if !others.is_empty() {
            return false;
        }
        self.others.remove(&projection);
        self.clear(&(projection, StandstillSubject::More))
    }
}
