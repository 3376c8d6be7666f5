//! Why projections stand still, and what that makes of them: one verdict for each.
//!
//! What a process alone knows (a lock waited for, rights that are missing) it writes down as a [`Note`]. What is stored
//! anyway (pauses, phases, members, checkpoints above heads) is not written down twice: the store reads it from where it
//! is. [`judge`] makes one verdict of both; whoever shows verdicts asks it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use uuid::Uuid;

use crate::build::Phase;
use crate::error::{StoreError, StoreErrorKind};
use crate::state::{ProjectionKey, StopCause};

/// A projection that is behind and has moved no checkpoint for this long is stuck, also where nobody says why.
pub(crate) const STILL: Duration = Duration::from_mins(1);

/// Characters of a reason that are kept.
const LONGEST: usize = 500;

/// What keeps a projection, or an instance of it, from moving. The gravest come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StandstillKind {
    /// The checkpoint is not part of the event store's history.
    Diverged,
    /// The database refuses it to the role of the process.
    Denied,
    /// The database only allows reading.
    ReadOnly,
    /// The disk, or the quota, is full.
    Full,
    /// A table or a schema is not what it should be.
    Missing,
    /// The database cannot be reached.
    Unreachable,
    /// A lock was waited for in vain, or a statement was cut off.
    Locked,
    /// The build was halted.
    Halted,
    /// A batch panicked outside of user code.
    Panicked,
    /// Any other error of the database.
    Database,
    /// A person paused it.
    Paused,
    /// Another process holds the lease for long and does not move it.
    Leased,
    /// Readers see another version, which no living engine runs.
    Unseen,
    /// It is behind, nothing of it has moved for a minute, and nobody says why.
    Unmoved,
    /// It is behind, and no living engine runs this version.
    NoEngine,
    /// It is behind, and its first run is not over: one process works on it.
    FirstRun,
}

impl StandstillKind {
    const ALL: [Self; 16] = [
        Self::Diverged,
        Self::Denied,
        Self::ReadOnly,
        Self::Full,
        Self::Missing,
        Self::Unreachable,
        Self::Locked,
        Self::Halted,
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
            Self::Denied => "denied",
            Self::ReadOnly => "read-only",
            Self::Full => "full",
            Self::Missing => "missing",
            Self::Unreachable => "unreachable",
            Self::Locked => "locked",
            Self::Halted => "halted",
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

    /// The kind of a stored word; one of a newer version reads as an error of the database.
    pub(crate) fn parse(word: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Database)
    }

    /// What a person does about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Diverged => {
                "connect the right store; or, if this one is right, build the read model from it: `readside reset`"
            }
            Self::Denied => "grant the role of the service what the reason names; the engine goes on by itself",
            Self::ReadOnly => {
                "connect the service to the primary server, or have it open the file with write access; the engine goes \
                 on by itself where that changes beneath it"
            }
            Self::Full => "make room on the disk; the engine goes on by itself",
            Self::Missing => "run `readside setup`, or put back what the reason names",
            Self::Unreachable => {
                "see that the database runs and that the process reaches it; the engine goes on by itself"
            }
            Self::Locked => "find the transaction that holds the lock, and end it; the engine goes on by itself",
            Self::Halted => "mend what the reason says, then go on with `readside rebuild`",
            Self::Panicked => "see the log of that process; what it tried is tried again by itself",
            Self::Database => "mend what the reason says; the engine tries again by itself",
            Self::Leased => "see `readside leases`; if that process hangs, end it: another one takes over",
            Self::Unseen => {
                "have readers see this version, by `readside builds back` or `readside builds switch`; or start the \
                 service whose code has the other one"
            }
            Self::Unmoved => "see the log of the processes that run it, and `readside leases`",
            Self::NoEngine => {
                "start the service whose code has this version; or have readers see another one that is run, by \
                 `readside builds switch` or `readside builds back`"
            }
            Self::FirstRun => "wait for the process that leads it; `readside status --watch` shows how far it is",
            Self::Paused => "let it go on with `readside resume`",
        }
    }

    /// True when it makes a projection stuck as soon as it is known, whatever the lag.
    fn is_stop(self) -> bool {
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
            K::Connection | K::CommitUnknown | K::CannotOpen => Self::Unreachable,
            K::Timeout | K::Conflict => Self::Locked,
            _ => Self::Database,
        }
    }

    /// The kind of a stop; none when it is on record already, passes at once, or is another one's work.
    pub(crate) fn of_stop(cause: &StopCause) -> Option<Self> {
        match cause {
            StopCause::HistoryDiverged { .. } => Some(Self::Diverged),
            StopCause::Store(error) => Some(Self::of(error)),
            _ => None,
        }
    }
}

impl fmt::Display for StandstillKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diverged => "history diverged",
            Self::Denied => "no rights",
            Self::ReadOnly => "read-only database",
            Self::Full => "disk full",
            Self::Missing => "something is missing",
            Self::Unreachable => "database out of reach",
            Self::Locked => "waits for a lock",
            Self::Halted => "build halted",
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

/// What keeps a projection, or one instance of it, from moving; who said so, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Standstill {
    /// What it is.
    pub kind: StandstillKind,
    /// The tenant; none when it concerns all of the projection, or several tenants.
    pub instance: Option<String>,
    /// In words: no payloads, at most some hundred characters.
    pub reason: String,
    /// Since when, by the database's clock; none when that is not known.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub since: Option<SystemTime>,
    /// The process that said so; none when it can be read from what is stored anyway.
    pub process: Option<Uuid>,
}

impl Standstill {
    pub(crate) fn new(kind: StandstillKind, reason: impl Into<String>) -> Self {
        Self { kind, instance: None, reason: reason.into(), since: None, process: None }
    }

    /// So many checkpoints lie above their heads.
    pub(crate) fn ahead(count: i64) -> Self {
        let reason = format!("the checkpoint lies above the last event of the store{}", more(count));
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
        write!(f, "{}: {}", self.kind, self.reason)
    }
}

/// That it is so in several instances.
pub(crate) fn more(count: i64) -> String {
    if count > 1 { format!(", in {count} instances, of which this is the first") } else { String::new() }
}

/// A text as it is kept: not longer than a reason needs.
pub(crate) fn bounded(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What of a projection stands still.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// All of it: its work cannot even be looked for.
    Look,
    /// All of it: states, events or leases cannot be had.
    Work,
    /// Its build.
    Build,
    /// One instance.
    Instance(Arc<str>),
    /// More instances than are written down one by one.
    More,
}

impl Subject {
    /// The word under which it is stored, and the instance, empty where none is meant.
    pub(crate) fn stored(&self) -> (&'static str, &str) {
        match self {
            Self::Look => ("look", ""),
            Self::Work => ("work", ""),
            Self::Build => ("build", ""),
            Self::Instance(instance) => ("instance", instance),
            Self::More => ("more", ""),
        }
    }
}

/// What a process writes down about a standstill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The projection.
    pub projection: ProjectionKey,
    /// What of it.
    pub subject: Subject,
    /// Why.
    pub kind: StandstillKind,
    /// In words, bounded.
    pub reason: String,
    /// How long it has lasted.
    pub age: Duration,
}

/// What a store knows of how a build gets on, beside lag and failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The build.
    pub projection: ProjectionKey,
    /// When this was read, by the database's clock.
    pub at: SystemTime,
    /// When one of its checkpoints moved last; none when that is not known.
    pub moved_at: Option<SystemTime>,
    /// How far the build is.
    pub phase: Phase,
    /// True once all its instances have been up to date.
    pub succeeded: bool,
    /// Living processes that run it.
    pub members: u64,
    /// Instances that are paused by themselves.
    pub paused_instances: u64,
    /// What keeps it from moving.
    pub standstills: Vec<Standstill>,
}

impl Standing {
    /// That the history is another one, if anybody has found that.
    pub(crate) fn diverged(&self) -> Option<&Standstill> {
        self.standstills.iter().find(|one| one.kind == StandstillKind::Diverged)
    }
}

/// Where processes write down why they stand still: beside the states of the projections.
///
/// A note about an instance holds only until its checkpoint moves, one about all of a projection until any checkpoint of it
/// moves, whoever moves it. Notes of the dead are shown only while
/// no living process runs the projection.
pub trait StandstillStore: fmt::Debug + Send + Sync {
    /// Writes down these in the place of what the process wrote before about the same subjects, and removes others of its.
    ///
    /// # Errors
    /// When the store fails.
    fn note(&self, process: Uuid, notes: &[Note], gone: &[(ProjectionKey, Subject)]) -> Result<(), StoreError>;

    /// How these builds get on, of those that are registered; with an instance only what concerns that one.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn standings(&self, projections: &[ProjectionKey], instance: Option<&str>) -> Result<Vec<Standing>, StoreError>;
}

/// How a projection gets on, in one word.
///
/// A projection is *stuck* when something stands in its way that is not an event's failure and not a person's wish: a
/// [`Standstill`] that a living process wrote down or that shows in what is stored; or when it is behind, its oldest event
/// waits for more than a minute, and no engine runs it or no checkpoint of it has moved for a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Motion {
    /// Nothing is behind.
    Idle,
    /// It is behind, and a checkpoint of it moved within the last minute.
    Moving,
    /// It is behind, and has not moved yet.
    Behind,
    /// It is filled for the first time, or beside what readers see.
    Building,
    /// A person paused it, or all instances that are behind.
    Paused,
    /// Events fail, or were put aside until a person decides.
    Failing,
    /// It does not move, and will not by itself or without somebody looking into it.
    Stuck,
}

impl fmt::Display for Motion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Idle => "idle",
            Self::Moving => "moving",
            Self::Behind => "behind",
            Self::Building => "building",
            Self::Paused => "paused",
            Self::Failing => "failing",
            Self::Stuck => "stuck",
        })
    }
}

/// Lag and failures of a build.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) lagging: u64,
    pub(crate) lag_age: Option<Duration>,
    pub(crate) failing: u64,
    pub(crate) stopped: u64,
    pub(crate) parked: u64,
}

/// A verdict with its reasons.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) motion: Motion,
    /// The reason in a few words.
    pub(crate) reason: Option<String>,
    pub(crate) since: Option<SystemTime>,
    /// All that stands in the way, the gravest first.
    pub(crate) standstills: Vec<Standstill>,
}

/// Makes one verdict of what a store knows and of lag and failures.
pub(crate) fn judge(standing: &Standing, figures: Figures) -> Judged {
    let mut standstills = standing.standstills.clone();
    standstills.extend(of_lag(standing, figures, &standstills));
    standstills.sort_by_key(|one| (one.kind, one.since.is_none(), one.since));
    let motion = motion(standing, figures, &standstills);
    let shown = standstills.iter().find(|one| shows(motion, one.kind));
    let (reason, since) = match (shown, motion) {
        (_, Motion::Failing) => (Some(failures(figures)), None),
        (Some(one), _) => {
            let alike = standstills.iter().filter(|one| shows(motion, one.kind)).count();
            (Some(with_more(one, alike - 1)), one.since)
        }
        (None, _) => (None, None),
    };
    Judged { motion, reason, since, standstills }
}

/// Whether a verdict follows from something of this kind.
fn shows(motion: Motion, kind: StandstillKind) -> bool {
    match motion {
        Motion::Paused => kind == StandstillKind::Paused,
        Motion::Building => kind == StandstillKind::FirstRun,
        Motion::Stuck => !matches!(kind, StandstillKind::FirstRun | StandstillKind::Paused),
        _ => true,
    }
}

fn with_more(one: &Standstill, more: usize) -> String {
    if more == 0 { one.to_string() } else { format!("{one} (and {more} more)") }
}

fn failures(figures: Figures) -> String {
    let Figures { failing, stopped, parked, .. } = figures;
    let all = [(stopped, "stopped its instance"), (failing, "is tried again"), (parked, "was put aside")];
    let some: Vec<String> =
        all.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} that {what}")).collect();
    format!("events that failed: {}", some.join(", "))
}

/// What follows from the lag: the first run, that nobody runs it, that it does not move.
fn of_lag(standing: &Standing, figures: Figures, others: &[Standstill]) -> Vec<Standstill> {
    use StandstillKind as K;
    let mut found = Vec::new();
    if figures.lagging == 0 || standing.phase == Phase::Kept {
        return found;
    }
    if standing.members == 0 {
        let reason = format!("no living engine runs version {}", standing.projection.version);
        found.push(Standstill::new(K::NoEngine, reason));
    }
    if !standing.succeeded {
        found.push(Standstill::first_run());
    }
    let waits = figures.failing + figures.stopped + standing.paused_instances;
    let is_explained = others.iter().any(|one| one.kind.is_stop() || (one.kind == K::Paused && one.instance.is_none()));
    if is_late(figures) && !has_moved(standing) && standing.members > 0 && figures.lagging > waits && !is_explained {
        let reason = "it is behind, and no checkpoint of it has moved for a minute";
        found.push(Standstill::new(K::Unmoved, reason).since(standing.moved_at));
    }
    found
}

fn is_late(figures: Figures) -> bool {
    figures.lagging > 0 && figures.lag_age.is_some_and(|age| age > STILL)
}

/// One of its checkpoints moved within the last minute.
fn has_moved(standing: &Standing) -> bool {
    standing
        .moved_at
        .is_some_and(|moved| standing.at.duration_since(moved).is_ok_and(|age| age <= STILL) || moved > standing.at)
}

fn motion(standing: &Standing, figures: Figures, standstills: &[Standstill]) -> Motion {
    use StandstillKind as K;
    let has = |kind| standstills.iter().any(|one| one.kind == kind);
    if standstills.iter().any(|one| one.kind == K::Paused && one.instance.is_none()) {
        return Motion::Paused;
    }
    if standstills.iter().any(|one| one.kind.is_stop()) || (has(K::NoEngine) && is_late(figures)) {
        return Motion::Stuck;
    }
    if figures.failing + figures.stopped > 0 {
        return Motion::Failing;
    }
    if has(K::Unmoved) {
        return Motion::Stuck;
    }
    if figures.parked > 0 {
        return Motion::Failing;
    }
    if matches!(standing.phase, Phase::Building | Phase::Ready) {
        return Motion::Building;
    }
    if figures.lagging == 0 {
        return Motion::Idle;
    }
    if standing.paused_instances >= figures.lagging {
        return Motion::Paused;
    }
    if !standing.succeeded && standing.members > 0 {
        return Motion::Building;
    }
    if has_moved(standing) { Motion::Moving } else { Motion::Behind }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_hours(24);

    fn standing(moved: Option<u64>) -> Standing {
        let at = SystemTime::UNIX_EPOCH + AT;
        Standing {
            projection: ProjectionKey { name: "users".into(), version: 1 },
            at,
            moved_at: moved.map(|seconds| at - Duration::from_secs(seconds)),
            phase: Phase::Live,
            succeeded: true,
            members: 1,
            paused_instances: 0,
            standstills: Vec::new(),
        }
    }

    fn behind(instances: u64, seconds: u64) -> Figures {
        Figures { lagging: instances, lag_age: Some(Duration::from_secs(seconds)), ..Figures::default() }
    }

    fn verdict(standing: &Standing, figures: Figures) -> (Motion, Option<StandstillKind>) {
        let judged = judge(standing, figures);
        (judged.motion, judged.standstills.first().map(|one| one.kind))
    }

    // SPEC L11
    #[test]
    fn stuck_and_behind_but_moving_are_told_apart() {
        use StandstillKind as K;
        let none = Figures::default();
        assert_eq!(verdict(&standing(Some(9000)), none), (Motion::Idle, None));
        assert_eq!(verdict(&standing(Some(9000)), behind(1, 5)), (Motion::Behind, None), "its event is new");
        assert_eq!(verdict(&standing(Some(5)), behind(3, 9000)), (Motion::Moving, None));
        assert_eq!(verdict(&standing(Some(61)), behind(3, 61)), (Motion::Stuck, Some(K::Unmoved)));
        assert_eq!(verdict(&standing(None), behind(3, 61)), (Motion::Stuck, Some(K::Unmoved)));
        let nobody = Standing { members: 0, ..standing(Some(5)) };
        assert_eq!(verdict(&nobody, none), (Motion::Idle, None));
        assert_eq!(verdict(&nobody, behind(1, 5)), (Motion::Moving, Some(K::NoEngine)));
        assert_eq!(verdict(&nobody, behind(1, 61)), (Motion::Stuck, Some(K::NoEngine)));
        let first = Standing { succeeded: false, ..standing(Some(5)) };
        assert_eq!(verdict(&first, behind(1, 61)), (Motion::Building, Some(K::FirstRun)));
        let kept = Standing { phase: Phase::Kept, members: 0, ..standing(Some(5)) };
        assert_eq!(verdict(&kept, behind(1, 61)), (Motion::Moving, None), "readers do not see it");
    }

    // SPEC L11
    #[test]
    fn what_stands_in_the_way_decides_and_a_pause_is_a_persons_wish() {
        use StandstillKind as K;
        let mut stuck = standing(Some(5));
        stuck.standstills.push(Standstill::new(K::Locked, "a lock").of("a"));
        stuck.standstills.push(Standstill::new(K::Diverged, "another event").of("b"));
        let judged = judge(&stuck, Figures::default());
        assert_eq!((judged.motion, judged.standstills[0].kind), (Motion::Stuck, K::Diverged));
        assert_eq!(
            judged.reason.as_deref(),
            Some("instance \"b\": history diverged: another event (and 1 more)"),
            "the gravest first"
        );
        stuck.standstills.push(Standstill::new(K::Paused, "by ada"));
        assert_eq!(judge(&stuck, Figures::default()).motion, Motion::Paused);
        let mut some = standing(Some(9000));
        some.standstills.push(Standstill::new(K::Paused, "by ada").of("a"));
        some.paused_instances = 1;
        assert_eq!(judge(&some, behind(1, 9000)).motion, Motion::Paused);
        assert_eq!(judge(&some, behind(2, 9000)).motion, Motion::Stuck, "the other one is not paused");
        assert_eq!(judge(&some, Figures::default()).motion, Motion::Idle);
    }

    // SPEC L11: an instance that waits for the next attempt at an event stands still for a known reason.
    #[test]
    fn failures_explain_as_many_instances_as_they_are() {
        let failing = Figures { failing: 1, ..behind(1, 9000) };
        assert_eq!(judge(&standing(Some(9000)), failing).motion, Motion::Failing);
        let judged = judge(&standing(Some(9000)), Figures { failing: 1, ..behind(2, 9000) });
        assert_eq!(judged.standstills[0].kind, StandstillKind::Unmoved);
        let parked = Figures { parked: 2, ..Figures::default() };
        let judged = judge(&standing(Some(5)), parked);
        assert_eq!(
            (judged.motion, judged.reason.as_deref()),
            (Motion::Failing, Some("events that failed: 2 that was put aside"))
        );
    }

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

    // SPEC L11
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
        let stopped = StopCause::Store(StoreError::new("testing", E::Full, "no"));
        assert_eq!(K::of_stop(&stopped), Some(K::Full));
        assert_eq!(K::of_stop(&StopCause::HistoryDiverged { found: "another".into() }), Some(K::Diverged));
        assert_eq!(K::of_stop(&StopCause::LeaseLost), None, "another one goes on with it");
    }
}
