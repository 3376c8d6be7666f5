//! What people ask engines to do, and the error that any other turns into.

use std::time::Duration;

use uuid::Uuid;

use super::calls::holder;
use super::{Line, lines, many, odd, store, words};
use crate::command::CommandState;
use crate::error::{
    AwaitError, ConfigError, Error, FailureError, OperateError, PayloadError, ProjectionError, PushError, QueryError,
    RetentionError, SetupError, ShutdownError, StatementError, SwitchError, TriggerError, Unanswered, WatchError,
};

pub(super) fn lines() -> Vec<Line> {
    let mut all = switches();
    all.extend(operations());
    all.extend(unanswered());
    all.extend(any());
    #[cfg(all(feature = "serve", unix))]
    all.extend(pages());
    all
}

fn projection() -> String {
    odd("users")
}

fn tenant() -> String {
    odd("acme")
}

fn switches() -> Vec<Line> {
    let (build, referring) = (|| odd("the build of version 2"), || odd("own.key"));
    lines!(SwitchError:
        NotCaughtUp { projection: projection(), build: build(), behind: 2, instance: tenant(), from: 6, to: 7 }
            => ["users", "the build of version 2", "2 instances", "\"acme", "at 6", "live at 7", "let it catch up"],
        Held {
            projection: projection(),
            holders: vec![holder(); 1000],
            asked: Duration::ZERO,
            gave_up: Some(Duration::from_mins(1)),
        } => ["users", "pid 4711", "billing", "more", "end that session"],
        Diverged { projection: projection(), build: build(), instance: tenant(), found: odd("event 7 is another") }
            => ["users", "the build of version 2", "\"acme", "event 7 is another", "connect the right store"],
        Dependents { view: odd("seen"), dependents: odd("view own") } => ["\"seen", "view own", "drop that"],
        Referred { projection: projection(), instance: tenant(), referring: referring(), source: Box::new(store()) }
            => ["users", "\"acme", "own.key", "delete or change first"]; caused,
        NotInPlace { projection: projection(), instance: tenant(), referring: referring(), source: Box::new(store()) }
            => ["users", "\"acme", "own.key", "rebuild the whole projection"]; caused,
        NoBuild { projection: projection(), build: build() } => ["users", "the build of version 2", "readside builds"],
        Setup(SetupError::Missing { what: odd("table x") }) => ["table x"],
        Store(store()) => ["reading the log"]; caused,
    )
}

fn operations() -> Vec<Line> {
    let (id, kind) = (Uuid::nil(), || odd("rebuild"));
    lines!(OperateError:
        UnknownProjection { projection: projection(), known: many("known") } => ["users", "known0", "more"],
        InsideReducer => ["only makes statements"],
        UnknownInstance { projection: projection(), instance: tenant() } => ["users", "\"acme", "check the spelling"],
        UnknownPosition { instance: tenant(), position: 9, head: 7 } => ["\"acme", "1 to 7", "9"],
        BadKey { table: odd("balances"), columns: odd("id, day"), given: many("given"), why: odd("too many") }
            => ["\"balances", "id, day", "given0", "more", "too many"],
        Busy {
            projection: projection(),
            kind: "reset",
            running: "rebuild",
            id,
            who: odd("ada"),
            state: CommandState::Taken,
        } => ["users", "reset", "rebuild", "\"ada", "00000000", "taken", "wait for its end"],
        NoEngine { projection: projection(), version: Some(3), running: (1..2000).collect() }
            => ["users", "version 3", "version 1, 2", "more", "start one"],
        Refused { projection: projection(), why: odd("it is not set up") } => ["users", "it is not set up"],
        Halted { projection: projection(), trouble: words() }
            => ["users", "duplicate key", "ask for the rebuild again"],
        Unsupported { what: odd("no backup") } => ["no backup"],
        UnknownCommand { id } => ["00000000", "readside commands"],
        NoAnswer {
            id,
            kind: kind(),
            projection: projection(),
            found: Box::new(Unanswered::Begun { id, by: odd("host-1"), since: Duration::from_secs(80) }),
            waited: Duration::from_secs(5),
        } => ["00000000", "rebuild", "users", "host-1", "readside commands"],
        NobodyLeft {
            id,
            kind: kind(),
            projection: projection(),
            found: Box::new(Unanswered::Withdrawn),
        } => ["00000000", "rebuild", "users", "start one", "ask again"],
        Answered { error: odd("the engine says") } => ["the engine says"],
        ShutDown => ["the engine was shut down", "the next that starts"],
        Switch(SwitchError::NoBuild { projection: projection(), build: odd("build 2") }) => ["build 2"],
        Failure(FailureError::UnknownProjection { projection: projection() }) => ["users"],
        Statement(StatementError::UnknownTable { table: odd("balances") }) => ["balances"],
        Setup(SetupError::Missing { what: odd("table x") }) => ["table x"],
        Projection(ProjectionError::NoProjection) => ["no name"],
        Config(ConfigError { faults: many("fault") }) => ["fault0"],
        Other(Box::new(Error::Push(PushError::Store(store())))) => ["reading the log"]; caused,
        Store(store()) => ["reading the log"]; caused,
    )
}

/// How it stands with a command, in an error that says so.
fn unanswered() -> Vec<Line> {
    let id = Uuid::nil();
    let line = |found: Unanswered| {
        // A match of all: a new one has to get a line.
        let says = match &found {
            Unanswered::NotBegun { .. } => "no engine has begun it; `readside commands",
            Unanswered::Begun { .. } => "process host-1",
            Unanswered::Left { .. } => "has ended; the next one goes on",
            Unanswered::Withdrawn => "ask again",
        };
        let (kind, projection, waited) = (odd("rebuild"), projection(), Duration::from_secs(5));
        Line {
            name: format!("OperateError::NoAnswer with {says:?}"),
            error: Box::new(OperateError::NoAnswer { id, kind, projection, found: Box::new(found), waited }),
            says: vec!["rebuild", "users", says],
            cause: None,
        }
    };
    let all = [
        Unanswered::NotBegun { id },
        Unanswered::Begun { id, by: odd("host-1"), since: Duration::from_secs(80) },
        Unanswered::Left { id },
        Unanswered::Withdrawn,
    ];
    all.into_iter().map(line).collect()
}

fn any() -> Vec<Line> {
    lines!(Error:
        Store(store()) => ["reading the log"]; caused,
        Push(PushError::ImportDisturbed { instance: tenant() }) => ["acme"],
        Query(QueryError::NoInstance) => ["the query"],
        Statement(StatementError::UnknownTable { table: odd("balances") }) => ["balances"],
        Payload(PayloadError::Unfit(Box::new(super::Cause))) => ["the event"]; caused,
        Projection(ProjectionError::NoProjection) => ["no name"],
        Setup(SetupError::Missing { what: odd("table x") }) => ["table x"],
        Config(ConfigError { faults: many("fault") }) => ["fault0"],
        Trigger(TriggerError::NoInstances { projection: projection() }) => ["users"],
        Await(AwaitError::ShutDown) => ["shut down"],
        Watch(WatchError::ShutDown) => ["shut down"],
        Failure(FailureError::UnknownProjection { projection: projection() }) => ["users"],
        Retention(RetentionError::SystemInstance) => ["system instance"],
        Shutdown(ShutdownError { threads: many("worker") }) => ["worker0"],
        Operate(OperateError::InsideReducer) => ["a reducer"],
    )
}

#[cfg(all(feature = "serve", unix))]
fn pages() -> Vec<Line> {
    use crate::serve::{ServeAddress, ServeError};

    let address = || ServeAddress::Unix(odd("/run/readside.sock").into());
    let denied = || std::io::Error::other(super::CAUSE);
    lines!(ServeError:
        Listen { address: address(), source: denied() } => ["/run/readside.sock", "name a free address"]; caused,
        Open { address: address() } => ["/run/readside.sock", "set one"],
        Setting { what: odd("the title"), why: "it is empty" } => ["the title", "it is empty"],
        Thread { name: odd("readside-page"), source: denied() } => ["readside-page", "see how many"]; caused,
        StillRunning { names: many("page") } => ["page0", "more", "did not end in time"],
    )
}
