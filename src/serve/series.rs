//! The last hour of each build, sampled, in bounded memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use uuid::Uuid;

use crate::inspect::{ProjectionStatus, Status};

/// Time between two samples.
pub(crate) const STEP: Duration = Duration::from_secs(10);

/// The most samples of a build: an hour.
const MOST: usize = 361;

/// The most builds whose samples are kept. Builds that lag most come first.
const BUILDS: usize = 500;

/// The most marks that are kept.
const MARKS: usize = 200;

/// The time over which a speed is measured.
const SPEED: Duration = Duration::from_mins(1);

/// Name, version, and mark of a build.
pub(crate) type Id = (String, u32, Option<String>);

pub(crate) fn id(projection: &ProjectionStatus) -> Id {
    (projection.name.clone(), projection.version, projection.build.clone())
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Point {
    /// By the database's clock.
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub(crate) at: SystemTime,
    /// The handled positions, over all instances.
    pub(crate) handled: i64,
    /// The positions that are not handled yet.
    pub(crate) lag_events: i64,
    /// The age of the oldest event that is not handled yet.
    pub(crate) lag_seconds: f64,
}

/// Something that explains a bend in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mark {
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub(crate) at: SystemTime,
    /// The projection. `None` when the mark concerns all of them.
    pub(crate) projection: Option<String>,
    pub(crate) what: String,
}

/// The samples of all builds.
#[derive(Debug, Default)]
pub(crate) struct Series {
    points: BTreeMap<Id, VecDeque<Point>>,
    marks: VecDeque<Mark>,
    sampled: Option<SystemTime>,
    live: BTreeMap<String, (u32, Option<String>)>,
    engines: Option<BTreeSet<Uuid>>,
}

impl Series {
    /// Adds a look, if the next sample is due. The last point is always that of the last look.
    pub(crate) fn take(&mut self, status: &Status) {
        // After the clock was set back, the series begins again.
        let passed = self.sampled.map(|last| status.at.duration_since(last));
        let is_due = match passed {
            Some(Ok(passed)) => passed >= STEP,
            Some(Err(_)) => {
                self.points.clear();
                true
            }
            None => true,
        };
        if is_due {
            self.sampled = Some(status.at);
        }
        let mut projections: Vec<&ProjectionStatus> =
            status.projections.iter().filter(|projection| !projection.events_elsewhere).collect();
        projections.sort_by_key(|projection| std::cmp::Reverse(projection.lag_events));
        projections.truncate(BUILDS);
        let known: BTreeSet<Id> = projections.iter().map(|projection| id(projection)).collect();
        self.points.retain(|id, _| known.contains(id));
        for projection in projections {
            let points = self.points.entry(id(projection)).or_default();
            // Between two samples, the newest look replaces the last point.
            if !is_due && points.len() > 1 {
                points.pop_back();
            }
            points.push_back(Point {
                at: status.at,
                handled: projection.handled,
                lag_events: projection.lag_events,
                lag_seconds: projection.lag_age.unwrap_or_default().as_secs_f64(),
            });
            while points.len() > MOST {
                points.pop_front();
            }
        }
        self.mark(status);
    }

    /// Finds switches, and engines that came or went, between two looks.
    fn mark(&mut self, status: &Status) {
        let mut marks = Vec::new();
        let mut live = BTreeMap::new();
        for projection in status.projections.iter().filter(|projection| projection.is_live()) {
            let build = (projection.version, projection.build.clone());
            if self.live.get(&projection.name).is_some_and(|before| *before != build) {
                marks.push((Some(projection.name.clone()), format!("readers see version {}", projection.version)));
            }
            live.insert(projection.name.clone(), build);
        }
        self.live = live;
        let alive = status.members.iter().filter(|member| member.alive);
        let engines: BTreeSet<Uuid> = alive.clone().map(|member| member.process).collect();
        if let Some(before) = &self.engines {
            for member in alive.filter(|member| !before.contains(&member.process)) {
                marks.push((None, format!("engine {:?} came", member.name)));
            }
            for gone in before.difference(&engines) {
                let name = status.members.iter().find(|member| member.process == *gone);
                let name = name.map_or_else(|| gone.to_string(), |member| format!("{:?}", member.name));
                marks.push((None, format!("engine {name} went")));
            }
        }
        self.engines = Some(engines);
        for (projection, what) in marks {
            self.marks.push_back(Mark { at: status.at, projection, what });
        }
        while self.marks.len() > MARKS {
            self.marks.pop_front();
        }
    }

    /// The samples of a build, the oldest first.
    pub(crate) fn of(&self, id: &Id) -> Vec<Point> {
        self.points.get(id).into_iter().flatten().copied().collect()
    }

    /// What explains the line of a projection.
    pub(crate) fn marks(&self, projection: &str) -> Vec<Mark> {
        let is_of = |mark: &&Mark| mark.projection.as_deref().is_none_or(|name| name == projection);
        self.marks.iter().filter(is_of).cloned().collect()
    }
}

/// Every nth point and the last one: at most `most` points, where two is the least that it can be.
pub(crate) fn thinned(points: &[Point], most: usize) -> Vec<Point> {
    let step = if points.len() > most { points.len().div_ceil(most.saturating_sub(1).max(1)) } else { 1 };
    let mut few: Vec<Point> = points.iter().step_by(step).copied().collect();
    if few.last() != points.last() {
        few.extend(points.last());
    }
    few
}

/// How fast a build moves, and how long it will take.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Speed {
    /// Positions handled per second, over the last minute. `None` while that is not known.
    pub(crate) per_second: Option<f64>,
    /// Time until it has caught up at this speed. `None` if the lag does not shrink.
    pub(crate) seconds_left: Option<f64>,
    /// Change of the lag over the last minute. It is negative if the lag shrinks.
    pub(crate) lag_change: Option<i64>,
}

#[expect(clippy::cast_precision_loss, reason = "a speed need not be exact")]
pub(crate) fn speed(points: &[Point]) -> Speed {
    let Some(last) = points.last() else { return Speed::default() };
    let age = |point: &Point| last.at.duration_since(point.at).unwrap_or_default();
    let is_near = |point: &&Point| age(point) <= SPEED + STEP && age(point) >= Duration::from_secs(1);
    let Some(first) = points.iter().find(is_near) else { return Speed::default() };
    let (seconds, handled) = (age(first).as_secs_f64(), last.handled.saturating_sub(first.handled));
    // A reset moves the handled position back.
    if handled < 0 {
        return Speed::default();
    }
    let change = last.lag_events.saturating_sub(first.lag_events);
    let nearer = -(change as f64) / seconds;
    Speed {
        per_second: Some(handled as f64 / seconds),
        seconds_left: (last.lag_events > 0 && nearer > 0.0).then(|| last.lag_events as f64 / nearer),
        lag_change: Some(change),
    }
}
