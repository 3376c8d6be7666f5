//! Tells an observer which events a transaction has applied.

use std::time::{Instant, SystemTime};

use crate::engine::observe::observation::{AppliedBatch, Observation};
use crate::engine::pass::Pass;
use crate::engine::pass::apply::effect::{Effect, steps_todo};
use crate::engine::pass::failure::trace;
use crate::engine::pass::work::Work;
use crate::event::Event;

impl Pass {
    /// The transaction began then, and is committed now.
    pub(super) fn tell_applied(&self, works: &[&mut Work], effects: &[Effect], began: Instant, now: SystemTime) {
        if !self.hook.is_set() {
            return;
        }
        let of_work = |(work, effect)| steps_todo(work, effect).count();
        let counts = works.iter().map(|work| &**work).zip(effects).map(of_work).filter(|count| *count > 0);
        let (instances, events) = counts.fold((0, 0), |(instances, events), count| (instances + 1, events + count));
        if events == 0 {
            return;
        }
        let applied =
            || works.iter().zip(effects).flat_map(|(work, effect)| steps_todo(work, effect)).map(|step| &step.event);
        let is_hidden = self.is_unseen();
        let [reading, reducing] = self.meter.untold();
        self.hook.tell(|| {
            Observation::Applied(AppliedBatch {
                projection: self.projection.name().into(),
                version: self.projection.version(),
                is_hidden,
                instances,
                events,
                reading,
                reducing,
                writing: began.elapsed(),
                visible_after: applied()
                    .map(|event| now.duration_since(event.created_at).unwrap_or_default())
                    .max()
                    .filter(|_| !is_hidden),
                at: now,
                traces: traces(applied(), self.hook.traces()),
            })
        });
    }
}

/// The first different traces in which these events were pushed.
fn traces<'e>(mut events: impl Iterator<Item = &'e Event>, most: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    while found.len() < most
        && let Some(event) = events.next()
    {
        found.extend(trace(event).filter(|trace| !found.contains(trace)));
    }
    found
}
