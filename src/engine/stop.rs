//! A stop that ends every wait at once.

use std::time::Duration;

use crate::clock;
use crate::sync::{Condvar, Mutex};

/// Says stop to threads or passes, and ends their waits at once.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn set(&self) {
        *self.set.lock() = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.set.lock()
    }

    /// Waits for this long. Returns false if it was stopped.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let deadline = clock::deadline(time);
        let mut set = self.set.lock();
        while !*set {
            if self.changed.wait_until(&mut set, deadline).timed_out() {
                break;
            }
        }
        !*set
    }
}
