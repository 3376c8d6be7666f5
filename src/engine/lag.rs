//! Where there is work: one query when events and read models are in one database, heads against states otherwise.

use std::sync::Arc;

use super::compare::compare;
use super::plan::held_back;
use super::shared::{Runner, Shared};
use crate::error::StoreError;
use crate::lease::{Lag, LagRequest};
use crate::query::Head;
use crate::state::State;

/// Pairs looked at in one tick, at most; when there are more, the next tick comes at once.
pub(super) const MOST: usize = 10_000;

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) lags: Vec<Lag>,
    /// All instances in which anything is behind, also what has to wait; none when they are not known.
    pub(super) behind: Option<Vec<Arc<str>>>,
}

impl Shared {
    /// All pairs of these projections that lag, also those that have to wait.
    pub(super) fn lags(&self, of: impl Fn(&Runner) -> bool) -> Result<Vec<Lag>, StoreError> {
        Ok(self.look(true, &[], of)?.lags)
    }

    /// The pairs of these projections that lag, in these instances or in all: those with work for this process, or all.
    pub(super) fn look(
        &self,
        all: bool,
        instances: &[Arc<str>],
        of: impl Fn(&Runner) -> bool,
    ) -> Result<Look, StoreError> {
        let runners: Vec<(usize, &Runner)> = self.runners.iter().enumerate().filter(|(_, runner)| of(runner)).collect();
        if runners.is_empty() {
            return Ok(Look { lags: Vec::new(), behind: Some(Vec::new()) });
        }
        let source = self.source.store_id()?;
        let mut request = self.lag_request(all, instances, &runners);
        let behind = self.leases.behind(source, &request)?.filter(|behind| behind.len() < MOST);
        match &behind {
            Some(none) if none.is_empty() => return Ok(Look { lags: Vec::new(), behind }),
            Some(some) => request.instances.clone_from(some),
            None => {}
        }
        let lags = match self.leases.lagging(source, &request)? {
            Some(mut lags) => {
                for lag in &mut lags {
                    lag.projection = runners.get(lag.projection).map_or(usize::MAX, |(at, _)| *at);
                }
                lags
            }
            None => self.compared(all, &runners)?,
        };
        Ok(Look { lags, behind })
    }

    fn lag_request(&self, all: bool, instances: &[Arc<str>], runners: &[(usize, &Runner)]) -> LagRequest {
        let cap = runners.iter().map(|(_, runner)| runner.handler.inner.config.backoff_cap).max().unwrap_or_default();
        LagRequest {
            projections: runners
                .iter()
                .map(|(_, runner)| (runner.key().clone(), runner.wanted.aggregate_types.clone()))
                .collect(),
            instances: instances.to_vec(),
            owner: self.id,
            all,
            system: self.config.system_instance,
            longest_wait: cap.saturating_mul(2),
            lease: self.config.lease,
            limit: MOST,
        }
    }

    /// Heads of one database against states of another.
    fn compared(&self, all: bool, runners: &[(usize, &Runner)]) -> Result<Vec<Lag>, StoreError> {
        let mut lags = Vec::new();
        for &(projection, runner) in runners {
            let inner = &runner.handler.inner;
            let of = (&inner.key, runner.wanted.aggregate_types.as_slice());
            let mut visit = |head: &Head, state: &State| {
                let waits =
                    held_back(state, inner.config.backoff_cap).is_some() || self.is_paused(projection, &head.instance);
                if head.relevant > state.position && (all || !waits) {
                    let (relevant, checkpoint) = (head.relevant, state.position);
                    lags.push(Lag { projection, instance: Arc::clone(&head.instance), relevant, checkpoint });
                }
                lags.len() < MOST
            };
            compare(self.source.as_ref(), self.models.as_ref(), of, self.config.system_instance, &mut visit)?;
        }
        lags.truncate(MOST);
        Ok(lags)
    }
}
