//! Which metrics there are.

use std::time::{Duration, SystemTime};

use super::{Metric, MetricKind, Sample, seconds};
use crate::builds::BuildProgress;
use crate::command::CommandRecord;
use crate::engine::{BOUNDS, Readings, Spread};
use crate::inspect::{ProjectionStatus, Status};
use crate::standing::Verdict;
use crate::state::ProjectionKey;

type Labels = Vec<(&'static str, String)>;

/// A metric whose values are added one by one.
fn metric(kind: MetricKind, name: &'static str, help: &'static str, samples: Vec<Sample>) -> Metric {
    Metric { name, help, kind, samples }
}

fn gauge(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Metric {
    metric(MetricKind::Gauge, name, help, samples)
}

fn counter(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Metric {
    metric(MetricKind::Counter, name, help, samples)
}

fn number(labels: Labels, value: f64) -> Sample {
    Sample::Number { labels, value }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has floating point numbers only")]
fn count(labels: Labels, value: u64) -> Sample {
    number(labels, value as f64)
}

fn of(projection: &ProjectionStatus) -> Labels {
    vec![("projection", projection.name.clone())]
}

fn with(mut labels: Labels, name: &'static str, value: impl Into<String>) -> Labels {
    labels.push((name, value.into()));
    labels
}

const VERDICTS: [Verdict; 7] = [
    Verdict::Idle,
    Verdict::Moving,
    Verdict::Behind,
    Verdict::Building,
    Verdict::Paused,
    Verdict::Failing,
    Verdict::Stuck,
];

fn unix(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, seconds)
}

/// What the database knows about the builds that readers see, and those being built.
pub(crate) fn of_status(status: &Status, commands: &[CommandRecord]) -> Vec<Metric> {
    let live: Vec<&ProjectionStatus> = status.projections.iter().filter(|projection| projection.is_live()).collect();
    let known: Vec<&ProjectionStatus> =
        live.iter().copied().filter(|projection| !projection.events_elsewhere).collect();
    let each = |of_each: &dyn Fn(&ProjectionStatus) -> Vec<Sample>| live.iter().flat_map(|one| of_each(one)).collect();
    let each_known =
        |of_each: &dyn Fn(&ProjectionStatus) -> Vec<Sample>| known.iter().flat_map(|one| of_each(one)).collect();
    vec![
        gauge(
            "readside_lag_seconds",
            "Age of the oldest event that is not handled, over all instances; 0 when none waits.",
            each_known(&|p| vec![number(of(p), seconds(p.lag_age.unwrap_or_default()))]),
        ),
        gauge(
            "readside_lag_events",
            "Positions that are not handled, over all instances.",
            each_known(&|p| vec![count(of(p), p.lag_events.unsigned_abs())]),
        ),
        gauge(
            "readside_handled_positions",
            "Positions that are handled, over all instances; a reset sets it back.",
            each_known(&|p| vec![count(of(p), p.handled.unsigned_abs())]),
        ),
        gauge(
            "readside_instances",
            "Instances with events that concern the projection, by whether it is up to date in them.",
            each_known(&|p| {
                let current = p.instances.saturating_sub(p.lagging_instances);
                vec![
                    count(with(of(p), "state", "current"), current),
                    count(with(of(p), "state", "behind"), p.lagging_instances),
                ]
            }),
        ),
        gauge(
            "readside_paused_instances",
            "Instances that are paused by themselves.",
            each(&|p| vec![count(of(p), p.paused_instances)]),
        ),
        gauge(
            "readside_held_events",
            "Events on record as failed, by what becomes of them.",
            each(&|p| {
                let all = [
                    ("failing", p.failing),
                    ("stopped", p.stopped),
                    ("parked", p.parked),
                    ("behind", p.behind),
                    ("skipped", p.skipped),
                ];
                all.into_iter().map(|(state, held)| count(with(of(p), "state", state), held)).collect()
            }),
        ),
        gauge(
            "readside_verdict",
            "1 for the word that says how the projection gets on, 0 for all others.",
            each(&|p| {
                let sample = |verdict: Verdict| {
                    count(with(of(p), "verdict", verdict.to_string()), u64::from(p.verdict == verdict))
                };
                VERDICTS.into_iter().map(sample).collect()
            }),
        ),
        gauge(
            "readside_last_advance_timestamp_seconds",
            "When a checkpoint of the projection moved last, in seconds since 1970.",
            each(&|p| p.moved_at.map(|at| number(of(p), unix(at))).into_iter().collect()),
        ),
        gauge(
            "readside_leases",
            "Instances of the projection that processes hold.",
            each(&|p| vec![count(of(p), p.leases)]),
        ),
        gauge(
            "readside_engines",
            "Living processes that run the projection.",
            each(&|p| vec![count(of(p), p.members)]),
        ),
        gauge(
            "readside_projection_info",
            "1, with the version that readers see.",
            each(&|p| vec![count(with(of(p), "version", p.version.to_string()), 1)]),
        ),
        gauge(
            "readside_rebuild_progress_ratio",
            "How much of a build that readers do not see yet is filled, from 0 to 1.",
            status.projections.iter().filter_map(progress).collect(),
        ),
        gauge(
            "readside_rebuild_left_seconds",
            "Time until the present step of a rebuild is over, if it goes on as of late.",
            commands.iter().filter_map(left).collect(),
        ),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn progress(projection: &ProjectionStatus) -> Option<Sample> {
    use crate::builds::Phase::{Building, Halted, Ready};
    let is_made = matches!(projection.phase, Building | Ready | Halted) && !projection.events_elsewhere;
    let all = projection.handled.saturating_add(projection.lag_events);
    let share = if all > 0 { projection.handled as f64 / all as f64 } else { 1.0 };
    let build = projection.build.clone().unwrap_or_default();
    let labels = with(with(of(projection), "version", projection.version.to_string()), "build", build);
    is_made.then(|| number(labels, share))
}

fn left(asked: &CommandRecord) -> Option<Sample> {
    let told: BuildProgress = serde_json::from_value(asked.progress.clone()?).ok()?;
    let labels = vec![("projection", asked.projection.clone())];
    told.seconds_left.filter(|_| !asked.state.is_over()).map(|left| number(labels, left))
}

fn of_build(key: &ProjectionKey) -> Labels {
    let labels = vec![("projection", key.projection().to_owned()), ("version", key.version.to_string())];
    key.mark().map_or(labels.clone(), |mark| with(labels, "build", mark))
}

fn histogram(labels: Labels, spread: &Spread) -> Sample {
    let mut below = 0;
    let mut buckets = Vec::with_capacity(BOUNDS.len());
    for (bound, bucket) in BOUNDS.iter().zip(&spread.buckets) {
        below += bucket;
        buckets.push((*bound, below));
    }
    Sample::Histogram { labels, buckets, sum: seconds(spread.sum), count: spread.buckets.iter().sum() }
}

/// What this process has measured about its own work.
pub(crate) fn of_engine(readings: &Readings) -> Vec<Metric> {
    // A build that does nothing in this process has no numbers.
    let builds = || readings.builds.iter().filter(|build| build.key.mark().is_none() || build.measured.done > 0);
    let spent = |step: &str, labels: Labels, time: Duration| number(with(labels, "step", step), seconds(time));
    vec![
        counter(
            "readside_events_applied_total",
            "Events that this process has applied.",
            builds().map(|build| count(of_build(&build.key), build.measured.events)).collect(),
        ),
        counter(
            "readside_batches_total",
            "Transactions of this process, by their outcome.",
            builds()
                .flat_map(|build| {
                    let labels = |outcome: &str| with(of_build(&build.key), "outcome", outcome);
                    [count(labels("done"), build.measured.done), count(labels("failed"), build.measured.failed)]
                })
                .collect(),
        ),
        counter(
            "readside_work_seconds_total",
            "Time that this process has spent on reading events, in reducers, and in transactions.",
            builds()
                .flat_map(|build| {
                    let measured = &build.measured;
                    [
                        spent("reading", of_build(&build.key), measured.reading),
                        spent("reducing", of_build(&build.key), measured.reducing),
                        spent("writing", of_build(&build.key), measured.writing),
                    ]
                })
                .collect(),
        ),
        counter(
            "readside_missed_rows_total",
            "Updates and deletes of this process that met no row, as far as the database tells.",
            builds().map(|build| count(of_build(&build.key), build.missed)).collect(),
        ),
        metric(
            MetricKind::Histogram,
            "readside_batch_seconds",
            "How long committed transactions of this process took.",
            builds().map(|build| histogram(of_build(&build.key), &build.measured.batches)).collect(),
        ),
        metric(
            MetricKind::Histogram,
            "readside_visible_seconds",
            "From the push of an event to the commit of this process by which readers see it.",
            builds().map(|build| histogram(of_build(&build.key), &build.measured.visible)).collect(),
        ),
        counter(
            "readside_worker_panics_total",
            "Batches of this process that ended by a panic outside of reducers.",
            vec![count(Vec::new(), readings.worker_panics)],
        ),
        counter(
            "readside_observer_dropped_total",
            "What the observer of this process did not hear, because too much waited for it.",
            readings.observer.iter().map(|losses| count(Vec::new(), losses.dropped)).collect(),
        ),
        counter(
            "readside_observer_panics_total",
            "Calls of the observer of this process that ended by a panic.",
            readings.observer.iter().map(|losses| count(Vec::new(), losses.panics)).collect(),
        ),
        gauge(
            "readside_listen_up",
            "1 while this process hears of the pushes of others at once, 0 while its ticks find them.",
            vec![count(Vec::new(), u64::from(readings.deaf.is_none()))],
        ),
        gauge(
            "readside_loop_up",
            "1 while a thread of the engine runs.",
            readings.loops.iter().map(|one| count(vec![("loop", one.name.to_owned())], u64::from(one.alive))).collect(),
        ),
        counter(
            "readside_loop_restarts_total",
            "How often a thread of the engine was started again after a panic.",
            readings.loops.iter().map(|one| count(vec![("loop", one.name.to_owned())], one.restarts)).collect(),
        ),
    ]
}

/// What the page knows about itself: whether the database answers, and how old the numbers are.
pub(crate) fn of_server(is_up: bool, age: Option<Duration>, took: Option<Duration>) -> Vec<Metric> {
    let info = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    vec![
        gauge("readside_build_info", "1, with the version of readside.", vec![count(info, 1)]),
        gauge(
            "readside_database_up",
            "1 while the last look at the database succeeded.",
            vec![count(Vec::new(), u64::from(is_up))],
        ),
        of_age(age),
        gauge(
            "readside_look_seconds",
            "How long the last look at the database took.",
            took.map(|took| number(Vec::new(), seconds(took))).into_iter().collect(),
        ),
    ]
}

/// How old the oldest number of the database is.
pub(crate) fn of_age(age: Option<Duration>) -> Metric {
    gauge(
        "readside_look_age_seconds",
        "How old the numbers are that the database told.",
        age.map(|age| number(Vec::new(), seconds(age))).into_iter().collect(),
    )
}
