//! What becomes of an event after a failed attempt: it waits, stops its instance, or is left out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::kv::Value;

use crate::clock::spoken;
use crate::engine::config::{HandlerConfig, Policy};
use crate::engine::observe::observation::{FailedAttempt, Observation};
use crate::engine::pass::{Pass, backoff};
use crate::error::{StoreError, StoreErrorKind, chain};
use crate::event::Event;
use crate::failure::{Attempt, Blocked, FailureClass, FailureStatus, ReduceFailure};
use crate::plain::plain;
use crate::projection::Projection;
use crate::standstill::bounded;
use crate::state::State;
use crate::stop_cause::StopCause;

/// An error of the database that is the fault of the event's statement.
pub(crate) fn of_statement(error: &StoreError) -> ReduceFailure {
    let class = match error.kind() {
        StoreErrorKind::Constraint => FailureClass::Constraint,
        StoreErrorKind::Data => FailureClass::Data,
        _ => FailureClass::Statement,
    };
    ReduceFailure { class, error: chain(error) }
}

/// The record of a failed attempt.
pub(crate) fn decide(config: &HandlerConfig, state: &State, event: &Event, failure: &ReduceFailure) -> Attempt {
    let before = state.blocked.as_ref().filter(|blocked| blocked.position == event.position);
    let attempts = before.map_or(0, |blocked| blocked.attempts).saturating_add(1);
    let state = match config.policy {
        _ if attempts < config.limit(failure.class) => FailureStatus::Failing,
        Policy::Park => FailureStatus::Parked,
        Policy::Stop => FailureStatus::Stopped,
        Policy::Skip => FailureStatus::Skipped,
    };
    let retry_in = match state {
        FailureStatus::Failing => backoff::after(config.backoff_base, config.backoff_cap, attempts),
        _ => Duration::ZERO,
    };
    Attempt {
        instance: event.instance.clone(),
        position: event.position,
        aggregate_type: event.aggregate_type.clone(),
        aggregate_id: event.aggregate_id().into(),
        event_type: event.event_type().into(),
        attempts,
        state,
        class: failure.class,
        error: failure.error.clone(),
        retry_in,
    }
}

/// The record of an event whose aggregate is parked.
pub(crate) fn behind_parked(event: &Event) -> Attempt {
    Attempt {
        instance: event.instance.clone(),
        position: event.position,
        aggregate_type: event.aggregate_type.clone(),
        aggregate_id: event.aggregate_id().into(),
        event_type: event.event_type().into(),
        attempts: 0,
        state: FailureStatus::Behind,
        class: FailureClass::Predecessor,
        error: "an earlier event of its aggregate is parked".to_owned(),
        retry_in: Duration::ZERO,
    }
}

/// The failure of an event that a process did not survive.
pub(crate) fn crash() -> ReduceFailure {
    ReduceFailure { class: FailureClass::Crash, error: "the process died while it tried this event".to_owned() }
}

/// What a failed attempt means for its instance.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The instance goes on after the event.
    PassedOver,
    /// The instance waits for the next attempt, or for a person.
    Held(StopCause),
}

impl Outcome {
    pub(crate) fn of(attempt: &Attempt) -> Self {
        match attempt.state {
            FailureStatus::Skipped | FailureStatus::Parked | FailureStatus::Discarded => Self::PassedOver,
            FailureStatus::Stopped => Self::Held(StopCause::Stopped(blocked(attempt))),
            FailureStatus::Failing | FailureStatus::Behind => Self::Held(StopCause::Failing(blocked(attempt))),
        }
    }
}

fn blocked(attempt: &Attempt) -> Blocked {
    Blocked {
        position: attempt.position,
        attempts: attempt.attempts,
        stopped: attempt.state == FailureStatus::Stopped,
        retry_in: attempt.retry_in,
        class: attempt.class,
        error: attempt.error.clone(),
    }
}

/// For the operator: what happened, to which projection and instance, what the engine does next.
///
/// `event` is the event that failed. The line names its trace, so that a person who has the trace finds the failure.
fn log(projection: &Projection, config: &HandlerConfig, attempt: &Attempt, event: Option<&Event>) {
    let next = match attempt.state {
        FailureStatus::Failing => format!("the instance waits, next attempt in {}", spoken(attempt.retry_in)),
        FailureStatus::Skipped => "going on without it, it stays on record".to_owned(),
        FailureStatus::Parked => format!(
            "later events of {} {:?} wait behind it until a person retries or discards it, all others go on",
            plain(&attempt.aggregate_type),
            attempt.aggregate_id
        ),
        FailureStatus::Behind | FailureStatus::Discarded => return,
        FailureStatus::Stopped => "the instance is stopped until a person acts, others go on".to_owned(),
    };
    let level = if attempt.state == FailureStatus::Failing { log::Level::Warn } else { log::Level::Error };
    let what = told(projection.name(), config.limit(attempt.class), attempt);
    let trace = event.and_then(trace);
    let told_trace = trace.as_ref().map_or(String::new(), |trace| format!(" (traceparent {trace})"));
    let trace = trace.as_deref().map_or_else(Value::null, Value::from);
    log::log!(
        level,
        event = "failure",
        projection:display = plain(projection.name()),
        version = projection.version(),
        instance:display = plain(&attempt.instance),
        position = attempt.position,
        event_type:display = plain(&attempt.event_type),
        class:display = attempt.class,
        attempts = attempt.attempts,
        state = attempt.state.as_str(),
        traceparent = trace;
        "{what}{told_trace}; {next}"
    );
}

impl Pass {
    /// Tells of a failed attempt, in the log and to an observer.
    pub(crate) fn tell_failed(&self, attempt: &Attempt, event: Option<&Event>) {
        log(&self.projection, &self.config, attempt, event);
        if matches!(attempt.state, FailureStatus::Behind | FailureStatus::Discarded) {
            return;
        }
        self.hook.tell(|| {
            Observation::Failed(FailedAttempt {
                projection: self.projection.name().into(),
                version: self.projection.version(),
                is_hidden: self.is_unseen(),
                instance: Arc::clone(&attempt.instance),
                position: attempt.position,
                event_id: event.map(|event| event.id),
                aggregate_type: Arc::clone(&attempt.aggregate_type),
                aggregate_id: Arc::clone(&attempt.aggregate_id),
                event_type: Arc::clone(&attempt.event_type),
                attempts: attempt.attempts,
                state: attempt.state,
                retry_in: attempt.retry_in,
                class: attempt.class,
                error: bounded(&attempt.error),
                trace: event.and_then(trace),
                at: SystemTime::now(),
            })
        });
    }
}

/// The trace in which an event was pushed, where its metadata name one in the form of the W3C: anything else may be anything.
pub(crate) fn trace(event: &Event) -> Option<String> {
    if !event.metadata_json().contains("traceparent") {
        return None;
    }
    let named = event.metadata("traceparent")?;
    let mut parts = named.split('-');
    let fits = [2, 32, 16, 2].into_iter().all(|length| {
        let is_hex =
            |part: &str| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        parts.next().is_some_and(is_hex)
    });
    (fits && parts.next().is_none()).then_some(named)
}

fn told(projection: &str, max: u32, attempt: &Attempt) -> String {
    let Attempt { instance, position, event_type, attempts, class, error, .. } = attempt;
    let of = if *attempts <= max { format!(" of {max}") } else { String::new() };
    format!(
        "projection {projection:?}, instance {instance:?}: event {position} ({}) failed, attempt {attempts}{of} ({class}: {})",
        plain(event_type),
        plain(error)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: H1
    #[test]
    fn a_failure_is_told_on_one_line() {
        let attempt = Attempt {
            instance: "a\n".into(),
            position: 7,
            aggregate_type: "user".into(),
            aggregate_id: "u".into(),
            event_type: "added\n\t\u{202e}x".into(),
            attempts: 1,
            state: FailureStatus::Parked,
            class: FailureClass::Reducer,
            error: "no\nname\u{1b}[2J".to_owned(),
            retry_in: Duration::ZERO,
        };
        let wanted = "projection \"users\", instance \"a\\n\": event 7 (added\\u{a}\\u{9}\\u{202e}x) failed, attempt 1 of 8 \
                      (reducer: no\\u{a}name\\u{1b}[2J)";
        assert_eq!(told("users", 8, &attempt), wanted);
    }
}
