//! Expectations and unique values of a push, decided command by command under the lock of its counters.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::push::{Aggregate, aggregate, conflict};
use super::{Bulk, BulkKind, Conn};
use crate::error::{PushError, StoreError};
use crate::event::{Command, Unique};
use crate::value::ColumnType as T;

/// The net effect of a push on the unique values of its instances.
#[derive(Default)]
pub(super) struct UniqueChanges {
    emptied: Vec<Arc<str>>,
    removed: Vec<(Arc<str>, String, String)>,
    added: Vec<(Arc<str>, String, String)>,
}

impl UniqueChanges {
    /// Decides expectations and unique values command by command, each seeing those before it.
    pub(super) fn decide(
        conn: &mut dyn Conn,
        commands: &[Command],
        versions: &mut HashMap<Aggregate, i64>,
    ) -> Result<Self, PushError> {
        let mut overlay: BTreeMap<(Arc<str>, String, String), bool> = BTreeMap::new();
        let mut emptied: Vec<Arc<str>> = Vec::new();
        for command in commands {
            let found = versions.entry(aggregate(command)).or_default();
            if !command.expected.holds(*found) {
                return Err(conflict(command, *found));
            }
            *found += 1;
            for change in &command.unique {
                Self::decide_one(conn, command, change, &mut overlay, &mut emptied)?;
            }
        }
        let mut changes = Self { emptied, ..Self::default() };
        for (value, taken) in overlay {
            if taken {
                changes.added.push(value);
            } else {
                changes.removed.push(value);
            }
        }
        Ok(changes)
    }

    fn decide_one(
        conn: &mut dyn Conn,
        command: &Command,
        change: &Unique,
        overlay: &mut BTreeMap<(Arc<str>, String, String), bool>,
        emptied: &mut Vec<Arc<str>>,
    ) -> Result<(), PushError> {
        let instance = &command.instance;
        match change {
            Unique::RemoveAll => {
                overlay.retain(|key, _| key.0 != *instance);
                if !emptied.contains(instance) {
                    emptied.push(Arc::clone(instance));
                }
            }
            Unique::Remove { constraint, value } => {
                overlay.insert((Arc::clone(instance), constraint.clone(), value.clone()), false);
            }
            Unique::Add { constraint, value, message } => {
                let key = (Arc::clone(instance), constraint.clone(), value.clone());
                let taken = match overlay.get(&key) {
                    Some(taken) => *taken,
                    None => !emptied.contains(instance) && is_taken(conn, &key)?,
                };
                if taken {
                    return Err(PushError::UniqueViolation {
                        instance: instance.to_string(),
                        constraint: constraint.clone(),
                        message: message.clone(),
                    });
                }
                overlay.insert(key, true);
            }
        }
        Ok(())
    }

    pub(super) fn write(self, conn: &mut dyn Conn) -> Result<(), StoreError> {
        let table = conn.dialect().table("unique_constraints");
        for instance in self.emptied {
            conn.execute(&format!("DELETE FROM {table} WHERE instance_id = $1"), &[instance.into()])?;
        }
        let delete = format!("DELETE FROM {table} WHERE instance_id = $1 AND constraint_type = $2 AND value = $3");
        for (instance, constraint, value) in self.removed {
            conn.execute(&delete, &[instance.into(), constraint.into(), value.into()])?;
        }
        if self.added.is_empty() {
            return Ok(());
        }
        // A value may have been given back and taken again by one push; its row is there still.
        conn.bulk(&Bulk {
            table,
            kind: BulkKind::InsertMissing,
            keys: vec![("instance_id", T::Text), ("constraint_type", T::Text), ("value", T::Text)],
            columns: Vec::new(),
            how: Vec::new(),
            rows: self.added.into_iter().map(|(i, c, v)| vec![i.into(), c.into(), v.into()]).collect(),
        })
        .map(|_| ())
    }
}

fn is_taken(
    conn: &mut dyn Conn,
    (instance, constraint, value): &(Arc<str>, String, String),
) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT 1 FROM {} WHERE instance_id = $1 AND constraint_type = $2 AND value = $3",
        conn.dialect().table("unique_constraints")
    );
    Ok(!conn.query(&sql, &[Arc::clone(instance).into(), constraint.into(), value.into()])?.is_empty())
}
