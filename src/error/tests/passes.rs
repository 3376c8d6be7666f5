//! Passes, waiting, watching, stopping, failures.

use std::time::Duration;

use super::{Cause, Line, lines, many, odd, store, words};
use crate::engine::WatchMark;
use crate::error::{AwaitError, FailureError, ReduceError, ShutdownError, TriggerError, WatchError, chain};
use crate::failure::{Blocked, FailureClass, Refused, RetryOutcome};
use crate::standstill::{Standstill, StandstillKind};
use crate::stop_cause::{StopCause, Stopped};

pub(super) fn lines() -> Vec<Line> {
    let mut all = triggers();
    all.extend(causes());
    all.extend(waits());
    all.extend(failures());
    all.push(Line {
        name: "MarkError".to_owned(),
        error: Box::new("7-x\n-1".parse::<WatchMark>().unwrap_err()),
        says: vec!["not a mark of watched changes", "use the text of one"],
        cause: Some("of_ours"),
    });
    all.push(Line {
        name: "ShutdownError".to_owned(),
        error: Box::new(ShutdownError { threads: many("worker") }),
        says: vec!["worker0", "more", "did not end in time"],
        cause: None,
    });
    all
}

fn projection() -> String {
    odd("users")
}

fn tenant() -> String {
    odd("acme")
}

fn blocked() -> Blocked {
    let (class, error) = (FailureClass::Constraint, words());
    Blocked { position: 7, attempts: 3, stopped: true, retry_in: Duration::from_secs(2), class, error }
}

fn stopped(cause: StopCause) -> Stopped {
    Stopped { instance: tenant().into(), position: 7, cause }
}

fn triggers() -> Vec<Line> {
    lines!(TriggerError:
        NoInstances { projection: projection() } => ["users", "name those to bring up to date"],
        Stopped {
            projection: projection(),
            stopped: vec![stopped(StopCause::Stopped(blocked())), stopped(StopCause::Suspect)],
        } => ["users", "\"acme", "position 7", "duplicate key", "retry or discard", "1 more"],
        UnknownProjection { projection: projection() } => ["users", "check the spelling"],
        InsideReducer { projection: projection() } => ["users", "only makes statements"],
        Panicked { projection: projection(), panic: odd("no such thing") }
            => ["users", "no such thing", "trigger it again"],
        Store(store()) => ["reading the log"]; caused,
    )
}

/// Each cause of a stop, in an error that has it.
fn causes() -> Vec<Line> {
    let found = || odd("event 7 is another one");
    let line = |cause: StopCause| {
        // A match of all causes: a new one has to get a line.
        let says = match &cause {
            StopCause::Failing(_) => "attempt 3",
            StopCause::Stopped(_) => "retry or discard",
            StopCause::HistoryDiverged { .. } => "connect the right store",
            StopCause::HistoryChanged { .. } | StopCause::Reset => "trigger it again",
            StopCause::RowsWithoutCheckpoint => "which events they are of; ",
            StopCause::LogIncomplete { .. } => "is not whole (event 7 is another one",
            StopCause::Gap { .. } => "fetch them from the store",
            StopCause::Suspect => "triggers wait for that",
            StopCause::LeaseLost => "another process has taken it over",
            StopCause::Unfed { .. } => "start one",
            StopCause::SystemLeftOut => "HandlerConfig::system_instance(true)",
            StopCause::Cancelled => "was cancelled",
            StopCause::Store(_) => "reading the log",
            StopCause::StandsStill(_) => "disk full: no room",
        };
        Line {
            name: format!("AwaitError::Stopped by {says:?}"),
            error: Box::new(AwaitError::Stopped { projection: projection(), stopped: Box::new(stopped(cause)) }),
            says: vec!["users", "\"acme", "position 7", says],
            cause: None,
        }
    };
    let causes = [
        StopCause::Failing(blocked()),
        StopCause::Stopped(blocked()),
        StopCause::HistoryDiverged { found: found() },
        StopCause::HistoryChanged { found: found() },
        StopCause::RowsWithoutCheckpoint,
        StopCause::LogIncomplete { found: found() },
        StopCause::Gap { checkpoint: 6 },
        StopCause::Suspect,
        StopCause::Reset,
        StopCause::LeaseLost,
        StopCause::Unfed { why: odd("start one") },
        StopCause::SystemLeftOut,
        StopCause::Cancelled,
        StopCause::Store(store_error()),
        StopCause::StandsStill(Box::new(Standstill::new(StandstillKind::Full, odd("no room")))),
    ];
    causes.into_iter().map(line).collect()
}

/// Whose cause is none of the stop's, which a person reads on one line.
fn store_error() -> crate::error::StoreError {
    crate::error::StoreError::new(odd("reading the log"), crate::error::StoreErrorKind::Conflict, "no")
}

fn waits() -> Vec<Line> {
    let mut all = lines!(AwaitError:
        UnknownProjection { projection: projection() } => ["users", "check the spelling"],
        TimedOut {
            projection: projection(),
            instance: tenant(),
            position: 7,
            checkpoint: 6,
            waited: Duration::from_secs(5),
            why: Some(Box::new(StopCause::Stopped(blocked()))),
        } => ["users", "\"acme", "position 7", "it is at 6", "retry or discard"],
        EventFailed { projection: projection(), instance: tenant(), position: 7 }
            => ["users", "\"acme", "event 7", "retry or discard it"],
        EventLost { projection: projection(), instance: tenant(), position: 7 }
            => ["users", "\"acme", "event 7", "the tenant was removed", "push it again"],
        Stopped { projection: projection(), stopped: Box::new(stopped(StopCause::Stopped(blocked()))) }
            => ["users", "\"acme", "position 7", "retry or discard"],
        ShutDown => ["the engine was shut down", "start another one"],
        InsideReducer { projection: projection() } => ["users", "only makes statements"],
        Store(store()) => ["reading the log"]; caused,
    );
    all.extend(lines!(WatchError:
        UnknownProjection { projection: projection() } => ["users", "name one that is set up"],
        TooMany { most: 100 } => ["100", "drop those that nobody needs"],
        ShutDown => ["shut down", "start another one"],
        Store(store()) => ["reading the log"]; caused,
    ));
    all
}

fn failures() -> Vec<Line> {
    let mut mended = RetryOutcome { applied: 1, before: 300, after: 299, not_named: 200, ..RetryOutcome::default() };
    let refused = |position| Refused { instance: tenant(), position, class: None, error: words() };
    mended.refused = (1..100).map(refused).collect();
    lines!(FailureError:
        UnknownProjection { projection: projection() } => ["users", "check the spelling"],
        NotOnRecord { projection: projection(), instance: tenant(), position: 7 }
            => ["users", "\"acme", "event 7", "list those it has"],
        StillFails {
            projection: projection(),
            instance: tenant(),
            position: 7,
            applied: 2,
            class: FailureClass::Constraint,
            error: words(),
        } => ["users", "\"acme", "event 7", "constraint", "duplicate key", "2 events"],
        SomeStillFail { projection: projection(), mended: Box::new(mended) }
            => ["users", "299 of 300", "event 1 of instance \"acme", "duplicate key", "more"],
        EventGone { projection: projection(), instance: tenant(), position: 7 }
            => ["users", "\"acme", "event 7", "discard it"],
        InsideReducer { projection: projection() } => ["users", "only makes statements"],
        Trigger(TriggerError::NoInstances { projection: projection() }) => ["users"],
        Store(store()) => ["reading the log"]; caused,
    )
}

// Contract: H1
#[test]
fn an_error_of_a_reducer_is_one_line() {
    let error = ReduceError::from(Cause);
    assert_eq!(error.to_string(), chain(&Cause));
    assert_eq!(ReduceError::new("one\ntwo\u{202e}").to_string(), "one\\u{a}two\\u{202e}");
}
