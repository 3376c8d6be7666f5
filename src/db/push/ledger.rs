//! Decides pushes without a database. Each push sees the counters, versions, unique values and push keys as the earlier
//! ones leave them. A push that is refused changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::draft::{Aggregate, Draft, Push};
use super::unique::Uniques;
use crate::error::{PushError, StoreError, StoreErrorKind};
use crate::event::{Event, Expected};

/// The counter of an instance, as of the moment when its lock was acquired.
#[derive(Debug, Clone)]
pub struct Counter {
    pub(crate) head: i64,
    /// The event at the head.
    pub(crate) event: Option<Uuid>,
    /// The time of the event at the head; `None` if that event was removed.
    pub(crate) head_at: Option<SystemTime>,
    /// The time of the next events: now, but never before the event at the head.
    pub(crate) time: SystemTime,
    /// The instance was removed, and not reopened.
    pub(crate) closed: bool,
}

/// How far the clock of the database that an event comes from may be ahead of this database's clock.
const CLOCKS_DIFFER: Duration = Duration::from_mins(5);

/// The counters of some instances.
pub(crate) type Counters = BTreeMap<Arc<str>, Counter>;

/// An instance and a push key.
pub(super) type PushKey = (Arc<str>, Arc<str>);

/// Everything that some pushes touch, at first as the database has it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(super) counters: Counters,
    /// The aggregates have numbers, so that each event needs only one look-up of its texts.
    pub(super) aggregates: Vec<Aggregate>,
    /// The versions of these aggregates, in the same order.
    pub(super) versions: Vec<i64>,
    pub(super) uniques: Uniques,
    /// The events that were stored under the push keys of these pushes.
    pub(super) keyed: HashMap<PushKey, Vec<Event>>,
    /// Those ids of imported events that exist already in their instance.
    pub(super) ids: HashSet<(Arc<str>, Uuid)>,
    pub(super) last_id: Option<Uuid>,
}

/// A push, and the numbers of the aggregates of its events.
#[derive(Debug)]
pub(super) struct Numbered<'p> {
    pub(super) push: &'p Push,
    pub(super) aggregates: Vec<usize>,
}

/// A push that is not refused.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) events: Vec<Event>,
    /// True if the events were stored before, under the same push key.
    pub(crate) repeated: bool,
}

impl Ledger {
    pub(super) fn decide(&mut self, numbered: &Numbered<'_>) -> Result<Accepted, PushError> {
        let push = numbered.push;
        self.is_open(push)?;
        self.is_undisturbed(push)?;
        if let Some(events) = self.repeated(push)? {
            return Ok(Accepted { events, repeated: true });
        }
        self.has_room(push)?;
        self.keeps_what_was(push)?;
        let changes_uniques = push.drafts.iter().any(|draft| !draft.unique.is_empty());
        let before = changes_uniques.then(|| self.uniques.clone());
        let mut events = Vec::with_capacity(push.len());
        if let Err(refusal) = self.expectations(numbered, &mut events) {
            // Each event that was processed has raised a version.
            numbered.aggregates.iter().take(events.len()).for_each(|at| self.raise(*at, -1));
            if let Some(before) = before {
                self.uniques = before;
            }
            return Err(refusal);
        }
        self.place(&mut events, &push.drafts)?;
        for (event, draft) in events.iter().zip(&push.drafts) {
            if let Some(key) = key(draft) {
                self.keyed.entry(key).or_default().push(event.clone());
            }
        }
        Ok(Accepted { events, repeated: false })
    }

    /// Makes the events with their versions only, as long as all their expectations hold.
    fn expectations(&mut self, numbered: &Numbered<'_>, events: &mut Vec<Event>) -> Result<(), PushError> {
        for (index, (draft, at)) in numbered.push.drafts.iter().zip(&numbered.aggregates).enumerate() {
            let found = self.versions.get(*at).copied().unwrap_or_default();
            if !draft.expected.holds(found) {
                return Err(conflict(draft, found));
            }
            self.raise(*at, 1);
            events.push(Event { version: found + 1, ..draft.event.clone() });
            for change in &draft.unique {
                self.uniques.change(index, &draft.event.instance, change)?;
            }
        }
        Ok(())
    }

    fn raise(&mut self, aggregate: usize, by: i64) {
        if let Some(version) = self.versions.get_mut(aggregate) {
            *version += by;
        }
    }

    fn is_open(&self, push: &Push) -> Result<(), PushError> {
        for instance in push.instances() {
            if self.counter(instance)?.closed {
                return Err(PushError::InstanceRemoved { instance: instance.to_string() });
            }
        }
        Ok(())
    }

    fn is_undisturbed(&self, push: &Push) -> Result<(), PushError> {
        let Some(continued) = push.continues else { return Ok(()) };
        for instance in push.instances() {
            if self.counter(instance)?.event != continued.head {
                return Err(PushError::ImportDisturbed { instance: instance.to_string() });
            }
        }
        Ok(())
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

    /// Refuses ids and times from elsewhere that do not fit the stored events: no time goes back, and no id occurs
    /// twice (A1, L10).
    fn keeps_what_was(&self, push: &Push) -> Result<(), PushError> {
        if push.drafts.iter().all(|draft| draft.id.is_none() && draft.created_at.is_none()) {
            return Ok(());
        }
        let (mut times, mut ids) = (HashMap::new(), HashSet::new());
        for (index, draft) in push.drafts.iter().enumerate() {
            let of = &draft.event.instance;
            let instance = || of.to_string();
            let counter = self.counter(of)?;
            let before = times.get(of).copied().or(counter.head_at);
            if let Some(created_at) = draft.created_at {
                if let Some(before) = before.filter(|before| created_at < *before) {
                    return Err(PushError::TimeGoesBack { index, instance: instance(), created_at, before });
                }
                if counter.time.checked_add(CLOCKS_DIFFER).is_some_and(|most| created_at > most) {
                    return Err(PushError::TimeAhead { index, instance: instance(), created_at, now: counter.time });
                }
            }
            let given = || before.map_or(counter.time, |before| before.max(counter.time));
            times.insert(of, draft.created_at.unwrap_or_else(given));
            if let Some(id) = draft.id
                && (self.ids.contains(&(Arc::clone(of), id)) || !ids.insert((of, id)))
            {
                return Err(PushError::IdExists { index, instance: instance(), id });
            }
        }
        Ok(())
    }

    /// Gives the events of a push their positions, times and ids.
    fn place(&mut self, events: &mut [Event], drafts: &[Draft]) -> Result<(), StoreError> {
        for (event, draft) in events.iter_mut().zip(drafts) {
            let id = match draft.id {
                Some(kept) => {
                    self.ids.insert((Arc::clone(&event.instance), kept));
                    kept
                }
                None => self.next_id(),
            };
            let counter = self.counters.get_mut(&event.instance).ok_or_else(vanished)?;
            counter.head += 1;
            event.previous = counter.event.replace(id);
            event.id = id;
            event.position = counter.head;
            event.created_at = draft.created_at.unwrap_or(counter.time);
            counter.head_at = Some(event.created_at);
            counter.time = counter.time.max(event.created_at);
        }
        Ok(())
    }

    /// The first id has a random part after its time. The next ids count up from it, as the standard allows for many
    /// ids at once.
    fn next_id(&mut self) -> Uuid {
        let next = self.last_id.and_then(|last| last.as_u128().checked_add(1));
        let id = next.map_or_else(Uuid::now_v7, Uuid::from_u128);
        self.last_id = Some(id);
        id
    }

    /// The events that an earlier push stored under the same push key (K1).
    fn repeated(&self, push: &Push) -> Result<Option<Vec<Event>>, PushError> {
        if push.continues.is_some() {
            return Ok(None);
        }
        let mut stored: HashMap<PushKey, VecDeque<&Event>> = HashMap::new();
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
            events.push(event.ok_or_else(|| self.other_events(push, key))?.clone());
        }
        match stored.iter().find(|(_, left)| !left.is_empty()) {
            Some((key, _)) => Err(reused(key)),
            None => Ok(Some(events)),
        }
    }

    /// The error for a push in which the event with this key is not the one that was stored. If this key is new, another
    /// key of the push was used, with fewer events.
    fn other_events(&self, push: &Push, key: PushKey) -> PushError {
        let mut keys = std::iter::once(key.clone()).chain(push.drafts.iter().filter_map(self::key));
        reused(&keys.find(|key| self.keyed.contains_key(key)).unwrap_or(key))
    }
}

pub(super) fn key(draft: &Draft) -> Option<PushKey> {
    draft.push_key.as_ref().map(|key| (Arc::clone(&draft.event.instance), Arc::clone(key)))
}

fn reused((instance, key): &PushKey) -> PushError {
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
        aggregate_id: draft.event.aggregate_id().to_owned(),
        expected: draft.expected,
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NewEvent;

    const HEAD: i64 = 7;

    /// The ledger of an instance "a" of which the aggregate "u" is at a version.
    fn ledger(version: i64) -> Ledger {
        let counter = Counter { head: HEAD, event: None, head_at: None, time: SystemTime::UNIX_EPOCH, closed: false };
        Ledger {
            counters: Counters::from([("a".into(), counter)]),
            aggregates: vec![("a".into(), "user".into(), "u".into())],
            versions: vec![version],
            ..Ledger::default()
        }
    }

    fn user() -> NewEvent {
        NewEvent::raw("a", "user", "u", "added")
    }

    fn decide(ledger: &mut Ledger, events: &[NewEvent]) -> Result<Accepted, PushError> {
        let push = Push::of(events)?;
        ledger.decide(&Numbered { push: &push, aggregates: vec![0; events.len()] })
    }

    fn places(accepted: &Accepted) -> Vec<(i64, i64)> {
        accepted.events.iter().map(|event| (event.position, event.version)).collect()
    }

    // Contract: A1, A2
    #[test]
    fn each_push_sees_those_before_it() {
        let mut ledger = ledger(3);
        let first = decide(&mut ledger, &[user(), user().expect(Expected::Version(4))]).unwrap();
        assert_eq!(places(&first), [(8, 4), (9, 5)]);
        let second = decide(&mut ledger, &[user().expect(Expected::Version(5))]).unwrap();
        assert_eq!(places(&second), [(10, 6)]);
        assert_eq!(ledger.counters["a"].event, Some(second.events[0].id));
        let ids: Vec<Uuid> = first.events.iter().chain(&second.events).map(|event| event.id).collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.get_version_num() == 7));
    }

    // Contract: A1-A3
    #[test]
    fn a_refused_push_changes_nothing() {
        let mut ledger = ledger(3);
        let take = |value: &str| user().add_unique("name", value, "taken");
        decide(&mut ledger, &[take("ada")]).unwrap();
        let refused = [
            vec![take("eve"), user(), user().expect(Expected::New)],
            vec![take("eve"), user().remove_unique("name", "ada"), take("eve")],
            vec![user(), user(), take("ada")],
        ];
        for events in refused {
            decide(&mut ledger, &events).unwrap_err();
            assert_eq!((ledger.versions[0], ledger.counters["a"].head), (4, HEAD + 1));
        }
        decide(&mut ledger, &[take("ada")]).unwrap_err();
        decide(&mut ledger, &[take("eve")]).unwrap();
    }

    #[test]
    fn positions_are_counted_before_any_is_given() {
        let mut ledger = ledger(0);
        ledger.counters.get_mut("a").unwrap().head = i64::MAX - 1;
        let refused = decide(&mut ledger, &[user(), user()]);
        assert!(matches!(refused, Err(PushError::PositionsExhausted { wanted: 2, .. })), "{refused:?}");
        assert_eq!(places(&decide(&mut ledger, &[user()]).unwrap()), [(i64::MAX, 1)]);
    }

    // Contract: K1
    #[test]
    fn a_push_is_repeated_with_the_same_commands_only() {
        let mut ledger = ledger(0);
        let keyed = || user().push_key("k");
        let first = decide(&mut ledger, &[keyed(), keyed().revision(2)]).unwrap();
        let again = decide(&mut ledger, &[keyed(), keyed().revision(2)]).unwrap();
        assert_eq!((first.repeated, again.repeated, &again.events), (false, true, &first.events));
        for other in [vec![keyed()], vec![keyed(), keyed()], vec![keyed(), keyed().revision(2), keyed()]] {
            assert!(matches!(decide(&mut ledger, &other), Err(PushError::PushKeyReused { .. })));
        }
        let new = || user().push_key("new");
        for other in [vec![new(), keyed(), keyed().revision(2)], vec![keyed(), keyed().revision(2), new()]] {
            let refused = decide(&mut ledger, &other);
            assert!(matches!(&refused, Err(PushError::PushKeyReused { key, .. }) if key == "k"), "{refused:?}");
        }
        assert_eq!(ledger.counters["a"].head, HEAD + 2);
    }
}
