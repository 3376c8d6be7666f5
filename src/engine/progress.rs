//! Tells those who wait that their instance may have moved, and leaves the others asleep.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::sync::{Condvar, Mutex};

/// Moves that are remembered; who slept through more looks for itself.
const MOST: usize = 1024;

#[derive(Debug, Default)]
struct Moves {
    /// Number of moves so far.
    count: u64,
    /// Number of the last move that concerns everybody.
    all: u64,
    /// The last ones, each with its number.
    last: VecDeque<(u64, usize, Arc<str>)>,
}

impl Moves {
    fn concerns(&self, since: u64, projection: usize, instance: &str) -> bool {
        let forgotten = self.last.front().is_some_and(|(number, ..)| *number > since + 1);
        self.all > since
            || (self.count > since && forgotten && self.last.len() == MOST)
            || self
                .last
                .iter()
                .rev()
                .take_while(|(number, ..)| *number > since)
                .any(|(_, moved, name)| *moved == projection && **name == *instance)
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

    /// These instances of a projection were worked on.
    pub(super) fn moved(&self, projection: usize, instances: &[Arc<str>]) {
        let mut moves = self.moves.lock();
        for instance in instances {
            moves.count += 1;
            let number = moves.count;
            if moves.last.len() == MOST {
                moves.last.pop_front();
            }
            moves.last.push_back((number, projection, Arc::clone(instance)));
        }
        drop(moves);
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
    fn only_moves_of_ones_own_instance_end_a_wait() {
        let progress = Progress::default();
        let concerns = |since, name: &str| progress.moves.lock().concerns(since, 1, name);
        let since = progress.now();
        progress.moved(1, &["a".into(), "b".into()]);
        progress.moved(2, &["c".into()]);
        assert!(concerns(since, "a") && concerns(since, "b") && !concerns(since, "c") && !concerns(since, "d"));
        assert!(!concerns(progress.now(), "a"), "that was before");
        let since = progress.now();
        for _ in 0..MOST {
            progress.moved(2, &["c".into()]);
        }
        assert!(!concerns(since, "a"));
        progress.moved(2, &["c".into()]);
        assert!(concerns(since, "a"), "one move was forgotten, it may have been this one's");
        let since = progress.now();
        progress.all_moved();
        assert!(concerns(since, "d"));
    }
}
