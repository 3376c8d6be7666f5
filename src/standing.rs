//! How projections get on: one verdict for each, made from what is stored and what processes report.
//!
//! Everything that shows verdicts calls [`judge`], so that `health`, `status` and `doctor` say the same.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::builds::Phase;
use crate::standstill::{Standstill, StandstillKind};
use crate::state::ProjectionKey;

/// A projection that lags and has moved no checkpoint for this long is stuck, even if no process says why.
pub(crate) const STILL: Duration = Duration::from_mins(1);

/// An engine that began less than this ago need not have moved anything yet.
const BEGINNING: Duration = Duration::from_secs(10);

/// What a store knows about the progress of a build, in addition to lag and failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The build.
    pub projection: ProjectionKey,
    /// When this was read, by the database's clock.
    pub at: SystemTime,
    /// When one of its checkpoints moved last. `None` when that is not known.
    pub moved_at: Option<SystemTime>,
    /// How far the build is.
    pub phase: Phase,
    /// True once all its instances have been up to date.
    pub succeeded: bool,
    /// Living processes that run it.
    pub members: u64,
    /// Since when the first of them is on record. `None` when that is not known.
    pub running_since: Option<SystemTime>,
    /// If no living process runs it: the name of the one that was last expected to live, and until when, if that is on
    /// record.
    pub last_member: Option<(String, SystemTime)>,
    /// The number of instances that are paused one by one.
    pub paused_instances: u64,
    /// What keeps it from moving.
    pub standstills: Vec<Standstill>,
}

impl Standing {
    /// The standstill that says that the history is another one, if any process has found that.
    pub(crate) fn diverged(&self) -> Option<&Standstill> {
        self.standstills.iter().find(|one| one.kind == StandstillKind::Diverged)
    }
}

/// How a projection gets on, in one word.
///
/// A projection is *stuck* when an obstacle stops it that is neither a failed event nor a person's wish. Either a
/// [`Standstill`] says so, which a living process recorded or which shows in what is stored. Or the projection lags,
/// its oldest event has waited for more than a minute, and no engine runs it or none of its checkpoints has moved for a
/// minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing lags.
    Idle,
    /// It lags, a living engine runs it, and one of its checkpoints moved within the last minute.
    Moving,
    /// It lags, and has not moved yet, or no living engine runs it.
    Behind,
    /// It is being filled for the first time, or next to what readers see.
    Building,
    /// A person paused it, or all lagging instances of it.
    Paused,
    /// Events fail, or were put aside until a person decides.
    Failing,
    /// It does not move, and will not move until a person looks into it.
    Stuck,
}

impl fmt::Display for Verdict {
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
    pub(crate) motion: Verdict,
    /// The reason in a few words.
    pub(crate) reason: Option<String>,
    pub(crate) since: Option<SystemTime>,
    /// Everything that stops it, the gravest first.
    pub(crate) standstills: Vec<Standstill>,
}

/// Makes one verdict from what a store knows and from lag and failures.
pub(crate) fn judge(standing: &Standing, figures: Figures) -> Judged {
    let mut standstills = standing.standstills.clone();
    standstills.extend(of_lag(standing, figures, &standstills));
    standstills.sort_by_key(|one| (one.kind, one.since.is_none(), one.since));
    let motion = motion(standing, figures, &standstills);
    let shown = standstills.iter().find(|one| shows(motion, one.kind));
    let (reason, since) = match (shown, motion) {
        (_, Verdict::Failing) if figures.failing > 0 && standing.members == 0 => {
            (Some(format!("{}, by nobody: no living engine runs it", failures(figures))), None)
        }
        (_, Verdict::Failing) => (Some(failures(figures)), None),
        (Some(one), _) => {
            let alike = standstills.iter().filter(|one| shows(motion, one.kind)).count();
            (Some(with_more(one, alike - 1)), one.since)
        }
        (None, _) => (None, None),
    };
    Judged { motion, reason, since, standstills }
}

/// Whether something of this kind explains the verdict.
fn shows(motion: Verdict, kind: StandstillKind) -> bool {
    match motion {
        Verdict::Paused => kind == StandstillKind::Paused,
        Verdict::Building => kind == StandstillKind::FirstRun,
        Verdict::Stuck => !matches!(kind, StandstillKind::FirstRun | StandstillKind::Paused),
        _ => true,
    }
}

fn with_more(one: &Standstill, more: usize) -> String {
    if more == 0 { one.to_string() } else { format!("{one} (and {more} more)") }
}

fn failures(figures: Figures) -> String {
    let Figures { failing, stopped, parked, .. } = figures;
    let all = [(stopped, "stopping an instance"), (failing, "tried again"), (parked, "put aside")];
    let some: Vec<String> =
        all.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    format!("failed events: {}", some.join(", "))
}

/// What follows from the lag: a first run, that no process runs it, or that it does not move.
fn of_lag(standing: &Standing, figures: Figures, others: &[Standstill]) -> Vec<Standstill> {
    use StandstillKind as K;
    let mut found = Vec::new();
    if figures.lagging == 0 || standing.phase == Phase::Kept {
        return found;
    }
    if standing.members == 0 {
        found.push(no_engine(standing));
    }
    if !standing.succeeded {
        found.push(Standstill::first_run());
    }
    let waits = figures.failing + figures.stopped + standing.paused_instances;
    let is_explained = others.iter().any(|one| one.kind.is_stop() || (one.kind == K::Paused && one.instance.is_none()));
    let is_idle = !has_moved(standing) && standing.members > 0 && !has_just_begun(standing);
    if is_late(figures) && is_idle && figures.lagging > waits && !is_explained {
        let reason = "it is behind, and no checkpoint of it has moved for a minute";
        found.push(Standstill::new(K::Unmoved, reason).since(standing.moved_at));
    }
    found
}

/// What can be known from outside about engines that are dead or now work on another database.
fn no_engine(standing: &Standing) -> Standstill {
    let version = standing.projection.version;
    let Some((name, until)) = &standing.last_member else {
        return Standstill::new(StandstillKind::NoEngine, format!("no living engine runs version {version}"));
    };
    let reason = format!(
        "no living engine runs version {version}; {name:?} did until then, and died, cannot write here, or now works on another database"
    );
    Standstill::new(StandstillKind::NoEngine, reason).since(Some((*until).min(standing.at)))
}

fn is_late(figures: Figures) -> bool {
    figures.lagging > 0 && figures.lag_age.is_some_and(|age| age > STILL)
}

/// True when one of its checkpoints moved within the last minute.
fn has_moved(standing: &Standing) -> bool {
    standing
        .moved_at
        .is_some_and(|moved| standing.at.duration_since(moved).is_ok_and(|age| age <= STILL) || moved > standing.at)
}

/// True when the first process that runs it began a moment ago. It had no time to move anything yet. A process that
/// was killed stays on record for longer than that, so one that dies again and again is not taken for a new one.
fn has_just_begun(standing: &Standing) -> bool {
    standing.running_since.is_some_and(|since| match standing.at.duration_since(since) {
        Ok(age) => age <= BEGINNING,
        // It began after the counts that this is about.
        Err(later) => later.duration() <= STILL,
    })
}

fn motion(standing: &Standing, figures: Figures, standstills: &[Standstill]) -> Verdict {
    use StandstillKind as K;
    let has = |kind| standstills.iter().any(|one| one.kind == kind);
    if standstills.iter().any(|one| one.kind == K::Paused && one.instance.is_none()) {
        return Verdict::Paused;
    }
    if standstills.iter().any(|one| one.kind.is_stop()) || (has(K::NoEngine) && is_late(figures)) {
        return Verdict::Stuck;
    }
    if figures.failing + figures.stopped > 0 {
        return Verdict::Failing;
    }
    if has(K::Unmoved) {
        return Verdict::Stuck;
    }
    if figures.parked > 0 {
        return Verdict::Failing;
    }
    // No process works on what no engine runs, however little time has passed.
    if matches!(standing.phase, Phase::Building | Phase::Ready) && !has(K::NoEngine) {
        return Verdict::Building;
    }
    if figures.lagging == 0 {
        return Verdict::Idle;
    }
    if standing.paused_instances >= figures.lagging {
        return Verdict::Paused;
    }
    if !standing.succeeded && standing.members > 0 {
        return Verdict::Building;
    }
    if has_moved(standing) && standing.members > 0 { Verdict::Moving } else { Verdict::Behind }
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
            running_since: None,
            last_member: None,
            paused_instances: 0,
            standstills: Vec::new(),
        }
    }

    fn behind(instances: u64, seconds: u64) -> Figures {
        Figures { lagging: instances, lag_age: Some(Duration::from_secs(seconds)), ..Figures::default() }
    }

    fn verdict(standing: &Standing, figures: Figures) -> (Verdict, Option<StandstillKind>) {
        let judged = judge(standing, figures);
        (judged.motion, judged.standstills.first().map(|one| one.kind))
    }

    // Contract: L11
    #[test]
    fn stuck_and_behind_but_moving_are_told_apart() {
        use StandstillKind as K;
        let none = Figures::default();
        assert_eq!(verdict(&standing(Some(9000)), none), (Verdict::Idle, None));
        assert_eq!(verdict(&standing(Some(9000)), behind(1, 5)), (Verdict::Behind, None), "its event is new");
        assert_eq!(verdict(&standing(Some(5)), behind(3, 9000)), (Verdict::Moving, None));
        assert_eq!(verdict(&standing(Some(61)), behind(3, 61)), (Verdict::Stuck, Some(K::Unmoved)));
        assert_eq!(verdict(&standing(None), behind(3, 61)), (Verdict::Stuck, Some(K::Unmoved)));
        let begun = |ago| Standing {
            running_since: Some(standing(None).at - Duration::from_secs(ago)),
            ..standing(Some(9000))
        };
        assert_eq!(verdict(&begun(9), behind(3, 9000)), (Verdict::Behind, None), "an engine began a moment ago");
        assert_eq!(verdict(&begun(11), behind(3, 9000)), (Verdict::Stuck, Some(K::Unmoved)));
        let later =
            |by| Standing { running_since: Some(standing(None).at + Duration::from_secs(by)), ..standing(Some(9000)) };
        assert_eq!(verdict(&later(60), behind(3, 9000)), (Verdict::Behind, None), "after what was counted");
        assert_eq!(verdict(&later(61), behind(3, 9000)), (Verdict::Stuck, Some(K::Unmoved)), "by a wrong clock");
        let nobody = Standing { members: 0, ..standing(Some(5)) };
        assert_eq!(verdict(&nobody, none), (Verdict::Idle, None));
        assert_eq!(verdict(&nobody, behind(1, 5)), (Verdict::Behind, Some(K::NoEngine)), "nobody moves it any more");
        assert_eq!(verdict(&nobody, behind(1, 61)), (Verdict::Stuck, Some(K::NoEngine)));
        let first = Standing { succeeded: false, ..standing(Some(5)) };
        assert_eq!(verdict(&first, behind(1, 61)), (Verdict::Building, Some(K::FirstRun)));
        let kept = Standing { phase: Phase::Kept, members: 0, ..standing(Some(5)) };
        assert_eq!(verdict(&kept, behind(1, 61)), (Verdict::Behind, None), "readers do not see it");
    }

    // Contract: L11: whatever else holds, the verdict never says that something without an engine moves, is being built
    // or is tried again.
    #[test]
    fn what_no_engine_runs_does_not_move() {
        use StandstillKind as K;
        let phases = [Phase::Live, Phase::Building, Phase::Ready, Phase::Kept];
        for (phase, succeeded, moved, seconds, failing) in phases.into_iter().flat_map(|phase| {
            let seconds = [(true, Some(5)), (true, Some(9000)), (false, None), (false, Some(5))].into_iter();
            seconds.flat_map(move |(done, moved)| [5, 61].map(|age| (phase, done, moved, age, age % 2)))
        }) {
            let last_member = Some(("api-1".to_owned(), SystemTime::UNIX_EPOCH));
            let nobody = Standing { phase, succeeded, members: 0, last_member, ..standing(moved) };
            let judged = judge(&nobody, Figures { failing: failing.min(1), ..behind(2, seconds) });
            let told = format!("{phase:?} {succeeded} {moved:?} {seconds} {judged:?}");
            assert!(!matches!(judged.motion, Verdict::Idle | Verdict::Moving | Verdict::Building), "{told}");
            let known = judged.standstills.iter().find(|one| one.kind == K::NoEngine);
            assert_eq!(known.is_none(), phase == Phase::Kept, "{told}");
            assert!(known.is_none_or(|one| one.since == Some(SystemTime::UNIX_EPOCH) && one.reason.contains("api-1")));
        }
        let nobody = Standing { members: 0, ..standing(Some(5)) };
        let judged = judge(&nobody, Figures { failing: 1, ..behind(1, 5) });
        assert_eq!(
            (judged.motion, judged.reason.as_deref()),
            (Verdict::Failing, Some("failed events: 1 tried again, by nobody: no living engine runs it"))
        );
    }

    // Contract: L11
    #[test]
    fn what_stands_in_the_way_decides_and_a_pause_is_a_persons_wish() {
        use StandstillKind as K;
        let mut stuck = standing(Some(5));
        stuck.standstills.push(Standstill::new(K::Locked, "a lock").of("a"));
        stuck.standstills.push(Standstill::new(K::Diverged, "another event").of("b"));
        let judged = judge(&stuck, Figures::default());
        assert_eq!((judged.motion, judged.standstills[0].kind), (Verdict::Stuck, K::Diverged));
        assert_eq!(
            judged.reason.as_deref(),
            Some("instance \"b\": history diverged: another event (and 1 more)"),
            "the gravest first"
        );
        stuck.standstills.push(Standstill::new(K::Paused, "by ada"));
        assert_eq!(judge(&stuck, Figures::default()).motion, Verdict::Paused);
        let mut some = standing(Some(9000));
        some.standstills.push(Standstill::new(K::Paused, "by ada").of("a"));
        some.paused_instances = 1;
        assert_eq!(judge(&some, behind(1, 9000)).motion, Verdict::Paused);
        assert_eq!(judge(&some, behind(2, 9000)).motion, Verdict::Stuck, "the other one is not paused");
        assert_eq!(judge(&some, Figures::default()).motion, Verdict::Idle);
    }

    // Contract: L11: an instance that waits for the next attempt at an event stands still for a known reason.
    #[test]
    fn failures_explain_as_many_instances_as_they_are() {
        let failing = Figures { failing: 1, ..behind(1, 9000) };
        assert_eq!(judge(&standing(Some(9000)), failing).motion, Verdict::Failing);
        let judged = judge(&standing(Some(9000)), Figures { failing: 1, ..behind(2, 9000) });
        assert_eq!(judged.standstills[0].kind, StandstillKind::Unmoved);
        let parked = Figures { parked: 2, ..Figures::default() };
        let judged = judge(&standing(Some(5)), parked);
        assert_eq!((judged.motion, judged.reason.as_deref()), (Verdict::Failing, Some("failed events: 2 put aside")));
    }
}
