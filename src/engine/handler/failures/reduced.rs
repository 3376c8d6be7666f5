//! Reads held events again, and reduces them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::engine::pass::Pass;
use crate::error::{FailureError, StoreError};
use crate::event::Event;
use crate::failure::{Attempt, FailedEvent, ReduceFailure};
use crate::query::{Cursor, EventFilter, ReadRequest};
use crate::statement::Statement;

/// How many events one may read for each that is wanted, before those are looked up one by one.
const SPARSE: usize = 8;

/// Events that are looked up together: each may be as large as any.
const TOGETHER: usize = 16;

/// What held events are reduced to, by position.
pub(super) type Steps = BTreeMap<i64, Result<Statement, ReduceFailure>>;

impl Pass {
    /// These held events of one instance, as many of the first as there is room for.
    pub(super) fn events_of(&self, held: &[FailedEvent]) -> Result<Vec<Event>, StoreError> {
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
    pub(super) fn steps(&self, held: &[FailedEvent]) -> Result<(Steps, bool), FailureError> {
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
