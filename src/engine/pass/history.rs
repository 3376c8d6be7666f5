//! Whether what is remembered belongs to the log as it is now.
//!
//! Ids prove it, positions do not: a log that was restored gives its positions a second time. The id of one event proves all
//! in front of it, because a log that has that event at that position has the same events below.

use std::sync::Arc;

use uuid::Uuid;

use crate::error::{StoreError, StoreErrorKind};
use crate::query::{Cursor, EventBatch, EventFilter, ReadRequest};
use crate::state::State;
use crate::store::EventSource;

/// A position of an instance, and the event there.
pub(crate) type Spot = (i64, Option<Uuid>);

/// Asks the log which event is at a position of an instance, and reads no other event.
pub(crate) fn standing<S: EventSource + ?Sized>(
    source: &S,
    instance: &Arc<str>,
    position: i64,
) -> Result<EventBatch, StoreError> {
    let slices = standings(source, vec![Cursor { instance: Arc::clone(instance), after: position }])?;
    let nothing = || StoreError::new("asking what stands in the log", StoreErrorKind::Corrupt, "the source is silent");
    slices.into_iter().next().ok_or_else(nothing)
}

/// Asks the log which events are at these positions, in their order. The filter wants no event, so none is read.
pub(crate) fn standings<S: EventSource + ?Sized>(
    source: &S,
    cursors: Vec<Cursor>,
) -> Result<Vec<EventBatch>, StoreError> {
    source.read(&ReadRequest { cursors, wanted: EventFilter::default(), limit: 1, max_bytes: 1 })
}

/// How the source's history differs from the one that the state belongs to, if it does.
pub(crate) fn contradiction<S: EventSource + ?Sized>(source: &S, state: &State) -> Result<Option<String>, StoreError> {
    if state.position == 0 {
        return Ok(None);
    }
    let slice = standing(source, &state.instance, state.position)?;
    // The events that were read last say which store they are of.
    Ok(foreign(state, source.store_id()?).or_else(|| diverged((state.position, state.event), &slice)))
}

/// A checkpoint that is not part of the log.
#[derive(Debug)]
pub(crate) struct Astray {
    pub(crate) instance: Arc<str>,
    pub(crate) position: i64,
    /// Where the log of the instance ends.
    pub(crate) head: i64,
    /// In what it is not.
    pub(crate) found: String,
}

/// Those of these states that are not part of the log.
pub(crate) fn astray<S: EventSource + ?Sized>(source: &S, states: &[State]) -> Result<Vec<Astray>, StoreError> {
    let states = || states.iter().filter(|state| state.position > 0);
    let cursor = |state: &State| Cursor { instance: Arc::clone(&state.instance), after: state.position };
    let cursors: Vec<Cursor> = states().map(cursor).collect();
    if cursors.is_empty() {
        return Ok(Vec::new());
    }
    let slices = standings(source, cursors)?;
    // The events that were read last say which store they are of.
    let store = source.store_id()?;
    let one = |(state, slice): (&State, EventBatch)| {
        let found = foreign(state, store).or_else(|| diverged((state.position, state.event), &slice))?;
        Some(Astray { instance: Arc::clone(&state.instance), position: state.position, head: slice.head, found })
    };
    Ok(states().zip(slices).filter_map(one).collect())
}

/// That a checkpoint belongs to another store.
pub(crate) fn foreign(state: &State, store: Uuid) -> Option<String> {
    let other = state.store.filter(|other| *other != store && state.position > 0)?;
    Some(format!("its checkpoint belongs to event store {other}, this is {store}"))
}

/// In what a slice, read from a checkpoint on, is not of the history that the checkpoint belongs to.
pub(crate) fn diverged((position, event): Spot, slice: &EventBatch) -> Option<String> {
    if position == 0 {
        return None;
    }
    if position > slice.head {
        return Some(format!("the checkpoint is at {position}, the store ends at {}", slice.head));
    }
    (event != slice.at).then(|| format!("another event stands at the checkpoint {position}"))
}
