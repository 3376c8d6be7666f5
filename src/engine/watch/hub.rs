//! Tells clients what changes in what they watch.
//!
//! Commits of this process tell which rows they changed. Everything else shows in the states of the live build. One
//! thread looks at these states while somebody watches, and finds: a checkpoint that moved without a report, one that
//! was set back, rows that were changed below it, or another build. Then the hub sends one notice: read everything
//! again. That is always right, so the hub sends it in every case of doubt.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use uuid::Uuid;

use crate::engine::watch::changes::{Changes, LiveChange, Queue, Rows, WatchEnd, WatchMark};
use crate::engine::watch::watched::{LiveBuild, Pair, Seen, Watched};
use crate::error::{StoreError, WatchError};
use crate::state::ProjectionKey;
use crate::store::ProjectionStore;
use crate::sync::{Condvar, Mutex};

/// The most watches at a time, and the most watched instances.
const MOST: usize = 10_000;

/// How long the hub remembers changes after the last watch has ended, so that a client that comes back can go on.
const LINGER: Duration = Duration::from_mins(1);

/// The longest sleep of the looking thread while nobody watches.
const NAP: Duration = Duration::from_secs(1);

/// The number of instances whose states are read at once.
const PAGE: usize = 1000;

/// What a transaction did to one instance.
#[derive(Debug)]
pub(crate) struct Landed {
    /// The checkpoint that it found. `None` when another transaction may have moved it in the meantime.
    pub(crate) from: Option<i64>,
    pub(crate) position: i64,
    pub(crate) event: Option<Uuid>,
    /// How often its rows were changed without moving the checkpoint, as the locked state row says.
    pub(crate) anew: i64,
}

/// Who watches in this process.
#[derive(Debug)]
pub(crate) struct Hub {
    id: u64,
    /// True while anything is watched. While it is false, a transaction looks at nothing else.
    is_on: AtomicBool,
    watched: Mutex<Watched>,
    changed: Condvar,
}

impl Default for Hub {
    fn default() -> Self {
        let id = Uuid::now_v7().as_u64_pair().1;
        Self { id, is_on: AtomicBool::new(false), watched: Mutex::default(), changed: Condvar::new() }
    }
}

/// A transaction that may change what is watched. While it is under way, the hub concludes nothing from the states.
#[derive(Debug)]
pub(crate) struct Flight<'h> {
    hub: &'h Hub,
    projection: &'h str,
    instances: Vec<Arc<str>>,
}

impl Flight<'_> {
    /// Tells of a commit, once it is known to have happened.
    ///
    /// The rows are worked out outside of the lock: many they may be, and all who watch anything wait for it.
    pub(crate) fn landed(&self, key: &ProjectionKey, instance: &str, landed: &Landed, rows: impl FnOnce() -> Rows) {
        if self.instances.iter().any(|watched| **watched == *instance) {
            self.hub.landed(self.projection, key, instance, landed, rows());
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut watched = self.hub.watched.lock();
        for instance in &self.instances {
            if let Some(pair) = watched.pair(self.projection, instance) {
                pair.flights = pair.flights.saturating_sub(1);
                pair.flown += 1;
            }
        }
    }
}

impl Hub {
    /// Called before a transaction on these instances. `None` when nobody watches any of them.
    pub(crate) fn begin<'h>(&'h self, projection: &'h str, instances: &[Arc<str>]) -> Option<Flight<'h>> {
        if !self.is_on.load(Ordering::Acquire) {
            return None;
        }
        let mut watched = self.watched.lock();
        let pairs = watched.pairs.get_mut(projection)?;
        let mut found = Vec::new();
        for instance in instances {
            if let Some(pair) = pairs.get_mut(instance) {
                pair.flights += 1;
                pair.flown += 1;
                found.push(Arc::clone(instance));
            }
        }
        if found.is_empty() {
            return None;
        }
        // This must not be made earlier: its drop takes the lock, which is held here.
        Some(Flight { hub: self, projection, instances: found })
    }

    fn landed(&self, projection: &str, key: &ProjectionKey, instance: &str, landed: &Landed, rows: Rows) {
        let mut watched = self.watched.lock();
        let Some(pair) = watched.pair(projection, instance) else { return };
        let Some((build, seen)) = pair.known.as_mut().filter(|(build, _)| build.key == *key) else { return };
        let (before, is_same) = (*seen, landed.anew == seen.anew);
        if is_same && landed.position <= before.position {
            return;
        }
        *seen = Seen { position: landed.position, event: landed.event, anew: landed.anew };
        if is_same && landed.from.is_some_and(|from| from <= before.position) {
            let mark = WatchMark { position: landed.position, era: pair.era, hub: self.id };
            pair.tell(before.position, LiveChange { position: landed.position, rows, mark });
        } else {
            let (build, seen) = (build.clone(), *seen);
            self.renew(&mut watched, projection, instance, build, seen);
        }
    }

    /// Nobody knows which rows changed. So this sends one notice, and forgets the changes before it.
    fn renew(&self, watched: &mut Watched, projection: &str, instance: &str, build: LiveBuild, seen: Seen) {
        let era = watched.next_era();
        let Some(pair) = watched.pair(projection, instance) else { return };
        pair.era = era;
        pair.last.clear();
        pair.known = Some((build, seen));
        let mark = WatchMark { position: seen.position, era, hub: self.id };
        pair.tell(seen.position, LiveChange { position: seen.position, rows: Rows::Anew, mark });
    }

    /// Begins a watch. With a mark it goes on from there, if the changes after the mark are known.
    pub(crate) fn watch(
        &self,
        models: &dyn ProjectionStore,
        projection: &str,
        instance: &str,
        mark: Option<&WatchMark>,
    ) -> Result<Changes, WatchError> {
        let (name, of): (Arc<str>, Arc<str>) = (projection.into(), instance.into());
        let queue = Arc::new(Queue::default());
        {
            let mut watched = self.watched.lock();
            Self::make_room(&mut watched)?;
            let era = watched.next_era();
            let pairs = watched.pairs.entry(Arc::clone(&name)).or_default();
            let pair = pairs.entry(Arc::clone(&of)).or_insert_with(|| Pair::new(era));
            // From now on the pair stays, and the client is told.
            pair.queues.push(Arc::clone(&queue));
            self.is_on.store(true, Ordering::Release);
        }
        self.changed.notify_all();
        let begin = self.settle(models, &name, &of, &queue, mark);
        if begin.is_err() {
            queue.close();
        }
        Ok(Changes { mark: begin?, queue })
    }

    fn make_room(watched: &mut Watched) -> Result<(), WatchError> {
        if watched.closed {
            return Err(WatchError::ShutDown);
        }
        let count = |watched: &mut Watched| watched.all().map(|pair| pair.queues.len().max(1)).sum::<usize>();
        if count(watched) < MOST {
            return Ok(());
        }
        watched.clean(Duration::ZERO);
        if count(watched) < MOST { Ok(()) } else { Err(WatchError::TooMany { most: MOST }) }
    }

    /// Reads how far the pair is, unless that is known, and returns where the watch begins. The queue then holds what
    /// was missed since the mark.
    fn settle(
        &self,
        models: &dyn ProjectionStore,
        projection: &str,
        instance: &Arc<str>,
        queue: &Arc<Queue>,
        mark: Option<&WatchMark>,
    ) -> Result<WatchMark, WatchError> {
        let is_known = self.watched.lock().pair(projection, instance).is_some_and(|pair| pair.known.is_some());
        if !is_known {
            let unknown = || WatchError::UnknownProjection { projection: projection.to_owned() };
            let live = LiveBuild::of(&models.builds().builds()?, projection).ok_or_else(unknown)?;
            let states = models.states(&live.key, std::slice::from_ref(instance))?;
            let seen = states.first().map_or(Seen { position: 0, event: None, anew: 0 }, Seen::from);
            if let Some(pair) = self.watched.lock().pair(projection, instance) {
                pair.known.get_or_insert((live, seen));
            }
        }
        let mut watched = self.watched.lock();
        let (id, closed) = (self.id, watched.closed);
        let Some(pair) = watched.pair(projection, instance).filter(|_| !closed) else {
            return Err(WatchError::ShutDown);
        };
        let position = pair.known.as_ref().map_or(0, |(_, seen)| seen.position);
        let now = WatchMark { position, era: pair.era, hub: id };
        // Changes that arrived during the read are part of what this reports now.
        queue.clear();
        let Some(mark) = mark else { return Ok(now) };
        match pair.since(mark, id, position) {
            Some(missed) => missed.iter().for_each(|change| queue.put(change)),
            None => queue.put(&LiveChange { position, rows: Rows::Anew, mark: now }),
        }
        Ok(now)
    }

    /// Waits for a while until anything is watched. Returns true when something is.
    pub(crate) fn is_watched(&self) -> bool {
        let mut watched = self.watched.lock();
        if watched.pairs.is_empty() && !watched.closed {
            self.changed.wait_until(&mut watched, crate::clock::deadline(NAP));
        }
        !watched.closed && !watched.pairs.is_empty()
    }

    /// Looks at the states of the watched instances.
    pub(crate) fn look(&self, models: &dyn ProjectionStore) -> Result<(), StoreError> {
        let asked = self.asked();
        if asked.is_empty() {
            return Ok(());
        }
        let builds = models.builds().builds()?;
        for (projection, pairs) in asked {
            if builds.iter().all(|build| build.key.projection() != &*projection) {
                self.remove(&projection, &pairs);
            }
            let Some(live) = LiveBuild::of(&builds, &projection) else { continue };
            for page in pairs.chunks(PAGE) {
                let instances: Vec<Arc<str>> = page.iter().map(|(instance, _)| Arc::clone(instance)).collect();
                let states = models.states(&live.key, &instances)?;
                for (state, (instance, flown)) in states.iter().zip(page) {
                    self.take_in(&projection, instance, &live, state.into(), *flown);
                }
            }
        }
        Ok(())
    }

    /// Ends the watches of a projection that is gone, as a look found that they were there before.
    fn remove(&self, projection: &str, before: &[(Arc<str>, u64)]) {
        let mut watched = self.watched.lock();
        let Some(pairs) = watched.pairs.get_mut(projection) else { return };
        for pair in before.iter().filter_map(|(instance, _)| pairs.remove(instance)) {
            pair.queues.iter().for_each(|queue| queue.end(WatchEnd::Removed));
        }
    }

    /// What is watched, with how many transactions there were of each before the look; forgets the rest.
    #[expect(clippy::type_complexity, reason = "each projection with its instances")]
    fn asked(&self) -> Vec<(Arc<str>, Vec<(Arc<str>, u64)>)> {
        let mut watched = self.watched.lock();
        watched.clean(LINGER);
        self.is_on.store(!watched.pairs.is_empty(), Ordering::Release);
        let of = |pairs: &HashMap<Arc<str>, Pair>| {
            let known = pairs.iter().filter(|(_, pair)| pair.known.is_some());
            known.map(|(instance, pair)| (Arc::clone(instance), pair.flown)).collect()
        };
        watched.pairs.iter().map(|(projection, pairs)| (Arc::clone(projection), of(pairs))).collect()
    }

    fn take_in(&self, projection: &str, instance: &str, live: &LiveBuild, found: Seen, flown: u64) {
        let mut watched = self.watched.lock();
        let Some(pair) = watched.pair(projection, instance) else { return };
        let is_quiet = pair.flights == 0 && pair.flown == flown;
        let Some((build, seen)) = &pair.known else { return };
        // A transaction of this process reports its own changes. It also notices when something was different before
        // it.
        if *build != *live || (is_quiet && *seen != found) {
            self.renew(&mut watched, projection, instance, live.clone(), found);
        }
    }

    /// Ends all watches for good.
    pub(crate) fn close(&self) {
        let mut watched = self.watched.lock();
        watched.closed = true;
        watched.all().flat_map(|pair| &pair.queues).for_each(|queue| queue.end(WatchEnd::ShutDown));
        watched.pairs.clear();
        self.is_on.store(false, Ordering::Release);
        drop(watched);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ProjectionKey {
        ProjectionKey { name: "p".into(), version: 1 }
    }

    /// A hub in which somebody watches an instance at this position.
    fn watched(position: i64) -> (Hub, Changes) {
        let (hub, queue) = (Hub::default(), Arc::new(Queue::default()));
        let live = LiveBuild { key: key(), command: None, resets: 0 };
        let mut pair = Pair::new(7);
        pair.known = Some((live, seen(position)));
        pair.queues.push(Arc::clone(&queue));
        hub.watched.lock().pairs.entry("p".into()).or_default().insert("a".into(), pair);
        hub.is_on.store(true, Ordering::Release);
        let changes = Changes { queue, mark: WatchMark { position, era: 7, hub: hub.id } };
        (hub, changes)
    }

    fn seen(position: i64) -> Seen {
        Seen { position, event: None, anew: 0 }
    }

    fn land(hub: &Hub, from: Option<i64>, position: i64, anew: i64) {
        let flight = hub.begin("p", &["a".into(), "b".into()]).unwrap();
        let landed = Landed { from, position, event: None, anew };
        flight.landed(&key(), "a", &landed, || Rows::Known(Arc::new([])));
    }

    fn told(changes: &Changes) -> Vec<(i64, bool)> {
        std::iter::from_fn(|| changes.try_recv()).map(|change| (change.position, change.rows != Rows::Anew)).collect()
    }

    // Contract: S6: when nobody watches, a transaction does not even take the lock.
    #[test]
    fn nobody_who_watches_costs_nothing() {
        let hub = Hub::default();
        let held = hub.watched.lock();
        assert!(hub.begin("p", &["a".into()]).is_none());
        drop(held);
        let (hub, changes) = watched(0);
        assert!(hub.begin("p", &["b".into()]).is_none() && hub.begin("q", &["a".into()]).is_none());
        drop(changes);
        hub.watched.lock().clean(Duration::ZERO);
        assert!(hub.asked().is_empty() && !hub.is_on.load(Ordering::Acquire));
    }

    // Contract: S6
    #[test]
    fn only_what_goes_on_without_a_hole_names_keys() {
        let (hub, changes) = watched(3);
        land(&hub, Some(3), 4, 0);
        land(&hub, Some(5), 6, 0);
        land(&hub, Some(4), 5, 0);
        land(&hub, Some(6), 7, 0);
        land(&hub, None, 8, 0);
        land(&hub, Some(8), 9, 1);
        land(&hub, Some(0), 2, 2);
        assert_eq!(told(&changes), [(4, true), (6, false), (7, true), (8, false), (9, false), (2, false)]);
        let other = ProjectionKey { name: "p#next".into(), version: 1 };
        let flight = hub.begin("p", &["a".into()]).unwrap();
        let landed = Landed { from: Some(2), position: 3, event: None, anew: 2 };
        flight.landed(&other, "a", &landed, || Rows::Anew);
        assert_eq!(told(&changes), [], "readers do not see that build");
    }

    // Contract: S6: the reason why a watch ends is told, once what came before was taken.
    #[test]
    fn a_watch_of_what_is_removed_ends_with_the_reason() {
        let (hub, changes) = watched(3);
        land(&hub, Some(3), 4, 0);
        hub.remove("p", &[("a".into(), 0), ("b".into(), 0)]);
        assert_eq!((changes.ended(), changes.is_over()), (Some(WatchEnd::Removed), false));
        assert_eq!(told(&changes), [(4, true)]);
        assert!(changes.is_over() && hub.asked().iter().all(|(_, pairs)| pairs.is_empty()));
        let (hub, changes) = watched(3);
        hub.close();
        assert_eq!((changes.ended(), changes.is_over()), (Some(WatchEnd::ShutDown), true));
    }

    // Contract: S6: however many rows there are to work out, nobody else who watches waits for that.
    #[cfg(not(shuttle))]
    #[test]
    fn rows_are_worked_out_outside_of_the_lock() {
        let (hub, changes) = watched(3);
        let flight = hub.begin("p", &["a".into()]).unwrap();
        let landed = Landed { from: Some(3), position: 4, event: None, anew: 0 };
        let mut was_free = false;
        flight.landed(&key(), "a", &landed, || {
            was_free = hub.watched.try_lock().is_some();
            Rows::Anew
        });
        assert!(was_free);
        assert_eq!(told(&changes), [(4, false)]);
    }

    // Contract: S6: a commit of this process that is under way is not taken for another one's.
    #[test]
    fn a_look_concludes_nothing_while_a_transaction_is_under_way() {
        let (hub, changes) = watched(3);
        let live = LiveBuild { key: key(), command: None, resets: 0 };
        let flown = |hub: &Hub| hub.watched.lock().pair("p", "a").unwrap().flown;
        let before = flown(&hub);
        let flight = hub.begin("p", &["a".into()]).unwrap();
        hub.take_in("p", "a", &live, seen(4), before);
        hub.take_in("p", "a", &live, seen(4), flown(&hub));
        drop(flight);
        hub.take_in("p", "a", &live, seen(4), before);
        assert_eq!(told(&changes), []);
        hub.take_in("p", "a", &live, seen(4), flown(&hub));
        hub.take_in("p", "a", &live, seen(4), flown(&hub));
        assert_eq!(told(&changes), [(4, false)], "nobody told of it");
        // Another build counts as a change, whatever is under way.
        let flight = hub.begin("p", &["a".into()]).unwrap();
        hub.take_in("p", "a", &LiveBuild { resets: 1, ..live }, seen(4), 0);
        drop(flight);
        assert_eq!(told(&changes), [(4, false)]);
    }
}
