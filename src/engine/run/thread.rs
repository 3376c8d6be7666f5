//! Threads that have names, can be stopped and joined, and start again after a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::Mutex;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::clock;
use crate::engine::pass::backoff;
use crate::engine::stop::Stop;

/// The longest wait before a loop that panicked goes on.
const LONGEST_RESTART: Duration = Duration::from_secs(30);

/// How a loop is doing.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    alive: AtomicBool,
    restarts: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl Pulse {
    pub(crate) fn beat(&self) {
        *self.last.lock() = Some(Instant::now());
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(crate) fn age(&self) -> Option<Duration> {
        self.last.lock().map(|last| last.elapsed())
    }
}

/// A running thread. When it ends, `done` is disconnected.
#[derive(Debug)]
pub(crate) struct Thread {
    name: String,
    handle: std::thread::JoinHandle<()>,
    done: Receiver<()>,
}

/// Starts a thread that ends when `work` does.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
    let (alive, done): (Sender<()>, Receiver<()>) = bounded(0);
    let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _alive = alive;
        work();
    })?;
    Ok(Thread { name: name.to_owned(), handle, done })
}

impl Thread {
    /// True once the thread has ended, or is about to end.
    pub(crate) fn is_done(&self) -> bool {
        self.handle.is_finished()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Joins the thread, or gives it back when it has not ended by the deadline.
    pub(crate) fn join(self, deadline: Instant) -> Result<(), Self> {
        if self.done.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
            return Err(self);
        }
        // A panic was logged where it happened.
        let _ = self.handle.join();
        Ok(())
    }
}

/// Starts a loop that runs `tick` until it is stopped. A panic is logged, and the loop goes on after a while.
pub(crate) fn start_loop(
    name: &'static str,
    stop: Arc<Stop>,
    pulse: Arc<Pulse>,
    mut tick: impl FnMut() + Send + 'static,
) -> std::io::Result<Thread> {
    pulse.alive.store(true, Ordering::Relaxed);
    spawn(name, move || {
        let mut failures = 0;
        while !stop.is_set() {
            pulse.beat();
            if catch_unwind(AssertUnwindSafe(&mut tick)).is_ok() {
                failures = 0;
                continue;
            }
            failures += 1;
            pulse.restarts.fetch_add(1, Ordering::Relaxed);
            let wait = backoff::after(Duration::from_millis(100), LONGEST_RESTART, failures);
            log::error!("thread {name} panicked; it goes on in {}", clock::spoken(wait));
            stop.wait(wait);
        }
        pulse.alive.store(false, Ordering::Relaxed);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: L8
    #[test]
    fn a_loop_that_panics_goes_on_and_shows_it() {
        let (stop, pulse) = (Arc::new(Stop::default()), Arc::new(Pulse::default()));
        let (send, receive) = bounded(1);
        let mut ticks = 0;
        let stopped = Arc::clone(&stop);
        let thread = start_loop("a loop", stop.clone(), pulse.clone(), move || {
            ticks += 1;
            assert!(ticks > 1, "the first tick panics");
            let _ = send.try_send(ticks);
            stopped.wait(Duration::from_mins(1));
        });
        assert_eq!(receive.recv_timeout(Duration::from_secs(30)), Ok(2));
        assert_eq!((pulse.is_alive(), pulse.restarts()), (true, 1));
        stop.set();
        thread.unwrap().join(Instant::now() + Duration::from_secs(30)).unwrap();
        assert!(!pulse.is_alive());
    }

    // Contract: J1
    #[test]
    fn a_thread_that_does_not_end_is_named() {
        let (send, receive) = bounded::<()>(0);
        let thread = spawn("stubborn", move || {
            let _ = receive.recv();
        })
        .unwrap();
        let late = thread.join(Instant::now()).unwrap_err();
        assert_eq!(late.name(), "stubborn");
        drop(send);
        assert!(late.join(Instant::now() + Duration::from_secs(30)).is_ok(), "it can be joined later");
    }
}
