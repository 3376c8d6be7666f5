//! Threads that have names, can be told to stop, and are joined.

use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::error::ServeError;
pub(crate) use crate::engine::Stop;

/// A running thread. When it ends, `done` is disconnected.
#[derive(Debug)]
pub(crate) struct Thread {
    name: String,
    handle: std::thread::JoinHandle<()>,
    done: Receiver<()>,
}

/// Starts a thread that ends when `work` does.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<Thread, ServeError> {
    let (alive, done): (Sender<()>, Receiver<()>) = bounded(0);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _alive = alive;
        work();
    });
    let handle = thread.map_err(|source| ServeError::Thread { name: name.to_owned(), source })?;
    Ok(Thread { name: name.to_owned(), handle, done })
}

/// Joins the threads that end before the deadline, and returns the others.
pub(crate) fn join_all(threads: Vec<Thread>, deadline: Instant) -> Vec<Thread> {
    let mut late = Vec::new();
    for thread in threads {
        if thread.done.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
            late.push(thread);
        } else {
            // A panic was logged where it happened.
            let _ = thread.handle.join();
        }
    }
    late
}

impl Thread {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}
