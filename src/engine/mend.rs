//! What a person does about failures: look at them, have them tried again, give them up.

use std::sync::Arc;

use super::failure;
use super::handler::{Inner, ProjectionHandler, cancelled};
use crate::error::{MendError, StoreError, StoreErrorKind, TriggerError};
use crate::event::Event;
use crate::held::{Action, Attempt, By, HeldEvent, HeldQuery, HeldState, Intervention};
use crate::projection::{ReduceFailure, is_reducing};
use crate::query::{Cursor, ReadRequest};
use crate::state::{Checkpoint, State, StopCause, Stopped};
use crate::statement::Statement;
use crate::store::ProjectionTransaction;

/// Held events of an aggregate that are applied in one transaction.
const CHUNK: usize = 100;

/// How often a transaction that met others is tried again.
const TRIES: u32 = 5;

/// What came of mending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Mended {
    /// Events that are in the read model now, and were not before.
    pub applied: u64,
}

/// An event that is still refused.
struct Refusal {
    position: i64,
    failure: ReduceFailure,
}

/// What one transaction did to the held events of an aggregate.
#[derive(Default)]
struct Chunk {
    applied: Vec<i64>,
    refusal: Option<Refusal>,
    more: bool,
}

impl ProjectionHandler {
    /// Recorded failures of this projection, by instance and position.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn held_events(&self, query: &HeldQuery) -> Result<Vec<HeldEvent>, StoreError> {
        self.inner.models.held_events(&self.inner.key, query)
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
    /// # Errors
    /// [`MendError::StillFails`] when it, or one behind it, is refused again; what was applied before stays.
    pub fn retry(&self, instance: &str, position: i64, by: &By) -> Result<Mended, MendError> {
        self.inner.check_outside()?;
        self.inner.check_cancel(instance)?;
        let held = self.inner.find_held(instance, position)?;
        self.inner.check_history(&held.attempt.instance)?;
        log_intervention(self.inner.projection.name(), &held, Action::Retry, by);
        match held.attempt.state {
            HeldState::Behind => Err(self.inner.is_behind(&held)?),
            HeldState::Failing | HeldState::Stopped => self.retry_instance(&held, by),
            HeldState::Skipped => self.inner.apply_skipped(&held, by),
            HeldState::Parked => {
                self.inner.noted(&held, Action::Retry, by)?;
                self.inner.apply_aggregate(&held)
            }
        }
    }

    /// Tries all events again that failed for good and were not skipped, in all instances. Goes on behind those that are
    /// not mended.
    ///
    /// # Errors
    /// What kept the first of these from being mended, after all were tried: [`MendError::StillFails`] for one that is
    /// refused, with all that was applied. At once when the database is out of reach, or the work was cancelled.
    pub fn retry_all(&self, by: &By) -> Result<Mended, MendError> {
        self.inner.check_outside()?;
        let mut query =
            HeldQuery::all().states([HeldState::Parked, HeldState::Stopped, HeldState::Failing]).limit(CHUNK);
        let (mut mended, mut first) = (Mended::default(), None);
        loop {
            let page = self.held_events(&query)?;
            let Some(last) = page.last() else { break };
            query = query.after(last);
            for held in page {
                match self.retry(&held.attempt.instance, held.attempt.position, by) {
                    Ok(done) => mended.applied += done.applied,
                    // Mended or given up by somebody else meanwhile.
                    Err(MendError::NotHeld { .. }) => {}
                    Err(error) if concerns_all(&error) => return Err(error),
                    Err(error) => {
                        if let MendError::StillFails { applied, .. } = &error {
                            mended.applied += applied;
                        }
                        first.get_or_insert(error);
                    }
                }
            }
        }
        match first {
            None => Ok(mended),
            Some(MendError::StillFails { projection, instance, position, class, error, .. }) => {
                Err(MendError::StillFails { projection, instance, position, applied: mended.applied, class, error })
            }
            Some(error) => Err(error),
        }
    }

    /// Gives a failed event up: the projection goes on without it, for good. What was parked behind it is applied, in
    /// order.
    ///
    /// # Errors
    /// [`MendError::StillFails`] when one that was parked behind it is refused.
    pub fn discard(&self, instance: &str, position: i64, by: &By) -> Result<Mended, MendError> {
        self.inner.check_outside()?;
        self.inner.check_cancel(instance)?;
        let held = self.inner.find_held(instance, position)?;
        self.inner.check_history(&held.attempt.instance)?;
        log_intervention(self.inner.projection.name(), &held, Action::Discard, by);
        self.inner.give_up(&held, by)?;
        match held.attempt.state {
            HeldState::Parked => self.inner.apply_aggregate(&held),
            _ => Ok(Mended::default()),
        }
    }

    /// An event that holds up its instance is due now; the pass that follows applies it, and what comes behind it.
    fn retry_instance(&self, held: &HeldEvent, by: &By) -> Result<Mended, MendError> {
        let (instance, position) = (&held.attempt.instance, held.attempt.position);
        self.inner.make_due(held, by)?;
        let before = self.inner.state(instance)?.position;
        match self.trigger(&[&**instance]) {
            Ok(()) => {}
            Err(TriggerError::Stopped { .. }) if self.inner.state(instance)?.position >= position => {}
            Err(error) => return Err(self.inner.refused(held, error)),
        }
        let applied = u64::from(before < position);
        Ok(Mended { applied })
    }
}

/// Whether the next event would meet the same.
fn concerns_all(error: &MendError) -> bool {
    match error {
        MendError::Store(error) | MendError::Trigger(TriggerError::Store(error)) => error.concerns_all(),
        MendError::Trigger(TriggerError::Stopped { stopped, .. }) => {
            stopped.iter().any(|stopped| match &stopped.cause {
                StopCause::Store(error) => error.concerns_all(),
                cause => matches!(cause, StopCause::Cancelled),
            })
        }
        _ => false,
    }
}

fn log_intervention(projection: &str, held: &HeldEvent, action: Action, by: &By) {
    let Attempt { instance, position, state, .. } = &held.attempt;
    log::info!(
        "projection {projection:?}, instance {instance:?}: {action} of event {position}, which is {state}, by {:?}",
        by.who
    );
}

impl Inner {
    fn name(&self) -> String {
        self.projection.name().to_owned()
    }

    fn state(&self, instance: &Arc<str>) -> Result<State, StoreError> {
        Ok(self.models.states(&self.key, std::slice::from_ref(instance))?.into_iter().next().unwrap_or_default())
    }

    fn check_outside(&self) -> Result<(), MendError> {
        if is_reducing() { Err(MendError::InsideReducer { projection: self.name() }) } else { Ok(()) }
    }

    fn check_cancel(&self, instance: &str) -> Result<(), TriggerError> {
        if !self.cancel.is_set() {
            return Ok(());
        }
        Err(TriggerError::Stopped { projection: self.name(), stopped: vec![cancelled(instance.into())] })
    }

    fn find_held(&self, instance: &str, position: i64) -> Result<HeldEvent, MendError> {
        let query = HeldQuery::all().instance(instance).positions(position, position);
        let found = self.models.held_events(&self.key, &query)?.into_iter().next();
        found.ok_or_else(|| MendError::NotHeld { projection: self.name(), instance: instance.to_owned(), position })
    }

    fn of_aggregate(held: &HeldEvent) -> HeldQuery {
        HeldQuery::all()
            .instance(&held.attempt.instance)
            .aggregate(&held.attempt.aggregate_type, &held.attempt.aggregate_id)
            .states([HeldState::Parked, HeldState::Behind])
    }

    fn is_behind(&self, held: &HeldEvent) -> Result<MendError, StoreError> {
        let first = self.models.held_events(&self.key, &Self::of_aggregate(held).limit(1))?;
        Ok(MendError::Behind {
            projection: self.name(),
            instance: held.attempt.instance.to_string(),
            position: held.attempt.position,
            first: first.first().map_or(held.attempt.position, |first| first.attempt.position),
        })
    }

    fn refused(&self, held: &HeldEvent, error: TriggerError) -> MendError {
        match self.find_held(&held.attempt.instance, held.attempt.position) {
            Ok(again) if again.attempt.attempts > held.attempt.attempts => MendError::StillFails {
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

    fn noted(&self, held: &HeldEvent, action: Action, by: &By) -> Result<(), StoreError> {
        let (instance, position) = (&held.attempt.instance, held.attempt.position);
        self.models.transaction(&mut |tx| tx.note(&self.key, instance, position, action, by))
    }

    fn make_due(&self, held: &HeldEvent, by: &By) -> Result<(), StoreError> {
        let due = Attempt { state: HeldState::Failing, retry_in: std::time::Duration::ZERO, ..held.attempt.clone() };
        self.under_lock(&held.attempt.instance, &mut |tx, state| {
            let same = state.blocked.as_ref().is_some_and(|blocked| blocked.position == due.position);
            if !same {
                return Ok(());
            }
            tx.note(&self.key, &due.instance, due.position, Action::Retry, by)?;
            tx.record(&self.key, std::slice::from_ref(&due))
        })
    }

    /// Removes the record. An instance that it held up goes on behind it; the next one of a parked aggregate takes its place.
    fn give_up(&self, held: &HeldEvent, by: &By) -> Result<(), MendError> {
        let Attempt { instance, position, .. } = &held.attempt;
        let (event, origin) = (self.standing(instance, *position)?.at, self.origin()?);
        let mut gone = false;
        self.under_lock(instance, &mut |tx, state| {
            let query = HeldQuery::all().instance(instance).positions(*position, *position);
            gone = tx.held_events(&self.key, &query)?.is_empty();
            if gone {
                return Ok(());
            }
            tx.note(&self.key, instance, *position, Action::Discard, by)?;
            tx.forget(&self.key, instance, &[*position])?;
            if state.blocked.as_ref().is_some_and(|blocked| blocked.position == *position) && state.position < *position
            {
                let (instance, store) = (Arc::clone(instance), origin.store);
                let checkpoint = Checkpoint { instance, position: *position, event, store };
                tx.save(&self.key, &[checkpoint], origin.log)?;
            }
            self.promote(tx, held)
        })?;
        Ok(())
    }

    /// The first held event of an aggregate is the parked one.
    fn promote(&self, tx: &mut dyn ProjectionTransaction, held: &HeldEvent) -> Result<(), StoreError> {
        let first = tx.held_events(&self.key, &Self::of_aggregate(held).limit(1))?;
        match first.first() {
            Some(first) if first.attempt.state == HeldState::Behind => {
                tx.record(&self.key, &[Attempt { state: HeldState::Parked, ..first.attempt.clone() }])
            }
            _ => Ok(()),
        }
    }

    fn apply_skipped(&self, held: &HeldEvent, by: &By) -> Result<Mended, MendError> {
        let position = held.attempt.position;
        let step = (position, self.reduce_held(&held.attempt)?);
        let query = HeldQuery::all().instance(&held.attempt.instance).positions(position, position);
        let mut done = Chunk::default();
        self.under_lock(&held.attempt.instance, &mut |tx, _| {
            done = Chunk::default();
            if tx.held_events(&self.key, &query)?.is_empty() {
                return Ok(());
            }
            tx.note(&self.key, &held.attempt.instance, position, Action::Retry, by)?;
            self.apply_chunk(tx, std::slice::from_ref(held), std::slice::from_ref(&step), &mut done)
        })?;
        self.outcome(held, done, 0)
    }

    /// Applies the held events of an aggregate, in order, until none is left or one is refused.
    fn apply_aggregate(&self, held: &HeldEvent) -> Result<Mended, MendError> {
        let query = Self::of_aggregate(held).limit(CHUNK);
        let mut applied = 0;
        loop {
            let known = self.models.held_events(&self.key, &query)?;
            if known.is_empty() {
                return Ok(Mended { applied });
            }
            let mut steps = Vec::with_capacity(known.len());
            for event in &known {
                steps.push((event.attempt.position, self.reduce_held(&event.attempt)?));
            }
            let mut done = Chunk::default();
            self.under_lock(&held.attempt.instance, &mut |tx, _| {
                done = Chunk::default();
                let now = tx.held_events(&self.key, &query)?;
                self.apply_chunk(tx, &now, &steps, &mut done)?;
                self.promote(tx, held)
            })?;
            applied += done.applied.len() as u64;
            if done.refusal.is_some() || !done.more {
                return self.outcome(held, done, applied);
            }
            self.check_cancel(&held.attempt.instance)?;
        }
    }

    /// Applies those of the held events that were read and reduced; stops at the first that is not, or is refused.
    fn apply_chunk(
        &self,
        tx: &mut dyn ProjectionTransaction,
        held: &[HeldEvent],
        steps: &[(i64, Result<Statement, ReduceFailure>)],
        done: &mut Chunk,
    ) -> Result<(), StoreError> {
        done.more = true;
        for event in held {
            let position = event.attempt.position;
            let Some((_, statement)) = steps.iter().find(|(other, _)| *other == position) else { break };
            let failure = match statement {
                Err(failure) => failure.clone(),
                Ok(statement) => match tx.apply_one(&self.projection, &event.attempt.instance, statement) {
                    Ok(()) => {
                        done.applied.push(position);
                        continue;
                    }
                    Err(error) if error.is_statements_fault() => failure::of_statement(&error),
                    Err(error) => return Err(error),
                },
            };
            let ReduceFailure { class, error } = failure.clone();
            let state = if event.attempt.state == HeldState::Behind { HeldState::Parked } else { event.attempt.state };
            let attempts = event.attempt.attempts.saturating_add(1);
            tx.record(&self.key, &[Attempt { attempts, state, class, error, ..event.attempt.clone() }])?;
            done.refusal = Some(Refusal { position, failure });
            break;
        }
        match held.first() {
            Some(first) => tx.forget(&self.key, &first.attempt.instance, &done.applied),
            None => Ok(()),
        }
    }

    fn outcome(&self, held: &HeldEvent, done: Chunk, applied: u64) -> Result<Mended, MendError> {
        let applied = applied.max(done.applied.len() as u64);
        let Some(Refusal { position, failure }) = done.refusal else { return Ok(Mended { applied }) };
        Err(MendError::StillFails {
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
    fn check_history(&self, instance: &Arc<str>) -> Result<(), MendError> {
        let state = self.state(instance)?;
        let Some(found) = self.contradiction(&state)? else { return Ok(()) };
        let (instance, position) = (Arc::clone(instance), state.position);
        let stopped = vec![Stopped { instance, position, cause: StopCause::HistoryDiverged { found } }];
        Err(TriggerError::Stopped { projection: self.name(), stopped }.into())
    }

    fn reduce_held(&self, attempt: &Attempt) -> Result<Result<Statement, ReduceFailure>, MendError> {
        match self.read_event(attempt)? {
            Some(event) => Ok(self.projection.reduce(&event)),
            None => Err(MendError::EventGone {
                projection: self.name(),
                instance: attempt.instance.to_string(),
                position: attempt.position,
            }),
        }
    }

    /// The event as the store has it, if it is the one that was recorded.
    fn read_event(&self, attempt: &Attempt) -> Result<Option<Event>, StoreError> {
        let mut wanted = self.projection.wanted();
        wanted.aggregate_types.retain(|kind| **kind == *attempt.aggregate_type);
        wanted.event_types.retain(|kind| **kind == *attempt.event_type);
        let cursors = vec![Cursor { instance: Arc::clone(&attempt.instance), after: attempt.position - 1 }];
        let slices = self.source.read(&ReadRequest { cursors, wanted, limit: 1, max_bytes: 1 })?;
        let event = slices.into_iter().next().and_then(|slice| slice.events.into_iter().next());
        Ok(event.filter(|event| event.position == attempt.position && event.aggregate_id() == &*attempt.aggregate_id))
    }
}
