//! Wakes the callers that wait for an instance when it may have moved, and leaves the others asleep.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::engine::pass::history::Spot;
use crate::engine::pass::work::Moved;
use crate::sync::{Condvar, Mutex};

/// The most moves that are remembered. A caller that slept through more looks for itself.
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
    /// The number of moves so far.
    count: u64,
    /// The number of the last move that concerns everybody.
    all: u64,
    /// The last moves, by their numbers.
    last: VecDeque<Move>,
    /// Counts how often the record of applied events was forgotten.
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
    /// The number of the last move. A caller waits for moves after it.
    pub(crate) fn now(&self) -> u64 {
        self.moves.lock().count
    }

    /// The present era, for work that begins.
    pub(crate) fn era(&self) -> u64 {
        self.moves.lock().era
    }

    /// The log may be another one. So this forgets which events of it were applied, and those that are being applied.
    pub(crate) fn forget(&self) {
        let mut moves = self.moves.lock();
        moves.era += 1;
        moves.last.iter_mut().for_each(|each| each.moved = Moved::default());
    }

    /// Notes that a worker worked on these instances of a projection, and, if known, between which positions it applied
    /// every event. The work began in `era`.
    pub(crate) fn worked(&self, era: u64, projection: usize, works: impl IntoIterator<Item = (Arc<str>, Moved)>) {
        let mut moves = self.moves.lock();
        for (instance, moved) in works {
            let known = if moves.era == era { moved } else { Moved::default() };
            moves.count += 1;
            let number = moves.count;
            if moves.last.len() == MOST {
                moves.last.pop_front();
            }
            moves.last.push_back(Move { number, projection, instance, moved: known });
        }
        drop(moves);
        self.moved.notify_all();
    }

    /// True when each of these very events was applied since that move.
    pub(crate) fn is_applied(&self, since: u64, projection: usize, instance: &str, events: &[Spot]) -> bool {
        let moves = self.moves.lock();
        let of = || moves.since(since).filter(|each| each.is_of(projection, instance)).map(|each| &each.moved);
        let is_clean = |moved: &Moved, at: i64| moved.clean.is_some_and(|(from, to)| from < at && at <= to);
        let is_in = |event: &Spot| of().any(|moved| is_clean(moved, event.0) && moved.events.contains(event));
        !events.is_empty() && events.iter().all(is_in)
    }

    /// True when this position was passed not long ago, so waiting for it is useless.
    pub(crate) fn has_passed(&self, projection: usize, instance: &str, position: i64) -> bool {
        let moves = self.moves.lock();
        let mut latest = moves.last.iter().rev().filter(|each| each.is_of(projection, instance));
        latest.find_map(|each| each.moved.clean).is_some_and(|(_, to)| to >= position)
    }

    /// Notes that a worker has nothing more to do.
    pub(crate) fn rested(&self) {
        self.moves.lock().count += 1;
        self.moved.notify_all();
    }

    /// Notes that anything may have moved.
    pub(crate) fn all_moved(&self) {
        let mut moves = self.moves.lock();
        moves.count += 1;
        moves.all = moves.count;
        drop(moves);
        self.moved.notify_all();
    }

    /// Waits until this instance may have moved since that move, or until the deadline.
    pub(crate) fn wait_for(&self, since: u64, projection: usize, instance: &str, deadline: Instant) {
        let mut moves = self.moves.lock();
        while !moves.concerns(since, projection, instance) {
            if self.moved.wait_until(&mut moves, deadline).timed_out() {
                return;
            }
        }
    }

    /// Waits until anything has moved since that move, or until the deadline.
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

    // Contract: L10, C6: what was applied to rows of another history says nothing about the present rows.
    #[test]
    fn what_was_applied_is_forgotten_with_its_log() {
        let progress = Progress::default();
        let (era, spot) = (progress.era(), (1, Some(Uuid::nil())));
        let works = || std::iter::once((Arc::from("a"), Moved { clean: Some((0, 1)), events: vec![spot] }));
        progress.worked(era, 1, works());
        assert!(progress.is_applied(0, 1, "a", &[spot]) && progress.has_passed(1, "a", 1));
        progress.forget();
        assert!(!progress.is_applied(0, 1, "a", &[spot]) && !progress.has_passed(1, "a", 1));
        // The work was committed before the log was forgotten, and is reported after it.
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
