//! Leases that this process holds, and for how long it trusts them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::sync::Mutex;
use uuid::Uuid;

use crate::lease::{Lease, Renewal};
use crate::state::{ProjectionKey, State};

/// The part of its time during which a lease is trusted.
const TRUST: f64 = 0.8;

/// A lease and until when its holder trusts it, which is before the database gives it to others.
#[derive(Debug)]
pub(crate) struct LeaseHandle {
    owner: Uuid,
    epoch: i64,
    lease: Duration,
    trusted: Mutex<Instant>,
    careful: AtomicBool,
}

impl LeaseHandle {
    /// True when the state row still names this lease.
    pub(crate) fn is_of(&self, state: &State) -> bool {
        state.owner == Some(self.owner) && state.epoch == self.epoch
    }

    /// The holder's epoch.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    pub(crate) fn owner(&self) -> Uuid {
        self.owner
    }

    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    /// True when the renewal is late: it skips rows that are locked.
    pub(crate) fn is_overdue(&self) -> bool {
        !self.is_trusted_at(Instant::now() + self.lease.mul_f64(TRUST - 0.4))
    }

    /// `asked` lies before the database was asked, so trust always ends before the lease does.
    pub(crate) fn extend(&self, asked: Instant) {
        *self.trusted.lock() = asked + self.lease.mul_f64(TRUST);
    }

    /// True when the instance is probed event by event.
    pub(crate) fn is_careful(&self) -> bool {
        self.careful.load(Ordering::Relaxed)
    }

    pub(crate) fn relax(&self) {
        self.careful.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.is_trusted_at(Instant::now())
    }

    pub(crate) fn is_trusted_at(&self, now: Instant) -> bool {
        now < *self.trusted.lock()
    }
}

type LeaseKey = (ProjectionKey, Arc<str>);

/// All leases of this process.
#[derive(Debug)]
pub(crate) struct LeaseRegistry {
    owner: Uuid,
    lease: Duration,
    held: Mutex<HashMap<LeaseKey, Arc<LeaseHandle>>>,
}

impl LeaseRegistry {
    pub(crate) fn new(owner: Uuid, lease: Duration) -> Self {
        Self { owner, lease, held: Mutex::default() }
    }

    pub(crate) fn add(&self, projection: &ProjectionKey, lease: &Lease, asked: Instant) -> Arc<LeaseHandle> {
        let (owner, epoch, careful) = (self.owner, lease.epoch, lease.careful.into());
        let handle = Arc::new(LeaseHandle { owner, epoch, lease: self.lease, trusted: Mutex::new(asked), careful });
        handle.extend(asked);
        let key = (projection.clone(), Arc::clone(&lease.instance));
        self.held.lock().insert(key, Arc::clone(&handle));
        handle
    }

    /// Gives these leases up and returns their instances, except where another job of this process has a newer handle.
    pub(crate) fn remove(
        &self,
        projection: &ProjectionKey,
        handles: impl IntoIterator<Item = (Arc<str>, Arc<LeaseHandle>)>,
    ) -> Vec<Arc<str>> {
        let (mut held, mut removed) = (self.held.lock(), Vec::new());
        for (instance, handle) in handles {
            let key = (projection.clone(), instance);
            if held.get(&key).is_some_and(|known| Arc::ptr_eq(known, &handle)) {
                held.remove(&key);
                removed.push(key.1);
            }
        }
        removed
    }

    /// Extends the trust in the leases that were renewed. The others are not lost yet. A transaction of this process
    /// may have locked their rows, and that lock protects as well as the lease. Their trust ends by itself.
    pub(crate) fn renewed(&self, renewals: &[Renewal], asked: Instant) {
        let held = self.held.lock();
        for renewal in renewals {
            let key = (renewal.projection.clone(), Arc::clone(&renewal.lease.instance));
            if let Some(handle) = held.get(&key).filter(|handle| handle.epoch == renewal.lease.epoch) {
                handle.extend(asked);
            }
        }
    }

    pub(crate) fn count(&self, projection: &ProjectionKey) -> usize {
        self.held.lock().keys().filter(|(key, _)| key == projection).count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.lock().is_empty()
    }
}
