//! What is to be done in an instance, decided under the lock of its state. Pure.

use std::ops::Range;

use uuid::Uuid;

use super::work::{Step, Work};
use crate::state::{Blocked, State, StopCause};

use std::time::Duration;

#[derive(Debug)]
pub(super) enum Plan {
    /// Nothing can be done.
    Stop(StopCause),
    Apply(Run),
}

/// Steps to apply, and what comes behind them.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) steps: Range<usize>,
    /// Events are missing behind them, from this checkpoint on.
    pub(super) gap: Option<i64>,
}

/// Compares the state with what the work was fetched for, and drops what is applied already.
pub(super) fn plan(work: &Work, state: &State, store: Uuid, backoff_cap: Duration) -> Plan {
    if let Some(cause) = refusal(work, state, store, backoff_cap) {
        return Plan::Stop(cause);
    }
    let first = work.steps.partition_point(|step| step.event.position <= state.position);
    let rest = work.steps.get(first..).unwrap_or_default();
    let (length, gap) = match work.from {
        Some(_) => (rest.len(), None),
        None => dense(rest, start(work, state.position, rest)),
    };
    Plan::Apply(Run { steps: first..first + length, gap })
}

fn refusal(work: &Work, state: &State, store: Uuid, backoff_cap: Duration) -> Option<StopCause> {
    if let Some(other) = state.store.filter(|other| *other != store) {
        return Some(StopCause::HistoryDiverged {
            found: format!("its checkpoint belongs to event store {other}, this is {store}"),
        });
    }
    if work.from.is_some_and(|from| state.position < from) {
        return Some(StopCause::Reset);
    }
    if let Some(holding) = &work.lease
        && !holding.is_of(state)
    {
        return Some(StopCause::LeaseLost);
    }
    held_back(state, backoff_cap)
}

/// The position that the first step has to follow. Where all positions between the checkpoint and the first step are
/// known not to concern the projection, that is the one in front of it.
fn start(work: &Work, checkpoint: i64, rest: &[Step]) -> i64 {
    match (work.known, rest.first()) {
        (Some(known), Some(first)) if known.from <= checkpoint.saturating_add(1) && known.relevant <= checkpoint => {
            first.event.position - 1
        }
        _ => checkpoint,
    }
}

/// An event that waits for its next attempt, or for a person. A wait that no back-off can have set comes from a clock
/// that was wrong, and is over.
pub(super) fn held_back(state: &State, backoff_cap: Duration) -> Option<StopCause> {
    let blocked = state.blocked.as_ref().filter(|blocked| blocked.position > state.position)?;
    let waits = |blocked: &Blocked| !blocked.retry_in.is_zero() && blocked.retry_in <= backoff_cap.saturating_mul(2);
    if blocked.stopped {
        return Some(StopCause::Stopped(blocked.clone()));
    }
    waits(blocked).then(|| StopCause::Failing(blocked.clone()))
}

/// How many steps follow the checkpoint without a hole, and where the hole begins.
fn dense(steps: &[Step], checkpoint: i64) -> (usize, Option<i64>) {
    let mut last = checkpoint;
    for (at, step) in steps.iter().enumerate() {
        if last.checked_add(1) != Some(step.event.position) {
            return (at, Some(last));
        }
        last = step.event.position;
    }
    (steps.len(), None)
}
