//! The net effect of several statements on one row. It is not known yet whether the row exists.

use std::borrow::Cow;

use super::admit::{Cell, Kind, Op};
use crate::table::{Column, Table};
use crate::value::{ColumnType, Value};

/// A new row, by place of the column; `None` if the default holds.
pub(super) type NewRow<'s> = Vec<Option<Cow<'s, Value>>>;

/// Changes of a row, by place of the column, each place once.
pub(super) type Changes<'s> = Vec<(usize, Cell<'s>)>;

/// What has to be done to a row.
#[derive(Debug)]
pub(super) enum Net<'s> {
    /// The row is new. A database that has it already refuses this.
    Insert { new: NewRow<'s> },
    /// The row is changed, or new.
    Upsert { new: NewRow<'s>, changes: Changes<'s> },
    /// The row is changed, if it exists.
    Update { changes: Changes<'s> },
    /// The row does not exist afterwards.
    Delete,
    /// The row was new, and was deleted again. A database that had it before refuses this.
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

    /// Adds the next effect. If the two cannot be combined, it does nothing and returns false.
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
                let can = can_change(table, new, &op.changes) && can_follow(table, before, &op.changes);
                if can {
                    change(table, new, &op.changes);
                    follow(table, before, &mut op.changes);
                }
                can
            }
            Self::Update { changes: before } if changes => {
                let can = can_follow(table, before, &op.changes);
                if can {
                    follow(table, before, &mut op.changes);
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
            // A row that does not exist cannot be changed.
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

/// Whether every column that a new row leaves out can be written like one that it gives. Two kinds cannot: an array
/// cannot be a column of rows, and only the database knows the default of a document.
fn can_replace(table: &Table) -> bool {
    !table.columns.iter().any(|column| column.kind.is_array() || column.kind == ColumnType::Json)
}

/// A row in place of any earlier one: each column is as in a new row.
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

/// What a column holds that a new row leaves out, as a value of its type.
fn default(column: &Column) -> Value {
    column.default.as_ref().map_or(Value::Null, |value| value.held_by(column.kind).into_owned())
}

/// True if there is an addition. It may overflow, which must not be overlooked.
fn adds(changes: &Changes<'_>) -> bool {
    changes.iter().any(|(_, cell)| matches!(cell, Cell::Add(_)))
}

/// The sum, as a column of this type holds it; `None` if it overflows. A sum with NULL is NULL.
fn sum(kind: ColumnType, value: &Value, by: &Value) -> Option<Value> {
    match (value, by, kind) {
        (Value::Integer(n), Value::Integer(by), _) => n.checked_add(*by).map(Value::Integer),
        (Value::Duration(n), Value::Duration(by), _) => n.checked_add(*by).map(Value::Duration),
        (Value::Decimal(n), Value::Decimal(by), ColumnType::Decimal { precision, scale }) => {
            let sum = n.checked_add(*by).filter(|sum| sum.fits(precision, scale))?;
            sum.scaled(scale).map(Value::Decimal)
        }
        _ => Some(Value::Null),
    }
}

fn is_negative(number: &Value) -> bool {
    match number {
        Value::Integer(n) | Value::Duration(n) => *n < 0,
        Value::Decimal(n) => n.units() < 0,
        _ => false,
    }
}

fn kind(table: &Table, at: usize) -> ColumnType {
    table.columns.get(at).map_or(ColumnType::Text, |column| column.kind)
}

/// What a column of a new row holds.
fn held<'r>(table: &'r Table, new: &'r NewRow<'_>, at: usize) -> Cow<'r, Value> {
    match (new.get(at).and_then(Option::as_deref), table.columns.get(at)) {
        (Some(value), _) => Cow::Borrowed(value),
        (None, Some(column)) => Cow::Owned(default(column)),
        (None, None) => Cow::Owned(Value::Null),
    }
}

fn can_change(table: &Table, new: &NewRow<'_>, changes: &Changes<'_>) -> bool {
    changes.iter().all(|(at, cell)| match cell {
        Cell::Set(_) => true,
        Cell::Add(by) => sum(kind(table, *at), &held(table, new, *at), by).is_some(),
    })
}

fn change<'s>(table: &Table, new: &mut NewRow<'s>, changes: &Changes<'s>) {
    for (at, cell) in changes {
        let value = match cell {
            Cell::Set(value) => Some(value.clone()),
            Cell::Add(by) => sum(kind(table, *at), &held(table, new, *at), by).map(Cow::Owned),
        };
        if let Some(cell) = new.get_mut(*at) {
            *cell = value;
        }
    }
}

/// Both changes of a column as one; `None` if that would hide an addition, or the sum may overflow in between.
fn both<'s>(kind: ColumnType, first: &Cell<'s>, next: &Cell<'s>) -> Option<Cell<'s>> {
    match (first, next) {
        (Cell::Set(_), Cell::Set(value)) => Some(Cell::Set(value.clone())),
        (Cell::Set(value), Cell::Add(by)) => sum(kind, value, by).map(|sum| Cell::Set(Cow::Owned(sum))),
        // With different signs, a sum in between may overflow.
        (Cell::Add(a), Cell::Add(b)) if is_negative(a) == is_negative(b) => {
            sum(kind, a, b).map(|sum| Cell::Add(Cow::Owned(sum)))
        }
        (Cell::Add(_), _) => None,
    }
}

fn at<'c, 's>(changes: &'c Changes<'s>, place: usize) -> Option<&'c Cell<'s>> {
    changes.iter().find(|(at, _)| *at == place).map(|(_, cell)| cell)
}

fn can_follow(table: &Table, first: &Changes<'_>, next: &Changes<'_>) -> bool {
    let can = |place: usize, before, cell| both(kind(table, place), before, cell).is_some();
    next.iter().all(|(place, cell)| at(first, *place).is_none_or(|before| can(*place, before, cell)))
}

fn follow<'s>(table: &Table, first: &mut Changes<'s>, next: &mut Changes<'s>) {
    for (place, cell) in next.drain(..) {
        match first.iter_mut().find(|(at, _)| *at == place) {
            Some((_, before)) => *before = both(kind(table, place), before, &cell).unwrap_or(cell),
            None => first.push((place, cell)),
        }
    }
}
