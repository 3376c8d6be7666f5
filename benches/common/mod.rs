//! What the benches share.
//!
//! A bench answers questions of one kind: how fast is this, compared with a floor? The floor is the same work in
//! hand-written SQL, measured in the same run. For each question, the bench prints the times of both sides and a line
//! `ratio QUESTION VALUE reach VALUE`. A higher ratio is better. For a limit, the ratio is the limit divided by the
//! measured value. A machine changes its speed from second to second, so both sides take turns, and their medians are
//! compared. Criterion measures one side after the other, so it runs only for pushes, whose rounds are short. The
//! result of every round is checked.
//!
//! `cargo bench --all-features --bench NAME -- [QUESTION]` runs one bench, or only its questions that contain a text.
//! `--test` runs each question once with small sizes. `READSIDE_BENCH_SCALE` makes all sizes smaller, for instance
//! `0.1`.

pub(crate) mod engine;
pub(crate) mod filled;
pub(crate) mod floor;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod users;

#[path = "../../tests/common/random.rs"]
#[allow(dead_code, clippy::expect_used, reason = "the tests use more of it")]
pub(crate) mod random;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use readside::store::ProjectionStore;
use readside::{EventStore, HandlerConfig, NewEvent, Projection, ProjectionHandler};

/// Commands in one push while a log is being filled.
const FILL: usize = 2_000;

/// The size of the work.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) test: bool,
    pub(crate) rounds: usize,
    scale: f64,
    only: Option<String>,
}

impl Settings {
    pub(crate) fn read() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let test = arguments.iter().any(|argument| argument == "--test");
        let scale = std::env::var("READSIDE_BENCH_SCALE").ok().map(|text| text.parse().expect("a scale is a number"));
        Self {
            test,
            rounds: if test { 1 } else { 5 },
            scale: scale.unwrap_or(if test { 0.02 } else { 1.0 }),
            only: arguments.into_iter().find(|argument| !argument.starts_with('-')),
        }
    }

    /// A size that has this value at full scale.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are small and positive")]
    pub(crate) fn size(&self, full: usize) -> usize {
        ((full as f64 * self.scale).ceil() as usize).max(2)
    }

    /// True if the user asked for this question.
    pub(crate) fn wants(&self, question: &str) -> bool {
        self.only.as_deref().is_none_or(|only| question.contains(only))
    }

    /// Runs both sides in turns. Returns the median of each.
    pub(crate) fn compare(
        &self,
        mut ours: impl FnMut() -> Duration,
        mut floor: impl FnMut() -> Duration,
    ) -> (Duration, Duration) {
        let (ours, floor) = (0..self.rounds).map(|_| (ours(), floor())).unzip();
        (median(ours), median(floor))
    }
}

pub(crate) fn median(times: Vec<Duration>) -> Duration {
    share(times, 50)
}

/// The time that `percent` of all times do not exceed.
pub(crate) fn share(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The name of a tenant.
pub(crate) fn instance(n: usize) -> String {
    format!("inst-{n:05}")
}

pub(crate) fn instances(count: usize) -> Vec<String> {
    (0..count).map(instance).collect()
}

/// A new version number. The tables and states of this version are new, so the projection catches up from nothing.
pub(crate) fn fresh() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Stores events, with many events in each push.
pub(crate) fn fill(store: &dyn EventStore, commands: impl IntoIterator<Item = NewEvent>) {
    let mut commands = commands.into_iter().peekable();
    while commands.peek().is_some() {
        let next: Vec<NewEvent> = commands.by_ref().take(FILL).collect();
        store.push(&next).unwrap();
    }
}

/// A handler with default settings. Its tables are set up.
pub(crate) fn handler<S>(store: &S, projection: Projection) -> ProjectionHandler
where
    S: EventStore + ProjectionStore + Clone + 'static,
{
    let (source, models) = (Arc::new(store.clone()), Arc::new(store.clone()));
    let handler = ProjectionHandler::new(source, models, projection, HandlerConfig::default()).unwrap();
    handler.setup().unwrap();
    handler
}

/// Catches up with all instances on this thread.
pub(crate) fn catch_up(handler: &ProjectionHandler, instances: &[String]) {
    let names: Vec<&str> = instances.iter().map(String::as_str).collect();
    handler.trigger(&names).unwrap();
}
