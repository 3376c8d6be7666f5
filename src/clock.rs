//! Time as the engine sees it, so that tests can set it.

pub(crate) mod rfc3339;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

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
