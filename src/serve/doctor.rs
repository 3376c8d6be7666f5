//! What the doctor finds, for all who look: one thread examines while somebody wants to know, and nobody waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::board::{FIRST_LOOK, SHARE};
use super::thread::Stop;
use crate::error::net;
use crate::inspect::Finding;
use crate::sync::{Condvar, Mutex};

/// What was found is looked at anew when somebody sees it that is so old.
pub(super) const FOUND: Duration = Duration::from_secs(30);

/// For so long at most the thread sleeps while nobody wants to know.
const NAP: Duration = Duration::from_millis(500);

/// What was found, and when that was over.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) at: SystemTime,
    pub(super) findings: Arc<[Finding]>,
}

#[derive(Debug, Default)]
struct State {
    found: Option<(Instant, Found)>,
    /// Since when somebody waits for something newer.
    wanted: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Clinic {
    state: Mutex<State>,
    changed: Condvar,
}

impl Clinic {
    /// What was found last; or for how long the first examination goes on. Only its first moments are waited for.
    pub(super) fn now(&self) -> Result<Found, Duration> {
        let mut state = self.state.lock();
        loop {
            let is_old = state.found.as_ref().is_none_or(|(looked, _)| looked.elapsed() >= FOUND);
            if is_old && state.wanted.is_none() {
                state.wanted = Some(Instant::now());
                self.changed.notify_all();
            }
            if let Some((_, found)) = &state.found {
                return Ok(found.clone());
            }
            let began = state.wanted.unwrap_or_else(Instant::now);
            if self.changed.wait_until(&mut state, began + FIRST_LOOK).timed_out() && state.found.is_none() {
                return Err(began.elapsed());
            }
        }
    }

    /// Waits for a while until somebody wants to know; true when somebody does.
    fn is_wanted(&self) -> bool {
        let mut state = self.state.lock();
        if state.wanted.is_none() {
            self.changed.wait_until(&mut state, crate::clock::deadline(NAP));
        }
        state.wanted.is_some()
    }

    /// Examines while somebody wants to know, until stopped. That takes a share of the time, as a look does.
    pub(super) fn keep(&self, examine: impl Fn() -> Vec<Finding>, stop: &Stop) {
        while !stop.is_set() {
            if !self.is_wanted() {
                continue;
            }
            let began = Instant::now();
            // The thread outlives it, so that the next examination is made.
            let findings = net::caught(&examine).unwrap_or_else(|panic| vec![broken(&panic)]);
            let mut state = self.state.lock();
            state.found = Some((Instant::now(), Found { at: SystemTime::now(), findings: findings.into() }));
            state.wanted = None;
            drop(state);
            self.changed.notify_all();
            stop.wait(began.elapsed() * SHARE);
        }
    }
}

fn broken(panic: &str) -> Finding {
    let found = format!("the examination panicked: {panic}");
    Finding::fail("doctor", found, "this is a fault of readside: report it, with the log")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::inspect::Severity;

    // Contract: S3: nobody waits for an examination that takes long, and all who look share the one.
    #[test]
    fn nobody_waits_for_an_examination_that_takes_long() {
        let clinic = Arc::new(Clinic::default());
        let long_ago = Instant::now().checked_sub(Duration::from_secs(7)).unwrap();
        clinic.state.lock().wanted = Some(long_ago);
        // Nobody ends this examination.
        for _ in 0..3 {
            assert!(clinic.now().unwrap_err() >= Duration::from_secs(7));
        }
        let (stop, count) = (Arc::new(Stop::default()), Arc::new(AtomicUsize::new(0)));
        let (of, until, counted) = (Arc::clone(&clinic), Arc::clone(&stop), Arc::clone(&count));
        let keeper = std::thread::spawn(move || {
            let examine = || {
                counted.fetch_add(1, Ordering::AcqRel);
                until.set();
                Vec::new()
            };
            of.keep(examine, &until);
        });
        keeper.join().unwrap();
        // What is there is shown, also while something newer is wanted.
        clinic.state.lock().wanted = Some(long_ago);
        for _ in 0..3 {
            assert!(clinic.now().unwrap().findings.is_empty());
        }
        assert_eq!(count.load(Ordering::Acquire), 1);
    }

    // Contract: L8: an examination that panics is told, and the next one is made.
    #[test]
    fn an_examination_that_panics_is_told() {
        let (clinic, stop) = (Clinic::default(), Stop::default());
        clinic.state.lock().wanted = Some(Instant::now());
        let examine = || {
            stop.set();
            panic!("out of ink");
        };
        clinic.keep(examine, &stop);
        let found = clinic.now().unwrap().findings;
        assert_eq!((found.len(), found[0].verdict), (1, Severity::Fail));
        assert!(found[0].found.contains("out of ink"), "{found:?}");
    }
}
