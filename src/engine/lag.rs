//! Where there is work: one query when events and read models are in one database, heads against states otherwise.

use std::sync::Arc;

use super::compare::compare;
use super::plan::held_back;
use super::shared::{Runner, Shared};
use crate::error::StoreError;
use crate::lease::{Lag, LagRequest, Lagging, in_turns};
use crate::query::Head;
use crate::state::{State, StopCause};

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
    /// The pairs of these projections that lag, in all instances. Each projection that lags has one among them.
    pub(super) fn lags(&self, lagging: Lagging, of: impl Fn(&Runner) -> bool) -> Result<Vec<Lag>, StoreError> {
        Ok(self.look(lagging, &[], of)?.lags)
    }

    /// The pairs of these projections that lag, in these instances or in all.
    pub(super) fn look(
        &self,
        lagging: Lagging,
        instances: &[Arc<str>],
        of: impl Fn(&Runner) -> bool,
    ) -> Result<Look, StoreError> {
        let runners: Vec<(usize, &Runner)> = self.runners.iter().enumerate().filter(|(_, runner)| of(runner)).collect();
        if runners.is_empty() {
            return Ok(Look { lags: Vec::new(), behind: Some(Vec::new()) });
        }
        let source = self.source.store_id()?;
        let mut request = self.lag_request(lagging, instances, &runners);
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
            None => self.compared(lagging, &runners)?,
        };
        Ok(Look { lags, behind })
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

    /// Heads of one database against states of another.
    fn compared(&self, lagging: Lagging, runners: &[(usize, &Runner)]) -> Result<Vec<Lag>, StoreError> {
        let (mut lags, limit) = (Vec::new(), MOST.max(runners.len()));
        for &(projection, runner) in runners {
            let inner = &runner.handler.inner;
            let of = (&inner.key, runner.wanted.aggregate_types.as_slice());
            let most = lags.len() + limit;
            let mut visit = |head: &Head, state: &State| {
                let waits = || match (lagging, held_back(state, inner.config.backoff_cap)) {
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
            compare(self.source.as_ref(), self.models.as_ref(), of, self.config.system_instance, &mut visit)?;
            in_turns(&mut lags, limit);
        }
        Ok(lags)
    }
}
