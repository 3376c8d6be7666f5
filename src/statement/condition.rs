//! Which rows a statement selects.

use serde::Serialize;

use super::column::Name;
use crate::error::StatementError;
use crate::value::Value;

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
