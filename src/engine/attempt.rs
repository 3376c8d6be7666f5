//! Attempts at some work: a shared transaction first, one for each instance when that fails, single steps where a
//! statement is at fault.

use super::apply::Way;
use super::delay;
use super::handler::Inner;
use super::work::{Processed, Status, Work};
use crate::error::{StoreError, StoreErrorKind};
use crate::state::StopCause;

use std::time::Duration;

/// The longest wait between two attempts of one call.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Inner {
    /// Works through everything, with retries.
    pub(super) fn process(&self, works: &mut [Work]) -> Processed {
        for attempt in 0..=self.config.retries {
            let last = attempt == self.config.retries;
            if !self.may_go_on(attempt) {
                break;
            }
            self.attempt(works, last);
            if last || !self.reopen(works) {
                break;
            }
        }
        finish(works)
    }

    fn may_go_on(&self, attempt: u32) -> bool {
        match attempt {
            0 => !self.cancel.is_set(),
            _ => self.pause(attempt),
        }
    }

    /// Waits before the next attempt; false when cancelled.
    pub(super) fn pause(&self, failures: u32) -> bool {
        let cap = LONGEST_WAIT.max(self.config.retry_failed_after);
        self.cancel.wait(delay::after(self.config.retry_failed_after, cap, failures))
    }

    /// Opens again what another attempt may bring on; false when there is nothing.
    fn reopen(&self, works: &mut [Work]) -> bool {
        let mut any = false;
        for work in works {
            let again = match &work.status {
                Status::Failed => true,
                Status::Trouble(error) => error.is_transient(),
                _ => false,
            };
            if again {
                self.log_retry(work);
                work.status = Status::Open;
                any = true;
            }
        }
        any
    }

    fn log_retry(&self, work: &Work) {
        let (name, instance, position) = (self.projection.name(), &work.instance, work.position());
        match &work.status {
            Status::Trouble(error) => log::warn!(
                "projection {name:?}, instance {instance:?}: {}; trying again at position {position}",
                crate::error::full(error)
            ),
            _ => log::debug!("projection {name:?}, instance {instance:?}: event {position} failed; trying again"),
        }
    }

    /// One attempt. A skipped event leaves its instance open, so that it goes on at once.
    fn attempt(&self, works: &mut [Work], last: bool) {
        loop {
            for work in works.iter_mut().filter(|work| work.is_open()) {
                if work.lease.as_ref().is_some_and(|holding| !holding.is_trusted()) {
                    work.stop(StopCause::LeaseLost);
                }
            }
            for work in works.iter_mut().filter(|work| work.is_open() && work.is_careful()) {
                self.work_carefully(work);
            }
            let mut open: Vec<&mut Work> = works.iter_mut().filter(|work| work.is_open()).collect();
            if open.is_empty() {
                return;
            }
            for work in &mut open {
                work.reduce(&self.projection);
            }
            self.together(&mut open, last);
        }
    }

    fn together(&self, open: &mut [&mut Work], last: bool) {
        let Err(error) = self.transact(open, Way::Together, last) else { return };
        match open {
            [work] => self.alone(work, error, last),
            // A transaction of its own may help.
            _ if !error.concerns_all() => {
                // Whoever was waited for delays the others by that one time-out only.
                let way = if error.kind() == StoreErrorKind::Timeout { Way::Briefly } else { Way::Together };
                for work in open {
                    if let Err(error) = self.transact(&mut [&mut **work], way, last) {
                        self.alone(work, error, last);
                    }
                }
            }
            _ => {
                for work in open {
                    work.status = Status::Trouble(error.clone());
                }
            }
        }
    }

    /// A single instance failed with this error.
    fn alone(&self, work: &mut Work, error: StoreError, last: bool) {
        let outcome = if error.is_statements_fault() {
            self.transact(&mut [&mut *work], Way::SingleSteps, last)
        } else {
            Err(error)
        };
        if let Err(error) = outcome {
            work.status = Status::Trouble(error);
        }
    }
}

fn finish(works: &mut [Work]) -> Processed {
    let mut processed = Processed::default();
    for work in works {
        match std::mem::replace(&mut work.status, Status::Finished) {
            Status::Finished => {}
            Status::Stopped(stopped) => processed.stopped.push(stopped),
            Status::Trouble(error) => stop(work, StopCause::Store(error), &mut processed),
            Status::Open | Status::Failed => stop(work, StopCause::Cancelled, &mut processed),
        }
        processed.applied += work.applied;
    }
    processed
}

fn stop(work: &mut Work, cause: StopCause, processed: &mut Processed) {
    work.stop(cause);
    if let Status::Stopped(stopped) = std::mem::replace(&mut work.status, Status::Finished) {
        processed.stopped.push(stopped);
    }
}
