//! How projections are doing, in all processes together, at one moment.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use uuid::Uuid;

use super::format;
use crate::builds::Phase;
use crate::failure::By;
use crate::remedy::Piece::{Run, Say};
use crate::remedy::{Act, Piece, Remedy, Subject};
use crate::standing::{Figures, Judged, Standing, Verdict, judge};
use crate::standstill::{Standstill, StandstillKind};

const DROP: &[Piece] = &[
    Say("readers do not see this build: remove it with "),
    Run(Act::DropOld),
    Say(", unless the event store is the wrong one"),
];

const GIVE_UP: &[Piece] = &[
    Say("readers do not see this build: connect the right store; or, if this one is right, give the build up with "),
    Run(Act::Abandon),
    Say(", then ask for it with "),
    Run(Act::Rebuild),
];

/// How everything is doing.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// When, by the database's clock.
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub at: SystemTime,
    /// Instances, lag, failures and leases were counted between this moment and `at`. The two are equal unless a look
    /// read only some of the instances anew ([`Inspect::look`](super::Inspect::look)).
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub counted_from: SystemTime,
    /// Each build of each version of each projection, by name and version.
    pub projections: Vec<ProjectionStatus>,
    /// The processes that announced themselves. A dead process stays in the list until another one notices.
    pub members: Vec<MemberStatus>,
}

/// How a build of a projection is doing.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The mark of a build beside another one of the same version; `None` for the one with the plain name.
    pub build: Option<String>,
    /// Whether readers see it, or else how far it is.
    pub phase: Phase,
    /// Why it was halted. In another phase: why it does not move now, while engines try again at growing intervals.
    pub trouble: Option<String>,
    /// True once all instances have been up to date; false while the first run lasts.
    pub succeeded: bool,
    /// True when the whole projection is paused.
    pub paused: bool,
    /// Instances that are paused one by one, without the whole projection.
    pub paused_instances: u64,
    /// All these pauses: that of the whole projection first, then by instance.
    pub pauses: Vec<Paused>,
    /// The event store that feeds it, as one of its states names it; `None` before the first event.
    pub event_store: Option<Uuid>,
    /// True when that store is in another database. This status then does not know instances, lag and ages;
    /// [`status_of_two`](crate::admin::status_of_two) does.
    pub events_elsewhere: bool,
    /// Instances with events that concern it.
    pub instances: u64,
    /// Those of them that are behind.
    pub lagging_instances: u64,
    /// How many positions these are behind, in total.
    pub lag_events: i64,
    /// How many positions are handled, in total. It grows with the work.
    pub handled: i64,
    /// Age of the oldest unhandled event; `None` without lag. To bound the cost, only the lagging instances that have
    /// not moved for longest are looked at: 2,000 for each 100,000 pairs of a build and an instance, but at least ten
    /// of each build.
    #[serde(rename = "lag_seconds", serialize_with = "format::seconds")]
    pub lag_age: Option<Duration>,
    /// Events that fail and that engines try again.
    pub failing: u64,
    /// Events that stopped their instances.
    pub stopped: u64,
    /// Events that failed for good and hold back their aggregates.
    pub parked: u64,
    /// Events that wait behind the failed ones.
    pub behind: u64,
    /// Events that the projection skipped.
    pub skipped: u64,
    /// Updates and deletes that met no row, as the living processes last reported it
    /// ([`ProjectionHealth::missed`](crate::health::ProjectionHealth::missed)). Each process counts from its start.
    /// `None` if no process reports.
    pub missed: Option<u64>,
    /// Instances that are leased.
    pub leases: u64,
    /// Processes that hold these leases.
    pub owners: u64,
    /// Living processes that run it.
    pub members: u64,
    /// How it is doing, in one word.
    pub verdict: Verdict,
    /// Why, in a few words; `None` if there is nothing to say.
    pub reason: Option<String>,
    /// Since when, by the database's clock, if that is known.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub since: Option<SystemTime>,
    /// When one of its checkpoints last moved; `None` if that is not on record.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub moved_at: Option<SystemTime>,
    /// Everything that keeps it, or instances of it, from moving; the gravest first.
    pub standstills: Vec<Standstill>,
    /// What the store knows, for a caller that finds out the lag later.
    #[serde(skip)]
    pub(crate) standing: Option<Standing>,
    /// Positions handled per second between two looks.
    pub per_second: Option<f64>,
    /// Time until it has caught up, at the speed between two looks; `None` if the lag does not shrink.
    #[serde(rename = "seconds_left", serialize_with = "format::seconds")]
    pub time_left: Option<Duration>,
}

/// A checkpoint that names another event than the log has at its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Mismatch {
    /// The projection.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// The mark of a build beside another one of the same version.
    pub build: Option<String>,
    /// The tenant.
    pub instance: String,
    /// The checkpoint.
    pub position: i64,
}

/// A pause of a projection, or of one instance of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Paused {
    /// The tenant; `None` when the whole projection is paused.
    pub instance: Option<String>,
    /// Since when, by the database's clock; `None` when that is not on record.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub since: Option<SystemTime>,
    /// By whom, and why; `None` when that is not on record.
    pub by: Option<By>,
}

/// A process.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its id.
    pub process: Uuid,
    /// Its name, for people.
    pub name: String,
    /// Name and version of each projection that it runs.
    pub projections: Vec<(String, u32)>,
    /// Until when other processes consider it alive.
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub alive_until: SystemTime,
    /// True until then. A time that lies too far ahead does not count: a process whose clock was ahead has died.
    pub alive: bool,
    /// Since when it is on record, by its own clock. `None` for a process of an earlier build.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub since: Option<SystemTime>,
    /// Why it does not hear of pushes of other processes at once, as it last said; its ticks find them instead. `None`
    /// while it hears ([`Health::deaf`](crate::health::Health::deaf)).
    pub deaf: Option<String>,
    /// Instances that it has leased.
    pub leases: u64,
}

/// A lease.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ActiveLease {
    /// The projection.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// The mark of a build beside another one of the same version.
    pub build: Option<String>,
    /// The tenant.
    pub instance: String,
    /// The process that holds it.
    pub process: Uuid,
    /// The name of that process, if it is on the list of members.
    pub name: Option<String>,
    /// True while other processes consider it alive.
    pub alive: bool,
    /// When the lease ends.
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub until: SystemTime,
    /// Time until then; `None` when it is over.
    #[serde(rename = "seconds_left", serialize_with = "format::seconds")]
    pub time_left: Option<Duration>,
    /// A number that grows with each holder.
    pub epoch: i64,
    /// The position of the event that is being tried, while the process applies events one by one.
    pub trying: Option<i64>,
}

/// Which leases to list; all by default.
#[derive(Debug, Clone, Default)]
#[must_use = "it is a question"]
pub struct LeaseQuery {
    pub(crate) projection: Option<String>,
    pub(crate) limit: usize,
}

impl LeaseQuery {
    /// All.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those of this projection.
    pub fn projection(mut self, name: &str) -> Self {
        self.projection = Some(name.to_owned());
        self
    }

    /// At most this many; 0 for no limit.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

impl Status {
    /// Fills in the speed since an earlier look, and the time left at this speed.
    pub fn compare(&mut self, earlier: &Self) {
        let Ok(passed) = self.at.duration_since(earlier.at) else { return };
        for projection in &mut self.projections {
            let same = |other: &&ProjectionStatus| {
                (&other.name, other.version, &other.build) == (&projection.name, projection.version, &projection.build)
            };
            if let Some(before) = earlier.projections.iter().find(same) {
                projection.compare(before, passed);
            }
        }
    }
}

impl ProjectionStatus {
    #[expect(clippy::cast_precision_loss, reason = "a speed need not be exact")]
    fn compare(&mut self, before: &Self, passed: Duration) {
        if passed.is_zero() {
            return;
        }
        let handled = self.handled - before.handled;
        // A reset lowers the number.
        if handled < 0 {
            return;
        }
        self.per_second = Some(handled as f64 / passed.as_secs_f64());
        let nearer = (before.lag_events - self.lag_events) as f64 / passed.as_secs_f64();
        if self.lag_events > 0 && nearer > 0.0 {
            self.time_left = Duration::try_from_secs_f64(self.lag_events as f64 / nearer).ok();
        }
    }

    /// Derives the verdict from what is known.
    pub(crate) fn judge(&mut self, standing: Standing) {
        let figures = Figures {
            lagging: self.lagging_instances,
            lag_age: self.lag_age,
            failing: self.failing,
            stopped: self.stopped,
            parked: self.parked,
        };
        let Judged { motion, reason, since, standstills } = judge(&standing, figures);
        (self.verdict, self.reason, self.since, self.standstills) = (motion, reason, since, standstills);
        self.moved_at = standing.moved_at;
        self.standing = Some(standing);
    }

    /// What a person does about one of the reasons. A remedy for a build that readers do not see changes only that build,
    /// and not what they see.
    pub(crate) fn remedy(&self, one: &Standstill) -> Remedy {
        use StandstillKind as K;
        let pieces = match (one.kind, self.phase) {
            (K::Diverged | K::Halted, Phase::Kept) => DROP,
            (K::Diverged, Phase::Building | Phase::Ready | Phase::Halted) => GIVE_UP,
            (kind, _) => kind.pieces(),
        };
        Remedy::of(pieces, &self.subject(one.instance.as_deref()))
    }

    /// What a remedy for it, or for an instance of it, is about.
    pub(crate) fn subject<'a>(&'a self, instance: Option<&'a str>) -> Subject<'a> {
        Subject { projection: &self.name, version: Some(self.version).filter(|_| !self.is_live()), instance }
    }

    /// True when readers see it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// True when readers see it and it does not move, and will not until a person looks into it. `status`, `/health` and
    /// `doctor` judge by this.
    #[must_use]
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_live() && self.verdict == Verdict::Stuck
    }

    /// Events on record as failed, whatever became of them.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failing + self.stopped + self.parked + self.behind + self.skipped
    }
}
