//! What a person does about failures: look at them, have them tried again, give them up.

mod in_order;
mod reduced;
mod together;

use std::borrow::Borrow;
use std::sync::Arc;

use crate::engine::handler::ProjectionHandler;
use crate::engine::pass::{Pass, cancelled};
use crate::error::{FailureError, StoreError, StoreErrorKind, TriggerError, chain};
use crate::failure::{
    Action, Aggregates, Attempt, By, FailedEvent, FailureQuery, FailureStatus, Intervention, Refused, RetryOutcome,
};
use crate::projection::is_reducing;
use crate::query::{Cursor, ReadRequest};
use crate::state::{Checkpoint, State};
use crate::stop_cause::{StopCause, Stopped};
use crate::store::ProjectionTransaction;

/// Held events that are applied in one transaction, at most.
const CHUNK: usize = 1000;

/// Held events that are listed together.
const PAGE: usize = 100;

/// Refused events that a report names, at most.
const NAMED: usize = 100;

/// How often a transaction that met others is tried again.
const TRIES: u32 = 5;

/// An aggregate's type and id.
type Aggregate = (Arc<str>, Arc<str>);

fn aggregate_of(held: &FailedEvent) -> Aggregate {
    (Arc::clone(&held.attempt.aggregate_type), Arc::clone(&held.attempt.aggregate_id))
}

impl ProjectionHandler {
    /// Recorded failures of this projection, by instance and position.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn failed_events(&self, query: &FailureQuery) -> Result<Vec<FailedEvent>, StoreError> {
        self.inner.models.failed_events(&self.inner.key, query)
    }

    /// What people did about failures of this projection, the latest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn interventions(&self, limit: usize) -> Result<Vec<Intervention>, StoreError> {
        self.inner.models.interventions(&self.inner.key, limit)
    }

    /// Tries a failed event again, at once and on this thread. A parked one is applied with all that waits behind it, in
    /// order, each exactly once; one that held its instance up is applied and the instance goes on; a skipped one is
    /// applied late, behind events that came after it.
    ///
    /// Of a parked aggregate any event will do: it goes on with the first that is held ([`RetryOutcome::went_on`]). So a retry that
    /// was cut off is taken up by the same call.
    ///
    /// # Errors
    /// [`FailureError::StillFails`] when it, or one behind it, is refused again; what was applied before stays.
    pub fn retry(&self, instance: &str, position: i64, by: &By) -> Result<RetryOutcome, FailureError> {
        self.retry_telling(instance, position, by, &mut |_, _| {})
    }

    /// As [`retry`](Self::retry), and tells how many events are applied, of how many.
    pub(crate) fn retry_telling(
        &self,
        instance: &str,
        position: i64,
        by: &By,
        told: &mut dyn FnMut(u64, u64),
    ) -> Result<RetryOutcome, FailureError> {
        self.inner.check_outside()?;
        self.inner.check_cancel(instance)?;
        let held = self.inner.find_or_go_on(instance, position)?;
        self.inner.check_history(&held.attempt.instance)?;
        log_intervention(self.inner.projection.name(), &held, Action::Retry, by);
        let went_on = (held.attempt.position != position).then_some(held.attempt.position);
        let mended = match held.attempt.state {
            FailureStatus::Failing | FailureStatus::Stopped => self.retry_instance(&held, by)?,
            FailureStatus::Skipped | FailureStatus::Discarded => self.inner.apply_skipped(&held, by)?,
            FailureStatus::Parked | FailureStatus::Behind => {
                self.inner.noted(&held, Action::Retry, by)?;
                let before = self.inner.models.failure_count(&self.inner.key, &Pass::of_aggregate(&held))?;
                told(0, before);
                let applied = self.inner.apply_aggregate(&held, &mut |applied| told(applied, before))?;
                RetryOutcome { applied, before, after: before.saturating_sub(applied), ..RetryOutcome::default() }
            }
        };
        Ok(RetryOutcome { went_on, ..mended })
    }

    /// Tries all events again that failed for good and were not skipped, in all instances. Goes on behind those that are
    /// not mended.
    ///
    /// # Errors
    /// [`FailureError::SomeStillFail`] with all that came of it, after all were tried, when some are refused again; what kept
    /// the first from being mended, when that was something else. At once when the database is out of reach, or the work
    /// was cancelled.
    pub fn retry_all(&self, by: &By) -> Result<RetryOutcome, FailureError> {
        self.retry_all_telling(by, &mut |_, _| {})
    }

    /// As [`retry_all`](Self::retry_all), and tells how many events are applied, of how many.
    pub(crate) fn retry_all_telling(
        &self,
        by: &By,
        told: &mut dyn FnMut(u64, u64),
    ) -> Result<RetryOutcome, FailureError> {
        self.inner.check_outside()?;
        let mut query = FailureQuery::all()
            .states([FailureStatus::Parked, FailureStatus::Stopped, FailureStatus::Failing])
            .limit(PAGE);
        let before = self.inner.all_failed()?;
        told(0, before);
        let (mut mended, mut first, mut still) = (RetryOutcome { before, ..RetryOutcome::default() }, None, false);
        loop {
            let page = self.failed_events(&query)?;
            let Some(last) = page.last() else { break };
            query = query.after(last);
            let page = self.inner.retry_page(page, by, &mut |applied| {
                mended.applied += applied;
                told(mended.applied, before);
            })?;
            for held in page {
                let (instance, position, applied) = (&held.attempt.instance, held.attempt.position, mended.applied);
                let so_far = &mut |more, _| told(applied + more, before);
                match self.retry_telling(instance, position, by, so_far) {
                    Ok(done) => mended.applied += done.applied,
                    // Mended or given up by somebody else meanwhile.
                    Err(FailureError::NotOnRecord { .. }) => {}
                    Err(error) if concerns_all(&error) => return Err(error),
                    Err(error) => {
                        still |= matches!(error, FailureError::StillFails { .. });
                        note_refusal(&mut mended, &held, &error);
                        first.get_or_insert(error);
                    }
                }
                told(mended.applied, before);
            }
        }
        mended.after = self.inner.all_failed()?;
        match first {
            None => Ok(mended),
            Some(_) if still => {
                let projection = self.inner.projection.name().to_owned();
                Err(FailureError::SomeStillFail { projection, mended: Box::new(mended) })
            }
            Some(error) => Err(error),
        }
    }

    /// Gives a failed event up: the read model goes on without it. What was parked behind it is applied, in order. A reset, a
    /// rebuild and a raised version pass it over too, unless they are told otherwise
    /// ([`RebuildOptions::retry_discarded`](crate::admin::RebuildOptions::retry_discarded)). Of one that was given up already, what waits
    /// behind it and was not tried is applied: so a discard that was cut off is taken up by the same call.
    ///
    /// # Errors
    /// [`FailureError::StillFails`] when one that was parked behind it is refused.
    pub fn discard(&self, instance: &str, position: i64, by: &By) -> Result<RetryOutcome, FailureError> {
        self.inner.check_outside()?;
        self.inner.check_cancel(instance)?;
        let held = self.inner.find_failed_or_given_up(instance, position)?;
        self.inner.check_history(&held.attempt.instance)?;
        let from = if held.attempt.state == FailureStatus::Discarded {
            self.inner.untried_behind(&held)?
        } else {
            log_intervention(self.inner.projection.name(), &held, Action::Discard, by);
            self.inner.give_up(&held, by)?;
            (held.attempt.state == FailureStatus::Parked).then_some(held)
        };
        let applied = from.map_or(Ok(0), |from| self.inner.apply_aggregate(&from, &mut |_| {}))?;
        Ok(RetryOutcome { applied, ..RetryOutcome::default() })
    }

    /// An event that holds up its instance is due now; the pass that follows applies it, and what comes behind it.
    fn retry_instance(&self, held: &FailedEvent, by: &By) -> Result<RetryOutcome, FailureError> {
        let (instance, position) = (&held.attempt.instance, held.attempt.position);
        self.inner.make_due(held, by)?;
        let before = self.inner.state(instance)?.position;
        match self.trigger(&[&**instance]) {
            Ok(()) => {}
            Err(TriggerError::Stopped { .. }) if self.inner.state(instance)?.position >= position => {}
            Err(error) => return Err(self.inner.refused(held, error)),
        }
        let applied = u64::from(before < position);
        Ok(RetryOutcome { applied, ..RetryOutcome::default() })
    }
}

/// Does the same in all builds of a version: in that which readers see, or are to see, and in one that is filled beside it.
/// An event is on record in some of them.
///
/// # Errors
/// The first, once all were tried; that the event is not on record only where it is so in all.
pub(crate) fn in_all<H: Borrow<ProjectionHandler>>(
    builds: &[H],
    mut act: impl FnMut(&ProjectionHandler) -> Result<RetryOutcome, FailureError>,
) -> Result<RetryOutcome, FailureError> {
    let (mut all, mut first, mut unknown, mut found) = (RetryOutcome::default(), None, None, false);
    for build in builds {
        match act(build.borrow()) {
            Ok(done) => {
                found = true;
                all.add(done);
            }
            Err(error @ FailureError::NotOnRecord { .. }) => {
                unknown.get_or_insert(error);
            }
            Err(FailureError::SomeStillFail { projection, mended }) => {
                all.add(*mended);
                first.get_or_insert(FailureError::SomeStillFail { projection, mended: Box::default() });
            }
            Err(error) if concerns_all(&error) => return Err(error),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    match (first, unknown) {
        (Some(FailureError::SomeStillFail { projection, .. }), _) => {
            Err(FailureError::SomeStillFail { projection, mended: Box::new(all) })
        }
        (Some(error), _) => Err(error),
        (None, Some(error)) if !found => Err(error),
        _ => Ok(all),
    }
}

impl RetryOutcome {
    fn add(&mut self, other: Self) {
        self.applied += other.applied;
        self.before += other.before;
        self.after += other.after;
        self.went_on = self.went_on.or(other.went_on);
        let room = NAMED.saturating_sub(self.refused.len());
        self.not_named += other.not_named + other.refused.len().saturating_sub(room) as u64;
        self.refused.extend(other.refused.into_iter().take(room));
    }
}

/// Adds to a report what kept an event from being mended.
fn note_refusal(mended: &mut RetryOutcome, held: &FailedEvent, error: &FailureError) {
    let refused = match error {
        FailureError::StillFails { instance, position, applied, class, error, .. } => {
            mended.applied += applied;
            let (instance, error) = (instance.clone(), error.clone());
            Refused { instance, position: *position, class: Some(*class), error }
        }
        other => {
            let (instance, position) = (held.attempt.instance.to_string(), held.attempt.position);
            Refused { instance, position, class: None, error: chain(other) }
        }
    };
    if mended.refused.len() < NAMED {
        mended.refused.push(refused);
    } else {
        mended.not_named += 1;
    }
}

/// The projection went on without it for good.
fn is_settled(state: FailureStatus) -> bool {
    matches!(state, FailureStatus::Skipped | FailureStatus::Discarded)
}

/// Whether the next event would meet the same.
fn concerns_all(error: &FailureError) -> bool {
    match error {
        FailureError::Store(error) | FailureError::Trigger(TriggerError::Store(error)) => error.concerns_all(),
        FailureError::Trigger(TriggerError::Stopped { stopped, .. }) => {
            stopped.iter().any(|stopped| match &stopped.cause {
                StopCause::Store(error) => error.concerns_all(),
                cause => matches!(cause, StopCause::Cancelled),
            })
        }
        _ => false,
    }
}

fn log_intervention(projection: &str, held: &FailedEvent, action: Action, by: &By) {
    let Attempt { instance, position, state, .. } = &held.attempt;
    log::info!(
        "projection {projection:?}, instance {instance:?}: {action} of event {position}, which is {state}, by {:?}",
        by.who
    );
}

impl Pass {
    fn name(&self) -> String {
        self.projection.name().to_owned()
    }

    fn state(&self, instance: &Arc<str>) -> Result<State, StoreError> {
        Ok(self.models.states(&self.key, std::slice::from_ref(instance))?.into_iter().next().unwrap_or_default())
    }

    fn check_outside(&self) -> Result<(), FailureError> {
        if is_reducing() { Err(FailureError::InsideReducer { projection: self.name() }) } else { Ok(()) }
    }

    fn check_cancel(&self, instance: &str) -> Result<(), TriggerError> {
        if !self.cancel.is_set() {
            return Ok(());
        }
        Err(TriggerError::Stopped { projection: self.name(), stopped: vec![cancelled(instance.into())] })
    }

    fn find_failed(&self, instance: &str, position: i64) -> Result<FailedEvent, FailureError> {
        let query = FailureQuery::all().instance(instance).positions(position, position);
        let found = self.models.failed_events(&self.key, &query)?.into_iter().next();
        found.ok_or_else(|| FailureError::NotOnRecord {
            projection: self.name(),
            instance: instance.to_owned(),
            position,
        })
    }

    fn find_failed_or_given_up(&self, instance: &str, position: i64) -> Result<FailedEvent, FailureError> {
        self.find_failed(instance, position).or_else(|not_on_record| {
            let query = FailureQuery::all().instance(instance).states([FailureStatus::Discarded]);
            let found = self.models.failed_events(&self.key, &query.positions(position, position))?;
            found.into_iter().next().ok_or(not_on_record)
        })
    }

    fn of_aggregate(held: &FailedEvent) -> FailureQuery {
        Self::of_this(&held.attempt.instance, &held.attempt.aggregate_type, &held.attempt.aggregate_id)
    }

    fn of_this(instance: &str, aggregate_type: &str, aggregate_id: &str) -> FailureQuery {
        let states = [FailureStatus::Parked, FailureStatus::Behind];
        FailureQuery::all().instance(instance).aggregate(aggregate_type, aggregate_id).states(states)
    }

    /// All that is on record and was not skipped.
    fn all_failed(&self) -> Result<u64, StoreError> {
        let counts = self.models.failure_counts(&self.key)?;
        Ok(counts.iter().filter(|(state, _)| !is_settled(*state)).map(|(_, count)| count).sum())
    }

    /// The event; or the first that is held of its aggregate, where it waits behind that, or is done already.
    fn find_or_go_on(&self, instance: &str, position: i64) -> Result<FailedEvent, FailureError> {
        let (query, not_on_record) = match self.find_failed(instance, position) {
            Ok(held) if held.attempt.state == FailureStatus::Behind => {
                let query = Self::of_aggregate(&held);
                return Ok(self.models.failed_events(&self.key, &query.limit(1))?.into_iter().next().unwrap_or(held));
            }
            Err(not_on_record @ FailureError::NotOnRecord { .. }) => {
                let cursors = vec![Cursor { instance: instance.into(), after: position.saturating_sub(1).max(0) }];
                let wanted = self.projection.wanted();
                let slices = self.source.read(&ReadRequest { cursors, wanted, limit: 1, max_bytes: 1 })?;
                let event = slices.into_iter().flat_map(|slice| slice.events).find(|event| event.position == position);
                let Some(event) = event else { return Err(not_on_record) };
                (Self::of_this(instance, event.aggregate_type(), event.aggregate_id()), not_on_record)
            }
            other => return other,
        };
        self.models.failed_events(&self.key, &query.limit(1))?.into_iter().next().ok_or(not_on_record)
    }

    fn refused(&self, held: &FailedEvent, error: TriggerError) -> FailureError {
        match self.find_failed(&held.attempt.instance, held.attempt.position) {
            Ok(again) if again.attempt.attempts > held.attempt.attempts => FailureError::StillFails {
                projection: self.name(),
                instance: again.attempt.instance.to_string(),
                position: again.attempt.position,
                applied: 0,
                class: again.attempt.class,
                error: again.attempt.error,
            },
            _ => error.into(),
        }
    }

    /// Runs a transaction under the lock of an instance's state; again when others were in its way, and when a commit was
    /// cut off, since all that is done here is guarded by the records it removes.
    fn under_lock(
        &self,
        instance: &Arc<str>,
        work: &mut dyn FnMut(&mut dyn ProjectionTransaction, &State) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            let outcome = self.models.transaction(&mut |tx| {
                let states = tx.lock(&self.key, std::slice::from_ref(instance))?;
                work(tx, states.first().unwrap_or(&State::default()))
            });
            match outcome {
                Err(error) if error.is_transient() || error.kind() == StoreErrorKind::CommitUnknown => {
                    tries += 1;
                    if tries >= TRIES || !self.pause(tries) {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }

    fn noted(&self, held: &FailedEvent, action: Action, by: &By) -> Result<(), StoreError> {
        let (instance, position) = (&held.attempt.instance, held.attempt.position);
        self.models.transaction(&mut |tx| tx.note(&self.key, instance, position, action, by))
    }

    fn make_due(&self, held: &FailedEvent, by: &By) -> Result<(), StoreError> {
        let due =
            Attempt { state: FailureStatus::Failing, retry_in: std::time::Duration::ZERO, ..held.attempt.clone() };
        self.under_lock(&held.attempt.instance, &mut |tx, state| {
            let same = state.blocked.as_ref().is_some_and(|blocked| blocked.position == due.position);
            if !same {
                return Ok(());
            }
            tx.note(&self.key, &due.instance, due.position, Action::Retry, by)?;
            tx.record(&self.key, std::slice::from_ref(&due))
        })
    }

    /// Records that it is given up. An instance that it held up goes on behind it; the next one of a parked aggregate takes its place.
    fn give_up(&self, held: &FailedEvent, by: &By) -> Result<(), FailureError> {
        let Attempt { instance, position, .. } = &held.attempt;
        let (event, origin) = (self.standing(instance, *position)?.at, self.origin()?);
        let mut gone = false;
        self.under_lock(instance, &mut |tx, state| {
            let query = FailureQuery::all().instance(instance).positions(*position, *position);
            gone = tx.failed_events(&self.key, &query)?.is_empty();
            if gone {
                return Ok(());
            }
            tx.note(&self.key, instance, *position, Action::Discard, by)?;
            if state.blocked.as_ref().is_some_and(|blocked| blocked.position == *position) && state.position < *position
            {
                let (instance, store) = (Arc::clone(instance), origin.store);
                let checkpoint = Checkpoint { instance, position: *position, event, store };
                tx.save(&self.key, &[checkpoint], origin.log)?;
            }
            tx.record(&self.key, &[Attempt { state: FailureStatus::Discarded, ..held.attempt.clone() }])?;
            tx.promote(&self.key, instance, &Aggregates::from([aggregate_of(held)]))
        })?;
        Ok(())
    }

    /// The first event that is held behind one that was given up, where nobody has tried it: then a discard was cut off before
    /// it had applied what waited.
    fn untried_behind(&self, held: &FailedEvent) -> Result<Option<FailedEvent>, StoreError> {
        let behind = Self::of_aggregate(held).positions(held.attempt.position.saturating_add(1), i64::MAX);
        let first = self.models.failed_events(&self.key, &behind.limit(1))?.into_iter().next();
        Ok(first.filter(|first| first.attempt.attempts == 0))
    }

    /// Records of failures name positions. They mean the events that failed only as long as the checkpoint, which lies at
    /// them or behind, is part of the log.
    fn check_history(&self, instance: &Arc<str>) -> Result<(), FailureError> {
        let state = self.state(instance)?;
        let Some(found) = self.contradiction(&state)? else { return Ok(()) };
        let (instance, position) = (Arc::clone(instance), state.position);
        let stopped = vec![Stopped { instance, position, cause: StopCause::HistoryDiverged { found } }];
        Err(TriggerError::Stopped { projection: self.name(), stopped }.into())
    }
}
