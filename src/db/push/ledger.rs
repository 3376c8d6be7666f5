//! What is decided about pushes, without a database: each push sees the counters, versions, unique values and push keys
//! as those before it leave them, and one that is refused changes nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::draft::{Aggregate, Draft, Push};
use super::unique::Uniques;
use crate::error::{PushError, StoreError, StoreErrorKind};
use crate::event::{Event, Expected};

/// The counter of an instance, from the moment when its lock was obtained.
#[derive(Debug, Clone)]
pub struct Counter {
    pub(crate) head: i64,
    /// The event at the head.
    pub(crate) event: Option<Uuid>,
    /// The time of the next events: now, but never before that of the head.
    pub(crate) time: SystemTime,
}

/// The counters of some instances.
pub(crate) type Counters = BTreeMap<Arc<str>, Counter>;

/// An instance and a push key.
pub(super) type Key = (Arc<str>, Arc<str>);

/// All that some pushes touch, first as the database has it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(super) counters: Counters,
    pub(super) versions: HashMap<Aggregate, i64>,
    pub(super) uniques: Uniques,
    /// The events that were stored under push keys which the pushes bear.
    pub(super) keyed: HashMap<Key, Vec<Event>>,
    /// The events to be stored, with their push keys.
    pub(super) events: Vec<(Event, Option<Arc<str>>)>,
}

/// A push that is not refused.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) events: Vec<Event>,
    /// They were stored before, under the same push key.
    pub(crate) repeated: bool,
}

impl Ledger {
    /// True when there is nothing to store.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn decide(&mut self, push: &Push) -> Result<Accepted, PushError> {
        if let Some(events) = self.repeated(push)? {
            return Ok(Accepted { events, repeated: true });
        }
        self.has_room(push)?;
        let changes_uniques = push.drafts.iter().any(|draft| !draft.unique.is_empty());
        let before = changes_uniques.then(|| self.uniques.clone());
        let mut changed = HashMap::new();
        match self.expectations(push, &mut changed) {
            Ok(versions) => {
                self.versions.extend(changed);
                let events = self.place(push, &versions)?;
                Ok(Accepted { events, repeated: false })
            }
            Err(refusal) => {
                if let Some(before) = before {
                    self.uniques = before;
                }
                Err(refusal)
            }
        }
    }

    /// The version of each event, when all that the commands expect holds.
    fn expectations(&mut self, push: &Push, changed: &mut HashMap<Aggregate, i64>) -> Result<Vec<i64>, PushError> {
        let mut versions = Vec::with_capacity(push.len());
        for draft in &push.drafts {
            let aggregate = draft.aggregate();
            let stored = &self.versions;
            let found = changed
                .entry(aggregate)
                .or_insert_with_key(|aggregate| stored.get(aggregate).copied().unwrap_or_default());
            if !draft.expected.holds(*found) {
                return Err(conflict(draft, *found));
            }
            *found += 1;
            versions.push(*found);
            for change in &draft.unique {
                self.uniques.change(&draft.event.instance, change)?;
            }
        }
        Ok(versions)
    }

    fn has_room(&self, push: &Push) -> Result<(), PushError> {
        for instance in push.instances() {
            let wanted = push.drafts.iter().filter(|draft| draft.event.instance == *instance).count();
            let head = self.counter(instance)?.head;
            if i64::try_from(wanted).ok().and_then(|wanted| head.checked_add(wanted)).is_none() {
                return Err(PushError::PositionsExhausted { instance: instance.to_string(), head, wanted });
            }
        }
        Ok(())
    }

    fn counter(&self, instance: &Arc<str>) -> Result<&Counter, StoreError> {
        self.counters.get(instance).ok_or_else(vanished)
    }

    /// Gives the events of a push their places.
    fn place(&mut self, push: &Push, versions: &[i64]) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::with_capacity(push.len());
        for (draft, version) in push.drafts.iter().zip(versions) {
            let counter = self.counters.get_mut(&draft.event.instance).ok_or_else(vanished)?;
            let id = Uuid::now_v7();
            counter.head += 1;
            counter.event = Some(id);
            let event = Event {
                id,
                position: counter.head,
                version: *version,
                created_at: counter.time,
                ..draft.event.clone()
            };
            self.events.push((event.clone(), draft.push_key.clone()));
            if let Some(key) = &draft.push_key {
                let key = (Arc::clone(&event.instance), Arc::clone(key));
                self.keyed.entry(key).or_default().push(event.clone());
            }
            events.push(event);
        }
        Ok(events)
    }

    /// The events that were stored for the same push before (K1).
    fn repeated(&self, push: &Push) -> Result<Option<Vec<Event>>, PushError> {
        let mut stored: HashMap<Key, VecDeque<&Event>> = HashMap::new();
        for draft in &push.drafts {
            let Some(key) = key(draft) else { return Ok(None) };
            if let Some(events) = self.keyed.get(&key) {
                stored.entry(key).or_insert_with(|| events.iter().collect());
            }
        }
        if stored.is_empty() {
            return Ok(None);
        }
        let mut events = Vec::with_capacity(push.len());
        for draft in &push.drafts {
            let Some(key) = key(draft) else { return Ok(None) };
            let event = stored.get_mut(&key).and_then(VecDeque::pop_front).filter(|event| draft.is_stored_as(event));
            events.push(event.ok_or_else(|| reused(&key))?.clone());
        }
        match stored.iter().find(|(_, left)| !left.is_empty()) {
            Some((key, _)) => Err(reused(key)),
            None => Ok(Some(events)),
        }
    }
}

pub(super) fn key(draft: &Draft) -> Option<Key> {
    draft.push_key.as_ref().map(|key| (Arc::clone(&draft.event.instance), Arc::clone(key)))
}

fn reused((instance, key): &Key) -> PushError {
    PushError::PushKeyReused { instance: instance.to_string(), key: key.to_string() }
}

fn vanished() -> StoreError {
    StoreError::new("counting positions", StoreErrorKind::Corrupt, "the counter row vanished")
}

fn conflict(draft: &Draft, found: i64) -> PushError {
    debug_assert!(draft.expected != Expected::Any);
    PushError::Conflict {
        instance: draft.event.instance.to_string(),
        aggregate_type: draft.event.aggregate_type.to_string(),
        aggregate_id: draft.event.aggregate_id.to_string(),
        expected: draft.expected,
        found,
    }
}
