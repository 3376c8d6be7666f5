//! Unique values of instances, as one push after another changes them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::draft::Push;
use crate::db::{Bulk, BulkKind, Conn, Row, owned};
use crate::error::{PushError, StoreError};
use crate::event::Unique;
use crate::value::ColumnType as T;

/// Instance, constraint and value.
pub(super) type UniqueValue = (Arc<str>, String, String);

/// The unique values that pushes ask about, and what the decided pushes already change.
#[derive(Debug, Default, Clone)]
pub(super) struct Uniques {
    /// Those that the database has.
    pub(super) stored: Arc<HashSet<UniqueValue>>,
    emptied: Vec<Arc<str>>,
    /// True for values that were taken, false for values that were given back.
    changed: BTreeMap<UniqueValue, bool>,
}

/// The values that a push wants to take.
pub(super) fn wanted(push: &Push) -> impl Iterator<Item = UniqueValue> {
    push.drafts.iter().flat_map(|draft| {
        draft.unique.iter().filter_map(|change| match change {
            Unique::Add { constraint, value, .. } => {
                Some((Arc::clone(&draft.event.instance), constraint.clone(), value.clone()))
            }
            _ => None,
        })
    })
}

impl Uniques {
    /// Makes one change of the event at this place of the push. After an error, only the changes before it have been
    /// made.
    pub(super) fn change(&mut self, index: usize, instance: &Arc<str>, change: &Unique) -> Result<(), PushError> {
        match change {
            Unique::RemoveAll => {
                self.changed.retain(|key, _| key.0 != *instance);
                if !self.emptied.contains(instance) {
                    self.emptied.push(Arc::clone(instance));
                }
            }
            Unique::Remove { constraint, value } => {
                self.changed.insert((Arc::clone(instance), constraint.clone(), value.clone()), false);
            }
            Unique::Add { constraint, value, message } => {
                let key = (Arc::clone(instance), constraint.clone(), value.clone());
                if self.is_taken(&key) {
                    return Err(PushError::UniqueViolation {
                        index,
                        instance: instance.to_string(),
                        constraint: constraint.clone(),
                        message: message.clone(),
                    });
                }
                self.changed.insert(key, true);
            }
        }
        Ok(())
    }

    fn is_taken(&self, key: &UniqueValue) -> bool {
        let stored = || !self.emptied.contains(&key.0) && self.stored.contains(key);
        self.changed.get(key).copied().unwrap_or_else(stored)
    }

    pub(super) fn write(&self, conn: &mut dyn Conn) -> Result<(), StoreError> {
        let table = conn.dialect().table("unique_constraints");
        for instance in &self.emptied {
            let delete = format!("DELETE FROM {table} WHERE instance_id = $1");
            conn.execute(&delete, &[Arc::clone(instance).into()])?;
        }
        // A value may have been given back and taken again, so its row may still exist.
        for (kind, taken) in [(BulkKind::Delete, false), (BulkKind::InsertMissing, true)] {
            let rows: Vec<Row> =
                self.changed.iter().filter(|change| *change.1 == taken).map(|(key, _)| row(key)).collect();
            if rows.is_empty() {
                continue;
            }
            let keys = vec![("instance_id", T::Text), ("constraint_type", T::Text), ("value", T::Text)];
            conn.bulk(&Bulk {
                table: table.clone(),
                kind,
                keys,
                columns: Vec::new(),
                how: Vec::new(),
                only_if: None,
                rows: owned(rows),
            })?;
        }
        Ok(())
    }
}

fn row((instance, constraint, value): &UniqueValue) -> Row {
    vec![Arc::clone(instance).into(), constraint.into(), value.into()]
}
