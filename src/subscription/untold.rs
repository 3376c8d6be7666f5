//! What other processes have not been told yet. Pushes add to it, and one thread of the store takes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::store::Notifications;
use crate::sync::{Condvar, Mutex};

/// With more pairs than this, the news are "everything".
const MANY: usize = 10_000;

/// The longest time that one wait takes. The caller then waits again.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// An instance and an aggregate type.
pub(crate) type Concerned = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
pub(crate) struct Untold {
    queued: Mutex<Queued>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Queued {
    concerned: BTreeSet<Concerned>,
    all: bool,
    closed: bool,
}

impl Queued {
    fn is_empty(&self) -> bool {
        self.concerned.is_empty() && !self.all
    }
}

impl Untold {
    pub(crate) fn add<'e>(&self, concerned: impl Iterator<Item = (&'e Arc<str>, &'e Arc<str>)>) {
        let mut queued = self.queued.lock();
        let waits = queued.is_empty();
        let mut last = None;
        // Within one push, events of the same pair often follow each other.
        for pair in concerned {
            if queued.all || last == Some(pair) {
                continue;
            }
            last = Some(pair);
            queued.concerned.insert((Arc::clone(pair.0), Arc::clone(pair.1)));
            if queued.concerned.len() > MANY {
                queued.concerned.clear();
                queued.all = true;
            }
        }
        let wake = waits && !queued.is_empty();
        drop(queued);
        if wake {
            self.news.notify_all();
        }
    }

    /// Waits for something to tell, and takes it. `None` once it is closed and all is told.
    pub(crate) fn take(&self) -> Option<Notifications> {
        let mut queued = self.queued.lock();
        while queued.is_empty() {
            if queued.closed {
                return None;
            }
            self.news.wait_until(&mut queued, clock::deadline(LONGEST_WAIT));
        }
        let instances = std::mem::take(&mut queued.concerned).into_iter().collect();
        Some(Notifications { instances, all: std::mem::take(&mut queued.all) })
    }

    /// Lets more news gather for this long, unless it is closed.
    pub(crate) fn rest(&self, time: Duration) {
        let deadline = clock::deadline(time);
        let mut queued = self.queued.lock();
        while !queued.closed && !self.news.wait_until(&mut queued, deadline).timed_out() {}
    }

    /// Ends each wait. What was added can still be taken.
    pub(crate) fn close(&self) {
        self.queued.lock().closed = true;
        self.news.notify_all();
    }
}
