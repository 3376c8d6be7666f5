//! Storing commands as events, inside a transaction that is open already.
//!
//! The order is the law (L1): first the counters of all instances are locked ([`lock`]), then, in a later statement,
//! versions, unique values and push keys are read (`read.rs`) and decided upon (`ledger.rs`), then events and counters
//! are written ([`write`]). Whoever holds a counter decides positions alone until its commit, so the order of commits is
//! the order of positions. Pushes of one process that wait for each other share a transaction (`line.rs`, `group.rs`).

mod draft;
mod group;
mod known;
mod ledger;
mod line;
mod read;
#[cfg(all(test, shuttle))]
mod shuttled;
mod unique;

pub(crate) use draft::{Push, instances};
pub(crate) use group::{Pushes, explained};
pub(crate) use ledger::{Accepted, Counter, Counters};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Bulk, BulkKind, Conn, owned};
use crate::error::{Holder, PushError, StoreError, StoreErrorKind};
use crate::event::Event;
use crate::sync::Mutex;
use crate::value::{ColumnType as T, Value};
use known::KnownVersions;
use ledger::{Ledger, Numbered};

/// What a backend writes for some pushes.
#[derive(Debug)]
pub struct Append<'l> {
    /// With their push keys.
    pub(crate) events: Vec<(&'l Event, Option<&'l str>)>,
    /// Of each instance as it stands after these events.
    pub(crate) counters: Vec<(&'l Arc<str>, &'l Counter)>,
    /// The highest position of each instance and aggregate type.
    pub(crate) heads: Vec<(&'l Arc<str>, &'l Arc<str>, i64)>,
}

/// What was decided about each push of a transaction.
type Decisions = Vec<Result<Accepted, PushError>>;

/// Stores one push in a transaction of the caller's. After an error the caller rolls back.
pub(crate) fn alone(conn: &mut dyn Conn, push: &Push, known: &Mutex<KnownVersions>) -> Result<Vec<Event>, PushError> {
    let mut ledger = Ledger::default();
    lock(conn, &mut ledger, push.instances())?;
    let pushes = read::complete(conn, &mut ledger, &[push], known)?;
    let decisions: Decisions = pushes.iter().map(|push| ledger.decide(push)).collect();
    write(conn, &ledger, &pushes, &decisions)?;
    decisions.into_iter().next().map_or_else(|| Ok(Vec::new()), |decision| decision.map(|accepted| accepted.events))
}

/// Locks the counters of instances that are given by bytes; makes those that do not exist.
fn lock(conn: &mut dyn Conn, ledger: &mut Ledger, instances: &[Arc<str>]) -> Result<(), PushError> {
    let since = Instant::now();
    let busy = |error: StoreError| match error.kind() {
        StoreErrorKind::Timeout => busy(instances, since, None),
        _ => PushError::Store(error.doing("locking the counters of a push")),
    };
    let mut counters = conn.counters(instances).map_err(busy)?;
    if counters.len() < instances.len() {
        let missing = instances.iter().filter(|instance| !counters.contains_key(*instance));
        let rows = missing.map(|instance| vec![Value::from(Arc::clone(instance)), Value::Integer(0)]).collect();
        let write = Bulk {
            table: conn.dialect().table("instances"),
            kind: BulkKind::InsertMissing,
            keys: vec![("instance_id", T::Text)],
            columns: vec![("head", T::Integer)],
            how: Vec::new(),
            only_if: None,
            rows: owned(rows),
        };
        conn.bulk(&write).map_err(busy)?;
        counters = conn.counters(instances).map_err(busy)?;
    }
    ledger.counters.append(&mut counters);
    Ok(())
}

/// The error of a push that has waited since then. Its caller looks for the holder, which takes another connection.
pub(crate) fn busy(instances: &[Arc<str>], since: Instant, holder: Option<Holder>) -> PushError {
    let instance = instances.first().map(ToString::to_string).unwrap_or_default();
    let waited = Duration::from_millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
    PushError::Busy { instance, waited, holder }
}

/// Locks the counters of those instances of pushes that are not locked yet.
fn lock_others(conn: &mut dyn Conn, ledger: &mut Ledger, pushes: &[&Push]) -> Result<(), PushError> {
    let instances = pushes.iter().flat_map(|push| push.instances());
    let others: BTreeSet<_> = instances.filter(|instance| !ledger.counters.contains_key(*instance)).cloned().collect();
    if others.is_empty() {
        return Ok(());
    }
    lock(conn, ledger, &Vec::from_iter(others))
}

/// Writes what was decided; false when that is nothing.
fn write(
    conn: &mut dyn Conn,
    ledger: &Ledger,
    pushes: &[Numbered<'_>],
    decisions: &Decisions,
) -> Result<bool, StoreError> {
    let (mut events, mut counters, mut heads) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for (numbered, decision) in pushes.iter().zip(decisions) {
        let Ok(Accepted { events: accepted, repeated: false }) = decision else { continue };
        for (event, draft) in accepted.iter().zip(&numbered.push.drafts) {
            events.push((event, draft.push_key.as_deref()));
            heads.insert((&event.instance, &event.aggregate_type), event.position);
        }
        counters
            .extend(numbered.push.instances().iter().filter_map(|instance| ledger.counters.get_key_value(instance)));
    }
    if events.is_empty() {
        return Ok(false);
    }
    ledger.uniques.write(conn)?;
    let heads = heads.into_iter().map(|((instance, kind), head)| (instance, kind, head)).collect();
    conn.append(&Append { events, counters: counters.into_iter().collect(), heads })?;
    Ok(true)
}
