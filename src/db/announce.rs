//! The thread of a store that tells other processes about pushes of this process, so that no push waits for it.
//!
//! It belongs to the store and not to an engine, because services push without an engine, too.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::Backend;
use crate::error::{chain, net};
use crate::subscription::Untold;
use crate::sync::Mutex;

/// The shortest time between two announcements. One announcement covers all pushes in between.
const EVERY: Duration = Duration::from_millis(10);

/// Tells other processes of pushes. Dropping it tells the remaining ones and joins the thread.
#[derive(Debug)]
pub(crate) struct Announcer<B: Backend> {
    backend: Arc<B>,
    untold: Arc<Untold>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<B: Backend> Announcer<B> {
    /// `None` if the database itself tells other processes.
    pub(crate) fn of(backend: &Arc<B>) -> Option<Self> {
        let new = || Self { backend: Arc::clone(backend), untold: Arc::default(), thread: Mutex::default() };
        backend.has_to_tell().then(new)
    }

    pub(crate) fn untold(&self) -> Arc<Untold> {
        Arc::clone(&self.untold)
    }

    /// Starts the thread at the first push. If it cannot start, ticks find the pushes.
    pub(crate) fn start(&self) {
        let mut thread = self.thread.lock();
        if thread.is_some() {
            return;
        }
        let (backend, untold) = (Arc::clone(&self.backend), Arc::clone(&self.untold));
        let run = move || run(&*backend, &untold);
        match Builder::new().name("readside-announcer".to_owned()).spawn(run) {
            Ok(handle) => *thread = Some(handle),
            Err(error) => log::warn!(
                "starting the thread that tells other processes of pushes failed: {}; they find the pushes at their next tick",
                chain(&error)
            ),
        }
    }
}

impl<B: Backend> Drop for Announcer<B> {
    fn drop(&mut self) {
        self.untold.close();
        if let Some(thread) = self.thread.lock().take() {
            // The thread catches panics, and logs them.
            let _ = thread.join();
        }
    }
}

fn run<B: Backend>(backend: &B, untold: &Untold) {
    while let Some(news) = untold.take() {
        let failed = match net::caught(|| backend.tell(&news)) {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(panic) => Some(format!("telling other processes of pushes panicked: {panic}")),
        };
        if let Some(why) = failed {
            log::warn!("{why}; other processes find the pushes at their next tick");
        }
        untold.rest(EVERY);
    }
}
