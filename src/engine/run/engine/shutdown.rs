//! Stops an engine: ends its work, gives its leases back, joins its threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::engine::run::engine::Engine;
use crate::engine::run::thread::{self, Thread};
use crate::error::{ShutdownError, chain};
use crate::plain::plain;
use crate::projection::is_reducing;

/// How long dropping an engine waits for its threads.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that a thread gets to end once it has nothing more to do.
const LAST_MOMENT: Duration = Duration::from_millis(100);

impl Engine {
    /// Stops taking work, lets running transactions end, gives leases back and joins every thread. With
    /// [`Duration::MAX`] it waits without a limit. A repeated call waits for the threads that had not ended; a second
    /// caller waits for the first.
    ///
    /// # Errors
    /// [`ShutdownError`] names the threads that did not end in time. Inside a reducer, or the observer, that is the
    /// thread of the call: the engine stops, and another call has to wait for it.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        let deadline = clock::deadline(timeout);
        if is_reducing() || self.shared.hook.is_inside() {
            self.say_stop();
            let own = std::thread::current().name().unwrap_or("the thread of this call").to_owned();
            return Err(ShutdownError { threads: vec![own] });
        }
        let Some(mut left) = self.left.try_lock_until(deadline) else {
            return Err(ShutdownError { threads: vec!["another call that shuts down".to_owned()] });
        };
        let threads = self.threads.lock().take();
        let is_first = threads.is_some();
        let mut observer = None;
        if let Some(threads) = threads {
            observer = threads.observer;
            self.say_stop();
            self.wait_for_jobs(deadline);
            left.extend(threads.loops);
            left.extend(self.shared.commands.threads.lock().drain(..).map(|(thread, _)| thread));
            join_all(&mut left, deadline);
            left.extend(self.leave(deadline).err().flatten());
            drop(self.shared.workers.pool.lock().take());
            left.extend(threads.workers);
        }
        // A thread without work ends at once, but may need a moment.
        join_all(&mut left, deadline.max(Instant::now() + LAST_MOMENT));
        if let Some(observer) = observer {
            left.extend(self.end_observer(observer, deadline));
        }
        let names: Vec<String> = left.iter().map(|thread| thread.name().to_owned()).collect();
        if !names.is_empty() {
            return Err(ShutdownError { threads: names });
        }
        if is_first {
            let (id, name) = (self.shared.id, &self.shared.config.name);
            log::info!(event = "stop", process:display = id, name:display = plain(name); "engine {name:?} (process {id}) has stopped");
        }
        Ok(())
    }

    fn say_stop(&self) {
        self.shared.stop.set();
        self.subscription.close();
        self.shared.hub.close();
        self.shared.request_tick();
        self.shared.request_operation();
        for runner in &self.shared.runners {
            runner.handler.cancel();
        }
        for (_, cancel) in self.shared.commands.threads.lock().iter() {
            cancel.set();
        }
        self.shared.progress.all_moved();
    }

    /// Gives the observer what waits in its queue, until the deadline. The other threads have ended or were given up,
    /// so nothing more comes.
    fn end_observer(&self, thread: Thread, deadline: Instant) -> Option<Thread> {
        self.shared.hook.close();
        let late = thread.join(deadline.max(Instant::now() + LAST_MOMENT)).err();
        self.shared.hook.give_up();
        late
    }

    /// Gives commands and leases back. It runs on a separate thread, because a connection may be frozen.
    fn leave(&self, deadline: Instant) -> Result<(), Option<Thread>> {
        let shared = Arc::clone(&self.shared);
        let leave = move || {
            if let Err(error) = shared.stores.models.commands().give_back(shared.id) {
                log::warn!(
                    "{}; another process takes the commands over when the lease on them runs out",
                    chain(&error)
                );
            }
            if let Err(error) = shared.stores.leases.leave(shared.id) {
                log::warn!("{}; the leases of this process run out by themselves", chain(&error));
            }
            shared.tell_fleet();
        };
        let name = "readside-leave";
        thread::spawn(name, leave)
            .map_err(|error| {
                log::warn!(
                    "starting the thread {name} failed: {error}; the leases of this process run out by themselves"
                );
            })
            .map_err(|()| None)?
            .join(deadline)
            .map_err(Some)
    }

    fn wait_for_jobs(&self, deadline: Instant) {
        loop {
            let since = self.shared.progress.now();
            if self.shared.schedule.close() || Instant::now() >= deadline {
                return;
            }
            self.shared.progress.wait(since, deadline);
        }
    }
}

/// Joins the threads that end before the deadline. The others stay in the list.
fn join_all(threads: &mut Vec<Thread>, deadline: Instant) {
    let late = threads.drain(..).filter_map(|thread| thread.join(deadline).err()).collect();
    *threads = late;
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown(DROP_TIMEOUT) {
            log::error!("dropping an engine: {error}");
        }
    }
}
