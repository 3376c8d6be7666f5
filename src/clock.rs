//! Time as the engine sees it, so that tests can set it.

pub(crate) mod rfc3339;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Longer than anything runs, and short enough that every clock and every database can add it to the present time.
pub(crate) const FAR: Duration = Duration::from_hours(24 * 365 * 100);

/// The moment this long from now. If no clock can add the time, the moment lies a hundred years ahead.
pub(crate) fn deadline(time: Duration) -> Instant {
    after(Instant::now(), time)
}

/// The moment this long after another one.
pub(crate) fn after(start: Instant, time: Duration) -> Instant {
    start.checked_add(time.min(FAR)).unwrap_or(start)
}

/// A duration for people, in at most two units: `250 ms`, `1.5 s`, `10 s`, `1 min 20 s`, `3 h 5 min`, `2 d 1 h`.
pub(crate) fn spoken(time: Duration) -> String {
    let two = |whole: u64, unit: &str, rest: u64, part: &str| match rest {
        0 => format!("{whole} {unit}"),
        rest => format!("{whole} {unit} {rest} {part}"),
    };
    let millis = time.saturating_add(Duration::from_micros(500)).as_millis();
    let tenths = time.saturating_add(Duration::from_millis(50)).as_millis() / 100;
    let seconds = time.saturating_add(Duration::from_millis(500)).as_secs();
    match seconds {
        _ if millis == 0 => "0 s".to_owned(),
        _ if millis < 1000 => format!("{millis} ms"),
        _ if tenths < 100 && !tenths.is_multiple_of(10) => format!("{}.{} s", tenths / 10, tenths % 10),
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..172_800 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// Tells the time of day. Only the SQLite store uses it, because there file and process share one clock. PostgreSQL
/// uses the server's clock.
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

/// A clock that shows the time to which it was set.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<parking_lot::Mutex<SystemTime>>);

impl ManualClock {
    /// A clock that shows this time until it is set.
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

    // Contract: J1: a wait without limit has a deadline too, and no time is too long for it.
    #[test]
    fn the_longest_time_ends_in_a_hundred_years() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::from_secs(5)), now + Duration::from_secs(5));
        assert_eq!(after(now, Duration::MAX), now + FAR);
        assert!(deadline(Duration::MAX) >= now + FAR);
    }

    #[test]
    fn durations_are_for_people() {
        for (millis, told) in [
            (0, "0 s"),
            (3, "3 ms"),
            (634, "634 ms"),
            (1000, "1 s"),
            (1540, "1.5 s"),
            (9_970, "10 s"),
            (10_400, "10 s"),
            (59_600, "1 min"),
            (80_000, "1 min 20 s"),
            (3_600_000, "1 h"),
            (11_100_000, "3 h 5 min"),
            (176_400_000, "2 d 1 h"),
        ] {
            assert_eq!(spoken(Duration::from_millis(millis)), told);
        }
        assert_eq!(spoken(Duration::from_nanos(634_718_053)), "635 ms");
        assert!(spoken(Duration::MAX).ends_with(" h"));
    }
}
