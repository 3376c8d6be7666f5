//! Waits until a projection has handled events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::builds::torn_tables;
use crate::clock;
use crate::engine::pass::history::{self, Spot};
use crate::engine::run::engine::Engine;
use crate::engine::run::runner::{LiveBuild, Runner};
use crate::error::{AwaitError, StoreError};
use crate::event::Event;
use crate::failure::FailureQuery;
use crate::projection::is_reducing;
use crate::query::{Head, HeadsRequest};
use crate::state::{ProjectionKey, State};
use crate::stop_cause::{StopCause, Stopped};

/// How long a wait relies on the work of this process before it asks the database.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// The first and the longest pause between two looks at a state that another process may move.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// After `FIRST_DOUBT` a wait asks the log whether the checkpoint is still part of it. It asks again every
/// `DOUBT_AGAIN`.
const FIRST_DOUBT: Duration = Duration::from_millis(100);
const DOUBT_AGAIN: Duration = Duration::from_secs(1);

/// What the log and the read model say about some events.
#[derive(Debug)]
enum LogView {
    Reached,
    NotYet,
    /// The log no longer holds one of them.
    Lost {
        position: i64,
    },
    /// The checkpoint is not part of the log.
    Diverged {
        found: String,
    },
}

impl Engine {
    /// Waits until the projection has handled this position of the instance, whichever process does the work. It waits
    /// for the build that readers see: while a new version is being built, that is the old one.
    ///
    /// # Errors
    /// See [`AwaitError`]. `EventFailed` means that the event at this position was left out. `Stopped` means that the
    /// instance waits for a person: an event stopped it, its history diverged, or rows exist without a checkpoint. The
    /// wait then ends at once. `TimedOut` covers all other cases, and says what keeps the instance from moving: a
    /// pause, missing rights, a lock, a lease, a first run, or a version that no process runs.
    pub fn await_position(
        &self,
        projection: &str,
        instance: &str,
        position: i64,
        timeout: Duration,
    ) -> Result<(), AwaitError> {
        check_outside(projection)?;
        let start = (Instant::now(), self.shared.progress.now());
        self.await_events(projection, instance, &[(position, None)], start, timeout)
    }

    /// Waits until the projection has handled these events, so that a caller can read its own writes.
    ///
    /// # Errors
    /// As [`await_position`](Self::await_position).
    pub fn await_pushed(&self, projection: &str, pushed: &[Event], timeout: Duration) -> Result<(), AwaitError> {
        check_outside(projection)?;
        let (start, since) = (Instant::now(), self.shared.progress.now());
        let mut by_instance: BTreeMap<&str, Vec<Spot>> = BTreeMap::new();
        for event in pushed {
            by_instance.entry(event.instance()).or_default().push((event.position(), Some(event.id())));
        }
        by_instance.into_iter().try_for_each(|(instance, events)| {
            self.await_work(projection, instance, &events, since, clock::after(start, timeout.min(FIRST_LOOK)));
            self.await_events(projection, instance, &events, (start, since), timeout)
        })
    }

    /// Waits for work that this process is doing. That costs less than asking the database.
    fn await_work(&self, projection: &str, instance: &str, events: &[Spot], since: u64, deadline: Instant) {
        let Some((at, runner)) = self.find(projection).filter(|_| self.shared.stores.events.is_some()) else { return };
        let last = events.iter().map(|(position, _)| *position).max().unwrap_or(0);
        let progress = &self.shared.progress;
        if runner.state().is_contested
            || !self.shared.is_ours(at, &instance.into())
            || progress.has_passed(at, instance, last)
        {
            return;
        }
        while Instant::now() < deadline && !self.shared.stop.is_set() {
            let seen = progress.now();
            if self.is_applied(at, instance, events, since) {
                return;
            }
            progress.wait_for(seen, at, instance, deadline);
        }
    }

    /// True when this process has applied each of these events since then.
    fn is_applied(&self, projection: usize, instance: &str, events: &[Spot], since: u64) -> bool {
        // Work on a build that readers do not see does not count.
        let is_seen = |runner: &Runner| !runner.state().is_contested && runner.seen().key == *runner.key();
        // A connection that was lost in the meantime may have led to another log than the next one does.
        self.shared.mind_generation();
        self.shared.runners.get(projection).is_some_and(is_seen)
            && self.shared.progress.is_applied(since, projection, instance, events)
    }

    fn await_events(
        &self,
        projection: &str,
        instance: &str,
        events: &[Spot],
        (start, begin): (Instant, u64),
        timeout: Duration,
    ) -> Result<(), AwaitError> {
        let unknown = || AwaitError::UnknownProjection { projection: projection.to_owned() };
        let (at, runner) = self.find(projection).ok_or_else(unknown)?;
        let instance: Arc<str> = instance.into();
        let last = events.iter().copied().max_by_key(|(position, _)| *position).unwrap_or_default();
        let (deadline, mut pause, mut doubt) =
            (clock::after(start, timeout), LOOK_AGAIN.0, Instant::now() + FIRST_DOUBT);
        loop {
            let since = self.shared.progress.now();
            let live = runner.seen();
            let torn = runner.torn.lock().clone().filter(|_| live.key == *runner.key());
            if torn.is_none() && self.is_applied(at, &instance, events, begin) {
                return Ok(());
            }
            let state = self.state(&live.key, &instance)?;
            if let Some(found) = torn {
                // The rows may differ from what the checkpoint says.
                let cause = StopCause::Store(torn_tables("waiting for events in them", &found));
                let stopped = Stopped { instance, position: state.position, cause };
                return Err(AwaitError::Stopped { projection: projection.to_owned(), stopped: Box::new(stopped) });
            }
            let is_over = Instant::now() >= deadline;
            let doubts = is_over || Instant::now() >= doubt;
            if doubts {
                doubt = Instant::now() + DOUBT_AGAIN;
            }
            match self.look(&live, &state, events, doubts)? {
                LogView::Reached if self.is_still_seen(runner, &live)? => {
                    return self.check_failures(&live.key, &instance, events);
                }
                LogView::Lost { position } => {
                    let (projection, instance) = (projection.to_owned(), instance.to_string());
                    return Err(AwaitError::EventLost { projection, instance, position });
                }
                LogView::Diverged { found } if self.is_still(&live, &state)? => {
                    let (instance, position) = (Arc::clone(&instance), state.position);
                    let stopped = Stopped { instance, position, cause: StopCause::HistoryDiverged { found } };
                    return Err(AwaitError::Stopped { projection: projection.to_owned(), stopped: Box::new(stopped) });
                }
                // Another version is live now.
                LogView::Reached => continue,
                // The checkpoint has moved, so the finding is out of date.
                LogView::NotYet | LogView::Diverged { .. } => {}
            }
            if let Some(error) = stopped(projection, &state, last.0) {
                return Err(error);
            }
            if live.key == *runner.key() && self.shared.standstills.is_orphaned(at, &state) {
                let cause = StopCause::RowsWithoutCheckpoint;
                let stopped = Stopped { instance: Arc::clone(&instance), position: state.position, cause };
                return Err(AwaitError::Stopped { projection: projection.to_owned(), stopped: Box::new(stopped) });
            }
            if self.shared.stop.is_set() {
                return Err(AwaitError::ShutDown);
            }
            if is_over {
                let unfed = self.shared.unfed(projection).map(|why| Box::new(StopCause::Unfed { why }));
                let why = unfed
                    .or_else(|| self.is_left_out(&instance).then(|| Box::new(StopCause::SystemLeftOut)))
                    .or_else(|| self.shared.why(at, runner, &live.key, &state));
                return Err(timed_out(projection, &state, last.0, start.elapsed(), why));
            }
            self.shared.progress.wait_for(since, at, &instance, deadline.min(Instant::now() + pause));
            pause = (pause * 2).min(LOOK_AGAIN.1);
        }
    }

    /// True when readers still see this build. While another version may take its place, this asks the database.
    fn is_still_seen(&self, runner: &Runner, live: &LiveBuild) -> Result<bool, StoreError> {
        if !runner.state().is_contested || runner.is_shadow() {
            return Ok(true);
        }
        self.shared.look_at_builds()?;
        Ok(runner.seen().key == live.key)
    }

    fn is_left_out(&self, instance: &str) -> bool {
        instance.is_empty() && !self.with_system()
    }

    fn state(&self, key: &ProjectionKey, instance: &Arc<str>) -> Result<State, StoreError> {
        let states = self.shared.stores.models.states(key, std::slice::from_ref(instance))?;
        Ok(states.into_iter().next().unwrap_or_default())
    }

    /// True when the state has not moved since it was read, so the finding about it holds.
    fn is_still(&self, live: &LiveBuild, state: &State) -> Result<bool, StoreError> {
        let now = self.state(&live.key, &state.instance)?;
        Ok((now.position, now.event) == (state.position, state.event))
    }

    /// Whether the projection has handled the events: the checkpoint has reached them, or the log has and the
    /// projection has handled every event there that concerns it. The log has to confirm that: a checkpoint that is not
    /// part of the log proves nothing, and an event that the log lost is not handled. This asks the log when the wait
    /// would end, and before that when the caller `doubts`.
    fn look(&self, live: &LiveBuild, state: &State, events: &[Spot], doubts: bool) -> Result<LogView, StoreError> {
        let (instance, source) = (&state.instance, self.shared.stores.source.as_ref());
        let last = events.iter().map(|(position, _)| *position).max().unwrap_or_default();
        let head = if state.position >= last { None } else { Some(self.head(live, instance)?) };
        let is_reached = head.as_ref().is_none_or(|head| head.head >= last && state.position >= head.relevant);
        let is_ahead = head.as_ref().is_some_and(|head| state.position > head.head);
        if !is_reached && !is_ahead && !doubts {
            return Ok(LogView::NotYet);
        }
        if let Some(found) = history::contradiction(source, state)? {
            return Ok(LogView::Diverged { found });
        }
        for (position, id) in ends(events).into_iter().filter(|(_, id)| state.event != Some(*id)) {
            let stands = history::standing(source, instance, position)?;
            if stands.at != Some(id) && stands.head >= position {
                return Ok(LogView::Lost { position });
            }
        }
        Ok(if is_reached { LogView::Reached } else { LogView::NotYet })
    }

    fn head(&self, live: &LiveBuild, instance: &Arc<str>) -> Result<Head, StoreError> {
        let request = HeadsRequest {
            instances: vec![Arc::clone(instance)],
            aggregate_types: live.aggregate_types.clone(),
            after: None,
            limit: 1,
        };
        let none = || Head { instance: Arc::clone(instance), head: 0, relevant: 0 };
        Ok(self.shared.stores.source.heads(&request)?.into_iter().next().unwrap_or_else(none))
    }

    fn check_failures(&self, key: &ProjectionKey, instance: &Arc<str>, events: &[Spot]) -> Result<(), AwaitError> {
        let positions: Vec<i64> = events.iter().map(|(position, _)| *position).collect();
        let (Some(first), Some(last)) = (positions.iter().min(), positions.iter().max()) else { return Ok(()) };
        let query = FailureQuery::all().instance(instance).positions(*first, *last);
        let held = self.shared.stores.models.failed_events(key, &query)?;
        match held.iter().map(|held| &held.attempt).find(|attempt| positions.contains(&attempt.position)) {
            None => Ok(()),
            Some(attempt) => Err(AwaitError::EventFailed {
                projection: key.projection().to_owned(),
                instance: instance.to_string(),
                position: attempt.position,
            }),
        }
    }
}

/// A reducer that waited for its own projection would wait for itself.
fn check_outside(projection: &str) -> Result<(), AwaitError> {
    if is_reducing() { Err(AwaitError::InsideReducer { projection: projection.to_owned() }) } else { Ok(()) }
}

/// The events that prove the others. One transaction gives its events consecutive ids, so the last one is enough.
fn ends(events: &[Spot]) -> Vec<(i64, Uuid)> {
    let mut known: Vec<(i64, Uuid)> = events.iter().filter_map(|(position, id)| Some((*position, (*id)?))).collect();
    known.sort_unstable();
    let next = |at: usize| known.get(at + 1).map(|(_, id)| id.as_u128());
    let is_end = |(at, (_, id)): &(usize, &(i64, Uuid))| next(*at) != id.as_u128().checked_add(1);
    known.iter().enumerate().filter(is_end).map(|(_, event)| *event).collect()
}

/// The error for an instance that waits for a person at this position or before it.
fn stopped(projection: &str, state: &State, position: i64) -> Option<AwaitError> {
    let blocked = state.blocked.as_ref().filter(|blocked| blocked.stopped && blocked.position <= position)?;
    let cause = StopCause::Stopped(blocked.clone());
    let stopped = Stopped { instance: Arc::clone(&state.instance), position: blocked.position, cause };
    Some(AwaitError::Stopped { projection: projection.to_owned(), stopped: Box::new(stopped) })
}

fn timed_out(
    projection: &str,
    state: &State,
    position: i64,
    waited: Duration,
    why: Option<Box<StopCause>>,
) -> AwaitError {
    AwaitError::TimedOut {
        projection: projection.to_owned(),
        instance: state.instance.to_string(),
        position,
        checkpoint: state.position,
        waited,
        why,
    }
}
