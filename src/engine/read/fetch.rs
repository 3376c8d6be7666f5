//! Reads the events above the checkpoints, and checks that the checkpoints belong to the store's history.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::engine::pass::plan::blocking_failure;
use crate::engine::pass::read_position::{ReadPosition, StartPositions, diverged};
use crate::engine::pass::work::Work;
use crate::engine::pass::{Pass, history};
use crate::error::StoreError;
use crate::event::Event;
use crate::query::{Cursor, EventBatch, Flaw, HeadsRequest, ReadRequest, Span};
use crate::state::State;
use crate::stop_cause::{StopCause, Stopped};

/// The events above the checkpoints of some instances.
#[derive(Debug, Default)]
#[must_use = "process it"]
pub struct Fetched {
    pub(crate) works: Vec<Work>,
    pub(crate) stopped: Vec<Stopped>,
    pub(crate) more: Vec<Arc<str>>,
    /// Where reading goes on in those.
    pub(crate) next: Vec<ReadPosition>,
    /// Up to where each instance was looked at.
    pub(crate) seen: Vec<(Arc<str>, i64)>,
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

impl Pass {
    pub(crate) fn fetch(&self, instances: &[Arc<str>]) -> Result<Fetched, StoreError> {
        let opened = self.open_once(instances)?.without_lease();
        let mut fetched = self.read_once(&opened.places)?;
        fetched.stopped.extend(opened.stopped);
        Ok(fetched)
    }

    /// Reads the states of instances. It tries again when that may help.
    pub(crate) fn open(&self, instances: &[Arc<str>]) -> Result<StartPositions, StoreError> {
        self.with_retries(|| {
            let mut opened = self.open_once(instances)?;
            self.measure(&mut opened.places)?;
            Ok(opened)
        })
    }

    /// Reads a page. It tries again when that may help.
    pub(crate) fn read(&self, places: &[ReadPosition]) -> Result<Fetched, StoreError> {
        self.with_retries(|| self.read_once(places))
    }

    fn with_retries<T>(&self, mut attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut failures = 0;
        loop {
            match attempt() {
                Err(error) if error.is_transient() && failures < self.config.retries => {
                    failures += 1;
                    // The caller gets the error if it lasts.
                    log::debug!(
                        "projection {:?}: {}; trying again",
                        self.projection.name(),
                        crate::error::chain(&error)
                    );
                    if !self.pause(failures) {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }

    fn open_once(&self, instances: &[Arc<str>]) -> Result<StartPositions, StoreError> {
        let store = self.origin()?.store;
        let mut opened = StartPositions::default();
        for state in self.models.states(&self.key, instances)? {
            let other = || history::foreign(&state, store).map(|found| StopCause::HistoryDiverged { found });
            match blocking_failure(&state, self.config.backoff_cap).or_else(other) {
                Some(cause) => opened.stopped.push(stopped(&state, cause)),
                None => opened.places.push(ReadPosition::of(&state)),
            }
        }
        if self.projection.is_shadow() || self.is_hidden.load(Ordering::Relaxed) {
            self.check_whole(&mut opened)?;
        }
        Ok(opened)
    }

    /// A build from the beginning looks first whether the log is whole: later a position without an event cannot be told from one that
    /// nobody wants. It takes a count of all events, which is much where few of them are wanted and somebody waits.
    fn check_whole(&self, opened: &mut StartPositions) -> Result<(), StoreError> {
        let new = opened.places.iter().filter(|place| place.position == 0);
        let span = |place: &ReadPosition| Span { instance: Arc::clone(&place.instance), after: 0, to: i64::MAX };
        let spans: Vec<Span> = new.map(span).collect();
        if spans.is_empty() {
            return Ok(());
        }
        for Flaw { instance, found, .. } in self.source.flaws(&spans)? {
            opened.places.retain(|place| place.instance != instance);
            opened.stopped.push(Stopped { instance, position: 0, cause: StopCause::LogIncomplete { found } });
        }
        Ok(())
    }

    /// Finds out how far the instances lag, if that decides how many share a page.
    fn measure(&self, places: &mut [ReadPosition]) -> Result<(), StoreError> {
        if places.len() < 2 {
            return Ok(());
        }
        let request = HeadsRequest {
            instances: places.iter().map(|place| Arc::clone(&place.instance)).collect(),
            aggregate_types: self.projection.wanted().aggregate_types,
            after: None,
            limit: places.len(),
        };
        let heads: HashMap<Arc<str>, i64> =
            self.source.heads(&request)?.into_iter().map(|head| (head.instance, head.relevant)).collect();
        for place in places {
            let relevant = heads.get(&place.instance).copied().unwrap_or(0);
            place.lag = usize::try_from(relevant.saturating_sub(place.position)).unwrap_or(0);
        }
        Ok(())
    }

    fn read_once(&self, places: &[ReadPosition]) -> Result<Fetched, StoreError> {
        let mut fetched = Fetched::default();
        let cursor = |place: &ReadPosition| Cursor { instance: Arc::clone(&place.instance), after: place.position };
        let request = self.request(places.iter().map(cursor).collect());
        for (place, slice) in places.iter().zip(self.source.read(&request)?) {
            match diverged(place, &slice) {
                Some(found) => fetched.stopped.push(Stopped {
                    instance: Arc::clone(&place.instance),
                    position: place.position,
                    cause: StopCause::HistoryDiverged { found },
                }),
                None => fetched.add(place, slice),
            }
        }
        Ok(fetched)
    }

    /// Asks the log which event is at a position of an instance, and reads no other event.
    pub(crate) fn standing(&self, instance: &Arc<str>, position: i64) -> Result<EventBatch, StoreError> {
        history::standing(self.source.as_ref(), instance, position)
    }

    /// How the store's history differs from the one that the state belongs to, if it does.
    pub(crate) fn contradiction(&self, state: &State) -> Result<Option<String>, StoreError> {
        history::contradiction(self.source.as_ref(), state)
    }

    pub(crate) fn request(&self, cursors: Vec<Cursor>) -> ReadRequest {
        let max_bytes = (self.config.fetch_bytes / cursors.len().max(1)).max(1);
        ReadRequest { cursors, wanted: self.projection.wanted(), limit: self.config.bulk_limit, max_bytes }
    }
}

impl Fetched {
    fn add(&mut self, place: &ReadPosition, slice: EventBatch) {
        if slice.relevant <= slice.after {
            self.seen.push((slice.instance, slice.after));
            return;
        }
        let to = slice.scanned();
        self.seen.push((Arc::clone(&slice.instance), to.0));
        if slice.more {
            self.more.push(Arc::clone(&slice.instance));
            let lag = usize::try_from(slice.relevant.saturating_sub(to.0)).unwrap_or(usize::MAX);
            let (position, event) = to;
            let instance = Arc::clone(&slice.instance);
            let (pages, careful) = (place.pages + 1, place.careful);
            self.next.push(ReadPosition { instance, position, event, lag, pages, careful });
        }
        self.works.push(Work::read(slice, place.pages == 0));
    }

    /// Drops what was read of these instances.
    pub(crate) fn forget(&mut self, instances: &[Arc<str>]) {
        if instances.is_empty() {
            return;
        }
        self.works.retain(|work| !instances.contains(&work.instance));
        self.stopped.retain(|stopped| !instances.contains(&stopped.instance));
        self.more.retain(|instance| !instances.contains(instance));
        self.next.retain(|place| !instances.contains(&place.instance));
        self.seen.retain(|(instance, _)| !instances.contains(instance));
    }
}

fn stopped(state: &State, cause: StopCause) -> Stopped {
    let position = match &cause {
        StopCause::Failing(blocked) | StopCause::Stopped(blocked) => blocked.position,
        _ => state.position,
    };
    Stopped { instance: Arc::clone(&state.instance), position, cause }
}
