//! What people ask engines to do, and why it was not done.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::{FailureError, Holder, SetupError, StatementError, StoreError};
use crate::clock::spoken;
use crate::command::CommandState;
use crate::plain::{listed, plain, quoted};

/// A build that was not put in the place of the live one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// The new build lags behind the live one.
    #[error(
        "{} is not as far as the live build of projection {projection:?} in {behind} instance{} (first: {instance:?}, at {from}, live at {to}); let it catch up first",
        plain(build),
        if *.behind == 1 { "" } else { "s" }
    )]
    NotCaughtUp {
        /// The projection.
        projection: String,
        /// The build.
        build: String,
        /// How many instances lag.
        behind: usize,
        /// One of them.
        instance: String,
        /// Its position.
        from: i64,
        /// The position of the live build.
        to: i64,
    },
    /// Other sessions hold the tables. The switch asks for their locks in short attempts; between these nobody waits
    /// for it.
    #[error("the switch of projection {projection:?} waits for {}{}", list(holders), given_up(gave_up.as_ref()))]
    Held {
        /// The projection.
        projection: String,
        /// The holders, the longest first.
        holders: Vec<Holder>,
        /// For how long the switch asked for locks while readers waited. Zero when it only looked.
        asked: Duration,
        /// After how long the switch gave up.
        gave_up: Option<Duration>,
    },
    /// The new build was filled from events that the log no longer has.
    #[error(
        "readers stay where they are, because {} of projection {projection:?} was built from another history than that of the log (first: instance {instance:?}, {}); connect the right store; or, if this one is right, ask for a rebuild, which fills such instances again, or remove the build with `readside builds abandon` or `readside builds drop-old`",
        plain(build),
        plain(found)
    )]
    Diverged {
        /// The projection.
        projection: String,
        /// The build.
        build: String,
        /// The first such instance.
        instance: String,
        /// How its checkpoint contradicts the log.
        found: String,
    },
    /// An object of the service depends on a view whose columns change.
    #[error(
        "view {view:?} cannot keep all its columns in the new version, and {} depends on it; drop that, ask for the switch with `readside builds switch`, and create it again afterwards",
        plain(dependents)
    )]
    Dependents {
        /// The view.
        view: String,
        /// What depends on it.
        dependents: String,
    },
    /// Other rows refer to a row that the new build does not have.
    #[error(
        "instance {instance:?} of projection {projection:?} stays as it is: other rows refer to a row that has to go ({}); delete or change first what refers to it",
        plain(referring)
    )]
    Referred {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The foreign keys, with their tables.
        referring: String,
        /// What the database says.
        source: Box<StoreError>,
    },
    /// Rows that others refer to cannot take their new values one after the other.
    #[error(
        "instance {instance:?} of projection {projection:?} stays as it is: rows of it that others refer to ({}) cannot take their new values in place; rebuild the whole projection, which makes new tables",
        plain(referring)
    )]
    NotInPlace {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
        /// The foreign keys, with their tables.
        referring: String,
        /// What the database says.
        source: Box<StoreError>,
    },
    /// There is no such build.
    #[error("projection {projection:?} has no build {}; see `readside builds list`", plain(build))]
    NoBuild {
        /// The projection.
        projection: String,
        /// The build.
        build: String,
    },
    /// Names or tables differ from what is expected.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SwitchError {
    /// True when trying again may help without anybody acting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotCaughtUp { .. } | Self::Held { .. } => true,
            Self::Store(error) | Self::Setup(SetupError::Store(error)) => error.passes(),
            _ => false,
        }
    }
}

/// A request that was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperateError {
    /// No projection of this name is known here.
    #[error("there is no projection {projection:?}; the known ones are: {}", listed(known, ", "))]
    UnknownProjection {
        /// The name.
        projection: String,
        /// The names that are known.
        known: Vec<String>,
    },
    /// A reducer made the call.
    #[error(
        "a reducer cannot ask for a command and wait for its answer: it could wait for itself; a reducer only makes statements of its event"
    )]
    InsideReducer,
    /// The event store has no events of the instance, and the projection no state.
    #[error(
        "projection {projection:?} has no instance {instance:?}: no event of it is in the store; check the spelling"
    )]
    UnknownInstance {
        /// The projection.
        projection: String,
        /// The tenant.
        instance: String,
    },
    /// A position that does not exist yet, or never will.
    #[error("instance {instance:?} has positions 1 to {head}; {position} is not one of them")]
    UnknownPosition {
        /// The tenant.
        instance: String,
        /// The position that was asked for.
        position: i64,
        /// The last position there is.
        head: i64,
    },
    /// A primary key that does not fit the table.
    #[error(
        "table {table:?} has the primary key ({}), which [{}] does not fit: {}",
        plain(columns),
        quoted(given),
        plain(why)
    )]
    BadKey {
        /// The table.
        table: String,
        /// Its key columns.
        columns: String,
        /// The key that was given.
        given: Vec<String>,
        /// Why it does not fit.
        why: String,
    },
    /// Another command that excludes this one is running.
    #[error(
        "projection {projection:?}: {kind} has to wait, because {running} by {who:?} goes on (command {id}, {state}); wait for its end, or abandon it"
    )]
    Busy {
        /// The projection.
        projection: String,
        /// What was asked for.
        kind: &'static str,
        /// What is running.
        running: &'static str,
        /// The command that is running.
        id: Uuid,
        /// Who asked for it.
        who: String,
        /// How far that command is.
        state: CommandState,
    },
    /// The request needs the projection's code, and no living process runs it.
    #[error("this needs the code of projection {projection:?}{}, and no engine that runs it is alive{}; start one, or use the service's own command line", version.map(|version| format!(" version {version}")).unwrap_or_default(), others(running))]
    NoEngine {
        /// The projection.
        projection: String,
        /// The version, if one was named.
        version: Option<u32>,
        /// The versions that engines do run.
        running: Vec<u32>,
    },
    /// The request cannot be carried out as things are.
    #[error("projection {projection:?}: {}", plain(why))]
    Refused {
        /// The projection.
        projection: String,
        /// Why, and what to do.
        why: String,
    },
    /// A build that cannot go on.
    #[error(
        "the rebuild of projection {projection:?} is halted: {}; fix that and ask for the rebuild again; it goes on where it stopped",
        plain(trouble)
    )]
    Halted {
        /// The projection.
        projection: String,
        /// Why.
        trouble: String,
    },
    /// The store, or this build of the library, cannot do it.
    #[error("{}", plain(what))]
    Unsupported {
        /// What cannot be done, and why.
        what: String,
    },
    /// No command of this id is on record.
    #[error("there is no command {id}; see `readside commands`")]
    UnknownCommand {
        /// The id.
        id: Uuid,
    },
    /// There is no answer yet.
    #[error(
        "command {id} ({} of projection {projection:?}) has no answer after {}: {found}",
        plain(kind), spoken(*waited)
    )]
    NoAnswer {
        /// The command.
        id: Uuid,
        /// What was asked for.
        kind: String,
        /// The projection.
        projection: String,
        /// How far the command is, and what to do.
        found: Box<Unanswered>,
        /// How long the caller waited for the answer.
        waited: Duration,
    },
    /// No living engine can carry it out.
    #[error(
        "no engine that could carry out command {id} ({} of projection {projection:?}) is alive; start one, or use the service's own command line: {found}",
        plain(kind)
    )]
    NobodyLeft {
        /// The command.
        id: Uuid,
        /// What was asked for.
        kind: String,
        /// The projection.
        projection: String,
        /// How far the command is.
        found: Box<Unanswered>,
    },
    /// An engine could not carry it out.
    #[error("{}", plain(error))]
    Answered {
        /// What the engine said.
        error: String,
    },
    /// The engine was shut down. Another one goes on with the request.
    #[error(
        "the engine was shut down; the request stays on record, and another engine that runs the projection carries it out, or the next that starts"
    )]
    ShutDown,
    /// See [`SwitchError`].
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// See [`FailureError`].
    #[error(transparent)]
    Failure(#[from] FailureError),
    /// See [`StatementError`].
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// See [`SetupError`].
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// See [`ProjectionError`](super::ProjectionError).
    #[error(transparent)]
    Projection(#[from] super::ProjectionError),
    /// See [`ConfigError`](super::ConfigError).
    #[error(transparent)]
    Config(#[from] super::ConfigError),
    /// An error of another family.
    #[error(transparent)]
    Other(Box<super::Error>),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far a command without an answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unanswered {
    /// No engine has begun it. It stays on record until one does, or until it is withdrawn.
    NotBegun {
        /// The command.
        id: Uuid,
    },
    /// An engine has begun it and goes on with it.
    Begun {
        /// The command.
        id: Uuid,
        /// The process, by its name if that is known.
        by: String,
        /// How long ago it began.
        since: Duration,
    },
    /// An engine had begun it and has ended since. The next one goes on with it.
    Left {
        /// The command.
        id: Uuid,
    },
    /// No engine has begun it, and none will.
    Withdrawn,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBegun { id } => {
                write!(f, "no engine has begun it; `readside commands --id {id} --wait` tells when one does")
            }
            Self::Begun { id, by, since } => write!(
                f,
                "process {} began it {} ago and goes on; `readside commands --id {id} --wait` waits for its answer",
                plain(by),
                spoken(*since)
            ),
            Self::Left { id } => write!(
                f,
                "the engine that had begun it has ended; the next one goes on with it; `readside commands --id {id} \
                 --wait` waits for its answer"
            ),
            Self::Withdrawn => f.write_str("no engine had begun it, and it was withdrawn; ask again"),
        }
    }
}

fn list(holders: &[Holder]) -> String {
    listed(holders, "; and for ")
}

fn given_up(after: Option<&Duration>) -> String {
    after.map_or(String::new(), |after| {
        format!(
            "; given up after {}, readers stay where they are: end that session (`SELECT pg_terminate_backend(PID)`), or wait \
             for its end, and ask for the switch with `readside builds switch`",
            spoken(*after)
        )
    })
}

fn others(running: &[u32]) -> String {
    if running.is_empty() {
        return String::new();
    }
    format!(" (engines run version {})", listed(running, ", "))
}
