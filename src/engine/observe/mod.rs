//! What an engine tells an observer of its service.
//!
//! `observation` has what is told. Here is the way there: a queue with a bound, and one thread behind it. Who tells
//! never waits. Without an observer nothing is gathered.

pub(crate) mod observation;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::engine::observe::observation::Observation;
use crate::error::net;
use crate::plain::plain;
use crate::sync::Mutex;

/// The name of the thread that calls the observer.
pub(crate) const THREAD: &str = "readside-observer";

/// Observations that wait for the observer, at most.
pub(crate) const WAITING: usize = 1024;

/// The most traces of a batch that may be asked for.
pub(crate) const MOST_TRACES: usize = 64;

/// The time between two looks whether the queue is closed, while nothing comes.
const LOOK: Duration = Duration::from_secs(10);

/// A service's observer.
pub(crate) struct Observer(pub(crate) Box<dyn FnMut(&Observation) + Send>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// Where the parts of an engine tell what they do; nowhere, unless the service set an observer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hook(Option<Arc<Line>>);

/// The way to the observer.
#[derive(Debug)]
struct Line {
    /// None once it is closed.
    queue: Mutex<Option<Sender<Observation>>>,
    /// How many traces of each batch are asked for.
    traces: usize,
    dropped: AtomicU64,
    panics: AtomicU64,
    /// No time is left: what waits is dropped.
    is_over: AtomicBool,
    thread: OnceLock<ThreadId>,
}

impl Hook {
    /// A hook whose queue takes this many observations.
    pub(crate) fn new(waiting: usize, traces: usize) -> (Self, Receiver<Observation>) {
        let (queue, told) = bounded(waiting);
        let line = Line {
            queue: Mutex::new(Some(queue)),
            traces,
            dropped: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            thread: OnceLock::new(),
        };
        (Self(Some(Arc::new(line))), told)
    }

    /// True when somebody listens.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// How many traces of each batch are asked for.
    pub(crate) fn traces(&self) -> usize {
        self.0.as_ref().map_or(0, |line| line.traces)
    }

    /// Tells the observer, if there is one. Never waits: what finds the queue full is counted.
    pub(crate) fn tell(&self, seen: impl FnOnce() -> Observation) {
        let Some(line) = &self.0 else { return };
        let seen = seen();
        let is_told = line.queue.lock().as_ref().is_some_and(|queue| queue.try_send(seen).is_ok());
        if !is_told {
            line.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Calls the observer with what comes, until the queue is closed and empty. A panic costs that one call.
    pub(crate) fn hand_on(&self, told: &Receiver<Observation>, mut observer: Observer) {
        let Some(line) = &self.0 else { return };
        let _ = line.thread.set(std::thread::current().id());
        loop {
            let seen = match told.recv_timeout(LOOK) {
                Ok(seen) => seen,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if line.is_over.load(Ordering::Relaxed) {
                line.dropped.fetch_add(1, Ordering::Relaxed);
            } else if let Err(panic) = net::caught(|| (observer.0)(&seen)) {
                let times = line.panics.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                // One that always panics does not fill the log.
                if times.is_power_of_two() {
                    log::error!(
                        "the observer of the service panicked ({}), {times} in all; the engine goes on calling it",
                        plain(&panic)
                    );
                }
            }
        }
        net::discard(observer);
    }

    /// Nothing more is told; the thread ends once the observer has heard what waits.
    pub(crate) fn close(&self) {
        if let Some(line) = &self.0 {
            drop(line.queue.lock().take());
        }
    }

    /// Drops what waits: the time for it is over.
    pub(crate) fn give_up(&self) {
        if let Some(line) = &self.0 {
            line.is_over.store(true, Ordering::Relaxed);
        }
    }

    /// True inside the observer.
    pub(crate) fn is_inside(&self) -> bool {
        let thread = self.0.as_ref().and_then(|line| line.thread.get());
        thread == Some(&std::thread::current().id())
    }

    /// What the observer did not hear, and how often it panicked; none without an observer.
    pub(crate) fn losses(&self) -> Option<Losses> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.0.as_ref().map(|line| Losses { dropped: count(&line.dropped), panics: count(&line.panics) })
    }
}

/// What an observer did not hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Losses {
    /// Observations that found the queue full or closed.
    pub(crate) dropped: u64,
    /// Calls that ended by a panic.
    pub(crate) panics: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(hook: &Hook, count: usize) {
        hook.tell(|| Observation::HandOver { processes: count });
    }

    fn heard(seen: &Observation) -> usize {
        if let Observation::HandOver { processes } = seen { *processes } else { 0 }
    }

    // Contract: S7, L9: who tells never waits, and what does not fit is counted.
    #[test]
    fn a_full_queue_counts_what_it_leaves_out() {
        let (hook, told) = Hook::new(2, 0);
        (1..=5).for_each(|count| processes(&hook, count));
        assert_eq!(hook.losses(), Some(Losses { dropped: 3, panics: 0 }));
        hook.close();
        processes(&hook, 6);
        assert_eq!(hook.losses(), Some(Losses { dropped: 4, panics: 0 }), "closed");
        let all = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&all);
        hook.hand_on(&told, Observer(Box::new(move |seen| list.lock().push(heard(seen)))));
        assert_eq!(*all.lock(), [1, 2], "what waits is told also after the end");
    }

    // Contract: S7, L8: a panic costs one call.
    #[test]
    fn an_observer_that_panics_hears_the_next() {
        let (hook, told) = Hook::new(8, 0);
        (1..=4).for_each(|count| processes(&hook, count));
        hook.close();
        let all = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&all);
        let observer = move |seen: &Observation| {
            assert!(!heard(seen).is_multiple_of(2), "even");
            list.lock().push(heard(seen));
        };
        hook.hand_on(&told, Observer(Box::new(observer)));
        assert_eq!((all.lock().clone(), hook.losses()), (vec![1, 3], Some(Losses { dropped: 0, panics: 2 })));
    }

    // Contract: S7, J1: once the time is over, the rest is counted and not told.
    #[test]
    fn what_waits_is_dropped_when_the_time_is_over() {
        let (hook, told) = Hook::new(8, 0);
        (1..=4).for_each(|count| processes(&hook, count));
        hook.close();
        let (all, own) = (Arc::new(Mutex::new(Vec::new())), hook.clone());
        let list = Arc::clone(&all);
        let observer = move |seen: &Observation| {
            assert!(own.is_inside());
            list.lock().push(heard(seen));
            own.give_up();
        };
        hook.hand_on(&told, Observer(Box::new(observer)));
        assert_eq!((all.lock().clone(), hook.losses()), (vec![1], Some(Losses { dropped: 3, panics: 0 })));
    }

    // Contract: S7: without an observer nothing is gathered.
    #[test]
    fn nothing_is_gathered_for_nobody() {
        let hook = Hook::default();
        hook.tell(|| unreachable!("nobody listens"));
        assert_eq!((hook.is_set(), hook.traces(), hook.losses()), (false, 0, None));
    }
}
