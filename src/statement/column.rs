//! What a statement does to a column, and which rows it selects.

use std::borrow::Cow;

use serde::Serialize;

use crate::error::StatementError;
use crate::value::Value;

/// The name of a column. Most names are literals of the program, which allocate nothing in a statement.
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

/// Selects the rows of a statement. Several conditions are joined by AND.
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
    /// At least one of them holds. An empty list never holds.
    Any(Vec<Test>),
    /// Each of them holds.
    All(Vec<Test>),
    Broken(Name, String),
    /// Boxed, to keep the size of a condition small.
    Refused(Box<StatementError>),
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
    /// If the row exists already, adds to its value instead of replacing it.
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
/// use readside::prelude::*;
/// let copied = copy(["id"], ["id", "name"], [source_value("u2"), source_column("name")], [eq("id", "u1")])?;
/// # let _ = copied;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn source_column(name: impl Into<String>) -> Source {
    Source { from: Origin::Column(name.into()), added: false }
}

/// A given value.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let copied = copy(["id"], ["id", "name"], [source_value("u2"), source_column("name")], [eq("id", "u1")])?;
/// # let _ = copied;
/// # Ok::<(), readside::error::ReduceError>(())
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

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident $operator:literal),* $(,)?) => {
        $($(#[$doc])*
        pub fn $name(column: impl Into<Name>, value: impl Into<Value>) -> Condition {
            Condition(Test::Compare(column.into(), $operator, value.into()))
        })*
    };
}

comparisons! {
    /// The column equals the value; for NULL, the column is NULL. JSON documents are equal by meaning: spaces, the
    /// order of keys, and the spelling of numbers do not matter.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let rows = delete([eq("id", "u1")])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::error::ReduceError>(())
    /// ```
    eq "=",
    /// The column differs from the value and is not NULL; for NULL, the column is not NULL.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let rows = delete([ne("state", "open")])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::error::ReduceError>(())
    /// ```
    ne "<>",
    /// The column is less than the value.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let rows = delete([lt("stock", 1)])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::error::ReduceError>(())
    /// ```
    lt "<",
    /// The column is at most the value.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let rows = delete([le("stock", 0)])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::error::ReduceError>(())
    /// ```
    le "<=",
    /// The column is greater than the value.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let rows = delete([gt("age", 120)])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::error::ReduceError>(())
    /// ```
    gt ">",
    /// The column is at least the value.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let rows = delete([ge("age", 121)])?;
    /// # let _ = rows;
    /// # Ok::<(), readside::error::ReduceError>(())
    /// ```
    ge ">=",
}

/// The column is NULL.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let nameless = delete([is_null("name")])?;
/// # let _ = nameless;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn is_null(column: impl Into<Name>) -> Condition {
    Condition(Test::IsNull(column.into()))
}

/// The column is one of the values. An empty list never holds.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let closed = delete([is_in("state", ["closed", "cancelled"])])?;
/// # let _ = closed;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn is_in<V: Into<Value>>(column: impl Into<Name>, values: impl IntoIterator<Item = V>) -> Condition {
    Condition(Test::IsIn(column.into(), values.into_iter().map(Into::into).collect()))
}

/// The array holds the item: a text, an integer or a UUID.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let tagged = delete([contains("tags", "test")])?;
/// # let _ = tagged;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn contains(column: impl Into<Name>, item: impl Into<Value>) -> Condition {
    Condition(Test::Contains(column.into(), item.into()))
}

/// The JSON document contains this one, in the sense of PostgreSQL's `@>`.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let there = delete([json_contains("address", &serde_json::json!({"city": "London"}))])?;
/// # let _ = there;
/// # Ok::<(), readside::error::ReduceError>(())
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
/// use readside::prelude::*;
/// let others = delete([not(eq("state", "open"))])?;
/// # let _ = others;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
#[must_use]
pub fn not(condition: Condition) -> Condition {
    Condition(Test::Not(Box::new(condition.0)))
}

/// At least one of the conditions holds. An empty list never holds.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let over = delete([eq("kind", "draft"), any_of([is_null("owner"), lt("year", 2020)])])?;
/// # let _ = over;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn any_of(conditions: impl IntoIterator<Item = Condition>) -> Condition {
    Condition(Test::Any(conditions.into_iter().map(|condition| condition.0).collect()))
}

/// Each of the conditions holds, as in a list of conditions. Use it inside of [`any_of`] and [`not`]. An empty list
/// would mean every row, and is refused.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let gone = delete([any_of([eq("state", "closed"), all_of([eq("state", "open"), gt("age", 90)])])])?;
/// assert!(delete([all_of([])]).is_err());
/// # let _ = gone;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn all_of(conditions: impl IntoIterator<Item = Condition>) -> Condition {
    let tests: Vec<Test> = conditions.into_iter().map(|condition| condition.0).collect();
    if tests.is_empty() {
        return Condition(Test::Refused(Box::new(StatementError::NoCondition { statement: "all_of" })));
    }
    Condition(Test::All(tests))
}

/// The columns equal one of these lists of values, column by column as with [`eq`]. Without a list it never holds.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let left = delete([are_in(["group", "user"], [["g1", "u1"], ["g2", "u2"]])])?;
/// assert!(delete([are_in(["group", "user"], [["g1"]])]).is_err(), "a value is missing");
/// # let _ = left;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn are_in<C, R, V>(columns: impl IntoIterator<Item = C>, rows: impl IntoIterator<Item = R>) -> Condition
where
    C: Into<Name>,
    R: IntoIterator<Item = V>,
    V: Into<Value>,
{
    let columns: Vec<Name> = columns.into_iter().map(Into::into).collect();
    let row = |row: R| {
        let values: Vec<Value> = row.into_iter().map(Into::into).collect();
        if values.len() != columns.len() {
            let error = StatementError::UnequalColumns { to: columns.len(), from: values.len() };
            return Test::Refused(Box::new(error));
        }
        all_of(columns.iter().zip(values).map(|(column, value)| eq(column.clone(), value))).0
    };
    Condition(Test::Any(rows.into_iter().map(row).collect()))
}
