//! The net effect of several statements on one row, of which nobody knows yet whether it exists.

use std::borrow::Cow;

use super::admit::{Cell, Kind, Op};
use crate::table::{Column, Table};
use crate::value::{ColumnType, Value};

/// A new row, by place of the column; none where the default holds.
pub(super) type NewRow<'s> = Vec<Option<Cow<'s, Value>>>;

/// Changes of a row, by place of the column, each place once.
pub(super) type Changes<'s> = Vec<(usize, Cell<'s>)>;

/// What is to be done to a row.
#[derive(Debug)]
pub(super) enum Net<'s> {
    /// It is new; a database that has it refuses.
    Insert { new: NewRow<'s> },
    /// It is changed, or new.
    Upsert { new: NewRow<'s>, changes: Changes<'s> },
    /// It is changed, if it is there.
    Update { changes: Changes<'s> },
    /// It is not there afterwards.
    Delete,
    /// It was new, and is gone again: a database that has it refuses.
    Absent,
}

impl<'s> Net<'s> {
    pub(super) fn new(table: &Table, op: &mut Op<'s>) -> Self {
        match op.kind {
            Kind::Create => Self::Insert { new: row(table, op) },
            Kind::Upsert => Self::Upsert { new: row(table, op), changes: std::mem::take(&mut op.changes) },
            Kind::Update => Self::Update { changes: std::mem::take(&mut op.changes) },
            Kind::Delete => Self::Delete,
        }
    }

    /// Adds what happens next; false, and nothing done, when it cannot be told what both are together.
    pub(super) fn merge(&mut self, table: &Table, op: &mut Op<'s>) -> bool {
        let changes = matches!(op.kind, Kind::Update | Kind::Upsert);
        match self {
            Self::Insert { new } if changes => {
                let can = can_change(table, new, &op.changes);
                if can {
                    change(table, new, &op.changes);
                }
                can
            }
            Self::Upsert { new, changes: before } if changes => {
                let can = can_change(table, new, &op.changes) && can_follow(before, &op.changes);
                if can {
                    change(table, new, &op.changes);
                    follow(before, &mut op.changes);
                }
                can
            }
            Self::Update { changes: before } if changes => {
                let can = can_follow(before, &op.changes);
                if can {
                    follow(before, &mut op.changes);
                }
                if can && op.kind == Kind::Upsert {
                    *self = Self::Upsert { new: row(table, op), changes: std::mem::take(before) };
                }
                can
            }
            Self::Update { changes } | Self::Upsert { changes, .. } if op.kind == Kind::Delete && !adds(changes) => {
                *self = Self::Delete;
                true
            }
            Self::Insert { .. } if op.kind == Kind::Delete => {
                *self = Self::Absent;
                true
            }
            // What is not there is not changed.
            Self::Delete | Self::Absent if matches!(op.kind, Kind::Delete | Kind::Update) => true,
            Self::Absent => {
                *self = Self::Insert { new: row(table, op) };
                true
            }
            Self::Delete if can_replace(table) => {
                *self = replacement(table, row(table, op));
                true
            }
            _ => false,
        }
    }
}

fn row<'s>(table: &Table, op: &mut Op<'s>) -> NewRow<'s> {
    let mut row: NewRow<'s> = vec![None; table.columns.len()];
    for (at, value) in op.new.drain(..) {
        if let Some(cell) = row.get_mut(at) {
            *cell = Some(value);
        }
    }
    row
}

/// Whether every column that a new row is not given can be written like one that it is: an array cannot be a column of rows,
/// and the default of a document is as the database has it.
fn can_replace(table: &Table) -> bool {
    !table.columns.iter().any(|column| matches!(column.kind, ColumnType::TextArray | ColumnType::Json))
}

/// A row in place of whatever was there: each column is as in a new one.
fn replacement<'s>(table: &Table, mut new: NewRow<'s>) -> Net<'s> {
    let mut changes = Changes::new();
    for (at, (column, cell)) in table.columns.iter().zip(&mut new).enumerate() {
        let value = cell.get_or_insert_with(|| Cow::Owned(default(column)));
        if !table.primary_key.contains(&column.name) {
            changes.push((at, Cell::Set(value.clone())));
        }
    }
    Net::Upsert { new, changes }
}

/// What a column holds that is not given, as a value of its type.
fn default(column: &Column) -> Value {
    match (&column.default, column.kind) {
        #[expect(clippy::cast_precision_loss, reason = "the column would hold no other number")]
        (Some(Value::Integer(n)), ColumnType::Float) => Value::Float(*n as f64),
        (Some(value), _) => value.clone(),
        (None, _) => Value::Null,
    }
}

/// An addition may overflow, which must not be overlooked.
fn adds(changes: &Changes<'_>) -> bool {
    changes.iter().any(|(_, cell)| matches!(cell, Cell::Add(_)))
}

/// The sum; none when it overflows. What is added to NULL gives NULL.
fn sum(value: &Value, by: i64) -> Option<Value> {
    match value {
        Value::Integer(n) => n.checked_add(by).map(Value::Integer),
        _ => Some(Value::Null),
    }
}

/// What a column of a new row holds.
fn held<'r>(table: &'r Table, new: &'r NewRow<'_>, at: usize) -> &'r Value {
    let default = || table.columns.get(at).and_then(|column| column.default.as_ref());
    new.get(at).and_then(Option::as_deref).or_else(default).unwrap_or(&Value::Null)
}

fn can_change(table: &Table, new: &NewRow<'_>, changes: &Changes<'_>) -> bool {
    changes.iter().all(|(at, cell)| match cell {
        Cell::Set(_) => true,
        Cell::Add(by) => sum(held(table, new, *at), *by).is_some(),
    })
}

fn change<'s>(table: &Table, new: &mut NewRow<'s>, changes: &Changes<'s>) {
    for (at, cell) in changes {
        let value = match cell {
            Cell::Set(value) => Some(value.clone()),
            Cell::Add(by) => sum(held(table, new, *at), *by).map(Cow::Owned),
        };
        if let Some(cell) = new.get_mut(*at) {
            *cell = value;
        }
    }
}

/// Both changes of a column as one; none when an addition would be overlooked, or may overflow in between.
fn both<'s>(first: &Cell<'s>, next: &Cell<'s>) -> Option<Cell<'s>> {
    match (first, next) {
        (Cell::Set(_), Cell::Set(value)) => Some(Cell::Set(value.clone())),
        (Cell::Set(value), Cell::Add(by)) => sum(value, *by).map(|sum| Cell::Set(Cow::Owned(sum))),
        // Of different signs, a sum in between may overflow.
        (Cell::Add(a), Cell::Add(b)) if (*a >= 0) == (*b >= 0) => a.checked_add(*b).map(Cell::Add),
        (Cell::Add(_), _) => None,
    }
}

fn at<'c, 's>(changes: &'c Changes<'s>, place: usize) -> Option<&'c Cell<'s>> {
    changes.iter().find(|(at, _)| *at == place).map(|(_, cell)| cell)
}

fn can_follow(first: &Changes<'_>, next: &Changes<'_>) -> bool {
    next.iter().all(|(place, cell)| at(first, *place).is_none_or(|before| both(before, cell).is_some()))
}

fn follow<'s>(first: &mut Changes<'s>, next: &mut Changes<'s>) {
    for (place, cell) in next.drain(..) {
        match first.iter_mut().find(|(at, _)| *at == place) {
            Some((_, before)) => *before = both(before, &cell).unwrap_or(cell),
            None => first.push((place, cell)),
        }
    }
}
