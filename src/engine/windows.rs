//! What the queue has shown of each instance: since which position every event was seen, and the last of each type.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::work::Known;
use crate::event::Event;

/// Instances that are remembered; when there are more, everything is forgotten, which only costs reads.
const MOST: usize = 10_000;

/// Events of each instance whose ids are remembered.
const EVIDENCE: usize = 16;

#[derive(Debug, Default)]
struct Window {
    from: i64,
    to: i64,
    /// Last position by aggregate type, in front of the events given last.
    types: HashMap<Arc<str>, i64>,
    /// The last events, as evidence that a checkpoint belongs to this history.
    last: VecDeque<(i64, Uuid)>,
}

#[derive(Debug, Default)]
pub(super) struct Windows {
    windows: HashMap<Arc<str>, Window>,
}

impl Windows {
    /// Takes in consecutive events of one instance, in order, and says what is known of those in front of them that are
    /// of these aggregate types. None when the events themselves have holes.
    pub(super) fn take_in(&mut self, events: &[Event]) -> Option<Seen> {
        let (first, last) = (events.first()?, events.last()?);
        let dense = events.iter().zip(first.position..).all(|(event, position)| event.position == position);
        if !dense {
            self.windows.remove(&first.instance);
            return None;
        }
        if self.windows.len() >= MOST && !self.windows.contains_key(&first.instance) {
            self.windows.clear();
        }
        let window = self.windows.entry(Arc::clone(&first.instance)).or_default();
        if window.to + 1 != first.position || window.to == 0 {
            *window = Window { from: first.position, to: first.position - 1, ..Window::default() };
        }
        let last_seen = window.last.iter().copied().collect();
        let seen = Seen { from: window.from, types: window.types.clone(), last: last_seen };
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

    pub(super) fn forget(&mut self, instance: &str) {
        self.windows.remove(instance);
    }

    pub(super) fn forget_all(&mut self) {
        self.windows.clear();
    }
}

/// What was seen in front of some events.
#[derive(Debug)]
pub(super) struct Seen {
    from: i64,
    types: HashMap<Arc<str>, i64>,
    last: Vec<(i64, Uuid)>,
}

impl Seen {
    pub(super) fn known(&self, wanted: &[String]) -> Known {
        let relevant = wanted.iter().filter_map(|kind| self.types.get(kind.as_str())).max();
        Known { from: self.from, relevant: relevant.copied().unwrap_or(0), last: self.last.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, position: i64) -> Event {
        Event::new("a", kind, "1", "t").with_position(position)
    }

    // SPEC D2
    #[test]
    fn what_lies_in_front_is_known_from_where_the_window_begins() {
        let mut windows = Windows::default();
        let known = |seen: Option<Seen>, kind: &str| {
            let known = seen.unwrap().known(&[kind.to_owned()]);
            (known.from, known.relevant)
        };
        assert_eq!(known(windows.take_in(&[event("user", 5), event("org", 6)]), "user"), (5, 0));
        assert_eq!(known(windows.take_in(&[event("org", 7)]), "user"), (5, 5));
        assert_eq!(known(windows.take_in(&[event("org", 8)]), "org"), (5, 7));
        assert!(windows.take_in(&[event("org", 9), event("org", 11)]).is_none(), "a hole");
        assert_eq!(known(windows.take_in(&[event("org", 12)]), "org"), (12, 0));
        assert_eq!(known(windows.take_in(&[event("org", 14)]), "org"), (14, 0), "13 was not seen");
        windows.forget("a");
        assert_eq!(known(windows.take_in(&[event("org", 15)]), "org"), (15, 0));
    }

    // SPEC G6
    #[test]
    fn the_last_events_are_remembered_by_their_ids() {
        let mut windows = Windows::default();
        let numbered =
            |position: i64| Event { id: Uuid::from_u64_pair(0, position.unsigned_abs()), ..event("user", position) };
        let many: Vec<Event> = (1..=40).map(numbered).collect();
        assert!(windows.take_in(&many).unwrap().last.is_empty());
        let last = windows.take_in(&[numbered(41)]).unwrap().last;
        assert_eq!((last.len(), last.first().map(|(p, _)| *p), last.last().map(|(p, _)| *p)), (16, Some(25), Some(40)));
        let last = windows.take_in(&[numbered(30)]).unwrap().last;
        assert!(last.is_empty(), "the history went back");
    }
}
