//! A stop of passes that ends their waits at once.

use std::time::Duration;

use crate::clock;
use crate::sync::{Condvar, Mutex};

#[derive(Debug, Default)]
pub(crate) struct Cancel {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Cancel {
    pub(super) fn set(&self) {
        *self.set.lock() = true;
        self.changed.notify_all();
    }

    pub(super) fn is_set(&self) -> bool {
        *self.set.lock()
    }

    /// Waits so long; true when nothing cancelled it.
    pub(super) fn wait(&self, time: Duration) -> bool {
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
