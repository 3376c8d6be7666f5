//! Why projections stand still, in words, with what a person can do about it.
//!
//! What only one process knows (a lock that it waits for, rights that it lacks) it records as a [`Note`]. What is
//! stored anyway (pauses, phases, members, checkpoints above heads) needs no note: the store reads it from its place.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use uuid::Uuid;

use crate::error::{StoreError, StoreErrorKind};
use crate::plain::plain;
use crate::remedy::Piece::{Here, Run, Say};
use crate::remedy::{Act, Piece, in_general};
use crate::state::ProjectionKey;

/// The most characters of a reason that are kept.
const LONGEST: usize = 500;

/// What keeps a projection, or an instance of it, from moving. The gravest come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StandstillKind {
    /// The checkpoint is not part of the event store's history.
    Diverged,
    /// The read tables hold rows, but no checkpoint says which events made them.
    Orphaned,
    /// The log is incomplete: events are missing, or are above their heads.
    Incomplete,
    /// The database denies it to the role of the process.
    Denied,
    /// The database only allows reading.
    ReadOnly,
    /// The disk, or the quota, is full.
    Full,
    /// A table or a schema differs from what it should be.
    Missing,
    /// The database cannot be reached.
    Unreachable,
    /// A lock was not obtained in time, or a statement was cut off.
    Locked,
    /// The build was halted.
    Halted,
    /// Readers were not switched to the build.
    Refused,
    /// An event has been inside its reducer for longer than is allowed.
    Hangs,
    /// A batch panicked outside of user code.
    Panicked,
    /// Any other error of the database.
    Database,
    /// A person paused it.
    Paused,
    /// Another process has held the lease for long without moving it.
    Leased,
    /// Readers see another version, which no living engine runs.
    Unseen,
    /// It lags, nothing of it has moved for a minute, and no process says why.
    Unmoved,
    /// It lags, and no living engine runs this version.
    NoEngine,
    /// It lags, and its first run is not over: one process works on it.
    FirstRun,
}

impl StandstillKind {
    pub(crate) const ALL: [Self; 20] = [
        Self::Hangs,
        Self::Diverged,
        Self::Orphaned,
        Self::Incomplete,
        Self::Denied,
        Self::ReadOnly,
        Self::Full,
        Self::Missing,
        Self::Unreachable,
        Self::Locked,
        Self::Halted,
        Self::Refused,
        Self::Panicked,
        Self::Database,
        Self::Leased,
        Self::Unseen,
        Self::Unmoved,
        Self::NoEngine,
        Self::FirstRun,
        Self::Paused,
    ];

    /// The word under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Diverged => "diverged",
            Self::Orphaned => "orphaned",
            Self::Incomplete => "incomplete",
            Self::Denied => "denied",
            Self::ReadOnly => "read-only",
            Self::Full => "full",
            Self::Missing => "missing",
            Self::Unreachable => "unreachable",
            Self::Locked => "locked",
            Self::Halted => "halted",
            Self::Refused => "refused",
            Self::Hangs => "hangs",
            Self::Panicked => "panicked",
            Self::Database => "database",
            Self::Leased => "leased",
            Self::Unseen => "unseen",
            Self::Unmoved => "unmoved",
            Self::NoEngine => "no-engine",
            Self::FirstRun => "first-run",
            Self::Paused => "paused",
        }
    }

    /// The kind of a stored word. A word of a newer version counts as an error of the database.
    pub(crate) fn parse(word: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Database)
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        static TEXTS: LazyLock<Vec<(StandstillKind, String)>> =
            LazyLock::new(|| StandstillKind::ALL.map(|kind| (kind, in_general(kind.pieces()))).into());
        TEXTS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, text)| text)
    }

    /// The remedy, before it is known which projection it is about.
    pub(crate) fn pieces(self) -> &'static [Piece] {
        match self {
            Self::Diverged => &[
                Say("see by "),
                Run(Act::Doctor),
                Say(
                    " whether only a counter is behind its log; else connect the right store; or, if this one is right, build \
                     the read model from it: ",
                ),
                Run(Act::Reset),
                Here(&[Say(", in all instances "), Run(Act::ResetAll)], &[]),
            ],
            Self::Orphaned => &[
                Say("restore read tables and checkpoints of one moment; or build the read model from the events: "),
                Run(Act::Reset),
                Here(
                    &[Say(", in all instances "), Run(Act::ResetAll)],
                    &[Say(", for one instance alone with --instance")],
                ),
                Say(", or "),
                Run(Act::Rebuild),
            ],
            Self::Incomplete => &[
                Say(
                    "restore the event store from a backup that is whole; where the content of an event is lost for good, put it \
                     back with the payload null, as an erased one; where no event is missing, ",
                ),
                Run(Act::Doctor),
                Say(" says which head to set"),
            ],
            Self::Denied => &[Say("grant the role of the service what the reason names; the engine goes on by itself")],
            Self::ReadOnly => &[Say(
                "connect the service to the primary server, or have it open the file with write access; the engine goes \
                 on by itself where that changes beneath it",
            )],
            Self::Full => &[Say("make room on the disk; the engine goes on by itself")],
            Self::Missing => &[
                Say(
                    "put back what the reason names, and the engine goes on by itself; or raise the version of the projection, \
                     so that it is rebuilt; where a table was altered, ",
                ),
                Run(Act::Rebuild),
                Say(" makes it again, too; run "),
                Run(Act::Setup),
                Say(" where nothing was set up yet"),
            ],
            Self::Unreachable => {
                &[Say("see that the database runs and that the process reaches it; the engine goes on by itself")]
            }
            Self::Locked => {
                &[Say("find the transaction that holds the lock, and end it; the engine goes on by itself")]
            }
            Self::Halted => &[Say("fix what the reason names, then go on with "), Run(Act::Rebuild)],
            Self::Refused => &[
                Say("readers see the former build: fix what the reason names, then ask for the switch with "),
                Run(Act::Switch),
            ],
            Self::Hangs => &[Say(
                "see by a stack trace of that process what the reducer waits for, and fix it; a restart ends the reducer, other \
                 instances go on meanwhile",
            )],
            Self::Panicked => &[Say("see the log of that process; what it tried is tried again by itself")],
            Self::Database => &[Say("fix what the reason names; the engine tries again by itself")],
            Self::Leased => {
                &[Say("see "), Run(Act::Leases), Say("; if that process hangs, end it: another one takes over")]
            }
            Self::Unseen => &[
                Say("have readers see this version, by "),
                Run(Act::Back),
                Say(" or "),
                Run(Act::Switch),
                Say("; or start the service whose code has the other one"),
            ],
            Self::Unmoved => &[Say("see the log of the processes that run it, and "), Run(Act::Leases)],
            Self::NoEngine => &[
                Say("start the service whose code has this version; or have readers see another one that is run, by "),
                Run(Act::Switch),
                Say(" or "),
                Run(Act::Back),
                Say("; or remove it by "),
                Run(Act::Remove),
                Say(", if no service keeps it any more"),
            ],
            Self::FirstRun => {
                &[Say("wait for the process that leads it; "), Run(Act::Watch), Say(" shows how far it is")]
            }
            Self::Paused => &[
                Say("see "),
                Run(Act::Commands),
                Say(" for who paused it and why; if that person agrees, "),
                Run(Act::Resume),
            ],
        }
    }

    /// True when it makes a projection stuck as soon as it is known, whatever the lag.
    pub(crate) fn is_stop(self) -> bool {
        !matches!(self, Self::Unmoved | Self::NoEngine | Self::FirstRun | Self::Paused)
    }

    /// The kind of an error of a database.
    pub(crate) fn of(error: &StoreError) -> Self {
        use StoreErrorKind as K;
        match error.kind() {
            K::Denied => Self::Denied,
            K::ReadOnly => Self::ReadOnly,
            K::Full => Self::Full,
            K::Schema => Self::Missing,
            K::Connection | K::CommitUnknown | K::Insecure | K::CannotOpen | K::Replaced => Self::Unreachable,
            K::Timeout | K::Conflict => Self::Locked,
            _ => Self::Database,
        }
    }
}

impl fmt::Display for StandstillKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diverged => "history diverged",
            Self::Orphaned => "rows without a checkpoint",
            Self::Incomplete => "log not whole",
            Self::Denied => "no rights",
            Self::ReadOnly => "read-only database",
            Self::Full => "disk full",
            Self::Missing => "something is missing or altered",
            Self::Unreachable => "database out of reach",
            Self::Locked => "waits for a lock",
            Self::Halted => "build halted",
            Self::Refused => "not switched to",
            Self::Hangs => "a reducer hangs",
            Self::Panicked => "a batch panicked",
            Self::Database => "database error",
            Self::Leased => "leased without progress",
            Self::Unseen => "readers see another version",
            Self::Unmoved => "does not move",
            Self::NoEngine => "no engine runs it",
            Self::FirstRun => "first run",
            Self::Paused => "paused",
        })
    }
}

/// What keeps a projection, or one instance of it, from moving; which process said so, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Standstill {
    /// The kind.
    pub kind: StandstillKind,
    /// The tenant. `None` when it concerns the whole projection, or several tenants.
    pub instance: Option<String>,
    /// The reason in words, without payloads, at most a few hundred characters.
    pub reason: String,
    /// Since when, by the database's clock. `None` when that is not known.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub since: Option<SystemTime>,
    /// The process that said so. `None` when it shows in what is stored anyway.
    pub process: Option<Uuid>,
}

impl Standstill {
    pub(crate) fn new(kind: StandstillKind, reason: impl Into<String>) -> Self {
        Self { kind, instance: None, reason: reason.into(), since: None, process: None }
    }

    /// The standstill of this many checkpoints above their heads.
    pub(crate) fn ahead(count: i64) -> Self {
        let reason = format!("the checkpoint lies above the last event of the store{}", more(count));
        Self::new(StandstillKind::Diverged, reason)
    }

    /// The standstill of this many checkpoints whose events the log does not have.
    pub(crate) fn astray(count: i64) -> Self {
        let reason = format!("the log has another event at the checkpoint, or none{}", more(count));
        Self::new(StandstillKind::Diverged, reason)
    }

    pub(crate) fn first_run() -> Self {
        Self::new(StandstillKind::FirstRun, "its first run is not over; one process leads it")
    }

    pub(crate) fn of(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    pub(crate) fn since(mut self, since: Option<SystemTime>) -> Self {
        self.since = since;
        self
    }
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(instance) = &self.instance {
            write!(f, "instance {instance:?}: ")?;
        }
        write!(f, "{}: {}", self.kind, plain(&self.reason))
    }
}

/// An addition for several instances.
pub(crate) fn more(count: i64) -> String {
    if count > 1 { format!(", in {count} instances, of which this is the first") } else { String::new() }
}

/// The text, cut to the longest reason that is kept.
pub(crate) fn bounded(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Which part of a projection stands still.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StandstillSubject {
    /// All of it: even looking for its work fails.
    Look,
    /// All of it: states, events or leases cannot be obtained.
    Work,
    /// Its build.
    Build,
    /// A command on it.
    Command,
    /// One instance.
    Instance(Arc<str>),
    /// The instances beyond those that are written one by one.
    More,
}

impl StandstillSubject {
    /// The word under which it is stored, and the instance, which is empty for the other subjects.
    pub(crate) fn stored(&self) -> (&'static str, &str) {
        match self {
            Self::Look => ("look", ""),
            Self::Work => ("work", ""),
            Self::Build => ("build", ""),
            Self::Command => ("command", ""),
            Self::Instance(instance) => ("instance", instance),
            Self::More => ("more", ""),
        }
    }
}

/// What a process records about a standstill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The projection.
    pub projection: ProjectionKey,
    /// The part that stands still.
    pub subject: StandstillSubject,
    /// Why.
    pub kind: StandstillKind,
    /// The reason in words, bounded.
    pub reason: String,
    /// How long it has lasted.
    pub age: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_words_are_read_back_and_texts_are_bounded() {
        for kind in StandstillKind::ALL {
            assert_eq!(StandstillKind::parse(kind.as_str()), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(StandstillKind::parse("of tomorrow"), StandstillKind::Database);
        assert_eq!(bounded("short"), "short");
        assert_eq!(bounded(&"ä".repeat(900)).chars().count(), LONGEST + 1);
    }

    // Contract: L11
    #[test]
    fn errors_of_databases_and_stops_have_kinds() {
        use StandstillKind as K;
        use StoreErrorKind as E;
        let of = |kind| K::of(&StoreError::new("testing", kind, "no"));
        let kinds = [E::Denied, E::ReadOnly, E::Full, E::Schema, E::CannotOpen, E::Connection, E::Timeout, E::Corrupt];
        assert_eq!(
            kinds.map(of),
            [K::Denied, K::ReadOnly, K::Full, K::Missing, K::Unreachable, K::Unreachable, K::Locked, K::Database]
        );
    }
}
