//! The net effect of several statements on one row, of which nobody knows yet whether it exists.

use std::borrow::Cow;

use super::admit::{Cell, Changes, NewRow, Op};
use crate::table::Table;
use crate::value::Value;

/// What is to be done to a row.
#[derive(Debug)]
pub(super) enum Net<'s> {
    /// It is new; a database that has it refuses.
    Insert { table: &'s Table, new: NewRow<'s> },
    /// It is changed, or new.
    Upsert { table: &'s Table, new: NewRow<'s>, changes: Changes<'s> },
    /// It is changed, if it is there.
    Update { changes: Changes<'s> },
    /// It is not there afterwards.
    Delete,
}

impl<'s> Net<'s> {
    pub(super) fn new(op: Op<'s>) -> Self {
        match op {
            Op::Create { table, new } => Self::Insert { table, new },
            Op::Upsert { table, new, changes } => Self::Upsert { table, new, changes },
            Op::Update { changes } => Self::Update { changes },
            Op::Delete => Self::Delete,
        }
    }

    /// Adds what happens next; gives it back when it cannot be told what both are together.
    pub(super) fn merge(&mut self, op: Op<'s>) -> Option<Op<'s>> {
        let merged = match (&mut *self, &op) {
            (Self::Insert { table, new }, Op::Update { changes } | Op::Upsert { changes, .. }) => {
                changed(table, new, changes).map(|changed| *new = changed)
            }
            (Self::Upsert { table, new, changes }, Op::Update { changes: next } | Op::Upsert { changes: next, .. }) => {
                changed(table, new, next).zip(then(changes, next)).map(|both| (*new, *changes) = both)
            }
            (Self::Update { changes }, Op::Update { changes: next }) => then(changes, next).map(|both| *changes = both),
            (Self::Update { changes }, Op::Upsert { table, new, changes: next }) => match then(changes, next) {
                Some(both) => {
                    *self = Self::Upsert { table, new: new.clone(), changes: both };
                    Some(())
                }
                None => None,
            },
            (Self::Update { changes } | Self::Upsert { changes, .. }, Op::Delete) if !adds(changes) => {
                *self = Self::Delete;
                Some(())
            }
            (Self::Delete, Op::Delete | Op::Update { .. }) => Some(()),
            _ => None,
        };
        match merged {
            Some(()) => None,
            None => Some(op),
        }
    }
}

/// An addition may overflow, which must not be overlooked.
fn adds(changes: &Changes<'_>) -> bool {
    changes.iter().flatten().any(|cell| matches!(cell, Cell::Add(_)))
}

/// A new row after these changes; none when an addition overflows.
fn changed<'s>(table: &'s Table, new: &NewRow<'s>, changes: &Changes<'s>) -> Option<NewRow<'s>> {
    let mut row = new.clone();
    for ((cell, change), column) in row.iter_mut().zip(changes).zip(&table.columns) {
        match change {
            None => {}
            Some(Cell::Set(value)) => *cell = Some(value.clone()),
            Some(Cell::Add(by)) => {
                let value = cell.as_deref().or(column.default.as_ref()).unwrap_or(&Value::Null);
                let sum = match value {
                    Value::Integer(n) => Value::Integer(n.checked_add(*by)?),
                    _ => Value::Null,
                };
                *cell = Some(Cow::Owned(sum));
            }
        }
    }
    Some(row)
}

/// Both changes as one; none when an addition would be overlooked.
fn then<'s>(first: &Changes<'s>, next: &Changes<'s>) -> Option<Changes<'s>> {
    first
        .iter()
        .zip(next)
        .map(|pair| match pair {
            (cell, None) | (None, cell) => Some(cell.clone()),
            (Some(Cell::Set(_)), Some(Cell::Set(value))) => Some(Some(Cell::Set(value.clone()))),
            (Some(Cell::Set(value)), Some(Cell::Add(by))) => Some(Some(Cell::Set(match value.as_ref() {
                Value::Integer(n) => Cow::Owned(Value::Integer(n.checked_add(*by)?)),
                _ => Cow::Owned(Value::Null),
            }))),
            // Of different signs, a sum in between may overflow.
            (Some(Cell::Add(a)), Some(Cell::Add(b))) if (*a >= 0) == (*b >= 0) => {
                Some(Some(Cell::Add(a.checked_add(*b)?)))
            }
            (Some(Cell::Add(_)), Some(_)) => None,
        })
        .collect()
}
