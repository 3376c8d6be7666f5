//! The leases of a pass: taken before the work on what was read, and given back when the pass is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::engine::pass::lease::LeaseHandle;
use crate::engine::pass::work::{Right, Work};
use crate::engine::read::fetch::Fetched;
use crate::engine::run::runner::Runner;
use crate::engine::run::state::Shared;
use crate::error::{StoreError, chain};
use crate::sync::Mutex;

/// Leases of some instances. Dropping it gives them back.
pub(crate) struct PassLeases<'a> {
    shared: &'a Shared,
    runner: &'a Runner,
    /// The instances that were asked for, each with the lease that was obtained.
    asked: Mutex<HashMap<Arc<str>, Option<Arc<LeaseHandle>>>>,
    /// Set when the pass is over: nothing that becomes ready after that is worked on.
    over: AtomicBool,
}

impl<'a> PassLeases<'a> {
    pub(crate) fn new(shared: &'a Shared, runner: &'a Runner) -> Self {
        Self { shared, runner, asked: Mutex::default(), over: AtomicBool::new(false) }
    }

    /// Leases and reduces, before its turn, the work that begins right at a checkpoint. It does not reduce where
    /// probing is due. If an event then kills the process, the lease remains, and the next holder looks for the cause
    /// right after the checkpoint. What cannot be leased now is tried again in its turn.
    pub(crate) fn prepare(&self, fetched: &mut Fetched) {
        let mut first: Vec<&mut Work> = fetched.works.iter_mut().filter(|work| work.is_first()).collect();
        if let Err(error) = self.lease(first.iter_mut().map(|work| &mut **work)) {
            log::debug!(
                "projection {:?}: {}; the leases are asked for again before these events are applied",
                self.runner.name(),
                chain(&error)
            );
            return;
        }
        let inner = &self.runner.handler.inner;
        let is_over = || inner.cancel.is_set() || self.over.load(Ordering::Relaxed);
        let may = |handle: &Arc<LeaseHandle>| handle.is_trusted() && !handle.is_careful();
        for work in first.into_iter().filter(|work| work.lease().is_some_and(may)) {
            work.reduce_ahead(&inner.projection, &inner.reducing, is_over);
        }
    }

    /// Marks works with their leases. It takes a lease that was not asked for yet or is no longer trusted.
    pub(crate) fn lease<'w>(&self, works: impl IntoIterator<Item = &'w mut Work>) -> Result<(), StoreError> {
        let mut works: Vec<&mut Work> = works.into_iter().collect();
        let asked = self.asked.lock();
        let is_asked = |work: &&mut Work| match asked.get(&work.instance) {
            Some(Some(handle)) => handle.is_trusted(),
            Some(None) => true,
            None => false,
        };
        let new = works.iter().filter(|work| !is_asked(work)).map(|work| Arc::clone(&work.instance)).collect();
        drop(asked);
        self.ask(new)?;
        let asked = self.asked.lock();
        for work in &mut works {
            let handle = asked.get(&work.instance).cloned().flatten();
            work.right = handle.map_or(Right::Caller, Right::Lease);
        }
        Ok(())
    }

    fn ask(&self, instances: Vec<Arc<str>>) -> Result<(), StoreError> {
        if instances.is_empty() {
            return Ok(());
        }
        let (key, shared, now) = (&self.runner.handler.inner.key, self.shared, Instant::now());
        let leases = shared.stores.leases.acquire(key, &instances, shared.id, shared.config.lease)?;
        let mut asked = self.asked.lock();
        let lost = instances.into_iter().filter_map(|instance| {
            let before = asked.insert(Arc::clone(&instance), None).flatten();
            before.map(|handle| (instance, handle))
        });
        shared.lease_registry.remove(key, lost);
        for lease in leases {
            asked.insert(Arc::clone(&lease.instance), Some(shared.lease_registry.add(key, &lease, now)));
        }
        Ok(())
    }

    /// Ends the work on all of these.
    pub(crate) fn end(&self, instances: &[Arc<str>]) -> Vec<Arc<str>> {
        self.over.store(true, Ordering::Relaxed);
        instances.to_vec()
    }
}

impl Drop for PassLeases<'_> {
    fn drop(&mut self) {
        let key = &self.runner.handler.inner.key;
        let asked = std::mem::take(&mut *self.asked.lock());
        // A reducer hung here, and another job of this process got the lease in the meantime. Such a lease is not given
        // back.
        let handles = asked.into_iter().filter_map(|(instance, handle)| Some((instance, handle?)));
        let held = self.shared.lease_registry.remove(key, handles);
        if held.is_empty() {
            return;
        }
        if let Err(error) = self.shared.stores.leases.release(key, &held, self.shared.id) {
            log::warn!("projection {:?}: {}; these leases run out by themselves", self.runner.name(), chain(&error));
        }
    }
}
