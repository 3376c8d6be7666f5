//! The listener: hears of other processes' pushes, and makes the pool look at the instances concerned.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::spoken;
use crate::engine::pass::backoff;
use crate::engine::run::state::Shared;
use crate::error::chain;
use crate::query::EventFilter;
use crate::store::{NotificationListener, Notifications};

/// The length of one wait. A stop is noticed when it ends, or earlier.
const WAIT: Duration = Duration::from_millis(100);

/// The longest wait before the next attempt to connect.
const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Listener {
    shared: Arc<Shared>,
    wire: Box<dyn NotificationListener>,
    failures: u32,
}

impl Listener {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let wire = shared.stores.notifier.listener();
        Self { shared, wire, failures: 0 }
    }

    pub(crate) fn tick(&mut self) {
        self.shared.mind_generation();
        match self.wire.listen(WAIT) {
            Ok(news) => {
                self.failures = 0;
                let deaf = self.wire.deaf();
                self.look_as_heard(deaf.is_some());
                self.tell(deaf);
                self.hear(&news);
            }
            Err(error) => {
                self.failures += 1;
                // The next connection may lead to another server.
                self.shared.forget_history();
                let wait = backoff::after(Duration::from_millis(50), LONGEST, self.failures);
                self.look_as_heard(false);
                self.tell(Some(chain(&error)));
                self.shared.stop.wait(wait);
            }
        }
    }

    /// When notifications are lost on the way, the ticker looks more often from now on.
    fn look_as_heard(&self, swallowed: bool) {
        if self.shared.fleet.swallowed.swap(swallowed, Ordering::SeqCst) != swallowed {
            self.shared.request_tick();
        }
    }

    /// Shows why this process hears nothing. The log says when that begins and when it ends, not each attempt in
    /// between.
    fn tell(&self, deaf: Option<String>) {
        let before = std::mem::replace(&mut *self.shared.fleet.deaf.lock(), deaf.clone());
        match (before, deaf) {
            (None, Some(why)) => log::warn!(
                "{why}; meanwhile, ticks find the pushes of other processes, every {}",
                spoken(self.shared.look_every())
            ),
            (Some(_), None) => log::info!("the engine hears of pushes of other processes again"),
            _ => {}
        }
    }

    fn hear(&self, news: &Notifications) {
        if news.is_empty() {
            return;
        }
        for (instance, kind) in &news.instances {
            for (projection, runner) in self.shared.runners.iter().enumerate() {
                let wanted = EventFilter::lists(&runner.wanted.aggregate_types, kind);
                if wanted && self.shared.is_ours(projection, instance) {
                    self.shared.schedule.add(projection, instance);
                }
            }
        }
        if news.all {
            self.shared.look_at_fleet();
            self.shared.request_tick();
            self.shared.request_operation();
        }
        self.shared.wake();
        self.shared.progress.all_moved();
    }
}
