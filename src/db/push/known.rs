//! Versions of aggregates that this process has stored itself, so that they need not be read again.
//!
//! They are valid as long as the event at the head of the instance is the last one that this process stored, at the
//! position where it stored it. An import may store an event again after its tenant was removed, but not at the same
//! position. The counter row names both, and every push reads this row under its lock. Code that changes versions in
//! another way has to change the counter row's `head_event`.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::draft::Aggregate;
use super::ledger::{Counter, Counters, Ledger};

/// How many aggregates are remembered, over all instances. Above that, all are forgotten.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub(crate) struct KnownVersions {
    instances: HashMap<Arc<str>, InstanceVersions>,
    aggregates: usize,
}

#[derive(Debug)]
struct InstanceVersions {
    head: (i64, Uuid),
    versions: HashMap<(Arc<str>, Arc<str>), i64>,
}

impl KnownVersions {
    /// The version of an aggregate whose instance has this counter, if it is known.
    pub(super) fn version(&self, counters: &Counters, (instance, kind, id): &Aggregate) -> Option<i64> {
        let known = self.instances.get(instance)?;
        if head(counters.get(instance)?) != Some(known.head) {
            return None;
        }
        known.versions.get(&(Arc::clone(kind), Arc::clone(id))).copied()
    }

    /// Learns from what was committed, given the counters before it.
    pub(super) fn learn(&mut self, before: &Counters, after: Ledger) {
        let Ledger { counters, aggregates, versions, .. } = after;
        if self.aggregates + versions.len() > MOST {
            *self = Self::default();
        }
        if versions.len() > MOST {
            return;
        }
        for (instance, counter) in &counters {
            let Some(now) = head(counter) else { continue };
            let known = self.instances.entry(Arc::clone(instance));
            let known = known.or_insert_with(|| InstanceVersions { head: now, versions: HashMap::new() });
            if before.get(instance).is_none_or(|before| head(before) != Some(known.head)) {
                self.aggregates -= known.versions.len();
                known.versions.clear();
            }
            known.head = now;
        }
        for ((instance, kind, id), version) in aggregates.into_iter().zip(versions) {
            if let Some(known) = self.instances.get_mut(&instance)
                && known.versions.insert((kind, id), version).is_none()
            {
                self.aggregates += 1;
            }
        }
    }
}

/// The position and the id of the event at the head.
fn head(counter: &Counter) -> Option<(i64, Uuid)> {
    Some((counter.head, counter.event?))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::db::Counter;

    fn counters(event: Option<u128>) -> Counters {
        let event = event.map(Uuid::from_u128);
        let counter = Counter { head: 1, event, head_at: None, time: SystemTime::UNIX_EPOCH, closed: false };
        Counters::from([("a".into(), counter)])
    }

    fn aggregate(id: &str) -> Aggregate {
        ("a".into(), "user".into(), id.into())
    }

    fn learn(known: &mut KnownVersions, before: Option<u128>, after: u128, versions: &[(&str, i64)]) {
        let aggregates = versions.iter().map(|(id, _)| aggregate(id)).collect();
        let versions = versions.iter().map(|(_, version)| *version).collect();
        let ledger = Ledger { counters: counters(Some(after)), aggregates, versions, ..Ledger::default() };
        known.learn(&counters(before), ledger);
    }

    // Contract: A1, A2: known versions are not used after another process has pushed.
    #[test]
    fn versions_hold_as_long_as_the_head_is_the_same() {
        let mut known = KnownVersions::default();
        learn(&mut known, None, 1, &[("u", 1), ("v", 4)]);
        learn(&mut known, Some(1), 2, &[("u", 2)]);
        let at = |known: &KnownVersions, head, id| known.version(&counters(head), &aggregate(id));
        assert_eq!((at(&known, Some(2), "u"), at(&known, Some(2), "v")), (Some(2), Some(4)));
        assert_eq!((at(&known, Some(1), "u"), at(&known, Some(3), "u"), at(&known, None, "u")), (None, None, None));
        learn(&mut known, Some(3), 4, &[("u", 9)]);
        assert_eq!((at(&known, Some(4), "u"), at(&known, Some(4), "v")), (Some(9), None));
        assert_eq!(known.aggregates, 1);
    }

    // Contract: L9
    #[test]
    fn not_more_is_remembered_than_is_allowed() {
        let mut known = KnownVersions::default();
        let ids: Vec<String> = (0..=MOST).map(|n| n.to_string()).collect();
        let versions: Vec<(&str, i64)> = ids.iter().map(|id| (id.as_str(), 1)).collect();
        for (at, some) in versions.chunks(MOST / 3).enumerate() {
            learn(&mut known, Some(at as u128), at as u128 + 1, some);
            assert!(known.aggregates <= MOST);
        }
        assert_eq!(known.aggregates, known.instances.values().map(|instance| instance.versions.len()).sum::<usize>());
        learn(&mut known, None, 1, &versions);
        assert_eq!(known.aggregates, 0);
    }
}
