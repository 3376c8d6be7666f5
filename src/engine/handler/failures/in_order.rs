//! Applies the held events of one aggregate in order, up to the first that is refused.

use std::sync::Arc;

use super::reduced::Steps;
use super::{CHUNK, aggregate_of};
use crate::engine::pass::{Pass, failure};
use crate::error::{FailureError, StoreError};
use crate::failure::{
    Action, Aggregates, Attempt, By, FailedEvent, FailureQuery, FailureStatus, ReduceFailure, RetryOutcome,
};
use crate::statement::Statement;
use crate::store::ProjectionTransaction;

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
}

impl Pass {
    pub(super) fn apply_skipped(&self, held: &FailedEvent, by: &By) -> Result<RetryOutcome, FailureError> {
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
    pub(super) fn apply_aggregate(&self, held: &FailedEvent, told: &mut dyn FnMut(u64)) -> Result<u64, FailureError> {
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
}
