//! What a pass has to do in one instance, and how far it is.

use std::sync::Arc;

use uuid::Uuid;

use crate::engine::pass::failure::Outcome;
use crate::engine::pass::history::Spot;
use crate::engine::pass::lease::LeaseHandle;
use crate::engine::pass::reducing::Reducing;
use crate::error::StoreError;
use crate::event::Event;
use crate::failure::ReduceFailure;
use crate::projection::Projection;
use crate::query::EventBatch;
use crate::state::State;
use crate::statement::Statement;
use crate::stop_cause::{StopCause, Stopped};

/// How many events are reduced ahead between two checks whether to stop.
const UNASKED: usize = 64;

/// The most events of a work that are remembered for waiting calls. For others they ask the database.
const MOST_AWAITED: usize = 256;

/// What became of some events.
#[derive(Debug, Default)]
#[must_use = "it says where the work stopped"]
pub struct Processed {
    /// How many of the given events are in the read model now. Events that were there before count too.
    pub applied: usize,
    /// Instances that stopped before their last event, in order of instances.
    pub stopped: Vec<Stopped>,
}

/// An event with its statement.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) event: Event,
    statement: Option<Result<Statement, ReduceFailure>>,
}

impl Step {
    /// The statement, or why there is none; nothing before it was reduced.
    pub(crate) fn statement(&self) -> Option<Result<&Statement, &ReduceFailure>> {
        self.statement.as_ref().map(Result::as_ref)
    }
}

#[derive(Debug)]
pub(crate) enum Status {
    /// There is something to do at once.
    Open,
    /// An event failed in this attempt.
    Failed,
    /// The database failed in this attempt.
    Trouble(StoreError),
    /// Nothing more to do.
    Finished,
    Stopped(Stopped),
}

/// The events of one instance.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) instance: Arc<str>,
    pub(crate) origin: Origin,
    pub(crate) right: Right,
    pub(crate) steps: Vec<Step>,
    /// How many of the steps are done.
    pub(crate) next: usize,
    pub(crate) applied: usize,
    pub(crate) status: Status,
    /// Every event above the first and up to the second of these positions was applied, and none of them held back.
    pub(crate) clean: Option<(i64, i64)>,
    /// An attempt begins that tries again what failed in the one before. What was reduced ahead of the first attempt counts for
    /// that, failures too.
    again: bool,
}

/// Where the events of a work come from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// A caller gave them. They follow the checkpoint without a hole.
    Given,
    /// The queue. The events that it showed before tell what comes before these.
    Queue(Known),
    /// The log: every wanted event above a checkpoint.
    Read {
        /// The checkpoint.
        after: i64,
        /// Where the checkpoint goes once all steps are applied, with the event there.
        to: Option<(i64, Option<Uuid>)>,
        /// True for the first read of its instance in a pass: every event before it is committed.
        is_first: bool,
    },
}

/// The right by which a process does a work.
#[derive(Debug, Clone)]
pub(crate) enum Right {
    /// A caller's, whose passes need no lease.
    Caller,
    /// A lease of this process.
    Lease(Arc<LeaseHandle>),
    /// None. This process leaves an instance to the process that has a lease of it.
    NoLease(Uuid),
}

/// Events that came from a queue: all from position `from` on were seen, and none of the projection's types between
/// `relevant` and the first step.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) from: i64,
    pub(crate) relevant: i64,
    /// Positions and ids of the last events in front of the first step.
    pub(crate) last: Vec<(i64, Uuid)>,
}

impl Known {
    /// True when the event at the checkpoint is one that came from the queue too: then the state belongs to this history.
    fn proves(&self, state: &State, steps: &[Step]) -> bool {
        let of_steps = steps.iter().map(|step| (step.event.position, step.event.id));
        state.position == 0
            || self
                .last
                .iter()
                .copied()
                .chain(of_steps)
                .any(|(position, id)| position == state.position && state.event == Some(id))
    }
}

impl Work {
    pub(crate) fn new(instance: Arc<str>, origin: Origin, events: Vec<Event>) -> Self {
        let steps = events.into_iter().map(|event| Step { event, statement: None }).collect();
        Self {
            instance,
            origin,
            right: Right::Caller,
            steps,
            next: 0,
            applied: 0,
            status: Status::Open,
            clean: None,
            again: false,
        }
    }

    /// What was read of an instance.
    pub(crate) fn read(batch: EventBatch, is_first: bool) -> Self {
        let origin = Origin::Read { after: batch.after, to: Some(batch.scanned()), is_first };
        Self::new(batch.instance, origin, batch.events)
    }

    /// The next step alone, by the same right.
    pub(crate) fn next_alone(&self) -> Option<Self> {
        let step = self.steps.get(self.next)?;
        let mut origin = self.origin.clone();
        if let Origin::Read { to, .. } = &mut origin
            && self.next + 1 < self.steps.len()
        {
            *to = None;
        }
        let single = Self::new(Arc::clone(&self.instance), origin, vec![step.event.clone()]);
        Some(Self { right: self.right.clone(), ..single })
    }

    /// The checkpoint above which the steps hold every wanted event, where they were read.
    pub(crate) fn after(&self) -> Option<i64> {
        match self.origin {
            Origin::Read { after, .. } => Some(after),
            Origin::Given | Origin::Queue(_) => None,
        }
    }

    /// Notes that the checkpoint has moved.
    pub(crate) fn moved_to(&mut self, position: i64) {
        if let Origin::Read { after, .. } = &mut self.origin {
            *after = position;
        }
    }

    /// The checkpoint after the last step, if it is known.
    pub(crate) fn scanned_to(&self) -> Option<(i64, Option<Uuid>)> {
        match self.origin {
            Origin::Read { to, .. } => to,
            Origin::Given | Origin::Queue(_) => None,
        }
    }

    /// True for the first that a pass has read of its instance.
    pub(crate) fn is_first(&self) -> bool {
        matches!(self.origin, Origin::Read { is_first: true, .. })
    }

    pub(crate) fn known(&self) -> Option<&Known> {
        match &self.origin {
            Origin::Queue(known) => Some(known),
            Origin::Given | Origin::Read { .. } => None,
        }
    }

    pub(crate) fn lease(&self) -> Option<&Arc<LeaseHandle>> {
        match &self.right {
            Right::Lease(handle) => Some(handle),
            Right::Caller | Right::NoLease(_) => None,
        }
    }

    /// Notes that all events between these positions were applied.
    pub(crate) fn add_clean(&mut self, from: i64, to: i64) {
        let begin = self.clean.filter(|(_, end)| *end == from).map_or(from, |(begin, _)| begin);
        self.clean = Some((begin, to));
    }

    /// What waiting calls may know about the work.
    pub(crate) fn moved(&self) -> Moved {
        let few = self.steps.get(..self.next).filter(|steps| self.clean.is_some() && steps.len() <= MOST_AWAITED);
        let spot = |step: &Step| (step.event.position, Some(step.event.id));
        Moved { clean: self.clean, events: few.unwrap_or_default().iter().map(spot).collect() }
    }

    /// True when it goes event by event.
    pub(crate) fn is_careful(&self) -> bool {
        self.lease().is_some_and(|handle| handle.is_careful())
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.status, Status::Open)
    }

    /// Opens it for another attempt.
    pub(crate) fn reopen(&mut self) {
        self.status = Status::Open;
        self.again = true;
    }

    /// Reduces what is not reduced yet, or failed to in the attempt before. An attempt does so as often as events of it fail for
    /// good: each event is reduced once in it.
    pub(crate) fn reduce(&mut self, projection: &Projection, reducing: &Reducing) {
        self.reduce_telling(projection, reducing, || {});
    }

    /// The same, and tells of each event.
    pub(crate) fn reduce_telling(&mut self, projection: &Projection, reducing: &Reducing, done: impl Fn()) {
        let inside = reducing.enter(&self.instance);
        let again = std::mem::take(&mut self.again);
        let is_reduced = |step: &Step| step.statement.as_ref().is_some_and(|reduced| !again || reduced.is_ok());
        for step in self.steps.iter_mut().skip(self.next).filter(|step| !is_reduced(step)) {
            inside.at(step.event.position);
            step.statement = Some(projection.reduce(&step.event));
            done();
        }
    }

    /// Reduces ahead of the first attempt, until it has nothing left or is told to stop.
    pub(crate) fn reduce_ahead(&mut self, projection: &Projection, reducing: &Reducing, is_over: impl Fn() -> bool) {
        let inside = reducing.enter(&self.instance);
        for steps in self.steps.chunks_mut(UNASKED).take_while(|_| !is_over()) {
            for step in steps {
                inside.at(step.event.position);
                step.statement = Some(projection.reduce(&step.event));
            }
        }
    }

    /// False for events from a queue when nothing shows that the state belongs to their history; the store then tells.
    pub(crate) fn is_proved(&self, state: &State) -> bool {
        self.known().is_none_or(|known| known.proves(state, &self.steps))
    }

    /// Where the checkpoint goes at most: what stands there in the log proves all in front of it.
    pub(crate) fn end(&self) -> Option<(i64, Option<Uuid>)> {
        self.scanned_to().or_else(|| self.steps.last().map(|step| (step.event.position, Some(step.event.id))))
    }

    /// The position of the next event, or the checkpoint when there is none.
    pub(crate) fn position(&self) -> i64 {
        let event = self.steps.get(self.next).or(self.steps.last());
        event.map_or(self.after().unwrap_or(0), |step| step.event.position)
    }

    /// Goes on after the event that failed, or leaves the instance.
    pub(crate) fn end_attempt(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::PassedOver => self.next += 1,
            Outcome::Held(cause) => self.stop(cause),
        }
    }

    pub(crate) fn stop(&mut self, cause: StopCause) {
        let stopped = Stopped { instance: Arc::clone(&self.instance), position: self.position(), cause };
        self.status = Status::Stopped(stopped);
    }
}

/// What is known of the work on an instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moved {
    /// Every event above the first and up to the second of these positions was applied.
    pub(crate) clean: Option<(i64, i64)>,
    /// Events of those, where they are few.
    pub(crate) events: Vec<Spot>,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::ReduceError;
    use crate::statement::noop;

    // Contract: H1: an attempt calls the reducer of an event once, also where that was done ahead of it.
    #[test]
    fn what_was_reduced_ahead_counts_for_one_attempt() {
        let (calls, reducing) = (Arc::new(AtomicUsize::new(0)), Reducing::default());
        let count = Arc::clone(&calls);
        let projection = Projection::new("p", 1).on_raw("t", "e", move |event| {
            count.fetch_add(1, Ordering::Relaxed);
            if event.position() == 2 { Err(ReduceError::new("bad luck")) } else { noop() }
        });
        let events = (1..=3).map(|position| Event::new("a", "t", "1", "e").with_position(position));
        let mut work = Work::new("a".into(), Origin::Given, events.collect());
        let mut calls_of = |run: &mut dyn FnMut(&mut Work)| {
            run(&mut work);
            calls.swap(0, Ordering::Relaxed)
        };
        assert_eq!(calls_of(&mut |work| work.reduce_ahead(&projection, &reducing, || true)), 0, "over before it began");
        assert_eq!(calls_of(&mut |work| work.reduce_ahead(&projection, &reducing, || false)), 3);
        assert_eq!(calls_of(&mut |work| work.reduce(&projection, &reducing)), 0);
        assert_eq!(calls_of(&mut |work| work.reduce(&projection, &reducing)), 0, "it is the same attempt");
        work.reopen();
        work.reduce(&projection, &reducing);
        assert_eq!(calls.load(Ordering::Relaxed), 1, "the next attempt tries what failed");
    }
}
