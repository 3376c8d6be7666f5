//! Finds where there is work: with one query when events and read models are in one database, and otherwise by
//! comparing heads with states.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::engine::pass::history;
use crate::engine::pass::plan::blocking_failure;
use crate::engine::run::compare::compare;
use crate::engine::run::runner::Runner;
use crate::engine::run::state::Shared;
use crate::error::StoreError;
use crate::lease::{Lag, LagRequest, Lagging, in_turns};
use crate::plain::plain;
use crate::query::Head;
use crate::remedy::{Act, Subject};
use crate::state::State;
use crate::stop_cause::StopCause;

/// The most pairs that one tick looks at. When there are more, the next tick comes at once.
pub(crate) const MOST: usize = 10_000;

/// States that are compared with another database at once.
const PAGE: usize = 1000;

/// What a look found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) lags: Vec<Lag>,
    /// All instances in which anything lags, including those that have to wait. `None` when they are not known.
    pub(crate) behind: Option<Vec<Arc<str>>>,
}

impl Shared {
    /// The id of the event store whose log is in the database of the states, if one query sees both. The id alone
    /// proves nothing: a copy of the database has it too, and its heads say nothing about the log that is read.
    pub(crate) fn log_beside_states(&self) -> Result<Option<Uuid>, StoreError> {
        let is_beside = self.stores.is_one_store
            || match &self.stores.events {
                Some(events) => self.stores.leases.is_at(&events.location()?)?,
                None => false,
            };
        is_beside.then(|| self.stores.source.store_id()).transpose()
    }

    /// The pairs of these projections that lag, in all instances. Each projection that lags has at least one pair among
    /// them.
    pub(crate) fn lags(&self, lagging: Lagging, of: impl Fn(&Runner) -> bool) -> Result<Vec<Lag>, StoreError> {
        Ok(self.look(lagging, &[], of)?.lags)
    }

    /// The pairs of these projections that lag, in these instances or in all.
    pub(crate) fn look(
        &self,
        lagging: Lagging,
        instances: &[Arc<str>],
        of: impl Fn(&Runner) -> bool,
    ) -> Result<Look, StoreError> {
        let runners: Vec<(usize, &Runner)> = self.runners.iter().enumerate().filter(|(_, runner)| of(runner)).collect();
        if runners.is_empty() {
            return Ok(Look { lags: Vec::new(), behind: Some(Vec::new()) });
        }
        let Some(source) = self.log_beside_states()? else {
            return Ok(Look { lags: self.compared(lagging, &runners)?, behind: None });
        };
        let mut request = self.lag_request(lagging, instances, &runners);
        let behind = self.stores.leases.lagging_instances(source, &request)?.filter(|behind| behind.len() < MOST);
        match &behind {
            Some(none) if none.is_empty() => return Ok(Look { lags: Vec::new(), behind }),
            Some(some) => request.instances.clone_from(some),
            None => {}
        }
        let lags = match self.stores.leases.lagging(source, &request)? {
            Some(mut lags) => {
                for lag in &mut lags {
                    lag.projection = runners.get(lag.projection).map_or(usize::MAX, |(at, _)| *at);
                }
                lags
            }
            None => self.compared(lagging, &runners)?,
        };
        Ok(Look { lags, behind })
    }

    /// The pairs whose checkpoints are not part of the log; `relevant` is where the instance ends. It always finds
    /// checkpoints above the end of the log. If `thorough`, it also finds those at whose position the log has another
    /// event.
    pub(crate) fn diverged(&self, thorough: bool) -> Result<Vec<Lag>, StoreError> {
        let is_filled = |(_, runner): &(usize, &Runner)| runner.state().is_active;
        let runners: Vec<(usize, &Runner)> = self.runners.iter().enumerate().filter(is_filled).collect();
        if runners.is_empty() {
            return Ok(Vec::new());
        }
        let request = self.lag_request(Lagging::All, &[], &runners);
        let source = self.log_beside_states()?;
        let found = source.map(|source| self.stores.leases.diverged(source, &request, thorough)).transpose()?.flatten();
        if let Some(mut pairs) = found {
            for pair in &mut pairs {
                pair.projection = runners.get(pair.projection).map_or(usize::MAX, |(at, _)| *at);
            }
            return Ok(pairs);
        }
        let mut pairs = Vec::new();
        for (projection, runner) in runners {
            self.diverged_elsewhere(projection, runner, &mut pairs)?;
        }
        Ok(pairs)
    }

    /// Checkpoints in one database that are not part of the log in another one.
    fn diverged_elsewhere(&self, projection: usize, runner: &Runner, pairs: &mut Vec<Lag>) -> Result<(), StoreError> {
        let source = self.stores.source.as_ref();
        let mut after: Option<Arc<str>> = None;
        loop {
            let mut states = self.stores.models.states_after(runner.key(), after.as_deref(), PAGE)?;
            let Some(last) = states.last() else { return Ok(()) };
            after = Some(Arc::clone(&last.instance));
            states.retain(|state| self.config.system_instance || !state.instance.is_empty());
            for one in history::astray(source, &states)? {
                pairs.push(Lag { projection, instance: one.instance, relevant: one.head, checkpoint: one.position });
                if pairs.len() >= MOST {
                    return Ok(());
                }
            }
        }
    }

    /// Logs which checkpoints are not part of the log, when an engine starts.
    pub(crate) fn tell_diverged(&self) -> Result<(), StoreError> {
        let mut by_projection: BTreeMap<usize, Vec<Lag>> = BTreeMap::new();
        for pair in self.diverged(false)? {
            by_projection.entry(pair.projection).or_default().push(pair);
        }
        for (projection, pairs) in by_projection {
            let (Some(runner), Some(first)) = (self.runners.get(projection), pairs.first()) else { continue };
            log::error!(
                event = "divergence",
                projection:display = plain(runner.name()),
                instances = pairs.len(),
                instance:display = plain(&first.instance),
                position = first.checkpoint;
                "projection {:?}: {} instances have checkpoints that are not part of the log; the first is {:?}, at position {}, \
                 whose log ends at {}; connect the right store, or run `{}` to fill it from this one",
                runner.name(),
                pairs.len(),
                first.instance,
                first.checkpoint,
                first.relevant,
                Act::ResetAll.on(&Subject { projection: runner.name(), version: None, instance: None })
            );
        }
        Ok(())
    }

    fn lag_request(&self, lagging: Lagging, instances: &[Arc<str>], runners: &[(usize, &Runner)]) -> LagRequest {
        let cap = runners.iter().map(|(_, runner)| runner.handler.inner.config.backoff_cap).max().unwrap_or_default();
        LagRequest {
            projections: runners
                .iter()
                .map(|(_, runner)| (runner.key().clone(), runner.wanted.aggregate_types.clone()))
                .collect(),
            instances: instances.to_vec(),
            owner: self.id,
            lagging,
            system: self.config.system_instance,
            longest_wait: cap.saturating_mul(2),
            lease: self.config.lease,
            limit: MOST.max(runners.len()),
        }
    }

    /// Compares heads in one database with states in another.
    fn compared(&self, lagging: Lagging, runners: &[(usize, &Runner)]) -> Result<Vec<Lag>, StoreError> {
        let (mut lags, limit) = (Vec::new(), MOST.max(runners.len()));
        for &(projection, runner) in runners {
            let inner = &runner.handler.inner;
            let of = (&inner.key, runner.wanted.aggregate_types.as_slice());
            let most = lags.len() + limit;
            let mut visit = |head: &Head, state: &State| {
                let waits = || match (lagging, blocking_failure(state, inner.config.backoff_cap)) {
                    (Lagging::All, _) | (Lagging::Open, None | Some(StopCause::Failing(_))) => false,
                    (Lagging::Free, None) => self.is_paused(projection, &head.instance),
                    (Lagging::Free | Lagging::Open, Some(_)) => true,
                };
                if head.relevant > state.position && !waits() {
                    let (relevant, checkpoint) = (head.relevant, state.position);
                    lags.push(Lag { projection, instance: Arc::clone(&head.instance), relevant, checkpoint });
                }
                lags.len() < most
            };
            compare(
                self.stores.source.as_ref(),
                self.stores.models.as_ref(),
                of,
                self.config.system_instance,
                &mut visit,
            )?;
            in_turns(&mut lags, limit);
        }
        Ok(lags)
    }
}
