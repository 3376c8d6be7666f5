//! Which statements can be folded, and what they do to their row.

use std::borrow::Cow;

use uuid::Uuid;

use crate::statement::{Assignment, Change, Condition, Statement, Test};
use crate::table::{Column, Table};
use crate::value::{ColumnType, Value};

/// Longer texts may be refused by an index, and so have to be tried each by itself.
const LONGEST_INDEXED: usize = 1000;

/// Longer JSON may hold numbers that a database refuses.
const LONGEST_JSON: usize = 100_000;

/// A row: instance and primary key, in the order of the table's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key<'s> {
    pub(super) instance: &'s str,
    pub(super) parts: Vec<Part<'s>>,
}

/// A value of which equality is the same here and in both databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part<'s> {
    Text(&'s str),
    Integer(i64),
    Boolean(bool),
    Uuid(Uuid),
}

impl<'s> Part<'s> {
    fn of(value: &'s Value, kind: ColumnType) -> Option<Self> {
        match (value, kind) {
            (Value::Text(text), ColumnType::Text) if text.len() <= LONGEST_INDEXED => Some(Self::Text(text)),
            (Value::Integer(n), ColumnType::Integer) => Some(Self::Integer(*n)),
            (Value::Boolean(truth), ColumnType::Boolean) => Some(Self::Boolean(*truth)),
            (Value::Uuid(uuid), ColumnType::Uuid) => Some(Self::Uuid(*uuid)),
            _ => None,
        }
    }

    pub(super) fn value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Integer(n) => n.into(),
            Self::Boolean(truth) => truth.into(),
            Self::Uuid(uuid) => uuid.into(),
        }
    }
}

/// What happens to a column of a row that exists.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'s> {
    Set(Cow<'s, Value>),
    Add(i64),
}

/// A new row, by place of the column; none where the default holds.
pub(super) type NewRow<'s> = Vec<Option<Cow<'s, Value>>>;

/// Changes of a row, by place of the column.
pub(super) type Changes<'s> = Vec<Option<Cell<'s>>>;

/// What a statement does to its row.
#[derive(Debug, Clone)]
pub(super) enum Op<'s> {
    Create { table: &'s Table, new: NewRow<'s> },
    Upsert { table: &'s Table, new: NewRow<'s>, changes: Changes<'s> },
    Update { changes: Changes<'s> },
    Delete,
}

/// True when effects on different rows of the table never touch each other, nor other tables.
pub(super) fn is_foldable(table: &Table, all: &[Table]) -> bool {
    let is_first = all.first().is_some_and(|first| std::ptr::eq(first, table));
    let refers = |other: &Table| {
        let mut keys = other.foreign_keys.iter();
        keys.any(|key| key.table.as_ref().map_or(is_first, |name| *name == table.name))
    };
    table.uniques.is_empty() && table.foreign_keys.is_empty() && !all.iter().any(refers)
}

pub(super) fn admit<'s>(table: &'s Table, instance: &'s str, statement: &'s Statement) -> Option<(Key<'s>, Op<'s>)> {
    match statement {
        Statement::Create { values, .. } => {
            let parts = key_of_values(table, values)?;
            Some((Key { instance, parts }, Op::Create { table, new: new_row(table, values)? }))
        }
        Statement::Upsert { conflict, values, .. } => {
            let is_key = conflict.len() == table.primary_key.len()
                && table.primary_key.iter().all(|column| conflict.contains(column));
            let parts = is_key.then(|| key_of_values(table, values)).flatten()?;
            let (new, changes) = (new_row(table, values)?, changes(table, values)?);
            Some((Key { instance, parts }, Op::Upsert { table, new, changes }))
        }
        Statement::Update { values, conditions, .. } => {
            if values.iter().any(|value| table.primary_key.contains(&value.column)) {
                return None;
            }
            let parts = key_of_conditions(table, conditions)?;
            Some((Key { instance, parts }, Op::Update { changes: changes(table, values)? }))
        }
        Statement::Delete { conditions, .. } => {
            Some((Key { instance, parts: key_of_conditions(table, conditions)? }, Op::Delete))
        }
        _ => None,
    }
}

fn key<'s>(table: &Table, value_of: impl Fn(&str) -> Option<&'s Value>) -> Option<Vec<Part<'s>>> {
    let part = |name: &String| Part::of(value_of(name)?, table.find(name)?.kind);
    table.primary_key.iter().map(part).collect()
}

fn key_of_values<'s>(table: &Table, values: &'s [Assignment]) -> Option<Vec<Part<'s>>> {
    key(table, |name| match &values.iter().find(|value| value.column == name)?.change {
        Change::Set(value) => Some(value),
        _ => None,
    })
}

/// The key, when the conditions are that each of its columns equals a value, and nothing else.
fn key_of_conditions<'s>(table: &Table, conditions: &'s [Condition]) -> Option<Vec<Part<'s>>> {
    if conditions.len() != table.primary_key.len() {
        return None;
    }
    key(table, |name| {
        conditions.iter().find_map(|condition| match &condition.0 {
            Test::Compare(column, "=", value) if column == name => Some(value),
            _ => None,
        })
    })
}

fn place<'t>(table: &'t Table, column: &str) -> Option<(usize, &'t Column)> {
    table.columns.iter().enumerate().find(|(_, candidate)| candidate.name == column)
}

/// The row that is inserted, when the table would hold it.
fn new_row<'s>(table: &Table, values: &'s [Assignment]) -> Option<NewRow<'s>> {
    let mut row: NewRow<'s> = vec![None; table.columns.len()];
    for value in values {
        let (at, column) = place(table, &value.column)?;
        let new = match &value.change {
            Change::Set(new) | Change::SetOnInsert(new) => held(table, column, new)?,
            Change::Increment(n) if column.kind == ColumnType::Integer => Cow::Owned(Value::Integer(*n)),
            _ => return None,
        };
        *row.get_mut(at)? = Some(new);
    }
    let is_complete = |(column, value): (&Column, &Option<Cow<'_, Value>>)| {
        value.is_some() || column.nullable || column.default.is_some()
    };
    table.columns.iter().zip(&row).all(is_complete).then_some(row)
}

/// What is changed in a row that exists, the key apart.
fn changes<'s>(table: &Table, values: &'s [Assignment]) -> Option<Changes<'s>> {
    let mut changes: Changes<'s> = vec![None; table.columns.len()];
    for value in values.iter().filter(|value| !table.primary_key.contains(&value.column)) {
        let (at, column) = place(table, &value.column)?;
        let change = match &value.change {
            Change::Set(new) => Cell::Set(held(table, column, new)?),
            Change::Increment(n) if column.kind == ColumnType::Integer => Cell::Add(*n),
            Change::SetOnInsert(_) => continue,
            _ => return None,
        };
        *changes.get_mut(at)? = Some(change);
    }
    Some(changes)
}

/// The value as the column holds it; none when a database might refuse it.
fn held<'s>(table: &Table, column: &Column, value: &'s Value) -> Option<Cow<'s, Value>> {
    if !value.fits(column.kind) {
        return None;
    }
    let is_indexed = || table.indexes.iter().any(|index| index.contains(&column.name));
    match value {
        Value::Null => column.nullable.then_some(Cow::Borrowed(value)),
        #[expect(clippy::cast_precision_loss, reason = "checked to be exact")]
        Value::Integer(n) if column.kind == ColumnType::Float => Some(Cow::Owned(Value::Float(*n as f64))),
        Value::Text(text) if text.len() > LONGEST_INDEXED => (!is_indexed()).then_some(Cow::Borrowed(value)),
        Value::Bytes(bytes) if bytes.len() > LONGEST_INDEXED => (!is_indexed()).then_some(Cow::Borrowed(value)),
        Value::Json(text) => (is_plain(text) && !is_indexed()).then_some(Cow::Borrowed(value)),
        // An array of arrays cannot be a column of rows.
        Value::TextArray(_) => None,
        _ => Some(Cow::Borrowed(value)),
    }
}

/// True when no number of the JSON has an exponent, which might be out of range.
fn is_plain(json: &str) -> bool {
    let exponent = |pair: &[u8]| matches!(pair, [digit, b'e' | b'E'] if digit.is_ascii_digit());
    json.len() <= LONGEST_JSON && !json.as_bytes().windows(2).any(exponent)
}
