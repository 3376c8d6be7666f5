//! Attempts at some work. The first is one transaction for all instances. When it fails, each instance has its own.
//! When a statement is at fault, single steps find it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::engine::pass::apply::{ApplyMode, Recording};
use crate::engine::pass::work::{Processed, Status, Work};
use crate::engine::pass::{Pass, backoff, history};
use crate::error::{StoreError, StoreErrorKind};
use crate::stop_cause::StopCause;

/// The longest wait between two attempts of one call.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Pass {
    /// Works through everything, with retries.
    pub(crate) fn process(&self, works: &mut [Work]) -> Processed {
        self.attempts(works, |works, last| {
            self.attempt(works, recording(last));
            true
        })
    }

    /// Works on one instance, with retries. It keeps others waiting for one time-out at most.
    pub(crate) fn process_alone(&self, works: &mut [Work]) -> Processed {
        self.attempts(works, |works, last| {
            self.attempt(works, recording(last));
            !works.iter().any(is_timed_out)
        })
    }

    /// Works on several instances. Returns those that are to be worked on alone: an instance that had trouble, and one
    /// that is probed, which is slow.
    pub(crate) fn process_together(&self, works: &mut [Work]) -> (Processed, Vec<Arc<str>>) {
        let mut apart = Vec::new();
        self.isolate(works, &mut apart, Work::is_careful);
        let processed = self.attempts(works, |works, _| {
            self.attempt(works, Recording::Final);
            self.isolate(works, &mut apart, has_own_trouble);
            true
        });
        (processed, apart)
    }

    /// Makes attempts until none is left, or one says that another would not help.
    fn attempts(&self, works: &mut [Work], mut attempt: impl FnMut(&mut [Work], bool) -> bool) -> Processed {
        for number in 0..=self.config.retries {
            let last = number == self.config.retries;
            if !self.may_go_on(number) || !attempt(works, last) || last || !self.reopen(works) {
                break;
            }
        }
        finish(works)
    }

    fn isolate(&self, works: &mut [Work], apart: &mut Vec<Arc<str>>, is_one: impl Fn(&Work) -> bool) {
        for work in works.iter_mut().filter(|work| is_one(work)) {
            self.log_retry(work);
            apart.push(Arc::clone(&work.instance));
            work.status = Status::Finished;
        }
    }

    fn may_go_on(&self, attempt: u32) -> bool {
        match attempt {
            0 => !self.cancel.is_set(),
            _ => self.pause(attempt),
        }
    }

    /// Waits before the next attempt. Returns false when cancelled.
    pub(crate) fn pause(&self, failures: u32) -> bool {
        let cap = LONGEST_WAIT.max(self.config.retry_failed_after);
        self.cancel.wait(backoff::after(self.config.retry_failed_after, cap, failures))
    }

    /// Opens the works again that another attempt may help. Returns false when there is none.
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
                work.reopen();
                any = true;
            }
        }
        any
    }

    fn log_retry(&self, work: &Work) {
        let (name, instance, position) = (self.projection.name(), &work.instance, work.position());
        match &work.status {
            // Trouble that lasts stops the instance. The stop is logged once.
            Status::Trouble(error) => log::debug!(
                "projection {name:?}, instance {instance:?}: {}; trying again at position {position}",
                crate::error::chain(error)
            ),
            Status::Failed => {
                log::debug!("projection {name:?}, instance {instance:?}: event {position} failed; trying again");
            }
            _ => log::debug!("projection {name:?}, instance {instance:?}: it goes on alone, event by event"),
        }
    }

    /// Makes one attempt. A skipped event leaves its instance open, so that it goes on at once.
    fn attempt(&self, works: &mut [Work], recording: Recording) {
        loop {
            for work in works.iter_mut().filter(|work| work.is_open()) {
                if work.lease().is_some_and(|handle| !handle.is_trusted()) {
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
            let began = Instant::now();
            for work in &mut open {
                work.reduce(&self.projection, &self.reducing);
            }
            self.meter.reduced(began.elapsed());
            self.together(&mut open, recording);
        }
    }

    fn together(&self, open: &mut [&mut Work], recording: Recording) {
        let Err(error) = self.transact(open, ApplyMode::Batch, recording) else { return };
        match open {
            [work] => self.alone(work, error, recording),
            // A transaction for each instance alone may help.
            _ if error.kind() == StoreErrorKind::Timeout => self.briefly(open, recording),
            _ if !error.concerns_all() => {
                for work in open {
                    self.by_itself(work, ApplyMode::Batch, recording);
                }
            }
            _ => {
                for work in open {
                    work.status = Status::Trouble(error.clone());
                }
            }
        }
    }

    /// The instance that the batch waited for delays the others by that one time-out, and all of them together by one more
    /// at most. What takes longer comes last.
    fn briefly(&self, open: &mut [&mut Work], recording: Recording) {
        let share = u32::try_from(open.len()).unwrap_or(u32::MAX);
        for work in open.iter_mut() {
            self.by_itself(work, ApplyMode::BatchNoWait { share }, recording);
        }
        for work in open.iter_mut().filter(|work| recording == Recording::Everything && is_timed_out(work)) {
            work.status = Status::Open;
            self.by_itself(work, ApplyMode::BatchNoWait { share: 1 }, recording);
        }
    }

    fn by_itself(&self, work: &mut Work, way: ApplyMode, recording: Recording) {
        if let Err(error) = self.transact(&mut [&mut *work], way, recording) {
            self.alone(work, error, recording);
        }
    }

    /// Handles an error of a single instance.
    fn alone(&self, work: &mut Work, error: StoreError, recording: Recording) {
        let outcome = if error.is_statements_fault() {
            self.single_steps.fetch_add(1, Ordering::Relaxed);
            let outcome = self.transact(&mut [&mut *work], ApplyMode::StepByStep, recording);
            if outcome.is_ok() && matches!(work.status, Status::Finished) {
                let (name, instance) = (self.projection.name(), &work.instance);
                let why = crate::error::chain(&error);
                log::info!(
                    "projection {name:?}, instance {instance:?}: the database refused its batch ({why}); its events are applied one by one"
                );
            }
            outcome
        } else {
            Err(error)
        };
        match outcome {
            Ok(()) => {}
            Err(error) => self.note_trouble(work, error),
        }
    }

    /// Ends the work on a single instance that cannot go on because of this error.
    pub(crate) fn note_trouble(&self, work: &mut Work, error: StoreError) {
        if error.kind() == StoreErrorKind::Diverged {
            // The kept pages are older than the log. The pass reads the log again.
            self.source.forget();
            let found = self.of_copy(work).unwrap_or_else(|| crate::error::chain(&error));
            work.stop(StopCause::HistoryChanged { found });
        } else {
            work.status = Status::Trouble(error);
        }
    }

    /// The database of the read models said that its log lacks the last event of this work. If the source still has
    /// the event, there are two logs with one id: one is a copy of the other.
    fn of_copy(&self, work: &Work) -> Option<String> {
        let (position, Some(id)) = work.end()? else { return None };
        let stands = history::standing(self.source.as_ref(), &work.instance, position).ok()?;
        (stands.at == Some(id)).then(|| {
            format!(
                "the event store holds event {position} and the database of the read models does not, though both have the \
                 same store id: one is a copy of the other; keep the read models in the database of the events, or in one \
                 that was not copied from it"
            )
        })
    }
}

/// What an attempt of a call records.
fn recording(last: bool) -> Recording {
    if last { Recording::Everything } else { Recording::Final }
}

fn is_timed_out(work: &Work) -> bool {
    matches!(&work.status, Status::Trouble(error) if error.kind() == StoreErrorKind::Timeout)
}

/// True when it is to be tried again for a reason that other instances need not share.
fn has_own_trouble(work: &Work) -> bool {
    match &work.status {
        Status::Failed => true,
        Status::Trouble(error) => error.is_transient() && !error.concerns_all(),
        _ => false,
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
