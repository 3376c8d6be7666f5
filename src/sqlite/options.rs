//! How to open a file.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::setters::setters;

/// How to open a file.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::time::{Duration, SystemTime};
/// use readside::{SqliteOptions, SqliteStore};
/// use readside::clock::ManualClock;
/// let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH)); // a test moves it by hand
/// let options = SqliteOptions::default().busy_timeout(Duration::from_secs(10)).clock(clock);
/// let store = SqliteStore::in_memory_with(options)?;
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// How long a write waits for another one, of this or another process. Zero means not at all. `Duration::MAX` means
    /// for ever, but 24 days where another process writes. Default: 5 s.
    pub busy_timeout: Duration,
    /// The clock that gives the times of events and of retries. Default: the system's clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), clock: Arc::new(SystemClock) }
    }
}

setters! { SqliteOptions:
    busy_timeout: set Duration,
    clock: set Arc<dyn Clock>,
}
