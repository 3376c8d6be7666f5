//! What a first run still has to reach: the heads that it found when it began.
//!
//! A first run looks at every instance once, in pages. It keeps each instance that lags, with the head that it has to
//! reach. When there are too many to keep, the look goes on as instances reach their heads. At its end every instance
//! has been at a head that is no older than the beginning, because heads only grow. New events raise none of the kept
//! heads, so a first run ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::pass::plan::blocking_failure;
use crate::engine::run::compare::{ComparedPage, page};
use crate::engine::run::runner::Runner;
use crate::engine::run::state::Shared;
use crate::error::StoreError;
use crate::query::{Head, HeadsRequest};
use crate::state::State;
use crate::stop_cause::StopCause;

/// The most instances that are kept, and the most that one tick looks at.
const MOST: usize = 10_000;

/// Instances that are looked at together.
const PAGE: usize = 1000;

/// The first run of a projection that this process leads.
#[derive(Debug)]
pub(crate) struct FirstRun {
    /// A reset begins the first run again.
    resets: i64,
    /// The last instance that was looked at.
    after: Option<Arc<str>>,
    /// True once all instances were looked at.
    seen_all: bool,
    /// The instances that lagged, with the position that each has to reach.
    behind: BTreeMap<Arc<str>, i64>,
}

impl FirstRun {
    pub(crate) fn new(runner: &Runner) -> Self {
        let resets = runner.state().resets;
        Self { resets, after: None, seen_all: false, behind: BTreeMap::new() }
    }

    /// True while this run belongs to the present state of the projection.
    pub(crate) fn is_of(&self, runner: &Runner) -> bool {
        let state = runner.state();
        state.leads && self.resets == state.resets
    }

    pub(crate) fn is_over(&self) -> bool {
        self.seen_all && self.behind.is_empty()
    }
}

impl Shared {
    /// Goes on as far as it can within one tick. Returns true when another tick would see more.
    pub(crate) fn advance(&self, runner: &Runner, run: &mut FirstRun) -> Result<bool, StoreError> {
        self.forget_reached(runner, run)?;
        let mut looked = 0;
        while !run.seen_all && run.behind.len() + PAGE <= MOST && !self.stop.is_set() {
            if looked >= MOST {
                return Ok(true);
            }
            let request = HeadsRequest { after: run.after.clone(), limit: PAGE, ..heads_of(runner) };
            let (pairs, last) = self.heads_and_states(runner, &request)?;
            run.seen_all = last.is_none();
            run.after = last;
            looked += PAGE;
            let behind = pairs.into_iter().filter(|(head, state)| has_to_move(runner, head, state));
            run.behind.extend(behind.map(|(head, _)| (head.instance, head.relevant)));
        }
        Ok(false)
    }

    /// Forgets instances that have reached their heads, page by page. It stops at the first page in which none has: the
    /// instances after it have to wait for that page in any case.
    fn forget_reached(&self, runner: &Runner, run: &mut FirstRun) -> Result<(), StoreError> {
        let mut is_reached = true;
        while is_reached && !self.stop.is_set() {
            let instances: Vec<Arc<str>> = run.behind.keys().take(PAGE).cloned().collect();
            if instances.is_empty() {
                return Ok(());
            }
            let request = HeadsRequest { instances: instances.clone(), limit: PAGE, ..heads_of(runner) };
            let (pairs, _) = self.heads_and_states(runner, &request)?;
            let still: BTreeMap<Arc<str>, i64> = pairs
                .into_iter()
                .filter(|(head, state)| has_to_move(runner, head, state))
                .map(|(head, state)| (head.instance, state.position))
                .collect();
            // An instance without a head was removed.
            for instance in &instances {
                let is_behind = |to: &i64| still.get(instance).is_some_and(|position| position < to);
                if !run.behind.get(instance).is_some_and(is_behind) {
                    run.behind.remove(instance);
                }
            }
            is_reached = instances.iter().all(|instance| !run.behind.contains_key(instance));
        }
        Ok(())
    }

    fn heads_and_states(&self, runner: &Runner, request: &HeadsRequest) -> Result<ComparedPage, StoreError> {
        page(
            self.stores.source.as_ref(),
            self.stores.models.as_ref(),
            runner.key(),
            request,
            self.config.system_instance,
        )
    }
}

fn heads_of(runner: &Runner) -> HeadsRequest {
    HeadsRequest { aggregate_types: runner.wanted.aggregate_types.clone(), ..HeadsRequest::default() }
}

/// True when the instance has to move, whatever keeps it from moving. An instance that waits for a person counts as
/// done.
fn has_to_move(runner: &Runner, head: &Head, state: &State) -> bool {
    let cap = runner.handler.inner.config.backoff_cap;
    head.relevant > state.position && !matches!(blocking_failure(state, cap), Some(StopCause::Stopped(_)))
}
