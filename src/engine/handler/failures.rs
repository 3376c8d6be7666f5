//! What a person does about failures: look at them, have them tried again, give them up.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::engine::handler::ProjectionHandler;
use crate::engine::pass::{Pass, cancelled, failure};
use crate::error::{FailureError, StoreError, StoreErrorKind, TriggerError, chain};
use crate::event::Event;
use crate::failure::{
    Action, Aggregates, Attempt, By, FailedEvent, FailureQuery, FailureStatus, Intervention, ReduceFailure, Refused,
    RetryOutcome,
};
use crate::projection::is_reducing;
use crate::query::{Cursor, EventFilter, ReadRequest};
use crate::state::{Checkpoint, State};
use crate::statement::Statement;
use crate::stop_cause::{StopCause, Stopped};
use crate::store::ProjectionTransaction;

/// Held events that are applied in one transaction, at most.
const CHUNK: usize = 1000;

/// Held events that are listed together.
const PAGE: usize = 100;

/// Refused events that a report names, at most.
const NAMED: usize = 100;

/// How many events one may read for each that is wanted, before those are looked up one by one.
const SPARSE: usize = 8;

/// Events that are looked up together: each may be as large as any.
const TOGETHER: usize = 16;

/// How often a transaction that met others is tried again.
const TRIES: u32 = 5;

/// An event that is still refused.
struct Refusal {
    position: i64,
    failure: ReduceFailure,
}

/// What held events are reduced to, by position.
type Steps = BTreeMap<i64, Result<Statement, ReduceFailure>>;

/// An aggregate's type and id.
type Aggregate = (Arc<str>, Arc<str>);

/// Where it stands, and in which state.
fn place(held: &FailedEvent) -> (i64, FailureStatus) {
    (held.attempt.position, held.attempt.state)
}

fn aggregate_of(held: &FailedEvent) -> Aggregate {
    (Arc::clone(&held.attempt.aggregate_type), Arc::clone(&held.attempt.aggregate_id))
}

/// Held events of an instance, read and reduced.
#[derive(Default)]
struct Together {
    /// The last one that was read.
    position: i64,
    /// Those that can be applied.
    ready: BTreeMap<i64, Statement>,
}

/// What one transaction did to the held events of an aggregate.
#[derive(Default)]
struct Chunk {
    applied: Vec<i64>,
    refusal: Option<Refusal>,
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

    /// Applies what is held in the instances of this page, where that can be done at once. Returns what is left of it.
    fn retry_page(
        &self,
        mut page: Vec<FailedEvent>,
        by: &By,
        told: &mut dyn FnMut(u64),
    ) -> Result<Vec<FailedEvent>, FailureError> {
        let is_parked = |held: &FailedEvent| held.attempt.state == FailureStatus::Parked;
        let mut parked: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for held in page.iter().filter(|held| is_parked(held)) {
            *parked.entry(Arc::clone(&held.attempt.instance)).or_default() += 1;
        }
        for (instance, _) in parked.into_iter().filter(|(_, count)| *count > 1) {
            // Where it ended before, each of them is gone through again.
            let Some(refused) = self.apply_held(&instance, by, told)? else { continue };
            let is_done = |held: &FailedEvent| is_parked(held) && !refused.contains(&aggregate_of(held));
            page.retain(|held| held.attempt.instance != instance || !is_done(held));
        }
        Ok(page)
    }

    /// Applies the held events of an instance in order, those of many aggregates in one transaction, but for aggregates of which
    /// one is not reduced, which it returns. `None` when something came in between that only the work on single events can tell.
    fn apply_held(
        &self,
        instance: &Arc<str>,
        by: &By,
        told: &mut dyn FnMut(u64),
    ) -> Result<Option<HashSet<Aggregate>>, FailureError> {
        let (mut refused, mut from) = (HashSet::new(), 0);
        if self.check_history(instance).is_err() {
            return Ok(None);
        }
        loop {
            self.check_cancel(instance)?;
            let states = [FailureStatus::Parked, FailureStatus::Behind];
            let query = FailureQuery::all().instance(instance).states(states).positions(from, i64::MAX);
            let known = self.models.failed_events(&self.key, &query.limit(CHUNK))?;
            if known.is_empty() {
                return Ok(Some(refused));
            }
            let Some(last) = self.read_as_far_as(&known, &mut refused)? else { return Ok(None) };
            let Together { position, ready } = last;
            if !ready.is_empty() {
                match self.apply_these(instance, (from, position), &known, &ready, by) {
                    Ok(true) => {}
                    Ok(false) => return Ok(None),
                    Err(error) if error.is_statements_fault() || error.is_transient() => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
                told(ready.len() as u64);
            }
            from = position.saturating_add(1);
        }
    }

    /// Reads and reduces these held events as far as there is room. `None` when nothing can be read.
    fn read_as_far_as(
        &self,
        known: &[FailedEvent],
        refused: &mut HashSet<Aggregate>,
    ) -> Result<Option<Together>, FailureError> {
        let events = self.events_of(known)?;
        let events: HashMap<i64, &Event> = events.iter().map(|event| (event.position, event)).collect();
        let mut found: Option<Together> = None;
        let inside = known.first().map(|held| self.reducing.enter(&held.attempt.instance));
        for Attempt { position, aggregate_type, aggregate_id, .. } in known.iter().map(|held| &held.attempt) {
            let is_it = |event: &&&Event| {
                event.aggregate_id() == &**aggregate_id && event.aggregate_type() == &**aggregate_type
            };
            let Some(event) = events.get(position).filter(is_it) else { break };
            let aggregate = (Arc::clone(aggregate_type), Arc::clone(aggregate_id));
            let found = found.get_or_insert_with(Together::default);
            found.position = *position;
            if refused.contains(&aggregate) {
                continue;
            }
            if let Some(inside) = &inside {
                inside.at(*position);
            }
            match self.projection.reduce(event) {
                Ok(statement) => drop(found.ready.insert(*position, statement)),
                Err(_) => drop(refused.insert(aggregate)),
            }
        }
        Ok(found)
    }

    /// Applies them in one transaction; false where others are held by now than were known.
    fn apply_these(
        &self,
        instance: &Arc<str>,
        (from, to): (i64, i64),
        known: &[FailedEvent],
        ready: &BTreeMap<i64, Statement>,
        by: &By,
    ) -> Result<bool, StoreError> {
        let states = [FailureStatus::Parked, FailureStatus::Behind];
        let query = FailureQuery::all().instance(instance).states(states).positions(from, to);
        let known = || known.iter().take_while(|held| held.attempt.position <= to);
        let these = || known().filter(|held| ready.contains_key(&held.attempt.position));
        let parked = these().filter(|held| held.attempt.state == FailureStatus::Parked);
        let (parked, positions): (Vec<i64>, Vec<i64>) =
            (parked.map(|held| held.attempt.position).collect(), ready.keys().copied().collect());
        let mut as_known = false;
        self.under_lock(instance, &mut |tx, _| {
            let now = tx.failed_events(&self.key, &query)?;
            as_known = now.iter().map(place).eq(known().map(place));
            if !as_known {
                return Ok(());
            }
            tx.apply(&self.projection, &[(Arc::clone(instance), ready.values().collect())])?;
            tx.note_all(&self.key, instance, &parked, Action::Retry, by)?;
            tx.forget(&self.key, instance, &positions)?;
            // What is done lies in front.
            tx.promote(&self.key, instance, &these().map(aggregate_of).collect())
        })?;
        if as_known {
            for held in these().filter(|held| held.attempt.state == FailureStatus::Parked) {
                log_intervention(self.projection.name(), held, Action::Retry, by);
            }
        }
        Ok(as_known)
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

    fn apply_skipped(&self, held: &FailedEvent, by: &By) -> Result<RetryOutcome, FailureError> {
        let position = held.attempt.position;
        let (steps, _) = self.steps(std::slice::from_ref(held))?;
        let query = FailureQuery::all().instance(&held.attempt.instance).positions(position, position);
        let mut done = Chunk::default();
        self.under_lock(&held.attempt.instance, &mut |tx, _| {
            done = Chunk::default();
            if tx.failed_events(&self.key, &query)?.is_empty() {
                return Ok(());
            }
            tx.note(&self.key, &held.attempt.instance, position, Action::Retry, by)?;
            self.apply_chunk(tx, std::slice::from_ref(held), &steps, false, &mut done)
        })?;
        let applied = self.outcome(held, done, 0)?;
        Ok(RetryOutcome { applied, ..RetryOutcome::default() })
    }

    /// Applies the held events of an aggregate, in order, until none is left or one is refused; gives how many were applied. `held`
    /// is the first of them.
    fn apply_aggregate(&self, held: &FailedEvent, told: &mut dyn FnMut(u64)) -> Result<u64, FailureError> {
        let (mut applied, mut from) = (0, held.attempt.position);
        loop {
            let query = Self::of_aggregate(held).positions(from, i64::MAX).limit(CHUNK);
            let known = self.models.failed_events(&self.key, &query)?;
            let (steps, more) = self.steps(&known)?;
            let Some((last, _)) = steps.last_key_value() else { return Ok(applied) };
            let query = query.limit(steps.len());
            let mut done = Chunk::default();
            let apply = |whole: bool, done: &mut Chunk| {
                self.under_lock(&held.attempt.instance, &mut |tx, _| {
                    *done = Chunk::default();
                    let now = tx.failed_events(&self.key, &query)?;
                    self.apply_chunk(tx, &now, &steps, whole, done)?;
                    // What is done lies in front.
                    tx.promote(&self.key, &held.attempt.instance, &Aggregates::from([aggregate_of(held)]))
                })
            };
            match apply(true, &mut done) {
                // Step by step it shows which one is refused, and what goes before that.
                Err(error) if error.is_statements_fault() || error.is_transient() => apply(false, &mut done)?,
                other => other?,
            }
            applied += done.applied.len() as u64;
            told(applied);
            if done.refusal.is_some() {
                return self.outcome(held, done, applied);
            }
            if !more && known.len() < CHUNK {
                return Ok(applied);
            }
            from = if done.applied.is_empty() { from } else { last.saturating_add(1) };
            self.check_cancel(&held.attempt.instance)?;
        }
    }

    /// Applies those of the held events that were read and reduced, up to the first that is not, or is refused: all that can
    /// be reduced at once, which is the same as one by one where it succeeds.
    fn apply_chunk(
        &self,
        tx: &mut dyn ProjectionTransaction,
        held: &[FailedEvent],
        steps: &Steps,
        whole: bool,
        done: &mut Chunk,
    ) -> Result<(), StoreError> {
        let Some(Attempt { instance, .. }) = held.first().map(|first| &first.attempt) else { return Ok(()) };
        let mut left = held;
        if whole {
            let ready = held.iter().map_while(|event| steps.get(&event.attempt.position)?.as_ref().ok());
            let ready: Vec<&Statement> = ready.collect();
            let (these, others) = held.split_at(ready.len());
            if !ready.is_empty() {
                tx.apply(&self.projection, &[(Arc::clone(instance), ready)])?;
            }
            done.applied.extend(these.iter().map(|event| event.attempt.position));
            left = others;
        }
        for event in left {
            let position = event.attempt.position;
            let Some(statement) = steps.get(&position) else { break };
            let failure = match statement {
                Err(failure) => failure.clone(),
                Ok(statement) => match tx.apply_one(&self.projection, instance, statement) {
                    Ok(()) => {
                        done.applied.push(position);
                        continue;
                    }
                    Err(error) if error.is_statements_fault() => failure::of_statement(&error),
                    Err(error) => return Err(error),
                },
            };
            let ReduceFailure { class, error } = failure.clone();
            let state =
                if event.attempt.state == FailureStatus::Behind { FailureStatus::Parked } else { event.attempt.state };
            let attempts = event.attempt.attempts.saturating_add(1);
            tx.record(&self.key, &[Attempt { attempts, state, class, error, ..event.attempt.clone() }])?;
            done.refusal = Some(Refusal { position, failure });
            break;
        }
        tx.forget(&self.key, instance, &done.applied)
    }

    fn outcome(&self, held: &FailedEvent, done: Chunk, applied: u64) -> Result<u64, FailureError> {
        let applied = applied.max(done.applied.len() as u64);
        let Some(Refusal { position, failure }) = done.refusal else { return Ok(applied) };
        Err(FailureError::StillFails {
            projection: self.name(),
            instance: held.attempt.instance.to_string(),
            position,
            applied,
            class: failure.class,
            error: failure.error,
        })
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

    /// These held events of one instance, as many of the first as there is room for.
    fn events_of(&self, held: &[FailedEvent]) -> Result<Vec<Event>, StoreError> {
        let Some(first) = held.first() else { return Ok(Vec::new()) };
        let mut wanted = self.projection.wanted();
        let of_held = |listed: &[String], types: HashSet<&str>| -> Vec<String> {
            types.into_iter().filter(|name| EventFilter::lists(listed, name)).map(str::to_owned).collect()
        };
        let aggregate_types = held.iter().map(|held| &*held.attempt.aggregate_type).collect();
        wanted.aggregate_types = of_held(&wanted.aggregate_types, aggregate_types);
        let event_types = held.iter().map(|held| &*held.attempt.event_type).collect();
        wanted.event_types = of_held(&wanted.event_types, event_types);
        let span = held.last().map_or(0, |last| last.attempt.position - first.attempt.position).saturating_add(1);
        let span = usize::try_from(span).unwrap_or(usize::MAX);
        let cursor = |held: &FailedEvent| Cursor {
            instance: Arc::clone(&held.attempt.instance),
            after: held.attempt.position - 1,
        };
        let bytes = self.config.fetch_bytes;
        let (cursors, limit, max_bytes) = if span <= held.len().saturating_mul(SPARSE) {
            (vec![cursor(first)], span, bytes)
        } else {
            (held.iter().take(TOGETHER).map(cursor).collect(), 1, (bytes / TOGETHER).max(1))
        };
        let slices = self.source.read(&ReadRequest { cursors, wanted, limit, max_bytes })?;
        Ok(slices.into_iter().flat_map(|slice| slice.events).collect())
    }

    /// The first of these events, as many as there is room for, reduced; and whether others are left.
    fn steps(&self, held: &[FailedEvent]) -> Result<(Steps, bool), FailureError> {
        let Some(first) = held.first() else { return Ok((Steps::new(), false)) };
        let events = self.events_of(held)?;
        let events: HashMap<i64, &Event> = events.iter().map(|event| (event.position, event)).collect();
        let (mut steps, inside) = (Steps::new(), self.reducing.enter(&first.attempt.instance));
        for Attempt { position, aggregate_id, .. } in held.iter().map(|held| &held.attempt) {
            match events.get(position).filter(|event| event.aggregate_id() == &**aggregate_id) {
                Some(event) => {
                    inside.at(*position);
                    steps.insert(*position, self.projection.reduce(event));
                }
                None => break,
            }
            if steps.last_key_value().is_some_and(|(_, last)| last.is_err()) {
                break;
            }
        }
        if steps.is_empty() {
            let (instance, position) = (first.attempt.instance.to_string(), first.attempt.position);
            return Err(FailureError::EventGone { projection: self.name(), instance, position });
        }
        let more = steps.len() < held.len();
        Ok((steps, more))
    }
}
