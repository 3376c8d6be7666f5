//! What the queue has shown of each instance: since which position every event was seen, and the last of each type.

use std::collections::HashMap;
use std::sync::Arc;

use super::work::Known;
use crate::event::Event;

/// Instances that are remembered; when there are more, everything is forgotten, which only costs reads.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
struct Window {
    from: i64,
    to: i64,
    /// Last position by aggregate type, in front of the events given last.
    types: HashMap<Arc<str>, i64>,
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
            *window = Window { from: first.position, to: first.position - 1, types: HashMap::new() };
        }
        let seen = Seen { from: window.from, types: window.types.clone() };
        window.to = last.position;
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
}

impl Seen {
    pub(super) fn known(&self, wanted: &[String]) -> Known {
        let relevant = wanted.iter().filter_map(|kind| self.types.get(kind.as_str())).max();
        Known { from: self.from, relevant: relevant.copied().unwrap_or(0) }
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
}
