//! Where pushes of this process wait for each other. A push takes its lanes, one for each instance, and leads. Pushes
//! that arrive while a lane is taken stand in line. The leader may let some of them join it, and answers for them; the
//! others follow in their order when it has finished.
//!
//! So threads queue here and not in the database, and events are published in the order of their positions.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};

/// How long an answer may take after a leader has taken the work. A database that takes longer counts as lost.
const LONGEST_ANSWER: Duration = Duration::from_mins(1);

/// `W` is the work, shared with the leader that does it; `O` is its outcome.
pub(crate) struct Line<W, O> {
    state: Mutex<State<W, O>>,
}

struct State<W, O> {
    taken: HashSet<Arc<str>>,
    waiting: VecDeque<Arc<Place<W, O>>>,
}

struct Place<W, O> {
    lanes: Vec<Arc<str>>,
    work: W,
    may_join: bool,
    stage: Mutex<Stage<O>>,
    news: Condvar,
}

enum Stage<O> {
    Waits,
    /// This push has its lanes.
    Leads,
    /// A leader has taken the work.
    Joined,
    Told(O),
    /// The leader ended without an answer.
    Left,
}

/// What happens to a push that enters.
pub(crate) enum Turn<'l, W, O> {
    Leads(Lead<'l, W, O>),
    /// A leader did the work.
    Told(O),
    /// A leader took the work and ended without an answer.
    Left,
    /// The deadline passed before anything happened.
    Late,
}

impl<W, O> Default for Line<W, O> {
    fn default() -> Self {
        Self { state: Mutex::new(State { taken: HashSet::new(), waiting: VecDeque::new() }) }
    }
}

impl<W, O> fmt::Debug for Line<W, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Line").field("taken", &state.taken.len()).field("waiting", &state.waiting.len()).finish()
    }
}

impl<W, O> State<W, O> {
    fn take(&mut self, lanes: &[Arc<str>]) -> bool {
        let free = !lanes.iter().any(|lane| self.taken.contains(lane));
        if free {
            self.taken.extend(lanes.iter().cloned());
        }
        free
    }
}

impl<W: Clone, O> Line<W, O> {
    /// Takes all of these lanes at once. Waits until they are free or a leader has done the work, but not beyond the
    /// deadline.
    pub(crate) fn enter(&self, lanes: &[Arc<str>], work: &W, may_join: bool, deadline: Instant) -> Turn<'_, W, O> {
        let mut state = self.state.lock();
        if state.take(lanes) {
            return self.lead(lanes);
        }
        let place = Arc::new(Place {
            lanes: lanes.to_vec(),
            work: work.clone(),
            may_join,
            stage: Mutex::new(Stage::Waits),
            news: Condvar::new(),
        });
        state.waiting.push_back(Arc::clone(&place));
        drop(state);
        self.wait(&place, deadline)
    }

    fn lead(&self, lanes: &[Arc<str>]) -> Turn<'_, W, O> {
        Turn::Leads(Lead { line: self, lanes: lanes.to_vec() })
    }

    fn wait(&self, place: &Arc<Place<W, O>>, mut deadline: Instant) -> Turn<'_, W, O> {
        let mut waits_for_answer = false;
        let mut stage = place.stage.lock();
        loop {
            match std::mem::replace(&mut *stage, Stage::Left) {
                Stage::Leads => return self.lead(&place.lanes),
                Stage::Told(outcome) => return Turn::Told(outcome),
                Stage::Left => return Turn::Left,
                still @ (Stage::Waits | Stage::Joined) => *stage = still,
            }
            if !place.news.wait_until(&mut stage, deadline).timed_out() {
                continue;
            }
            drop(stage);
            if self.forget(place) {
                return Turn::Late;
            }
            // A leader took it out of the line.
            if waits_for_answer {
                return Turn::Left;
            }
            waits_for_answer = true;
            deadline = Instant::now() + LONGEST_ANSWER;
            stage = place.stage.lock();
        }
    }

    /// Returns true if it was still in line.
    fn forget(&self, place: &Arc<Place<W, O>>) -> bool {
        let waiting = &mut self.state.lock().waiting;
        let at = waiting.iter().position(|waiting| Arc::ptr_eq(waiting, place));
        at.and_then(|at| waiting.remove(at)).is_some()
    }
}

impl<W, O> Place<W, O> {
    fn turn_to(&self, stage: Stage<O>) {
        *self.stage.lock() = stage;
        self.news.notify_one();
    }
}

/// Holds its lanes until it is dropped.
pub(crate) struct Lead<'l, W, O> {
    line: &'l Line<W, O>,
    lanes: Vec<Arc<str>>,
}

impl<W, O> Lead<'_, W, O> {
    /// Takes work out of the line, in its order and while it fits, if it may join and waits for no other lanes than
    /// these. So no push waits for more than it would wait for anyway.
    pub(crate) fn gather(&self, mut fits: impl FnMut(&W) -> bool) -> Vec<Member<W, O>> {
        let mut state = self.line.state.lock();
        let (mut members, mut full) = (Vec::new(), false);
        state.waiting.retain(|place| {
            let mine = place.may_join && place.lanes.iter().all(|lane| self.lanes.contains(lane));
            full |= mine && !full && !fits(&place.work);
            let joins = mine && !full;
            if joins {
                place.turn_to(Stage::Joined);
                members.push(Member { place: Arc::clone(place) });
            }
            !joins
        });
        members
    }
}

impl<W, O> Drop for Lead<'_, W, O> {
    fn drop(&mut self) {
        let mut state = self.line.state.lock();
        let State { taken, waiting } = &mut *state;
        self.lanes.iter().for_each(|lane| _ = taken.remove(lane));
        waiting.retain(|place| {
            if place.lanes.iter().any(|lane| taken.contains(lane)) {
                return true;
            }
            taken.extend(place.lanes.iter().cloned());
            place.turn_to(Stage::Leads);
            false
        });
    }
}

/// Work that the leader does for another push. That push gets an answer in any case.
pub(crate) struct Member<W, O> {
    place: Arc<Place<W, O>>,
}

impl<W, O> Member<W, O> {
    pub(crate) fn work(&self) -> &W {
        &self.place.work
    }

    pub(crate) fn tell(self, outcome: O) {
        self.place.turn_to(Stage::Told(outcome));
    }
}

impl<W, O> Drop for Member<W, O> {
    fn drop(&mut self) {
        let mut stage = self.place.stage.lock();
        if matches!(*stage, Stage::Joined) {
            *stage = Stage::Left;
            self.place.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Line<usize, &'static str>;

    fn lanes(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn lead<'l>(line: &'l Numbers, names: &[&str]) -> Option<Lead<'l, usize, &'static str>> {
        match line.enter(&lanes(names), &0, true, Instant::now() + Duration::from_millis(1)) {
            Turn::Leads(lead) => Some(lead),
            Turn::Late => None,
            Turn::Told(_) | Turn::Left => panic!("nobody answers here"),
        }
    }

    /// A place in the line without a waiting thread.
    fn stand(line: &Numbers, names: &[&str], work: usize, may_join: bool) -> Arc<Place<usize, &'static str>> {
        let (stage, news) = (Mutex::new(Stage::Waits), Condvar::new());
        let place = Arc::new(Place { lanes: lanes(names), work, may_join, stage, news });
        line.state.lock().waiting.push_back(Arc::clone(&place));
        place
    }

    fn works(members: &[Member<usize, &'static str>]) -> Vec<usize> {
        members.iter().map(|member| *member.work()).collect()
    }

    #[test]
    fn taken_lanes_are_not_had_before_they_are_given_back() {
        let line = Numbers::default();
        let first = lead(&line, &["a", "b"]);
        assert!(first.is_some() && lead(&line, &["c"]).is_some());
        assert!(lead(&line, &["b"]).is_none());
        drop(first);
        assert!(lead(&line, &["b"]).is_some());
        assert_eq!(format!("{line:?}"), "Line { taken: 0, waiting: 0 }");
    }

    // Contract: L1, L4: a push waits for no other tenants than those it would wait for anyway.
    #[test]
    fn those_join_that_wait_for_nothing_else_in_order_and_as_far_as_they_fit() {
        let line = Numbers::default();
        let Some(lead) = lead(&line, &["a", "b"]) else { panic!("the lanes are free") };
        let _places = [
            stand(&line, &["a"], 1, true),
            stand(&line, &["a", "c"], 2, true),
            stand(&line, &["b"], 3, true),
            stand(&line, &["a"], 4, false),
            stand(&line, &["a", "b"], 50, true),
            stand(&line, &["a"], 6, true),
        ];
        assert_eq!(works(&lead.gather(|work| *work < 10)), [1, 3]);
        assert_eq!(works(&lead.gather(|_| true)), [50, 6]);
        assert!(lead.gather(|_| true).is_empty());
    }

    #[test]
    fn the_next_ones_follow_in_order() {
        let line = Numbers::default();
        let lead = lead(&line, &["a", "b"]);
        let places = [stand(&line, &["a"], 1, true), stand(&line, &["b", "a"], 2, true), stand(&line, &["b"], 3, true)];
        drop(lead);
        let leads = |at: usize| matches!(*places[at].stage.lock(), Stage::Leads);
        assert!(leads(0) && !leads(1) && leads(2));
        assert_eq!(format!("{line:?}"), "Line { taken: 2, waiting: 1 }");
    }
}
