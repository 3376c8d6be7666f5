//! How far a build is, by heads and checkpoints, and how long it will take.

use std::sync::Arc;
use std::time::Instant;

use super::context::{Context, PAGE};
use crate::builds::{BuildProgress, Step};
use crate::error::StoreError;
use crate::query::{Head, HeadsRequest};
use crate::state::{ProjectionKey, State};
use crate::stop_cause::StopCause;

/// The weight of the last rate against the earlier ones.
const WEIGHT: f64 = 0.3;

/// How far a build is.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Positions that it has handled.
    pub(super) done: i64,
    /// All positions.
    pub(super) total: i64,
    /// Positions that it has to handle to reach the live build.
    pub(super) behind: i64,
    /// The first instance that cannot move, in words.
    pub(super) stuck: Option<String>,
    /// The first instance that does not move until a person acts.
    pub(super) stopped: Option<String>,
}

impl Context<'_> {
    /// Sums up all instances.
    pub(super) fn standing(&self, build: &ProjectionKey, live: &ProjectionKey) -> Result<Standing, StoreError> {
        let mut standing = Standing::default();
        let aggregate_types = self.projection.wanted().aggregate_types;
        let mut request = HeadsRequest { instances: Vec::new(), aggregate_types, after: None, limit: PAGE };
        loop {
            let mut heads = self.source.heads(&request)?;
            let Some(last) = heads.last() else { return Ok(standing) };
            request.after = Some(Arc::clone(&last.instance));
            heads.retain(|head| head.relevant > 0 && (self.system || !head.instance.is_empty()));
            let instances: Vec<Arc<str>> = heads.iter().map(|head| Arc::clone(&head.instance)).collect();
            if instances.is_empty() {
                continue;
            }
            let (own, others) = (self.models.states(build, &instances)?, self.models.states(live, &instances)?);
            for ((head, own), other) in heads.iter().zip(&own).zip(&others) {
                standing.add(head, own, other);
            }
        }
    }
}

impl Standing {
    fn add(&mut self, head: &Head, own: &State, live: &State) {
        self.total += head.relevant;
        self.done += own.position.min(head.relevant);
        let behind = (live.position.min(head.relevant) - own.position).max(0);
        self.behind += behind;
        let blocked = own.blocked.as_ref().filter(|blocked| behind > 0 && blocked.position > own.position);
        let Some(blocked) = blocked else { return };
        if self.stuck.is_some() && (self.stopped.is_some() || !blocked.stopped) {
            return;
        }
        let cause = if blocked.stopped { StopCause::Stopped } else { StopCause::Failing }(blocked.clone());
        let told = format!("instance {:?} at position {}: {cause}", own.instance, blocked.position);
        if blocked.stopped && self.stopped.is_none() {
            self.stopped = Some(told.clone());
        }
        self.stuck.get_or_insert(told);
    }
}

/// Measures the speed.
#[derive(Debug)]
pub(super) struct Pace {
    last: Option<(Instant, i64)>,
    per_second: Option<f64>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { last: None, per_second: None }
    }

    /// Progress with a recent rate, once there were two looks.
    pub(super) fn progress(&mut self, step: Step, standing: &Standing) -> BuildProgress {
        let now = Instant::now();
        if let Some((at, done)) = self.last {
            let seconds = now.duration_since(at).as_secs_f64();
            if seconds > 0.0 {
                let rate = per_second(standing.done - done, seconds);
                let smoothed = self.per_second.map_or(rate, |before| before * (1.0 - WEIGHT) + rate * WEIGHT);
                self.per_second = Some(smoothed);
            }
        }
        self.last = Some((now, standing.done));
        let left = standing.total - standing.done;
        let seconds_left = self.per_second.filter(|rate| *rate > 0.0).map(|rate| per_second(left, rate));
        BuildProgress {
            step,
            done: standing.done,
            total: standing.total,
            per_second: self.per_second,
            seconds_left,
            waits_for: standing.stuck.clone(),
            comparison: None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn per_second(count: i64, by: f64) -> f64 {
    count as f64 / by
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_what_was_done() {
        let mut pace = Pace::new();
        let standing = |done| Standing { done, total: 1000, ..Standing::default() };
        let first = pace.progress(Step::Filling, &standing(0));
        assert_eq!((first.per_second, first.seconds_left), (None, None), "one look tells nothing");
        pace.last = Instant::now().checked_sub(std::time::Duration::from_secs(10)).map(|at| (at, 0));
        let second = pace.progress(Step::Filling, &standing(500));
        let (rate, left) = (second.per_second.unwrap(), second.seconds_left.unwrap());
        assert!((49.0..=50.0).contains(&rate) && (10.0..=10.3).contains(&left), "{second:?}");
    }
}
