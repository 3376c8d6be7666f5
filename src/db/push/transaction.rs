//! The work of one transaction: lock, read, decide, write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::draft::Push;
use super::known::KnownVersions;
use super::ledger::{Accepted, Counters, Ledger, Numbered};
use super::{Append, busy, read};
use crate::db::{Bulk, BulkKind, Conn, owned};
use crate::error::{PushError, StoreError, StoreErrorKind};
use crate::sync::Mutex;
use crate::value::{ColumnType as T, Value};

/// What was decided about each push of a transaction.
pub(super) type Decisions = Vec<Result<Accepted, PushError>>;

/// What a transaction has to commit.
pub(super) struct Decided {
    pub(super) decisions: Decisions,
    /// The counters before the first event.
    pub(super) before: Counters,
    pub(super) ledger: Ledger,
    /// True if something was written.
    pub(super) has_written: bool,
}

/// Locks, lets others join, decides and writes.
pub(super) fn store(
    conn: &mut dyn Conn,
    known: &Mutex<KnownVersions>,
    push: &Push,
    join: impl FnOnce() -> Vec<Arc<Push>>,
) -> Result<Decided, PushError> {
    let mut ledger = Ledger::default();
    lock(conn, &mut ledger, push.instances())?;
    let joined = join();
    let pushes: Vec<&Push> = std::iter::once(push).chain(joined.iter().map(|push| &**push)).collect();
    lock_others(conn, &mut ledger, &pushes)?;
    let pushes = read::complete(conn, &mut ledger, &pushes, known)?;
    let before = ledger.counters.clone();
    let decisions: Decisions = pushes.iter().map(|push| ledger.decide(push)).collect();
    let has_written = write(conn, &ledger, &pushes, &decisions)?;
    Ok(Decided { decisions, before, ledger, has_written })
}

/// Locks the counters of instances, which are in byte order. Makes those that do not exist.
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

/// Locks the counters of those instances of pushes that are not locked yet.
fn lock_others(conn: &mut dyn Conn, ledger: &mut Ledger, pushes: &[&Push]) -> Result<(), PushError> {
    let instances = pushes.iter().flat_map(|push| push.instances());
    let others: BTreeSet<_> = instances.filter(|instance| !ledger.counters.contains_key(*instance)).cloned().collect();
    if others.is_empty() {
        return Ok(());
    }
    lock(conn, ledger, &Vec::from_iter(others))
}

/// Writes what was decided. Returns false if there is nothing to write.
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
