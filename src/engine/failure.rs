//! What becomes of an event after a failed attempt: it waits, stops its instance, or is left out.

use std::time::Duration;

use super::config::{HandlerConfig, Policy};
use super::delay;
use crate::error::{StoreError, StoreErrorKind, full};
use crate::event::Event;
use crate::projection::{Projection, ReduceFailure};
use crate::state::{Attempt, Blocked, FailureClass, HeldState, State};

/// An error of the database that is the fault of the event's statement.
pub(super) fn of_statement(error: &StoreError) -> ReduceFailure {
    let class = match error.kind() {
        StoreErrorKind::Constraint => FailureClass::Constraint,
        StoreErrorKind::Data => FailureClass::Data,
        _ => FailureClass::Statement,
    };
    ReduceFailure { class, error: full(error) }
}

/// What is to be recorded of a failed attempt.
pub(super) fn decide(config: &HandlerConfig, state: &State, event: &Event, failure: &ReduceFailure) -> Attempt {
    let before = state.blocked.as_ref().filter(|blocked| blocked.position == event.position);
    let attempts = before.map_or(0, |blocked| blocked.attempts).saturating_add(1);
    let state = match config.policy {
        _ if attempts < config.max_failure_count => HeldState::Failing,
        Policy::Stop => HeldState::Stopped,
        Policy::Skip => HeldState::Skipped,
    };
    let retry_in = match state {
        HeldState::Failing => delay::after(config.backoff_base, config.backoff_cap, attempts),
        _ => Duration::ZERO,
    };
    Attempt {
        instance: event.instance.clone(),
        position: event.position,
        aggregate_type: event.aggregate_type.clone(),
        aggregate_id: event.aggregate_id.clone(),
        event_type: event.event_type.clone(),
        attempts,
        state,
        class: failure.class,
        error: failure.error.clone(),
        retry_in,
    }
}

pub(super) fn blocked(attempt: &Attempt) -> Blocked {
    Blocked {
        position: attempt.position,
        attempts: attempt.attempts,
        stopped: attempt.state == HeldState::Stopped,
        retry_in: attempt.retry_in,
        class: attempt.class,
        error: attempt.error.clone(),
    }
}

/// For the operator: what happened, to which projection and instance, what the engine does next.
pub(super) fn log(projection: &Projection, config: &HandlerConfig, attempt: &Attempt) {
    let (name, max) = (projection.name(), config.max_failure_count);
    let Attempt { instance, position, event_type, attempts, class, error, .. } = attempt;
    let what = format!(
        "projection {name:?}, instance {instance:?}: event {position} ({event_type}) failed, attempt {attempts} of {max} ({class}: {error})"
    );
    match attempt.state {
        HeldState::Failing => {
            log::warn!("{what}; the instance waits, next attempt in {:.1} s", attempt.retry_in.as_secs_f64());
        }
        HeldState::Skipped => log::error!("{what}; going on without it, it stays on record"),
        HeldState::Stopped => log::error!("{what}; the instance is stopped until a person acts, others go on"),
    }
}
