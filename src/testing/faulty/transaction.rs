//! The transaction of a [`FaultyStore`](super::FaultyStore).

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{Call, Told};
use crate::error::StoreError;
use crate::failure::{Action, Aggregates, Attempt, By, FailedEvent, FailureQuery};
use crate::projection::Projection;
use crate::query::{EventBatch, ReadRequest};
use crate::sealed::Sealed;
use crate::state::{Checkpoint, Log, ProjectionKey, State};
use crate::statement::Statement;
use crate::store::ProjectionTransaction;

/// A transaction of the store below, with the faults around its calls.
pub(super) struct FaultyTransaction<'t> {
    pub(super) inner: &'t mut dyn ProjectionTransaction,
    pub(super) told: &'t Told,
}

/// Statements with their instances, in order.
type Batches<'s> = Vec<(Arc<str>, Vec<&'s Statement>)>;

/// Cuts the statements into at most this many parts of about equal length, in order. Without statements there is one
/// empty part.
fn parts<'s>(batches: &[(Arc<str>, Vec<&'s Statement>)], parts: usize) -> Vec<Batches<'s>> {
    let all: usize = batches.iter().map(|(_, statements)| statements.len()).sum();
    let (parts, mut done) = (parts.clamp(1, all.max(1)), 0);
    let mut cut: Vec<Batches<'s>> = vec![Batches::new(); parts];
    for (instance, statements) in batches {
        for statement in statements {
            if let Some(part) = cut.get_mut(done * parts / all) {
                match part.last_mut() {
                    Some((last, of_it)) if last == instance => of_it.push(statement),
                    _ => part.push((Arc::clone(instance), vec![statement])),
                }
            }
            done += 1;
        }
    }
    cut
}

macro_rules! hand_on {
    ($self:ident; $(fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty, $($about:ident($($value:expr),*)).+;)*) => {
        $(fn $name(&mut $self, $($arg: $type),*) -> $out {
            let call = Call::new(concat!("ProjectionTransaction::", stringify!($name)))$(.$about($($value),*))+;
            $self.told.around(call, || $self.inner.$name($($arg),*))
        })*
    };
}

impl Sealed for FaultyTransaction<'_> {}

impl ProjectionTransaction for FaultyTransaction<'_> {
    fn missed(&self) -> u64 {
        self.inner.missed()
    }

    fn apply(&mut self, projection: &Projection, batches: &[(Arc<str>, Vec<&Statement>)]) -> Result<(), StoreError> {
        let cut = parts(batches, self.told.parts);
        let parts = cut.len();
        for (part, batches) in cut.iter().enumerate() {
            let call = Call::new("ProjectionTransaction::apply").of(&projection.key());
            let call = Call { part, parts, ..call.at(batches.iter().map(|(instance, _)| instance)) };
            self.told.around(call, || self.inner.apply(projection, batches))?;
        }
        Ok(())
    }

    hand_on! { self;
        fn lock(projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError>,
            of(projection).at(instances);
        fn with_rows(projection: &Projection, instances: &[Arc<str>]) -> Result<Vec<Arc<str>>, StoreError>,
            of(&projection.key()).at(instances);
        fn event_batches(source: Uuid, request: &ReadRequest) -> Result<Option<Vec<EventBatch>>, StoreError>,
            at(request.cursors.iter().map(|cursor| &cursor.instance));
        fn extend(
            projection: &ProjectionKey,
            instances: &[Arc<str>],
            owner: Uuid,
            lease: Duration
        ) -> Result<bool, StoreError>, of(projection).at(instances);
        fn limit_waits(share: u32) -> Result<(), StoreError>, at([]);
        fn apply_one(projection: &Projection, instance: &str, statement: &Statement) -> Result<(), StoreError>,
            of(&projection.key()).in_one(instance);
        fn save(projection: &ProjectionKey, checkpoints: &[Checkpoint], log: Log) -> Result<(), StoreError>,
            of(projection).at(checkpoints.iter().map(|checkpoint| &checkpoint.instance));
        fn record(projection: &ProjectionKey, attempts: &[Attempt]) -> Result<(), StoreError>,
            of(projection).at(attempts.iter().map(|attempt| &attempt.instance));
        fn clear(projection: &ProjectionKey, instance: &str, up_to: i64) -> Result<(), StoreError>,
            of(projection).in_one(instance);
        fn forget(projection: &ProjectionKey, instance: &str, positions: &[i64]) -> Result<(), StoreError>,
            of(projection).in_one(instance);
        fn failed_events(projection: &ProjectionKey, query: &FailureQuery) -> Result<Vec<FailedEvent>, StoreError>,
            of(projection);
        fn parked(projection: &ProjectionKey, instance: &str, ids: &[Arc<str>]) -> Result<Aggregates, StoreError>,
            of(projection).in_one(instance);
        fn promote(projection: &ProjectionKey, instance: &str, aggregates: &Aggregates) -> Result<(), StoreError>,
            of(projection).in_one(instance);
        fn mark(projection: &ProjectionKey, instance: &str, event: Option<i64>) -> Result<(), StoreError>,
            of(projection).in_one(instance);
        fn relax(projection: &ProjectionKey, instance: &str) -> Result<(), StoreError>,
            of(projection).in_one(instance);
        fn note_all(
            projection: &ProjectionKey,
            instance: &str,
            positions: &[i64],
            action: Action,
            by: &By
        ) -> Result<(), StoreError>, of(projection).in_one(instance);
        fn note(
            projection: &ProjectionKey,
            instance: &str,
            position: i64,
            action: Action,
            by: &By
        ) -> Result<(), StoreError>, of(projection).in_one(instance);
    }
}
