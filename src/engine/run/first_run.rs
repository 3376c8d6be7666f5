//! What a first run still has to reach: the heads that it saw when it began, whatever comes after them.
//!
//! All instances are looked at once, in pages. Each that is behind then is kept, with the head that it has to reach; when
//! there are many, the look goes on as they reach theirs. At its end every instance there was has been at a head that is not
//! older than the beginning, since heads only grow. New events raise none of them, so there is an end to it.

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

/// Instances that are kept, at most, and looked at in one tick.
const MOST: usize = 10_000;

/// Instances that are looked at together.
const PAGE: usize = 1000;

/// The first run of a projection that this process leads.
#[derive(Debug)]
pub(crate) struct FirstRun {
    /// It begins again after a reset.
    resets: i64,
    /// The last instance that was looked at.
    after: Option<Arc<str>>,
    /// All were looked at.
    seen_all: bool,
    /// Those that were behind, with what they have to reach.
    behind: BTreeMap<Arc<str>, i64>,
}

impl FirstRun {
    pub(crate) fn new(runner: &Runner) -> Self {
        let resets = runner.state().resets;
        Self { resets, after: None, seen_all: false, behind: BTreeMap::new() }
    }

    /// True while it is about what the projection is now.
    pub(crate) fn is_of(&self, runner: &Runner) -> bool {
        let state = runner.state();
        state.leads && self.resets == state.resets
    }

    pub(crate) fn is_over(&self) -> bool {
        self.seen_all && self.behind.is_empty()
    }
}

impl Shared {
    /// Goes on as far as it can, and as one tick may; true when another one would see more.
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

    /// Page by page, as long as a page has reached what it has to: the others have to wait for it in any case.
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
            // One without a head was removed.
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

/// Whatever keeps it from moving; only what waits for a person is done.
fn has_to_move(runner: &Runner, head: &Head, state: &State) -> bool {
    let cap = runner.handler.inner.config.backoff_cap;
    head.relevant > state.position && !matches!(blocking_failure(state, cap), Some(StopCause::Stopped(_)))
}
