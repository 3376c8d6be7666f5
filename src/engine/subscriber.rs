//! The subscription thread: takes one event and all that is queued behind it, and hands the lot to the pool at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shared::{Runner, Shared};
use super::work::Work;
use crate::error::full;
use crate::event::Event;
use crate::lease::News;
use crate::subscription::{Received, Subscription};

/// The shortest time between two announcements to other processes.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(10);

/// The longest wait for an event; a stop ends it at once.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Subscriber {
    shared: Arc<Shared>,
    subscription: Arc<Subscription>,
    /// What other processes have not been told yet.
    untold: BTreeSet<(Arc<str>, Arc<str>)>,
    all_untold: bool,
    announced: Instant,
}

impl Subscriber {
    pub(super) fn new(shared: Arc<Shared>, subscription: Arc<Subscription>) -> Self {
        Self { shared, subscription, untold: BTreeSet::new(), all_untold: false, announced: Instant::now() }
    }

    pub(super) fn tick(&mut self) {
        let wait = if self.has_untold() { ANNOUNCE_EVERY } else { LONGEST_WAIT };
        let received = self.subscription.recv_timeout(wait);
        self.take_in(&received);
        if !received.is_empty() {
            self.hand_on(&received);
        }
        if self.has_untold() && self.announced.elapsed() >= ANNOUNCE_EVERY {
            self.announce();
        }
    }

    fn has_untold(&self) -> bool {
        self.all_untold || !self.untold.is_empty()
    }

    /// Remembers what others have to be told, if there are others.
    fn take_in(&mut self, received: &Received) {
        if self.shared.members.lock().len() < 2 {
            return;
        }
        for event in &received.events {
            self.untold.insert((Arc::clone(&event.instance), Arc::clone(&event.aggregate_type)));
        }
        self.all_untold |= received.all || !received.dirty.is_empty() || self.untold.len() > 10_000;
    }

    fn announce(&mut self) {
        let news = News { instances: std::mem::take(&mut self.untold).into_iter().collect(), all: self.all_untold };
        self.all_untold = false;
        self.announced = Instant::now();
        if let Err(error) = self.shared.wired.announce(&news) {
            log::warn!("{}; other processes find the pushes by their next tick", full(&error));
        }
    }

    fn hand_on(&self, received: &Received) {
        let mut rest = received.events.as_slice();
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|event| event.instance == first.instance).count();
            let (events, others) = rest.split_at(count);
            self.instance(events);
            rest = others;
        }
        for instance in &received.dirty {
            self.shared.windows.lock().forget(instance);
            for projection in 0..self.shared.runners.len() {
                self.catch_up(projection, instance);
            }
        }
        if received.all {
            self.shared.windows.lock().forget_all();
            self.shared.request_tick();
        }
        self.shared.wake();
    }

    /// Consecutive events of one instance. Projections that want none of them are left alone.
    fn instance(&self, events: &[Event]) {
        let Some(first) = events.first() else { return };
        let seen = self.shared.windows.lock().take_in(events);
        for (projection, runner) in self.shared.runners.iter().enumerate() {
            if !events.iter().any(|event| wants(runner, event)) || !self.shared.is_ours(projection, &first.instance) {
                continue;
            }
            let Some(seen) = seen.as_ref().filter(|_| !runner.is_background()) else {
                self.shared.schedule.add(projection, &first.instance);
                continue;
            };
            let mut work = Work::new(Arc::clone(&first.instance), None, events.to_vec());
            work.known = Some(seen.known(&runner.wanted.aggregate_types));
            self.shared.schedule.add_direct(projection, vec![work]);
        }
    }

    fn catch_up(&self, projection: usize, instance: &Arc<str>) {
        if self.shared.is_ours(projection, instance) {
            self.shared.schedule.add(projection, instance);
        }
    }
}

fn wants(runner: &Runner, event: &Event) -> bool {
    let named = |names: &[String], name: &str| names.iter().any(|candidate| candidate == name);
    named(&runner.wanted.aggregate_types, event.aggregate_type())
        && named(&runner.wanted.event_types, event.event_type())
}
