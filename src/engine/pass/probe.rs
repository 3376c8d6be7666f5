//! Works event by event in an instance on which a process died. It records each event before it tries the event. So an
//! event that kills processes is found and counted, and the policy decides about it.

use std::sync::Arc;

use crate::engine::pass::apply::effect::at;
use crate::engine::pass::apply::{ApplyMode, Recording, given_up};
use crate::engine::pass::failure::Outcome;
use crate::engine::pass::plan::blocking_failure;
use crate::engine::pass::work::{Status, Step, Work};
use crate::engine::pass::{LogIdentity, Pass, failure};
use crate::error::{StoreError, StoreErrorKind};
use crate::failure::Attempt;
use crate::state::State;
use crate::stop_cause::StopCause;
use crate::store::ProjectionTransaction;

/// What was decided about an event before it is tried.
#[derive(Debug)]
enum Before {
    /// The mark says that the event is being tried.
    Try,
    /// Its aggregate is parked, or it was given up; it will not be reduced.
    Leave,
    /// It killed a process, and the record says so.
    Counted(Attempt),
    Stop(StopCause),
}

impl Pass {
    /// Tries the events one by one. When all are done, the instance is no longer probed.
    pub(crate) fn work_carefully(&self, work: &mut Work) {
        let count = work.steps.len();
        while work.next < count && work.is_open() {
            if self.cancel.is_set() {
                return work.stop(StopCause::Cancelled);
            }
            if let Err(error) = self.step_carefully(work) {
                self.note_trouble(work, error);
            }
        }
        if !work.is_open() {
            return;
        }
        if let Err(error) = self.end_carefully(work) {
            self.note_trouble(work, error);
        }
    }

    /// A work for one event.
    fn step_carefully(&self, work: &mut Work) -> Result<(), StoreError> {
        // Counting a death may move the checkpoint, so the log must still hold the event.
        self.log_of(&mut [&mut *work])?;
        if !work.is_open() {
            return Ok(());
        }
        let Some(step) = work.steps.get(work.next) else { return Ok(()) };
        match self.before(work, step)? {
            Before::Stop(cause) => {
                work.stop(cause);
                Ok(())
            }
            Before::Counted(attempt) => {
                self.tell_failed(&attempt, Some(&step.event));
                let outcome = Outcome::of(&attempt);
                if matches!(outcome, Outcome::PassedOver) {
                    work.moved_to(attempt.position);
                }
                work.end_attempt(outcome);
                Ok(())
            }
            Before::Leave => self.alone_carefully(work, false),
            Before::Try => self.alone_carefully(work, true),
        }
    }

    fn alone_carefully(&self, work: &mut Work, reduce: bool) -> Result<(), StoreError> {
        let Some(mut single) = work.next_alone() else { return Ok(()) };
        while single.is_open() && single.next < single.steps.len() {
            if reduce {
                single.reduce(&self.projection, &self.reducing);
            }
            self.transact(&mut [&mut single], ApplyMode::StepByStep, Recording::Everything)?;
        }
        if let Some(after) = single.after() {
            work.moved_to(after);
        }
        work.applied += single.applied;
        match single.status {
            Status::Finished | Status::Open => work.next += 1,
            status => work.status = status,
        }
        Ok(())
    }

    /// Looks at the mark of a former holder, then sets the mark of this process. The transaction commits before the
    /// event is tried.
    fn before(&self, work: &Work, step: &Step) -> Result<Before, StoreError> {
        let (LogIdentity { store, log }, instances) = (self.origin()?, [Arc::clone(&work.instance)]);
        let mut before = Before::Leave;
        self.models.transaction(&mut |tx| {
            let states = tx.lock(&self.key, &instances)?;
            let state = states.first().cloned().unwrap_or_default();
            before = self.look(tx, work, step, &state)?;
            match &before {
                Before::Try => tx.mark(&self.key, &work.instance, Some(step.event.position)),
                Before::Counted(attempt) => {
                    tx.mark(&self.key, &work.instance, None)?;
                    tx.record(&self.key, std::slice::from_ref(attempt))?;
                    if !matches!(Outcome::of(attempt), Outcome::PassedOver) {
                        return Ok(());
                    }
                    tx.save(&self.key, &[at(work, step.event.position, Some(step.event.id), store)], log)
                }
                Before::Leave | Before::Stop(_) => Ok(()),
            }
        })?;
        Ok(before)
    }

    fn look(
        &self,
        tx: &mut dyn ProjectionTransaction,
        work: &Work,
        step: &Step,
        state: &State,
    ) -> Result<Before, StoreError> {
        let Some(handle) = work.lease().filter(|handle| handle.is_of(state) && handle.is_trusted()) else {
            return Ok(Before::Stop(StopCause::LeaseLost));
        };
        let outlived = state.mark.filter(|mark| mark.epoch < handle.epoch() && mark.position == step.event.position);
        if outlived.is_some() {
            return Ok(Before::Counted(failure::decide(&self.config, state, &step.event, &failure::crash())));
        }
        if let Some(cause) = blocking_failure(state, self.config.backoff_cap) {
            return Ok(Before::Stop(cause));
        }
        let aggregate = (Arc::clone(&step.event.aggregate_type), Arc::from(step.event.aggregate_id()));
        let parked = state.held
            && tx.parked(&self.key, &work.instance, std::slice::from_ref(&aggregate.1))?.contains(&aggregate);
        let left =
            parked || (state.held && given_up(&self.given_up(tx, work, std::slice::from_ref(step))?, &step.event));
        Ok(if left { Before::Leave } else { Before::Try })
    }

    /// Moves the checkpoint to the end of what was read. The next work goes in batches again.
    fn end_carefully(&self, work: &mut Work) -> Result<(), StoreError> {
        self.transact(&mut [&mut *work], ApplyMode::StepByStep, Recording::Everything)?;
        let Some(handle) = work.lease().cloned() else { return Ok(()) };
        if !matches!(work.status, Status::Finished) {
            return Ok(());
        }
        self.models.transaction(&mut |tx| {
            let states = tx.lock(&self.key, std::slice::from_ref(&work.instance))?;
            if states.first().is_some_and(|state| handle.is_of(state)) {
                return tx.relax(&self.key, &work.instance);
            }
            Err(StoreError::new("ending work event by event", StoreErrorKind::Conflict, "the lease is somebody else's"))
        })?;
        handle.relax();
        log::info!(
            "projection {:?}, instance {:?}: the events that a process died with are handled; the work goes on in batches",
            self.projection.name(),
            work.instance
        );
        Ok(())
    }
}
