//! Reading what lies above the checkpoints, and checking that checkpoints belong to the store's history.

use std::sync::Arc;

use uuid::Uuid;

use super::handler::Inner;
use super::plan::held_back;
use super::work::Work;
use crate::error::StoreError;
use crate::event::Event;
use crate::query::{Cursor, ReadRequest, Slice};
use crate::state::{State, StopCause, Stopped};

/// What lies above the checkpoints of some instances.
#[derive(Debug, Default)]
#[must_use = "process it"]
pub struct Fetched {
    pub(super) works: Vec<Work>,
    pub(super) stopped: Vec<Stopped>,
    pub(super) more: Vec<Arc<str>>,
    /// Up to where each instance was looked at.
    pub(super) seen: Vec<(Arc<str>, i64)>,
}

impl Fetched {
    /// The events that the projection wants, by instance, ascending.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.works.iter().flat_map(|work| &work.steps).map(|step| &step.event)
    }

    /// The instances whose fetch ended at its limit: there may be more for them.
    #[must_use]
    pub fn more(&self) -> &[Arc<str>] {
        &self.more
    }

    /// The instances that cannot go on, and were not read.
    #[must_use]
    pub fn stopped(&self) -> &[Stopped] {
        &self.stopped
    }
}

impl Inner {
    pub(super) fn fetch(&self, instances: &[Arc<str>]) -> Result<Fetched, StoreError> {
        let mut fetched = Fetched::default();
        let store = self.read_store_id()?;
        let mut states = Vec::new();
        for state in self.models.states(&self.key, instances)? {
            match held_back(&state, self.config.backoff_cap) {
                Some(cause) => fetched.stopped.push(stopped(&state, cause)),
                None => states.push(state),
            }
        }
        for (state, slice) in states.iter().zip(self.source.read(&self.request(&states))?) {
            match diverged(state, &slice, store) {
                Some(found) => fetched.stopped.push(stopped(state, StopCause::HistoryDiverged { found })),
                None => fetched.add(slice),
            }
        }
        Ok(fetched)
    }

    fn request(&self, states: &[State]) -> ReadRequest {
        let cursor = |state: &State| Cursor { instance: Arc::clone(&state.instance), after: state.position };
        ReadRequest {
            cursors: states.iter().map(cursor).collect(),
            wanted: self.projection.wanted(),
            limit: self.config.bulk_limit,
            max_bytes: (self.config.fetch_bytes / states.len().max(1)).max(1),
        }
    }
}

impl Fetched {
    fn add(&mut self, slice: Slice) {
        if slice.relevant <= slice.after {
            self.seen.push((slice.instance, slice.after));
            return;
        }
        let to = slice.scanned();
        self.seen.push((Arc::clone(&slice.instance), to.0));
        if slice.more {
            self.more.push(Arc::clone(&slice.instance));
        }
        let mut work = Work::new(slice.instance, Some(slice.after), slice.events);
        work.to = Some(to);
        self.works.push(work);
    }
}

fn stopped(state: &State, cause: StopCause) -> Stopped {
    let position = match &cause {
        StopCause::Failing(blocked) | StopCause::Stopped(blocked) => blocked.position,
        _ => state.position,
    };
    Stopped { instance: Arc::clone(&state.instance), position, cause }
}

/// In what the store's history is not the one that the checkpoint belongs to.
fn diverged(state: &State, slice: &Slice, store: Uuid) -> Option<String> {
    if state.position == 0 {
        return None;
    }
    if let Some(other) = state.store.filter(|other| *other != store) {
        return Some(format!("its checkpoint belongs to event store {other}, this is {store}"));
    }
    if state.position > slice.head {
        return Some(format!("the checkpoint is at {}, the store ends at {}", state.position, slice.head));
    }
    (state.event != slice.at).then(|| format!("another event stands at the checkpoint {}", state.position))
}
