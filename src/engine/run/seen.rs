//! What the queue has shown of each instance: from which position on every event was seen, and the last position of
//! each type.
//!
//! Each event from the queue names the event before it. Only that proves that two events follow each other. Positions
//! do not, because a restored log gives them a second time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use crate::engine::pass::work::Known;
use crate::event::Event;
use crate::query::EventFilter;

/// The most instances that are remembered. When there are more, everything is forgotten, which only costs reads.
const MOST: usize = 10_000;

/// How many events of each instance are remembered by their ids.
const EVIDENCE: usize = 16;

#[derive(Debug, Default)]
struct Window {
    from: i64,
    to: i64,
    /// The last position of each aggregate type, before the events that were given last.
    types: HashMap<Arc<str>, i64>,
    /// The last events, as evidence that a checkpoint belongs to this history.
    last: VecDeque<(i64, Uuid)>,
}

#[derive(Debug, Default)]
pub(crate) struct SeenRanges {
    seen_ranges: HashMap<Arc<str>, Window>,
}

impl SeenRanges {
    /// Takes in events of one instance that follow each other. Returns what is known of the earlier events of these
    /// aggregate types. `None` when the given events do not follow each other.
    pub(crate) fn take_in(&mut self, events: &[Event]) -> Option<SeenRange> {
        let (first, last) = (events.first()?, events.last()?);
        let chained = events
            .windows(2)
            .all(|pair| matches!(pair, [before, event] if follows(event, (before.position, before.id))));
        if !chained {
            self.seen_ranges.remove(&first.instance);
            return None;
        }
        if self.seen_ranges.len() >= MOST && !self.seen_ranges.contains_key(&first.instance) {
            self.seen_ranges.clear();
        }
        let window = self.seen_ranges.entry(Arc::clone(&first.instance)).or_default();
        if !window.last.back().is_some_and(|end| follows(first, *end)) {
            *window = Window { from: first.position, to: first.position - 1, ..Window::default() };
        }
        let last_seen = window.last.iter().copied().collect();
        let seen = SeenRange { from: window.from, types: window.types.clone(), last: last_seen };
        window.to = last.position;
        window.last.extend(events.iter().rev().take(EVIDENCE).rev().map(|event| (event.position, event.id)));
        while window.last.len() > EVIDENCE {
            window.last.pop_front();
        }
        for event in events {
            window.types.insert(Arc::clone(&event.aggregate_type), event.position);
        }
        Some(seen)
    }

    /// Forgets what was seen of an instance.
    pub(crate) fn forget(&mut self, instance: &str) {
        self.seen_ranges.remove(instance);
    }

    pub(crate) fn forget_all(&mut self) {
        self.seen_ranges.clear();
    }
}

/// True when the event was stored right after the event with this position and id.
fn follows(event: &Event, (position, id): (i64, Uuid)) -> bool {
    event.previous == Some(id) && position.checked_add(1) == Some(event.position)
}

/// What was seen before some events.
#[derive(Debug)]
pub(crate) struct SeenRange {
    from: i64,
    types: HashMap<Arc<str>, i64>,
    last: Vec<(i64, Uuid)>,
}

impl SeenRange {
    pub(crate) fn known(&self, wanted: &[String]) -> Known {
        let relevant = if EventFilter::lists_every(wanted) {
            self.types.values().max()
        } else {
            wanted.iter().filter_map(|kind| self.types.get(kind.as_str())).max()
        };
        Known { from: self.from, relevant: relevant.copied().unwrap_or(0), last: self.last.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: u64 = 1;

    fn id(history: u64, position: i64) -> Uuid {
        Uuid::from_u64_pair(history, position.unsigned_abs())
    }

    /// An event behind the previous event of the same history.
    fn event(kind: &str, position: i64) -> Event {
        behind((HISTORY, position - 1), kind, position)
    }

    fn behind((history, before): (u64, i64), kind: &str, position: i64) -> Event {
        let previous = (before > 0).then(|| id(history, before));
        Event { id: id(HISTORY, position), previous, ..Event::new("a", kind, "1", "t").with_position(position) }
    }

    fn known(seen: Option<SeenRange>, kind: &str) -> (i64, i64) {
        let known = seen.unwrap().known(&[kind.to_owned()]);
        (known.from, known.relevant)
    }

    // Contract: D2
    #[test]
    fn what_lies_in_front_is_known_from_where_the_window_begins() {
        let mut seen_ranges = SeenRanges::default();
        assert_eq!(known(seen_ranges.take_in(&[event("user", 5), event("org", 6)]), "user"), (5, 0));
        assert_eq!(known(seen_ranges.take_in(&[event("org", 7)]), "user"), (5, 5));
        assert_eq!(known(seen_ranges.take_in(&[event("org", 8)]), "org"), (5, 7));
        assert!(seen_ranges.take_in(&[event("org", 9), event("org", 11)]).is_none(), "a hole");
        assert_eq!(known(seen_ranges.take_in(&[event("org", 12)]), "org"), (12, 0));
        assert_eq!(known(seen_ranges.take_in(&[event("org", 14)]), "org"), (14, 0), "13 was not seen");
        seen_ranges.forget("a");
        assert_eq!(known(seen_ranges.take_in(&[event("org", 15)]), "org"), (15, 0));
    }

    // Contract: L10: the log was restored, and events that this process never saw took the places of those it had seen.
    #[test]
    fn positions_alone_do_not_continue_a_window() {
        let mut seen_ranges = SeenRanges::default();
        assert_eq!(known(seen_ranges.take_in(&[event("org", 5), event("org", 6)]), "user"), (5, 0));
        let restored = behind((2, 6), "user", 7);
        assert_eq!(known(seen_ranges.take_in(&[restored]), "user"), (7, 0), "another event stands at 6 now");
        let (first, other) = (event("user", 8), behind((2, 8), "user", 9));
        assert!(seen_ranges.take_in(&[first, other]).is_none(), "nor do they within what came together");
    }

    // Contract: G6
    #[test]
    fn the_last_events_are_remembered_by_their_ids() {
        let mut seen_ranges = SeenRanges::default();
        let many: Vec<Event> = (1..=40).map(|position| event("user", position)).collect();
        assert!(seen_ranges.take_in(&many).unwrap().last.is_empty());
        let last = seen_ranges.take_in(&[event("user", 41)]).unwrap().last;
        assert_eq!((last.len(), last.first().map(|(p, _)| *p), last.last().map(|(p, _)| *p)), (16, Some(25), Some(40)));
        let last = seen_ranges.take_in(&[event("user", 30)]).unwrap().last;
        assert!(last.is_empty(), "the history went back");
    }
}
