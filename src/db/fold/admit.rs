//! Which statements can be folded, and what they do to their row.

use std::borrow::Cow;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use crate::db::takes;
use crate::statement::{Assignment, Change, Condition, Statement, Test};
use crate::table::{Column, Table};
use crate::value::{ColumnType, Value};
use foldhash::quality::RandomState;

/// An index may refuse more bytes. So longer values are tried one by one.
const MOST_INDEXED: usize = 2000;

/// Longer texts are tried one by one, even if an index has no other column.
const LONGEST_INDEXED: usize = 1000;

/// An instance with a longer name leaves less of an index row to the other columns.
const LONGEST_INSTANCE: usize = 500;

/// Longer JSON may hold numbers that a database refuses.
const LONGEST_JSON: usize = 100_000;

/// An instance and its number in the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct NumberedInstance<'s> {
    pub(super) number: usize,
    pub(super) name: &'s Value,
}

impl<'s> NumberedInstance<'s> {
    pub(super) fn text(self) -> &'s str {
        match self.name {
            Value::Text(name) => name,
            _ => "",
        }
    }
}

/// A row: instance and primary key, in the order of the table's key. It contains its hash.
#[derive(Debug, Clone)]
pub(super) struct RowKey<'s> {
    hash: u64,
    instance: NumberedInstance<'s>,
    parts: KeyParts<'s>,
}

/// Most keys are short, and need no allocation.
#[derive(Debug, Clone, PartialEq, Hash)]
enum KeyParts<'s> {
    One([KeyPart<'s>; 1]),
    Two([KeyPart<'s>; 2]),
    More(Vec<KeyPart<'s>>),
}

impl<'s> RowKey<'s> {
    /// Instance and key, in the order in which they are written.
    pub(super) fn values(&self) -> impl Iterator<Item = &'s Value> {
        let parts: &[KeyPart<'s>] = match &self.parts {
            KeyParts::One(parts) => parts,
            KeyParts::Two(parts) => parts,
            KeyParts::More(parts) => parts,
        };
        std::iter::once(self.instance.name).chain(parts.iter().map(|part| part.0))
    }
}

impl PartialEq for RowKey<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.instance.number == other.instance.number && self.parts == other.parts
    }
}

impl Eq for RowKey<'_> {}

impl Hash for RowKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Takes a key's hash as it is.
#[derive(Default)]
pub(super) struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// How maps by key compute the place of a key.
pub(super) type ByHash = BuildHasherDefault<Ready>;

/// A value whose equality is the same here and in both databases.
#[derive(Debug, Clone, Copy, PartialEq)]
struct KeyPart<'s>(&'s Value);

impl<'s> KeyPart<'s> {
    fn of(value: &'s Value, kind: ColumnType, longest: usize) -> Option<Self> {
        let is_plain = match (value, kind) {
            (Value::Text(text), ColumnType::Text) => text.len() <= longest,
            (Value::Integer(_), ColumnType::Integer)
            | (Value::Boolean(_), ColumnType::Boolean)
            | (Value::Uuid(_), ColumnType::Uuid)
            | (Value::Date(_), ColumnType::Date)
            | (Value::Time(_), ColumnType::Time)
            | (Value::Duration(_), ColumnType::Duration) => true,
            _ => false,
        };
        is_plain.then_some(Self(value))
    }
}

impl Hash for KeyPart<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            Value::Text(text) => text.hash(state),
            Value::Integer(n) | Value::Duration(n) => n.hash(state),
            Value::Uuid(uuid) => uuid.hash(state),
            Value::Date(day) => day.hash(state),
            Value::Time(time) => time.hash(state),
            other => (*other == Value::Boolean(true)).hash(state),
        }
    }
}

/// What happens to a column of a row that exists.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'s> {
    Set(Cow<'s, Value>),
    /// A number of the column's type.
    Add(Cow<'s, Value>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    Create,
    Upsert,
    Update,
    #[default]
    Delete,
}

/// A table, and the facts about it that each statement needs.
#[derive(Debug)]
pub(super) struct Facts<'t> {
    pub(super) table: &'t Table,
    /// Effects on different rows of the table never affect each other, nor other tables.
    pub(super) is_foldable: bool,
    /// Only the database can tell whether rows affect each other, after it has computed something.
    pub(super) is_opaque: bool,
    /// By place of the column: whether it belongs to the key.
    is_key: Vec<bool>,
    is_indexed: Vec<bool>,
    /// How many bytes a text or a byte string in an index may have.
    longest: usize,
    /// How many columns a statement has to give for a new row.
    required: usize,
    /// Places and types of the primary key, in its order.
    key: Vec<(usize, ColumnType)>,
}

impl<'t> Facts<'t> {
    pub(super) fn new(table: &'t Table, all: &[Table]) -> Self {
        let key = table.primary_key.iter().filter_map(|name| {
            let at = table.columns.iter().position(|column| column.name == *name)?;
            Some((at, table.columns.get(at)?.kind))
        });
        let indexes: Vec<Vec<String>> = table.indexed_columns().collect();
        let is_indexed = |column: &Column| indexes.iter().any(|index| index.contains(&column.name));
        let widths = indexes.iter().chain([&table.primary_key]).map(Vec::len);
        Self {
            table,
            longest: (MOST_INDEXED / widths.max().unwrap_or(1).max(1)).min(LONGEST_INDEXED),
            is_foldable: is_foldable(table, all),
            is_opaque: table.has_generated_unique(),
            is_key: table.columns.iter().map(|column| table.primary_key.contains(&column.name)).collect(),
            is_indexed: table.columns.iter().map(is_indexed).collect(),
            required: table.columns.iter().filter(|column| is_required(column)).count(),
            key: key.collect(),
        }
    }

    pub(super) fn is_key(&self, at: usize) -> bool {
        self.is_key.get(at).copied().unwrap_or(false)
    }

    /// The place of a column. Most often it is the one after the previous column.
    fn place(&self, name: &str, before: Option<usize>) -> Option<(usize, &'t Column)> {
        let columns = &self.table.columns;
        let is = |at: &usize| columns.get(*at).is_some_and(|column| column.name == name);
        let next = before.map_or(0, |before| before + 1);
        let at = Some(next).filter(is).or_else(|| (0..columns.len()).find(is))?;
        columns.get(at).map(|column| (at, column))
    }

    fn parts<'s>(&self, value_of: impl Fn(usize) -> Option<&'s Value>) -> Option<KeyParts<'s>> {
        let part = |(at, kind): &(usize, ColumnType)| KeyPart::of(value_of(*at)?, *kind, self.longest);
        Some(match self.key.as_slice() {
            [one] => KeyParts::One([part(one)?]),
            [one, two] => KeyParts::Two([part(one)?, part(two)?]),
            more => KeyParts::More(more.iter().map(part).collect::<Option<_>>()?),
        })
    }

    /// The key, if the conditions say that each of its columns equals a value, and nothing else.
    fn parts_of_conditions<'s>(&self, conditions: &'s [Condition]) -> Option<KeyParts<'s>> {
        if conditions.len() != self.table.primary_key.len() {
            return None;
        }
        self.parts(|at| {
            let name = &self.table.columns.get(at)?.name;
            conditions.iter().find_map(|condition| match &condition.0 {
                Test::Compare(column, "=", value) if column == name => Some(value),
                _ => None,
            })
        })
    }
}

fn is_foldable(table: &Table, all: &[Table]) -> bool {
    let is_first = all.first().is_some_and(|first| std::ptr::eq(first, table));
    let refers = |other: &Table| {
        let mut keys = other.foreign_keys.iter();
        keys.any(|key| key.table.as_ref().map_or(is_first, |name| *name == table.name))
    };
    // A computation may fail for a row that exists only in between.
    !table.computes() && table.uniques.is_empty() && table.foreign_keys.is_empty() && !all.iter().any(refers)
}

fn is_required(column: &Column) -> bool {
    !column.nullable && column.default.is_none() && column.generated.is_none()
}

/// What a statement does to its row. One value of this type is filled again for each statement of a batch.
#[derive(Debug, Default)]
pub(super) struct Op<'s> {
    pub(super) kind: Kind,
    /// The row that is inserted, by place of the column; the others have their defaults.
    pub(super) new: Vec<(usize, Cow<'s, Value>)>,
    /// What changes in a row that exists, by place of the column, without the key.
    pub(super) changes: Vec<(usize, Cell<'s>)>,
    hasher: RandomState,
}

impl<'s> Op<'s> {
    /// Takes over what the statement does, and returns the key of its row; `None` if it cannot be folded.
    pub(super) fn admit(
        &mut self,
        facts: &Facts<'_>,
        instance: NumberedInstance<'s>,
        statement: &'s Statement,
    ) -> Option<RowKey<'s>> {
        self.new.clear();
        self.changes.clear();
        if instance.text().len() > LONGEST_INSTANCE {
            return None;
        }
        let parts = match statement {
            Statement::Create { values, .. } => {
                self.kind = Kind::Create;
                self.insert(facts, values)?;
                self.parts_of_new(facts)
            }
            Statement::Upsert { conflict, values, .. } => {
                self.kind = Kind::Upsert;
                let of_key = |name| facts.table.primary_key.iter().any(|key| key == name);
                if conflict.len() != facts.table.primary_key.len() || !conflict.iter().all(of_key) {
                    return None;
                }
                self.insert(facts, values)?;
                self.parts_of_new(facts)
            }
            Statement::Update { values, conditions, .. } => {
                self.kind = Kind::Update;
                self.change(facts, values)?;
                facts.parts_of_conditions(conditions)
            }
            Statement::Delete { conditions, .. } => {
                self.kind = Kind::Delete;
                facts.parts_of_conditions(conditions)
            }
            _ => None,
        }?;
        Some(RowKey { hash: self.hasher.hash_one((instance.number, &parts)), instance, parts })
    }

    /// The key of the row that is inserted.
    fn parts_of_new(&self, facts: &Facts<'_>) -> Option<KeyParts<'s>> {
        facts.parts(|at| match self.new.iter().find(|(place, _)| *place == at) {
            Some((_, Cow::Borrowed(value))) => Some(*value),
            _ => None,
        })
    }

    /// The row that is inserted, if the table would accept it; for an upsert also what changes in a row that exists.
    fn insert(&mut self, facts: &Facts<'_>, values: &'s [Assignment]) -> Option<()> {
        let (mut before, mut required) = (None, 0);
        for value in values {
            let (at, column) = facts.place(&value.column, before)?;
            let changes = self.kind == Kind::Upsert && !facts.is_key(at);
            let new = match &value.change {
                Change::Set(new) => {
                    let new = facts.held(at, column, new)?;
                    if changes {
                        self.changes.push((at, Cell::Set(new.clone())));
                    }
                    new
                }
                Change::SetOnInsert(new) => facts.held(at, column, new)?,
                Change::Increment(by) => {
                    let by = facts.added(at, column, by)?;
                    if changes {
                        self.changes.push((at, Cell::Add(by.clone())));
                    }
                    by
                }
                _ => return None,
            };
            self.new.push((at, new));
            required += usize::from(is_required(column));
            before = Some(at);
        }
        (required == facts.required).then_some(())
    }

    /// What changes in a row that exists; its key does not.
    fn change(&mut self, facts: &Facts<'_>, values: &'s [Assignment]) -> Option<()> {
        let mut before = None;
        for value in values {
            let (at, column) = facts.place(&value.column, before).filter(|(at, _)| !facts.is_key(*at))?;
            let change = match &value.change {
                Change::Set(new) => Cell::Set(facts.held(at, column, new)?),
                Change::Increment(by) => Cell::Add(facts.added(at, column, by)?),
                _ => return None,
            };
            self.changes.push((at, change));
            before = Some(at);
        }
        Some(())
    }
}

impl Facts<'_> {
    /// What is added to a column of numbers, as the column has it. `None` if the order of additions matters, or if a
    /// database might refuse it.
    fn added<'s>(&self, at: usize, column: &Column, by: &'s Value) -> Option<Cow<'s, Value>> {
        let is_exact = matches!(column.kind, ColumnType::Integer | ColumnType::Decimal { .. } | ColumnType::Duration);
        if is_exact && !by.is_null() { self.held(at, column, by) } else { None }
    }

    /// The value as the column holds it; `None` when a database might refuse it.
    fn held<'s>(&self, at: usize, column: &Column, value: &'s Value) -> Option<Cow<'s, Value>> {
        if !value.fits(column.kind) {
            return None;
        }
        let is_indexed = self.is_indexed.get(at).copied().unwrap_or(true);
        let held = match value {
            Value::Null => column.nullable.then_some(Cow::Borrowed(value)),
            Value::Text(text) if !column.values.as_ref().is_none_or(|values| values.contains(text)) => None,
            Value::Text(text) if text.len() > self.longest => (!is_indexed).then_some(Cow::Borrowed(value)),
            Value::Bytes(bytes) if bytes.len() > self.longest => (!is_indexed).then_some(Cow::Borrowed(value)),
            Value::Json(text) => (is_plain(text) && !is_indexed).then_some(Cow::Borrowed(value)),
            Value::TextArray(_) | Value::IntegerArray(_) | Value::UuidArray(_) => {
                (!is_indexed).then_some(Cow::Borrowed(value))
            }
            _ => Some(value.held_by(column.kind)),
        };
        held.filter(|value| takes(column.kind, value))
    }
}

/// True if no number in the JSON has an exponent, which might be out of range.
fn is_plain(json: &str) -> bool {
    let exponent = |pair: &[u8]| matches!(pair, [digit, b'e' | b'E'] if digit.is_ascii_digit());
    json.len() <= LONGEST_JSON && !json.as_bytes().windows(2).any(exponent)
}
