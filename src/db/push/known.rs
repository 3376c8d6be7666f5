//! Versions of aggregates that this process has stored itself, so that they need not be read again.
//!
//! They hold for as long as the event at the head of the instance is the last one that this process has stored: the
//! counter row, which names it, is read under the lock that every push takes. Whoever changes versions otherwise has to
//! change the counter row's `head_event`.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::draft::Aggregate;
use super::ledger::{Counters, Ledger};

/// Aggregates of all instances that are remembered; beyond that all are forgotten.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub(crate) struct Known {
    instances: HashMap<Arc<str>, Instance>,
    aggregates: usize,
}

#[derive(Debug)]
struct Instance {
    head: Uuid,
    versions: HashMap<(Arc<str>, Arc<str>), i64>,
}

impl Known {
    /// The version of an aggregate whose instance stands at this counter, if it is known.
    pub(super) fn version(&self, counters: &Counters, (instance, kind, id): &Aggregate) -> Option<i64> {
        let known = self.instances.get(instance)?;
        if counters.get(instance)?.event != Some(known.head) {
            return None;
        }
        known.versions.get(&(Arc::clone(kind), Arc::clone(id))).copied()
    }

    /// Learns from what was committed, given the counters before it.
    pub(super) fn learn(&mut self, before: &Counters, after: Ledger) {
        let Ledger { counters, versions, .. } = after;
        if self.aggregates + versions.len() > MOST {
            *self = Self::default();
        }
        if versions.len() > MOST {
            return;
        }
        for (instance, counter) in &counters {
            let Some(head) = counter.event else { continue };
            let known = self.instances.entry(Arc::clone(instance));
            let known = known.or_insert_with(|| Instance { head, versions: HashMap::new() });
            if before.get(instance).is_none_or(|before| before.event != Some(known.head)) {
                self.aggregates -= known.versions.len();
                known.versions.clear();
            }
            known.head = head;
        }
        for ((instance, kind, id), version) in versions {
            if let Some(known) = self.instances.get_mut(&instance)
                && known.versions.insert((kind, id), version).is_none()
            {
                self.aggregates += 1;
            }
        }
    }
}
