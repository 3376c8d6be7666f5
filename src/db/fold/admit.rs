//! Which statements can be folded, and what they do to their row.

use std::borrow::Cow;

use uuid::Uuid;

use crate::statement::{Assignment, Change, Condition, Name, Statement, Test};
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
    parts: Parts<'s>,
}

/// Most keys are short: those take no memory of their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Parts<'s> {
    One([Part<'s>; 1]),
    Two([Part<'s>; 2]),
    More(Vec<Part<'s>>),
}

impl<'s> Key<'s> {
    pub(super) fn parts(&self) -> &[Part<'s>] {
        match &self.parts {
            Parts::One(parts) => parts,
            Parts::Two(parts) => parts,
            Parts::More(parts) => parts,
        }
    }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    Create,
    Upsert,
    Update,
    #[default]
    Delete,
}

/// What a statement does to its row. One is filled again and again for a whole batch.
#[derive(Debug, Default)]
pub(super) struct Op<'s> {
    pub(super) kind: Kind,
    /// The row that is inserted, by place of the column; the others have their defaults.
    pub(super) new: Vec<(usize, Cow<'s, Value>)>,
    /// What changes in a row that exists, by place of the column, the key apart.
    pub(super) changes: Vec<(usize, Cell<'s>)>,
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

impl<'s> Op<'s> {
    /// Becomes what the statement does, and tells to which row; none when it cannot be folded.
    pub(super) fn admit(&mut self, table: &'s Table, instance: &'s str, statement: &'s Statement) -> Option<Key<'s>> {
        self.new.clear();
        self.changes.clear();
        let parts = match statement {
            Statement::Create { values, .. } => {
                self.kind = Kind::Create;
                self.insert(table, values)?;
                key_of_values(table, values)
            }
            Statement::Upsert { conflict, values, .. } => {
                self.kind = Kind::Upsert;
                if !is_primary_key(table, conflict) {
                    return None;
                }
                self.insert(table, values)?;
                self.change(table, values)?;
                key_of_values(table, values)
            }
            Statement::Update { values, conditions, .. } => {
                self.kind = Kind::Update;
                if values.iter().any(|value| is_key(table, &value.column)) {
                    return None;
                }
                self.change(table, values)?;
                key_of_conditions(table, conditions)
            }
            Statement::Delete { conditions, .. } => {
                self.kind = Kind::Delete;
                key_of_conditions(table, conditions)
            }
            _ => None,
        };
        Some(Key { instance, parts: parts? })
    }

    /// The row that is inserted, when the table would hold it.
    fn insert(&mut self, table: &'s Table, values: &'s [Assignment]) -> Option<()> {
        for value in values {
            let (at, column) = place(table, &value.column)?;
            let new = match &value.change {
                Change::Set(new) | Change::SetOnInsert(new) => held(table, column, new)?,
                Change::Increment(n) if column.kind == ColumnType::Integer => Cow::Owned(Value::Integer(*n)),
                _ => return None,
            };
            self.new.push((at, new));
        }
        let is_complete = |(at, column): (usize, &Column)| {
            column.nullable || column.default.is_some() || self.new.iter().any(|(other, _)| *other == at)
        };
        table.columns.iter().enumerate().all(is_complete).then_some(())
    }

    /// What changes in a row that exists, the key apart.
    fn change(&mut self, table: &'s Table, values: &'s [Assignment]) -> Option<()> {
        for value in values.iter().filter(|value| !is_key(table, &value.column)) {
            let (at, column) = place(table, &value.column)?;
            let change = match &value.change {
                Change::Set(new) => Cell::Set(held(table, column, new)?),
                Change::Increment(n) if column.kind == ColumnType::Integer => Cell::Add(*n),
                Change::SetOnInsert(_) => continue,
                _ => return None,
            };
            self.changes.push((at, change));
        }
        Some(())
    }
}

pub(super) fn is_key(table: &Table, column: &str) -> bool {
    table.primary_key.iter().any(|key| key == column)
}

fn is_primary_key(table: &Table, columns: &[Name]) -> bool {
    columns.len() == table.primary_key.len() && columns.iter().all(|column| is_key(table, column))
}

fn key<'s>(table: &Table, value_of: impl Fn(&str) -> Option<&'s Value>) -> Option<Parts<'s>> {
    let part = |name: &String| Part::of(value_of(name)?, table.find(name)?.kind);
    Some(match table.primary_key.as_slice() {
        [one] => Parts::One([part(one)?]),
        [one, two] => Parts::Two([part(one)?, part(two)?]),
        more => Parts::More(more.iter().map(part).collect::<Option<_>>()?),
    })
}

fn key_of_values<'s>(table: &Table, values: &'s [Assignment]) -> Option<Parts<'s>> {
    key(table, |name| match &values.iter().find(|value| value.column == name)?.change {
        Change::Set(value) => Some(value),
        _ => None,
    })
}

/// The key, when the conditions are that each of its columns equals a value, and nothing else.
fn key_of_conditions<'s>(table: &Table, conditions: &'s [Condition]) -> Option<Parts<'s>> {
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
