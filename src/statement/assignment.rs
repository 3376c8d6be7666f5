//! What a statement does to a column.

use serde::Serialize;

use super::column::Name;
use super::condition::Condition;
use crate::value::Value;

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
    LookUp(Box<LookUp>),
    /// A value that could not be serialized. The builder returns it as an error.
    Broken(String),
}

/// A value of another row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LookUp {
    /// The table of that row.
    pub(crate) table: Name,
    pub(crate) column: Name,
    /// The conditions name one row by a key of its table.
    pub(crate) conditions: Vec<Condition>,
}

fn assignment(column: impl Into<Name>, change: Change) -> Assignment {
    Assignment { column: column.into(), change }
}

/// Sets a column.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let row = create([set("id", "u1"), set("age", 36), set("email", None::<String>)])?;
/// # let _ = row;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn set(column: impl Into<Name>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::Set(value.into()))
}

/// Sets a column to a JSON document.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let row = create([set("id", "u1"), set_json("address", &serde_json::json!({"city": "London"}))])?;
/// # let _ = row;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn set_json<T: Serialize + ?Sized>(column: impl Into<Name>, value: &T) -> Assignment {
    assignment(column, Value::json(value).map_or_else(|error| Change::Broken(error.to_string()), Change::Set))
}

/// Adds to a column of integers, decimals, floats or durations. In `upsert` a new row gets the number itself. NULL plus
/// a number is NULL. If the column cannot hold the sum, the event fails.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let paid = update([increment("total", 5)], [eq("id", "o1")])?;
/// # let _ = paid;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn increment(column: impl Into<Name>, by: impl Into<Value>) -> Assignment {
    assignment(column, Change::Increment(by.into()))
}

/// Subtracts from a column. The smallest integer, which has no negative, is refused.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let taken = update([decrement("stock", 1)], [eq("id", "tea")])?;
/// # let _ = taken;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn decrement(column: impl Into<Name>, by: impl Into<Value>) -> Assignment {
    let negative = by.into().negative().map(Change::Increment);
    assignment(column, negative.unwrap_or_else(|| Change::Broken("the number has no negative".to_owned())))
}

/// Sets a column to the value if that is greater than the column's value, or if the column is NULL. In `upsert` a new
/// row gets the value.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let best = upsert(["id"], [set("id", "u1"), greatest("best", 40)])?;
/// # let _ = best;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn greatest(column: impl Into<Name>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::Greatest(value.into()))
}

/// Sets a column to the value if that is less than the column's value, or if the column is NULL. In `upsert` a new row
/// gets the value.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let first = upsert(["id"], [set("id", "u1"), least("first_day", Value::date("2026-01-31"))])?;
/// # let _ = first;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn least(column: impl Into<Name>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::Least(value.into()))
}

/// Appends a text, an integer or a UUID to an array of that type. NULL counts as an empty array.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let tagged = update([array_append("tags", "new")], [eq("id", "u1")])?;
/// # let _ = tagged;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn array_append(column: impl Into<Name>, item: impl Into<Value>) -> Assignment {
    assignment(column, Change::ArrayAppend(item.into()))
}

/// Removes every occurrence of an item from an array.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let untagged = update([array_remove("tags", "new")], [eq("id", "u1")])?;
/// # let _ = untagged;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn array_remove(column: impl Into<Name>, item: impl Into<Value>) -> Assignment {
    assignment(column, Change::ArrayRemove(item.into()))
}

/// Keeps only these items in an array, in the array's order.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let kept = update([array_intersect("roles", ["admin", "member"])], [eq("id", "u1")])?;
/// # let _ = kept;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn array_intersect<T: Into<Value>>(column: impl Into<Name>, items: impl IntoIterator<Item = T>) -> Assignment {
    assignment(column, Change::ArrayIntersect(items.into_iter().map(Into::into).collect()))
}

/// Sets a column to the value of another column.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let moved = update([copy_column("former_name", "name"), set("name", "Lady Ada")], [eq("id", "u1")])?;
/// # let _ = moved;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn copy_column(column: impl Into<Name>, from: impl Into<String>) -> Assignment {
    assignment(column, Change::CopyColumn(from.into()))
}

/// Sets a column only if the row is new.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let seen = upsert(["id"], [set("id", "u1"), set("page", "home"), set_on_insert("first_page", "home")])?;
/// # let _ = seen;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn set_on_insert(column: impl Into<Name>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::SetOnInsert(value.into()))
}

/// Sets a column if the row is new or meets the condition.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// // The best score: a new row takes it, one that is there only if it is better.
/// let best = upsert(["id"], [set("id", "u1"), set_if("best", 40, lt("best", 40))])?;
/// # let _ = best;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn set_if(column: impl Into<Name>, value: impl Into<Value>, condition: Condition) -> Assignment {
    assignment(column, Change::SetIf(value.into(), Box::new(condition)))
}

/// Sets a column to a column's value in another row, as of this statement, or to NULL if there is no such row. The
/// conditions name that row by a key of its table: each column of the key equals a value.
///
/// The table is one of the projection's tables, by its name or its suffix. The events of a tenant are applied in order,
/// so the row is as the earlier events left it. If the column may not be NULL, an event without that row fails.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// // An order keeps the name that its customer had when it was opened.
/// let opened = create([set("id", "o1"), look_up("customer", "customers", "name", [eq("id", "c1")])])?;
/// # let _ = opened;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn look_up(
    column: impl Into<Name>,
    table: impl Into<Name>,
    from: impl Into<Name>,
    conditions: impl IntoIterator<Item = Condition>,
) -> Assignment {
    let (table, from, conditions) = (table.into(), from.into(), conditions.into_iter().collect());
    assignment(column, Change::LookUp(Box::new(LookUp { table, column: from, conditions })))
}
