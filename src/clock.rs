//! Time as the engine sees it, so that tests can set it.

pub(crate) mod rfc3339;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Longer than anything runs, and short enough for every clock and every database to add it to the present.
pub(crate) const FAR: Duration = Duration::from_hours(24 * 365 * 100);

/// The moment so long from now. A time that no clock can add is no limit: it ends in a hundred years.
pub(crate) fn deadline(time: Duration) -> Instant {
    after(Instant::now(), time)
}

/// The moment so long after another one.
pub(crate) fn after(start: Instant, time: Duration) -> Instant {
    start.checked_add(time.min(FAR)).unwrap_or(start)
}

/// Tells the time of day. Only the SQLite store asks it, where file and process share one clock; PostgreSQL uses
/// the server's.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands where it is set.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<parking_lot::Mutex<SystemTime>>);

impl ManualClock {
    /// A clock that stands at this time.
    #[must_use]
    pub fn at(now: SystemTime) -> Self {
        Self(Arc::new(parking_lot::Mutex::new(now)))
    }

    /// Sets the clock, forwards or back.
    pub fn set(&self, now: SystemTime) {
        *self.0.lock() = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SPEC J1: a wait without limit has a deadline too, and no time is too long for it.
    #[test]
    fn the_longest_time_ends_in_a_hundred_years() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::from_secs(5)), now + Duration::from_secs(5));
        assert_eq!(after(now, Duration::MAX), now + FAR);
        assert!(deadline(Duration::MAX) >= now + FAR);
    }
}
