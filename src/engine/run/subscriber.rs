//! The subscription thread: takes one event and all that is queued after it, and hands them to the pool at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::pass::work::{Origin, Work};
use crate::engine::run::runner::Runner;
use crate::engine::run::state::Shared;
use crate::event::Event;
use crate::query::EventFilter;
use crate::subscription::{Received, Subscription};

/// The longest wait for an event; a stop ends it at once.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
    subscription: Arc<Subscription>,
}

impl Subscriber {
    pub(crate) fn new(shared: Arc<Shared>, subscription: Arc<Subscription>) -> Self {
        Self { shared, subscription }
    }

    pub(crate) fn tick(&mut self) {
        let received = self.subscription.recv_timeout(LONGEST_WAIT);
        if !received.is_empty() {
            self.hand_on(&received);
        }
    }

    fn hand_on(&self, received: &Received) {
        self.shared.mind_generation();
        for events in by_instance(&received.events) {
            self.instance(&events);
        }
        for instance in &received.dirty {
            self.shared.log_memory.seen_ranges().forget(instance);
            for projection in 0..self.shared.runners.len() {
                self.catch_up(projection, instance);
            }
        }
        if received.all {
            self.shared.log_memory.seen_ranges().forget_all();
            self.shared.request_tick();
        }
        self.shared.wake();
    }

    /// Takes events of one instance. It leaves out projections that want none of them.
    fn instance(&self, events: &[Event]) {
        let Some(first) = events.first() else { return };
        let seen = self.shared.log_memory.seen_ranges().take_in(events);
        for (projection, runner) in self.shared.runners.iter().enumerate() {
            if !events.iter().any(|event| wants(runner, event)) || !self.shared.is_ours(projection, &first.instance) {
                continue;
            }
            let Some(seen) = seen.as_ref().filter(|_| !runner.state().is_background) else {
                self.shared.schedule.add(projection, &first.instance);
                continue;
            };
            let origin = Origin::Queue(seen.known(&runner.wanted.aggregate_types));
            let work = Work::new(Arc::clone(&first.instance), origin, events.to_vec());
            self.shared.schedule.add_direct(projection, vec![work]);
        }
    }

    fn catch_up(&self, projection: usize, instance: &Arc<str>) {
        if self.shared.is_ours(projection, instance) {
            self.shared.schedule.add(projection, instance);
        }
    }
}

/// The events of each instance, in order; instances in the order of their first events.
fn by_instance(events: &[Event]) -> Vec<Vec<Event>> {
    let (mut places, mut groups) = (HashMap::new(), Vec::<Vec<Event>>::new());
    for event in events {
        let place = *places.entry(&event.instance).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(event.clone()),
            None => groups.push(vec![event.clone()]),
        }
    }
    groups
}

fn wants(runner: &Runner, event: &Event) -> bool {
    EventFilter::lists(&runner.wanted.aggregate_types, event.aggregate_type())
        && EventFilter::lists(&runner.wanted.event_types, event.event_type())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn interleaved_events_come_by_instance() {
        let event = |(instance, at)| Event::new(instance, "t", "1", "t").with_position(at);
        let events = [("b", 1), ("a", 5), ("b", 2), ("c", 1), ("a", 6)].map(event);
        let groups = by_instance(&events);
        let found: Vec<(&str, Vec<i64>)> = groups
            .iter()
            .map(|group| (&*group[0].instance, group.iter().map(|event| event.position).collect()))
            .collect();
        assert_eq!(found, [("b", vec![1, 2]), ("a", vec![5, 6]), ("c", vec![1])]);
    }
}
