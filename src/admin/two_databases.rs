//! The status of projections whose events are in another database than their read models.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::builds::Build;
use crate::engine::{astray, compare};
use crate::error::{StoreError, StoreErrorKind};
use crate::inspect::{Mismatch, ProjectionStatus, Status};
use crate::query::{EventFilter, HeadsRequest, Query, SubQuery};
use crate::remedy::Act;
use crate::standstill::Standstill;
use crate::store::{EventStore, ProjectionStore};

/// For how many lagging instances of a projection the oldest event is read, one by one.
const AGED: usize = 100;

/// The most checkpoints that one look compares with the log, of all builds together.
pub(super) const COMPARED: usize = 10_000;

/// How many states are in one page.
const PAGE: usize = 1000;

/// As [`Inspect::status`](crate::inspect::Inspect::status), for events and read models in two databases. It compares
/// the heads of one with the checkpoints of the other, a thousand instances at a time, and the events at the first
/// 10,000 checkpoints with those from which the read models were made. Ages use the clocks of both, and tell the oldest
/// event among the first 100 instances that lag.
///
/// # Errors
/// When a store cannot be read, or when the read models were fed from another event store than this one.
pub fn status_of_two<E, M>(events: &E, models: &M, system: bool) -> Result<Status, StoreError>
where
    E: EventStore + ?Sized,
    M: ProjectionStore + ?Sized,
{
    let mut status = models.inspect().status(system)?;
    let builds = models.builds().builds()?;
    let id = events.store_id()?;
    let mismatches = mismatches_of_two(events, models, COMPARED)?;
    for projection in &mut status.projections {
        let same = |build: &&Build| {
            (build.key.projection(), build.key.version, build.key.mark())
                == (projection.name.as_str(), projection.version, projection.build.as_deref())
        };
        if let Some(build) = builds.iter().find(same) {
            check(id, projection)?;
            let late = look(events, models, build, system, projection)?;
            projection.lag_age = age(events, build, &late, status.at)?;
            if let Some(mut standing) = projection.standing.take() {
                if standing.diverged().is_none() {
                    let ahead = ahead(id, events, models, build)?;
                    standing.standstills.extend(ahead.or_else(|| of_other_events(projection, &mismatches)));
                }
                projection.judge(standing);
            }
        }
    }
    Ok(status)
}

fn check(id: Uuid, found: &ProjectionStatus) -> Result<(), StoreError> {
    let Some(other) = found.event_store.filter(|other| *other != id) else { return Ok(()) };
    let doing = format!("comparing projection {:?} with its events", found.name);
    let fault = format!(
        "it is fed from the event store {other}, and this one is {id}; name the right database, or, if this one is to be the \
         right one from now on, build the read model from it: `{}`",
        Act::Rebuild.on(&found.subject(None))
    );
    Err(StoreError::new(doing, StoreErrorKind::Usage, fault))
}

/// Instances that lag, each with its checkpoint.
type Late = Vec<(String, i64)>;

/// Sums up the lag, and returns the first instances that lag.
fn look<E: EventStore + ?Sized, M: ProjectionStore + ?Sized>(
    events: &E,
    models: &M,
    build: &Build,
    system: bool,
    found: &mut ProjectionStatus,
) -> Result<Late, StoreError> {
    (found.instances, found.lagging_instances, found.lag_events, found.handled) = (0, 0, 0, 0);
    found.events_elsewhere = false;
    let mut late = Vec::new();
    compare(events, models, (&build.key, &build.aggregate_types), system, &mut |head, state| {
        found.instances += 1;
        found.handled += head.relevant.min(state.position);
        let lag = head.relevant - state.position;
        if lag > 0 {
            found.lagging_instances += 1;
            found.lag_events += lag;
            if late.len() < AGED {
                late.push((head.instance.to_string(), state.position));
            }
        }
        true
    })?;
    Ok(late)
}

/// The checkpoints above the heads of their instances, including instances that have no events any more.
fn ahead<E: EventStore + ?Sized, M: ProjectionStore + ?Sized>(
    id: Uuid,
    events: &E,
    models: &M,
    build: &Build,
) -> Result<Option<Standstill>, StoreError> {
    let builds = models.builds();
    let (mut after, mut first, mut count) = (None::<Arc<str>>, None, 0);
    loop {
        let instances = builds.instances_of(std::slice::from_ref(&build.key), after.as_deref(), PAGE)?;
        let Some(last) = instances.last() else { break };
        after = Some(Arc::clone(last));
        let request = HeadsRequest { limit: instances.len(), instances: instances.clone(), ..HeadsRequest::default() };
        let heads: HashMap<Arc<str>, i64> =
            events.heads(&request)?.into_iter().map(|head| (head.instance, head.head)).collect();
        for state in models.states(&build.key, &instances)? {
            let head = heads.get(&state.instance).copied().unwrap_or(0);
            if state.store == Some(id) && state.position > head {
                count += 1;
                first.get_or_insert(state.instance);
            }
        }
    }
    Ok(first.map(|instance| Standstill::ahead(count).of(instance.to_string())))
}

/// The checkpoints of a build that name other events than the log has.
fn of_other_events(found: &ProjectionStatus, mismatches: &[Mismatch]) -> Option<Standstill> {
    let is_its = |one: &&Mismatch| {
        (one.projection.as_str(), one.version, &one.build) == (found.name.as_str(), found.version, &found.build)
    };
    let mut its = mismatches.iter().filter(is_its);
    let first = its.next()?;
    let count = i64::try_from(its.count()).unwrap_or(i64::MAX).saturating_add(1);
    Some(Standstill::astray(count).of(first.instance.clone()))
}

/// As [`Inspect::mismatches`](crate::inspect::Inspect::mismatches), for events and read models in two databases.
pub(super) fn mismatches_of_two<E, M>(events: &E, models: &M, limit: usize) -> Result<Vec<Mismatch>, StoreError>
where
    E: EventStore + ?Sized,
    M: ProjectionStore + ?Sized,
{
    let id = events.store_id()?;
    let (mut left, mut found) = (limit, Vec::new());
    for build in models.builds().builds()? {
        let mut after: Option<Arc<str>> = None;
        while left > 0 {
            let mut states = models.states_after(&build.key, after.as_deref(), left.min(PAGE))?;
            let Some(last) = states.last() else { break };
            after = Some(Arc::clone(&last.instance));
            left -= states.len().min(left);
            // Checkpoints of another store, and those above the head, are named elsewhere.
            states.retain(|state| state.store == Some(id));
            for one in astray(events, &states)? {
                if one.position <= one.head && one.position > events.removed(&one.instance)? {
                    found.push(Mismatch {
                        projection: build.key.projection().to_owned(),
                        version: build.key.version,
                        build: build.key.mark().map(str::to_owned),
                        instance: one.instance.to_string(),
                        position: one.position,
                    });
                }
            }
        }
    }
    Ok(found)
}

/// Times never decrease with the position, so the first event above a checkpoint is the oldest unhandled one.
fn age<E: EventStore + ?Sized>(
    events: &E,
    build: &Build,
    late: &[(String, i64)],
    now: SystemTime,
) -> Result<Option<Duration>, StoreError> {
    let mut oldest: Option<SystemTime> = None;
    for (instance, position) in late {
        let every = EventFilter::lists_every(&build.aggregate_types);
        let types = build.aggregate_types.iter().filter(|_| !every);
        let sub = types.fold(SubQuery::new().instance(instance).after(*position), |sub, kind| sub.aggregate_type(kind));
        let first = events.filter(&Query::new().or(sub).limit(1))?;
        let at = first.first().map(crate::event::Event::created_at);
        oldest = oldest.into_iter().chain(at).min();
    }
    Ok(oldest.map(|at| now.duration_since(at).unwrap_or_default()))
}
