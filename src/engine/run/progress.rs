//! Tells those who wait that their instance may have moved, and leaves the others asleep.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::engine::pass::history::Spot;
use crate::engine::pass::work::Moved;
use crate::sync::{Condvar, Mutex};

/// Moves that are remembered; who slept through more looks for itself.
const MOST: usize = 1024;

#[derive(Debug)]
struct Move {
    number: u64,
    projection: usize,
    instance: Arc<str>,
    moved: Moved,
}

impl Move {
    fn is_of(&self, projection: usize, instance: &str) -> bool {
        self.projection == projection && *self.instance == *instance
    }
}

#[derive(Debug, Default)]
struct Moves {
    /// Number of moves so far.
    count: u64,
    /// Number of the last move that concerns everybody.
    all: u64,
    /// The last ones, by their numbers.
    last: VecDeque<Move>,
    /// How often it was forgotten what was applied.
    era: u64,
}

impl Moves {
    fn since(&self, since: u64) -> impl Iterator<Item = &Move> {
        let first = self.last.partition_point(|each| each.number <= since);
        self.last.range(first..)
    }

    fn concerns(&self, since: u64, projection: usize, instance: &str) -> bool {
        let forgotten = self.last.front().is_some_and(|first| first.number > since + 1);
        self.all > since
            || (self.count > since && forgotten && self.last.len() == MOST)
            || self.since(since).any(|each| each.is_of(projection, instance))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Progress {
    moves: Mutex<Moves>,
    moved: Condvar,
}

impl Progress {
    /// The number of the last move, to wait for those after it.
    pub(crate) fn now(&self) -> u64 {
        self.moves.lock().count
    }

    /// How often it was forgotten what was applied, for work that begins.
    pub(crate) fn era(&self) -> u64 {
        self.moves.lock().era
    }

    /// The log may be another one: what was applied of it is not known any more, nor what is being applied.
    pub(crate) fn forget(&self) {
        let mut moves = self.moves.lock();
        moves.era += 1;
        moves.last.iter_mut().for_each(|each| each.moved = Moved::default());
    }

    /// These instances of a projection were worked on, with the positions between which every event was applied, where that
    /// is known. The work began in that era.
    pub(crate) fn worked(&self, era: u64, projection: usize, works: impl IntoIterator<Item = (Arc<str>, Moved)>) {
        let mut moves = self.moves.lock();
        for (instance, moved) in works {
            let moved = if moves.era == era { moved } else { Moved::default() };
            moves.count += 1;
            let number = moves.count;
            if moves.last.len() == MOST {
                moves.last.pop_front();
            }
            moves.last.push_back(Move { number, projection, instance, moved });
        }
        drop(moves);
        self.moved.notify_all();
    }

    /// True when each of these very events was applied since then.
    pub(crate) fn is_applied(&self, since: u64, projection: usize, instance: &str, events: &[Spot]) -> bool {
        let moves = self.moves.lock();
        let of = || moves.since(since).filter(|each| each.is_of(projection, instance)).map(|each| &each.moved);
        let is_clean = |moved: &Moved, at: i64| moved.clean.is_some_and(|(from, to)| from < at && at <= to);
        let is_in = |event: &Spot| of().any(|moved| is_clean(moved, event.0) && moved.events.contains(event));
        !events.is_empty() && events.iter().all(is_in)
    }

    /// True when this position was passed not long ago, so that it is of no use to wait for that.
    pub(crate) fn has_passed(&self, projection: usize, instance: &str, position: i64) -> bool {
        let moves = self.moves.lock();
        let mut latest = moves.last.iter().rev().filter(|each| each.is_of(projection, instance));
        latest.find_map(|each| each.moved.clean).is_some_and(|(_, to)| to >= position)
    }

    /// A worker has nothing more to do.
    pub(crate) fn rested(&self) {
        self.moves.lock().count += 1;
        self.moved.notify_all();
    }

    /// Anything may have moved.
    pub(crate) fn all_moved(&self) {
        let mut moves = self.moves.lock();
        moves.count += 1;
        moves.all = moves.count;
        drop(moves);
        self.moved.notify_all();
    }

    /// Waits until this instance may have moved since then, or the deadline.
    pub(crate) fn wait_for(&self, since: u64, projection: usize, instance: &str, deadline: Instant) {
        let mut moves = self.moves.lock();
        while !moves.concerns(since, projection, instance) {
            if self.moved.wait_until(&mut moves, deadline).timed_out() {
                return;
            }
        }
    }

    /// Waits until anything has moved since then, or the deadline.
    pub(crate) fn wait(&self, since: u64, deadline: Instant) {
        let mut moves = self.moves.lock();
        while moves.count == since {
            if self.moved.wait_until(&mut moves, deadline).timed_out() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    // Contract: C6
    #[test]
    fn only_what_was_applied_since_then_without_a_hole_is_known_to_be() {
        let progress = Progress::default();
        let spot = |position: i64| (position, Some(Uuid::from_u64_pair(1, position.unsigned_abs())));
        let worked = |from, to| {
            let moved = Moved { clean: Some((from, to)), events: (from + 1..=to).map(spot).collect() };
            progress.worked(progress.era(), 1, std::iter::once(("a".into(), moved)));
        };
        worked(0, 2);
        let since = progress.now();
        let spots = |first, last| (first..=last).map(spot).collect::<Vec<Spot>>();
        let applied = |first, last| progress.is_applied(since, 1, "a", &spots(first, last));
        assert!(!applied(1, 2), "that was before");
        assert!(progress.has_passed(1, "a", 2) && !progress.has_passed(1, "a", 3));
        worked(2, 3);
        worked(5, 7);
        progress.worked(progress.era(), 1, std::iter::once(("a".into(), Moved::default())));
        assert!(applied(3, 3) && applied(6, 7));
        assert!(!applied(2, 3), "2 was applied before");
        assert!(!applied(3, 6), "4 and 5 were not");
        assert!(!progress.is_applied(since, 2, "a", &[spot(3)]) && !progress.is_applied(since, 1, "b", &[spot(3)]));
        assert!(!progress.is_applied(since, 1, "a", &[(3, Some(Uuid::nil()))]), "another event was at 3");
        worked(3, 5);
        worked(5, 9);
        assert!(applied(3, 9));
        assert!(!applied(3, 10));
    }

    // Contract: L10, C6: what was applied to the rows of another history says nothing of those that are there.
    #[test]
    fn what_was_applied_is_forgotten_with_its_log() {
        let progress = Progress::default();
        let (era, spot) = (progress.era(), (1, Some(Uuid::nil())));
        let works = || std::iter::once((Arc::from("a"), Moved { clean: Some((0, 1)), events: vec![spot] }));
        progress.worked(era, 1, works());
        assert!(progress.is_applied(0, 1, "a", &[spot]) && progress.has_passed(1, "a", 1));
        progress.forget();
        assert!(!progress.is_applied(0, 1, "a", &[spot]) && !progress.has_passed(1, "a", 1));
        // It was committed before that, and is told after it.
        let since = progress.now();
        progress.worked(era, 1, works());
        assert!(!progress.is_applied(0, 1, "a", &[spot]));
        assert!(progress.moves.lock().concerns(since, 1, "a"), "who waits looks for itself");
        progress.worked(progress.era(), 1, works());
        assert!(progress.is_applied(0, 1, "a", &[spot]));
    }

    // Contract: C6
    #[test]
    fn only_moves_of_ones_own_instance_end_a_wait() {
        let progress = Progress::default();
        let moved = |projection, names: &[&str]| {
            progress.worked(0, projection, names.iter().map(|&name| (Arc::from(name), Moved::default())));
        };
        let concerns = |since, name: &str| progress.moves.lock().concerns(since, 1, name);
        let since = progress.now();
        moved(1, &["a", "b"]);
        moved(2, &["c"]);
        assert!(concerns(since, "a") && concerns(since, "b") && !concerns(since, "c") && !concerns(since, "d"));
        assert!(!concerns(progress.now(), "a"), "that was before");
        let since = progress.now();
        for _ in 0..MOST {
            moved(2, &["c"]);
        }
        assert!(!concerns(since, "a"));
        moved(2, &["c"]);
        assert!(concerns(since, "a"), "one move was forgotten, it may have been this one's");
        let since = progress.now();
        progress.all_moved();
        assert!(concerns(since, "d"));
    }
}
