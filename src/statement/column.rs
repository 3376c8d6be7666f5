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
    Increment(Value),
    Greatest(Value),
    Least(Value),
    ArrayAppend(Value),
    ArrayRemove(Value),
    ArrayIntersect(Vec<Value>),
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
    Contains(Name, Value),
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
///
/// # Examples
/// ```
/// use readside::{copy, eq, source_column, source_value};
/// let copied = copy(["id"], ["id", "name"], [source_value("u2"), source_column("name")], [eq("id", "u1")])?;
/// # let _ = copied;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn source_column(name: impl Into<String>) -> Source {
    Source { from: Origin::Column(name.into()), added: false }
}

/// A value of its own.
///
/// # Examples
/// ```
/// use readside::{copy, eq, source_column, source_value};
/// let copied = copy(["id"], ["id", "name"], [source_value("u2"), source_column("name")], [eq("id", "u1")])?;
/// # let _ = copied;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn source_value(value: impl Into<Value>) -> Source {
    Source { from: Origin::Value(value.into()), added: false }
}

fn assignment(column: impl Into<Name>, change: Change) -> Assignment {
    Assignment { column: column.into(), change }
}

/// Sets a column.
///
/// # Examples
/// ```
/// use readside::{create, set};
/// let row = create([set("id", "u1"), set("age", 36), set("email", None::<String>)])?;
/// # let _ = row;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn set(column: impl Into<Name>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::Set(value.into()))
}

/// Sets a column to a JSON document.
///
/// # Examples
/// ```
/// use readside::{create, set, set_json};
/// let row = create([set("id", "u1"), set_json("address", &serde_json::json!({"city": "London"}))])?;
/// # let _ = row;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn set_json<T: Serialize + ?Sized>(column: impl Into<Name>, value: &T) -> Assignment {
    assignment(column, Value::json(value).map_or_else(|error| Change::Broken(error.to_string()), Change::Set))
}

/// Adds to a column of integers, decimals, floats or lengths of time; in `upsert` a new row gets the number itself. What is
/// added to NULL gives NULL. A sum that the column cannot hold fails the event.
///
/// # Examples
/// ```
/// use readside::{eq, increment, update};
/// let paid = update([increment("total", 5)], [eq("id", "o1")])?;
/// # let _ = paid;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn increment(column: impl Into<Name>, by: impl Into<Value>) -> Assignment {
    assignment(column, Change::Increment(by.into()))
}

/// Subtracts from a column; the one number that has no negative is refused.
///
/// # Examples
/// ```
/// use readside::{decrement, eq, update};
/// let taken = update([decrement("stock", 1)], [eq("id", "tea")])?;
/// # let _ = taken;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn decrement(column: impl Into<Name>, by: impl Into<Value>) -> Assignment {
    let negative = by.into().negative().map(Change::Increment);
    assignment(column, negative.unwrap_or_else(|| Change::Broken("the number has no negative".to_owned())))
}

/// Sets a column to the value where that is greater than what the column holds, or where it holds NULL; in `upsert` a new row
/// gets the value.
///
/// # Examples
/// ```
/// use readside::{greatest, set, upsert};
/// let best = upsert(["id"], [set("id", "u1"), greatest("best", 40)])?;
/// # let _ = best;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn greatest(column: impl Into<Name>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::Greatest(value.into()))
}

/// Sets a column to the value where that is less than what the column holds, or where it holds NULL; in `upsert` a new row
/// gets the value.
///
/// # Examples
/// ```
/// use readside::{Value, least, set, upsert};
/// let first = upsert(["id"], [set("id", "u1"), least("first_day", Value::date("2026-01-31"))])?;
/// # let _ = first;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn least(column: impl Into<Name>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::Least(value.into()))
}

/// Appends a text, an integer or a UUID to an array of such; NULL counts as empty.
///
/// # Examples
/// ```
/// use readside::{array_append, eq, update};
/// let tagged = update([array_append("tags", "new")], [eq("id", "u1")])?;
/// # let _ = tagged;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn array_append(column: impl Into<Name>, item: impl Into<Value>) -> Assignment {
    assignment(column, Change::ArrayAppend(item.into()))
}

/// Removes every occurrence of an item from an array.
///
/// # Examples
/// ```
/// use readside::{array_remove, eq, update};
/// let untagged = update([array_remove("tags", "new")], [eq("id", "u1")])?;
/// # let _ = untagged;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn array_remove(column: impl Into<Name>, item: impl Into<Value>) -> Assignment {
    assignment(column, Change::ArrayRemove(item.into()))
}

/// Keeps only these items in an array, in its order.
///
/// # Examples
/// ```
/// use readside::{array_intersect, eq, update};
/// let kept = update([array_intersect("roles", ["admin", "member"])], [eq("id", "u1")])?;
/// # let _ = kept;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn array_intersect<T: Into<Value>>(column: impl Into<Name>, items: impl IntoIterator<Item = T>) -> Assignment {
    assignment(column, Change::ArrayIntersect(items.into_iter().map(Into::into).collect()))
}

/// Sets a column to what another column holds.
///
/// # Examples
/// ```
/// use readside::{copy_column, eq, set, update};
/// let moved = update([copy_column("former_name", "name"), set("name", "Lady Ada")], [eq("id", "u1")])?;
/// # let _ = moved;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn copy_column(column: impl Into<Name>, from: impl Into<String>) -> Assignment {
    assignment(column, Change::CopyColumn(from.into()))
}

/// Sets a column of a new row only.
///
/// # Examples
/// ```
/// use readside::{set, set_on_insert, upsert};
/// let seen = upsert(["id"], [set("id", "u1"), set("page", "home"), set_on_insert("first_page", "home")])?;
/// # let _ = seen;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn set_on_insert(column: impl Into<Name>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::SetOnInsert(value.into()))
}

/// Sets a column of a new row, or of a row that meets the condition.
///
/// # Examples
/// ```
/// use readside::{lt, set, set_if, upsert};
/// // The best score: a new row takes it, one that is there only if it is better.
/// let best = upsert(["id"], [set("id", "u1"), set_if("best", 40, lt("best", 40))])?;
/// # let _ = best;
/// # Ok::<(), readside::ReduceError>(())
/// ```
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
    ///
    /// # Examples
    /// ```
    /// use readside::{delete, eq};
    /// let rows = delete([eq("id", "u1")])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::ReduceError>(())
    /// ```
    eq "=",
    /// The column differs from the value and is not NULL; NULL means 'is not NULL'.
    ///
    /// # Examples
    /// ```
    /// use readside::{delete, ne};
    /// let rows = delete([ne("state", "open")])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::ReduceError>(())
    /// ```
    ne "<>",
    /// The column is less than the value.
    ///
    /// # Examples
    /// ```
    /// use readside::{delete, lt};
    /// let rows = delete([lt("stock", 1)])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::ReduceError>(())
    /// ```
    lt "<",
    /// The column is at most the value.
    ///
    /// # Examples
    /// ```
    /// use readside::{delete, le};
    /// let rows = delete([le("stock", 0)])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::ReduceError>(())
    /// ```
    le "<=",
    /// The column is greater than the value.
    ///
    /// # Examples
    /// ```
    /// use readside::{delete, gt};
    /// let rows = delete([gt("age", 120)])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::ReduceError>(())
    /// ```
    gt ">",
    /// The column is at least the value.
    ///
    /// # Examples
    /// ```
    /// use readside::{delete, ge};
    /// let rows = delete([ge("age", 121)])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::ReduceError>(())
    /// ```
    ge ">=",
}

/// The column is NULL.
///
/// # Examples
/// ```
/// use readside::{delete, is_null};
/// let nameless = delete([is_null("name")])?;
/// # let _ = nameless;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn is_null(column: impl Into<Name>) -> Condition {
    Condition(Test::IsNull(column.into()))
}

/// The column is one of the values; of none, never.
///
/// # Examples
/// ```
/// use readside::{delete, is_in};
/// let closed = delete([is_in("state", ["closed", "cancelled"])])?;
/// # let _ = closed;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn is_in<V: Into<Value>>(column: impl Into<Name>, values: impl IntoIterator<Item = V>) -> Condition {
    Condition(Test::IsIn(column.into(), values.into_iter().map(Into::into).collect()))
}

/// The array holds the item: a text, an integer or a UUID.
///
/// # Examples
/// ```
/// use readside::{contains, delete};
/// let tagged = delete([contains("tags", "test")])?;
/// # let _ = tagged;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn contains(column: impl Into<Name>, item: impl Into<Value>) -> Condition {
    Condition(Test::Contains(column.into(), item.into()))
}

/// The JSON document contains this one, as PostgreSQL's `@>` means it.
///
/// # Examples
/// ```
/// use readside::{delete, json_contains};
/// let there = delete([json_contains("address", &serde_json::json!({"city": "London"}))])?;
/// # let _ = there;
/// # Ok::<(), readside::ReduceError>(())
/// ```
pub fn json_contains<T: Serialize + ?Sized>(column: impl Into<Name>, value: &T) -> Condition {
    let column = column.into();
    Condition(match Value::json(value) {
        Ok(json) => Test::JsonContains(column, json),
        Err(error) => Test::Broken(column, error.to_string()),
    })
}

/// The condition does not hold.
///
/// # Examples
/// ```
/// use readside::{delete, eq, not};
/// let others = delete([not(eq("state", "open"))])?;
/// # let _ = others;
/// # Ok::<(), readside::ReduceError>(())
/// ```
#[must_use]
pub fn not(condition: Condition) -> Condition {
    Condition(Test::Not(Box::new(condition.0)))
}
