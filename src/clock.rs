//! Time as the engine sees it, so that tests can set it.

pub(crate) mod rfc3339;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Longer than any process waits.
const LIFETIME: Duration = Duration::from_hours(24 * 365 * 30);

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

/// The moment at which a wait of this length ends. One that is too long to be counted with ends in a lifetime.
pub(crate) fn deadline(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).or_else(|| now.checked_add(LIFETIME)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_of_any_length_has_an_end() {
        let begin = Instant::now();
        assert!(
            deadline(Duration::ZERO) >= begin && deadline(Duration::from_mins(1)) >= begin + Duration::from_mins(1)
        );
        for long in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(i64::MAX.unsigned_abs())] {
            assert!(deadline(long) >= begin + LIFETIME, "{long:?}");
        }
    }
}
