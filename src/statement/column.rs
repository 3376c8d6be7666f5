//! What a statement does to a column, and which rows it means.

use std::borrow::Cow;

use serde::Serialize;

use crate::value::Value;

/// The name of a column. Most are written in the program; those take no memory of their own in a statement.
pub type Name = Cow<'static, str>;

/// A change to one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    pub(crate) column: Name,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Set(Value),
    Increment(i64),
    ArrayAppend(String),
    ArrayRemove(String),
    ArrayIntersect(Vec<String>),
    CopyColumn(String),
    SetOnInsert(Value),
    SetIf(Value, Box<Condition>),
    /// A value that could not be serialized; surfaces from the builder.
    Broken(String),
}

/// Which rows a statement means; several are joined by AND.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(pub(crate) Test);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Compare(Name, &'static str, Value),
    IsNull(Name),
    IsIn(Name, Vec<Value>),
    Contains(Name, String),
    JsonContains(Name, Value),
    Not(Box<Test>),
    Broken(Name, String),
}

/// What `copy` writes into a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub(crate) from: Origin,
    pub(crate) added: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    Column(String),
    Value(Value),
}

impl Source {
    /// Where the row is there already, adds to what it holds instead of replacing it.
    #[must_use]
    pub fn added(mut self) -> Self {
        self.added = true;
        self
    }
}

/// The value of a column of the copied row.
pub fn source_column(name: impl Into<String>) -> Source {
    Source { from: Origin::Column(name.into()), added: false }
}

/// A value of its own.
pub fn source_value(value: impl Into<Value>) -> Source {
    Source { from: Origin::Value(value.into()), added: false }
}

fn assignment(column: impl Into<Name>, change: Change) -> Assignment {
    Assignment { column: column.into(), change }
}

/// Sets a column.
pub fn set(column: impl Into<Name>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::Set(value.into()))
}

/// Sets a column to a JSON document.
pub fn set_json<T: Serialize + ?Sized>(column: impl Into<Name>, value: &T) -> Assignment {
    assignment(column, Value::json(value).map_or_else(|error| Change::Broken(error.to_string()), Change::Set))
}

/// Adds to a column; in `upsert` a new row gets the number itself.
pub fn increment(column: impl Into<Name>, by: i64) -> Assignment {
    assignment(column, Change::Increment(by))
}

/// Subtracts from a column; the one number that has no negative is refused.
pub fn decrement(column: impl Into<Name>, by: i64) -> Assignment {
    let negative = by.checked_neg().map(Change::Increment);
    assignment(column, negative.unwrap_or_else(|| Change::Broken(format!("{by} has no negative"))))
}

/// Appends to an array; NULL counts as empty.
pub fn array_append(column: impl Into<Name>, text: impl Into<String>) -> Assignment {
    assignment(column, Change::ArrayAppend(text.into()))
}

/// Removes every occurrence of a text from an array.
pub fn array_remove(column: impl Into<Name>, text: impl Into<String>) -> Assignment {
    assignment(column, Change::ArrayRemove(text.into()))
}

/// Keeps only these texts in an array, in its order.
pub fn array_intersect<T: Into<String>>(column: impl Into<Name>, texts: impl IntoIterator<Item = T>) -> Assignment {
    assignment(column, Change::ArrayIntersect(texts.into_iter().map(Into::into).collect()))
}

/// Sets a column to what another column holds.
pub fn copy_column(column: impl Into<Name>, from: impl Into<String>) -> Assignment {
    assignment(column, Change::CopyColumn(from.into()))
}

/// Sets a column of a new row only.
pub fn set_on_insert(column: impl Into<Name>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::SetOnInsert(value.into()))
}

/// Sets a column of a new row, or of a row that meets the condition.
pub fn set_if(column: impl Into<Name>, value: impl Into<Value>, condition: Condition) -> Assignment {
    assignment(column, Change::SetIf(value.into(), Box::new(condition)))
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident $operator:literal),* $(,)?) => {
        $($(#[$doc])*
        pub fn $name(column: impl Into<Name>, value: impl Into<Value>) -> Condition {
            Condition(Test::Compare(column.into(), $operator, value.into()))
        })*
    };
}

comparisons! {
    /// The column equals the value; NULL means 'is NULL'.
    /// JSON documents are equal by meaning: neither spaces, nor the order of keys, nor how a number is written count.
    eq "=",
    /// The column differs from the value and is not NULL; NULL means 'is not NULL'.
    ne "<>",
    /// The column is less than the value.
    lt "<",
    /// The column is at most the value.
    le "<=",
    /// The column is greater than the value.
    gt ">",
    /// The column is at least the value.
    ge ">=",
}

/// The column is NULL.
pub fn is_null(column: impl Into<Name>) -> Condition {
    Condition(Test::IsNull(column.into()))
}

/// The column is one of the values; of none, never.
pub fn is_in<V: Into<Value>>(column: impl Into<Name>, values: impl IntoIterator<Item = V>) -> Condition {
    Condition(Test::IsIn(column.into(), values.into_iter().map(Into::into).collect()))
}

/// The array holds the text.
pub fn contains(column: impl Into<Name>, text: impl Into<String>) -> Condition {
    Condition(Test::Contains(column.into(), text.into()))
}

/// The JSON document contains this one, as PostgreSQL's `@>` means it.
pub fn json_contains<T: Serialize + ?Sized>(column: impl Into<Name>, value: &T) -> Condition {
    let column = column.into();
    Condition(match Value::json(value) {
        Ok(json) => Test::JsonContains(column, json),
        Err(error) => Test::Broken(column, error.to_string()),
    })
}

/// The condition does not hold.
#[must_use]
pub fn not(condition: Condition) -> Condition {
    Condition(Test::Not(Box::new(condition.0)))
}
