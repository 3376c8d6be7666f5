//! Where reading goes on in an instance.

use std::sync::Arc;

use uuid::Uuid;

use crate::engine::pass::history;
use crate::query::EventBatch;
use crate::state::State;
use crate::stop_cause::{StopCause, Stopped};

/// Where reading goes on in an instance.
#[derive(Debug, Clone)]
pub(crate) struct ReadPosition {
    pub(crate) instance: Arc<str>,
    /// The checkpoint, or where the page before ended.
    pub(crate) position: i64,
    /// The event there.
    pub(crate) event: Option<Uuid>,
    /// Positions above it, as far as is known.
    pub(crate) lag: usize,
    /// Pages read so far.
    pub(crate) pages: usize,
    /// A process died that worked on it, as far as is known.
    pub(crate) careful: bool,
}

/// The places of some instances, and those that cannot go on.
#[derive(Debug, Default)]
pub(crate) struct StartPositions {
    pub(crate) places: Vec<ReadPosition>,
    pub(crate) stopped: Vec<Stopped>,
}

impl ReadPosition {
    pub(crate) fn of(state: &State) -> Self {
        let instance = Arc::clone(&state.instance);
        let (lag, pages, careful) = (usize::MAX, 0, state.careful);
        Self { instance, position: state.position, event: state.event, lag, pages, careful }
    }
}

impl StartPositions {
    /// A caller without a lease leaves alone what has to be probed.
    pub(crate) fn without_lease(mut self) -> Self {
        for place in self.places.extract_if(.., |place| place.careful) {
            let (instance, position) = (place.instance, place.position);
            self.stopped.push(Stopped { instance, position, cause: StopCause::Suspect });
        }
        self
    }
}

/// How the store's history differs from the one that the read position belongs to, if it does.
pub(crate) fn diverged(place: &ReadPosition, slice: &EventBatch) -> Option<String> {
    history::diverged((place.position, place.event), slice)
}
