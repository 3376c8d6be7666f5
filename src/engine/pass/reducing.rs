//! Which events are inside reducers, so that one that hangs is seen by a thread that does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// Which events the threads of a projection are reducing.
#[derive(Debug, Default)]
pub(crate) struct Reducing {
    slots: Mutex<Vec<Arc<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    instance: Arc<str>,
    /// The event inside the reducer; 0 before the first one.
    position: AtomicI64,
    /// The event that was there at the last look, and since which look.
    seen: Mutex<(i64, Instant)>,
}

/// An event that has been inside its reducer for long.
#[derive(Debug)]
pub(crate) struct Hanging {
    pub(crate) instance: Arc<str>,
    pub(crate) position: i64,
    pub(crate) age: Duration,
}

/// What a waiting thread has seen inside reducers, and since when.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: Vec<(Arc<Slot>, i64, Instant)>,
}

impl Watch {
    /// True when, at every look for this long, only events of other instances were inside their reducers. Then the
    /// work on this instance may be waiting for them.
    pub(crate) fn is_held_up(&mut self, reducing: &Reducing, instance: &str, patience: Duration) -> bool {
        let (now, before) = (Instant::now(), std::mem::take(&mut self.seen));
        for slot in reducing.slots.lock().iter() {
            let position = slot.position.load(Ordering::Relaxed);
            let known = before.iter().find(|(one, at, _)| Arc::ptr_eq(one, slot) && *at == position);
            self.seen.push((Arc::clone(slot), position, known.map_or(now, |(.., since)| *since)));
        }
        let hangs = |(_, position, since): &&(Arc<Slot>, i64, Instant)| {
            *position > 0 && now.saturating_duration_since(*since) >= patience
        };
        let (own, others): (Vec<_>, Vec<_>) =
            self.seen.iter().filter(hangs).partition(|(slot, ..)| *slot.instance == *instance);
        own.is_empty() && !others.is_empty()
    }
}

/// One thread that reduces events of an instance, until it is dropped.
#[derive(Debug)]
pub(crate) struct Inside<'r> {
    reducing: &'r Reducing,
    slot: Arc<Slot>,
}

impl Reducing {
    pub(crate) fn enter(&self, instance: &Arc<str>) -> Inside<'_> {
        let (position, seen) = (AtomicI64::new(0), Mutex::new((0, Instant::now())));
        let slot = Arc::new(Slot { instance: Arc::clone(instance), position, seen });
        self.slots.lock().push(Arc::clone(&slot));
        Inside { reducing: self, slot }
    }

    /// The events that were inside the same reducer at every look for this long. One thread alone may call it.
    pub(crate) fn hanging(&self, patience: Duration) -> Vec<Hanging> {
        let now = Instant::now();
        let look = |slot: &Arc<Slot>| {
            let (position, mut seen) = (slot.position.load(Ordering::Relaxed), slot.seen.lock());
            if seen.0 != position {
                *seen = (position, now);
            }
            let age = now.saturating_duration_since(seen.1);
            let hangs = position > 0 && age >= patience;
            hangs.then(|| Hanging { instance: Arc::clone(&slot.instance), position, age })
        };
        self.slots.lock().iter().filter_map(look).collect()
    }
}

impl Inside<'_> {
    /// Notes that this event goes into the reducer.
    pub(crate) fn at(&self, position: i64) {
        self.slot.position.store(position, Ordering::Relaxed);
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.reducing.slots.lock().retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: L11
    #[test]
    fn an_event_hangs_that_is_seen_again_and_again() {
        let reducing = Reducing::default();
        let positions = |patience| reducing.hanging(patience).iter().map(|one| one.position).collect::<Vec<_>>();
        let inside = reducing.enter(&"a".into());
        assert_eq!(positions(Duration::ZERO), [0; 0], "no event yet");
        inside.at(5);
        assert_eq!(positions(Duration::ZERO), [5]);
        assert_eq!(positions(Duration::from_hours(1)), [0; 0]);
        inside.slot.seen.lock().1 = Instant::now().checked_sub(Duration::from_hours(1)).unwrap();
        assert_eq!(positions(Duration::from_hours(1)), [5]);
        inside.at(6);
        assert_eq!(positions(Duration::from_hours(1)), [0; 0], "it went on");
        drop(inside);
        assert_eq!(positions(Duration::ZERO), [0; 0]);
    }

    // Contract: L4, C1
    #[test]
    fn who_waits_sees_a_reducer_that_hangs_in_another_instance() {
        let (reducing, mut watch) = (Reducing::default(), Watch::default());
        let mut is_held_up = |instance, patience| watch.is_held_up(&reducing, instance, patience);
        assert!(!is_held_up("b", Duration::ZERO));
        let inside = reducing.enter(&"a".into());
        assert!(!is_held_up("b", Duration::ZERO), "no event yet");
        inside.at(5);
        assert!(is_held_up("b", Duration::ZERO));
        assert!(!is_held_up("a", Duration::ZERO), "it would hang too");
        assert!(!is_held_up("b", Duration::from_hours(1)));
        let _own = reducing.enter(&"b".into());
        assert!(is_held_up("b", Duration::ZERO));
        drop(inside);
        assert!(!is_held_up("b", Duration::ZERO));
    }
}
