//! What one transaction does to one instance.

use std::sync::Arc;

use uuid::Uuid;

use crate::engine::pass::work::{Step, Work};
#[cfg(feature = "serve")]
use crate::event::Event;
use crate::failure::Attempt;
use crate::state::{Checkpoint, State};
use crate::statement::Statement;
use crate::stop_cause::StopCause;

/// What a transaction does to one instance. It holds once the transaction is committed.
#[derive(Debug)]
pub(super) struct Effect {
    /// The first step that this transaction handles.
    pub(super) first: usize,
    pub(super) next: usize,
    pub(super) checkpoint: Option<Checkpoint>,
    /// The recorded failure of the step that ends the work, if there is one.
    pub(super) attempt: Option<Attempt>,
    /// The failures of steps that failed for good. The work went on after them.
    pub(super) passed: Vec<Attempt>,
    /// Steps that wait behind a parked event of their aggregate.
    pub(super) behind: Vec<usize>,
    /// Steps that a person gave up.
    pub(super) given_up: Vec<usize>,
    /// True when an event failed, recorded or not.
    pub(super) failed: bool,
    pub(super) stop: Option<StopCause>,
    pub(super) clear: bool,
    pub(super) unmark: bool,
    /// The checkpoint before the transaction. `None` when it is not certain that this work applied every event after
    /// it.
    pub(super) clean: Option<i64>,
    /// [`State::anew`] under the lock.
    pub(super) anew: i64,
}

impl Effect {
    pub(super) fn nothing(work: &Work) -> Self {
        Self {
            first: work.next,
            next: work.next,
            checkpoint: None,
            attempt: None,
            passed: Vec::new(),
            behind: Vec::new(),
            given_up: Vec::new(),
            failed: false,
            stop: None,
            clear: false,
            unmark: false,
            clean: None,
            anew: 0,
        }
    }
}

/// The statements of an instance that the transaction applies. A refused event has none, even if the checkpoint was set
/// back below it.
pub(super) fn todo<'w>(work: &'w Work, effect: &'w Effect) -> (Arc<str>, Vec<&'w Statement>) {
    let statements = steps_todo(work, effect).filter_map(|step| step.statement().and_then(Result::ok));
    (Arc::clone(&work.instance), statements.collect())
}

/// An event with what its reducer made of it.
#[cfg(feature = "serve")]
pub(super) fn sighted(step: &Step) -> Option<(&Event, &Statement)> {
    Some((&step.event, step.statement()?.ok()?))
}

/// The steps that were planned, without those that were passed over.
pub(super) fn steps_todo<'w>(work: &'w Work, effect: &'w Effect) -> impl Iterator<Item = &'w Step> {
    let (first, next) = (effect.first, effect.next.min(work.steps.len()));
    let is_passed = |step: &Step| {
        let position = step.event.position;
        effect.passed.binary_search_by_key(&position, |attempt| attempt.position).is_ok()
    };
    // Nearly always so.
    let are_all = effect.behind.is_empty() && effect.given_up.is_empty() && effect.passed.is_empty();
    let is_todo = move |(at, step): &(usize, &Step)| {
        let at = first + at;
        are_all || !(effect.behind.contains(&at) || effect.given_up.contains(&at) || is_passed(step))
    };
    work.steps.get(first..next).unwrap_or_default().iter().enumerate().filter(is_todo).map(|(_, step)| step)
}

/// The new checkpoint: the end of what was scanned when all steps are done, else the last event applied.
pub(super) fn checkpoint(work: &Work, state: &State, effect: &Effect, end: usize, store: Uuid) -> Option<Checkpoint> {
    let complete = effect.next == end && end == work.steps.len();
    let event = effect.next.checked_sub(1).and_then(|at| work.steps.get(at)).map(|step| &step.event);
    let applied = event.map(|event| (event.position, Some(event.id)));
    let to = if complete { work.scanned_to().or(applied) } else { applied };
    let (position, event) = to.filter(|(position, _)| *position > state.position)?;
    Some(at(work, position, event, store))
}

pub(crate) fn at(work: &Work, position: i64, event: Option<Uuid>, store: Uuid) -> Checkpoint {
    Checkpoint { instance: Arc::clone(&work.instance), position, event, store }
}

/// True when the state shows the effect, or later work.
pub(super) fn shows(effect: &Effect, state: &State) -> bool {
    let moved = effect
        .checkpoint
        .as_ref()
        .is_none_or(|to| state.position > to.position || (state.position == to.position && state.event == to.event));
    let recorded = effect.attempt.as_ref().is_none_or(|attempt| {
        state.position >= attempt.position
            || state
                .blocked
                .as_ref()
                .is_some_and(|blocked| blocked.position == attempt.position && blocked.attempts >= attempt.attempts)
    });
    moved && recorded
}
