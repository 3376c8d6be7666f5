//! Which events are inside reducers, so that one that hangs is seen by a thread that does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// What the threads of a projection are at.
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

/// An event that is inside its reducer for long.
#[derive(Debug)]
pub(crate) struct Hanging {
    pub(crate) instance: Arc<str>,
    pub(crate) position: i64,
    pub(crate) age: Duration,
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

    /// Those that were inside the same reducer at all looks for so long. Looking is left to one thread.
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
    /// The next event goes into the reducer.
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
}
