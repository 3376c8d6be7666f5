//! Applies the held events of many aggregates in one transaction, where all of them can be reduced.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{Aggregate, CHUNK, aggregate_of, log_intervention};
use crate::engine::pass::Pass;
use crate::error::{FailureError, StoreError};
use crate::event::Event;
use crate::failure::{Action, Attempt, By, FailedEvent, FailureQuery, FailureStatus};
use crate::statement::Statement;

/// Held events of an instance, read and reduced.
#[derive(Default)]
struct Together {
    /// The last one that was read.
    position: i64,
    /// Those that can be applied.
    ready: BTreeMap<i64, Statement>,
}

/// Where it stands, and in which state.
fn place(held: &FailedEvent) -> (i64, FailureStatus) {
    (held.attempt.position, held.attempt.state)
}

impl Pass {
    /// Applies what is held in the instances of this page, where that can be done at once. Returns what is left of it.
    pub(super) fn retry_page(
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
}
