//! Reduces events for an open transaction on another thread: a reducer that hangs must not keep the transaction's
//! locks.

use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::engine::pass::Pass;
use crate::engine::pass::work::Work;
use crate::error::{StoreError, StoreErrorKind};
use crate::sync::Mutex;

/// How long an event may be inside its reducer while a transaction waits.
const PATIENCE: Duration = Duration::from_secs(1);

const DOING: &str = "reducing events for a transaction";

/// What the thread tells.
enum Told {
    /// An event came out of its reducer.
    Event,
    All(Vec<Work>),
}

/// The thread. It is joined before another one starts.
#[derive(Debug, Default)]
pub(crate) struct Aside(Mutex<Option<JoinHandle<()>>>);

impl Aside {
    /// Waits for the reducer on which a transaction gave up. Call it while no transaction is open.
    pub(crate) fn end(&self) {
        let thread = self.0.lock().take();
        // The thread catches the panics of its reducers.
        let _ = thread.map(JoinHandle::join);
    }

    /// Reduces these works. If an event stays inside its reducer for too long, it gives up and the transaction has to
    /// end.
    pub(crate) fn reduce(&self, pass: &Pass, mut works: Vec<Work>) -> Result<Vec<Work>, StoreError> {
        if works.iter().all(|work| work.steps.is_empty()) {
            return Ok(works);
        }
        let mut known = self.0.lock();
        if known.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Err(hangs());
        }
        let (projection, reducing) = (pass.projection.clone(), std::sync::Arc::clone(&pass.reducing));
        let (tell, told) = bounded(1);
        let thread = std::thread::Builder::new().name("readside-aside".to_owned()).spawn(move || {
            for work in &mut works {
                // Word of one event is as good as of several.
                work.reduce_telling(&projection, &reducing, || drop(tell.try_send(Told::Event)));
            }
            // A caller that has given up does not need the answer.
            let _ = tell.send(Told::All(works));
        });
        *known = Some(thread.map_err(|error| StoreError::new(DOING, StoreErrorKind::Other, error))?);
        drop(known);
        loop {
            match told.recv_timeout(PATIENCE) {
                Ok(Told::Event) => {}
                Ok(Told::All(works)) => return Ok(works),
                Err(RecvTimeoutError::Timeout) => return Err(hangs()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(StoreError::new(DOING, StoreErrorKind::Other, "the thread that does it panicked"));
                }
            }
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.end();
    }
}

fn hangs() -> StoreError {
    let why = "an event is inside its reducer for too long to hold locks meanwhile";
    StoreError::new(DOING, StoreErrorKind::Timeout, why)
}
