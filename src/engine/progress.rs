//! Tells those who wait that their instance may have moved, and leaves the others asleep.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::sync::{Condvar, Mutex};

/// Moves that are remembered; who slept through more looks for itself.
const MOST: usize = 1024;

#[derive(Debug)]
struct Move {
    number: u64,
    projection: usize,
    instance: Arc<str>,
    /// Every event above the first and up to the second of these positions was applied.
    clean: Option<(i64, i64)>,
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
pub(super) struct Progress {
    moves: Mutex<Moves>,
    moved: Condvar,
}

impl Progress {
    /// The number of the last move, to wait for those after it.
    pub(super) fn now(&self) -> u64 {
        self.moves.lock().count
    }

    /// These instances of a projection were worked on, with the positions between which every event was applied, where that
    /// is known.
    pub(super) fn worked(&self, projection: usize, works: impl IntoIterator<Item = (Arc<str>, Option<(i64, i64)>)>) {
        let mut moves = self.moves.lock();
        for (instance, clean) in works {
            moves.count += 1;
            let number = moves.count;
            if moves.last.len() == MOST {
                moves.last.pop_front();
            }
            moves.last.push_back(Move { number, projection, instance, clean });
        }
        drop(moves);
        self.moved.notify_all();
    }

    /// True when all positions from the first to the last were applied since then.
    pub(super) fn is_applied(&self, since: u64, projection: usize, instance: &str, first: i64, last: i64) -> bool {
        let moves = self.moves.lock();
        let clean = moves.since(since).filter(|each| each.is_of(projection, instance)).filter_map(|each| each.clean);
        let reach = |at: i64, (from, to): (i64, i64)| if from <= at { at.max(to) } else { at };
        clean.fold(first.saturating_sub(1), reach) >= last
    }

    /// True when this position was passed not long ago, so that it is of no use to wait for that.
    pub(super) fn has_passed(&self, projection: usize, instance: &str, position: i64) -> bool {
        let moves = self.moves.lock();
        let mut latest = moves.last.iter().rev().filter(|each| each.is_of(projection, instance));
        latest.find_map(|each| each.clean).is_some_and(|(_, to)| to >= position)
    }

    /// A worker has nothing more to do.
    pub(super) fn rested(&self) {
        self.moves.lock().count += 1;
        self.moved.notify_all();
    }

    /// Anything may have moved.
    pub(super) fn all_moved(&self) {
        let mut moves = self.moves.lock();
        moves.count += 1;
        moves.all = moves.count;
        drop(moves);
        self.moved.notify_all();
    }

    /// Waits until this instance may have moved since then, or the deadline.
    pub(super) fn wait_for(&self, since: u64, projection: usize, instance: &str, deadline: Instant) {
        let mut moves = self.moves.lock();
        while !moves.concerns(since, projection, instance) {
            if self.moved.wait_until(&mut moves, deadline).timed_out() {
                return;
            }
        }
    }

    /// Waits until anything has moved since then, or the deadline.
    pub(super) fn wait(&self, since: u64, deadline: Instant) {
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
    use super::*;

    // SPEC C6
    #[test]
    fn only_what_was_applied_since_then_without_a_hole_is_known_to_be() {
        let progress = Progress::default();
        let worked = |from, to| progress.worked(1, std::iter::once(("a".into(), Some((from, to)))));
        worked(0, 2);
        let since = progress.now();
        let applied = |first, last| progress.is_applied(since, 1, "a", first, last);
        assert!(!applied(1, 2), "that was before");
        assert!(progress.has_passed(1, "a", 2) && !progress.has_passed(1, "a", 3));
        worked(2, 3);
        worked(5, 7);
        progress.worked(1, std::iter::once(("a".into(), None)));
        assert!(applied(3, 3) && applied(6, 7));
        assert!(!applied(2, 3), "2 was applied before");
        assert!(!applied(3, 6), "4 and 5 were not");
        assert!(!progress.is_applied(since, 2, "a", 3, 3) && !progress.is_applied(since, 1, "b", 3, 3));
        worked(3, 5);
        worked(5, 9);
        assert!(applied(3, 9));
        assert!(!applied(3, 10));
    }

    // SPEC C6
    #[test]
    fn only_moves_of_ones_own_instance_end_a_wait() {
        let progress = Progress::default();
        let moved = |projection, names: &[&str]| {
            progress.worked(projection, names.iter().map(|&name| (Arc::from(name), None)));
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
