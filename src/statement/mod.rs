//! What a reducer wants to do to its tables, as data.
//!
//! The builders return [`Reduced`], so that `?` works with them. They refuse what cannot be a statement before any SQL
//! runs. `sql` turns statements into SQL.

mod assignment;
mod check;
mod column;
mod condition;
mod data;
mod expect;
mod find;
mod own;

pub use assignment::{
    Assignment, array_append, array_intersect, array_remove, copy_column, decrement, greatest, increment, least,
    look_up, set, set_if, set_json, set_on_insert,
};
pub(crate) use assignment::{Change, LookUp};
pub(crate) use column::Origin;
pub use column::{Name, Source, source_column, source_value};
pub(crate) use condition::Test;
pub use condition::{
    Condition, all_of, any_of, are_in, contains, eq, ge, gt, is_in, is_null, json_contains, le, lt, ne, not,
};
pub use data::{Reduced, Statement};
pub use expect::ExpectRows;
pub(crate) use find::find_table;
pub use own::Dialects;
pub(crate) use own::{Dialect, OwnSql};

use crate::error::{ReduceError, StatementError};
use crate::value::Value;
use check::{check_assignments, check_column, check_columns, check_conditions, check_conflict, check_value, not_here};

/// Does nothing. A reducer returns it for an event that changes no row.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let silent = Projection::new("silent", 1).on_raw("user", "user.seen", |_| noop());
/// assert_eq!(noop()?, Statement::Noop);
/// # let _ = silent;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
///
/// # Errors
/// Never.
pub fn noop() -> Reduced {
    Ok(Statement::Noop)
}

/// Inserts a row.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let ada = create([set("id", "u1"), set("name", "Ada")])?;
/// assert!(create([]).is_err(), "a row without values");
/// # let _ = ada;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
///
/// # Errors
/// [`StatementError`]: `NoValues`, `DuplicateColumn`, a name or value that cannot be stored, or a change that needs a row.
pub fn create(values: impl IntoIterator<Item = Assignment>) -> Reduced {
    let values: Vec<Assignment> = values.into_iter().collect();
    check_assignments("create", &values)?;
    for value in &values {
        match value.change {
            Change::Set(_) | Change::SetOnInsert(_) | Change::LookUp(_) => {}
            _ => return Err(not_here(value, "create").into()),
        }
    }
    Ok(Statement::Create { table: None, values })
}

/// Inserts a row, or changes the one that has the same conflict columns.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// // Counts visits: the first makes the row, each later one adds to it.
/// let visit = upsert(["id"], [set("id", "u1"), increment("visits", 1), set_on_insert("first", "2026-11-28")])?;
/// # let _ = visit;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
///
/// # Errors
/// [`StatementError`]: `NoConflictColumns`, `ConflictColumnWithoutValue`, `NoValues` when there is nothing to set, and
/// those of [`create`].
pub fn upsert<C: Into<Name>>(
    conflict: impl IntoIterator<Item = C>,
    values: impl IntoIterator<Item = Assignment>,
) -> Reduced {
    let conflict: Vec<Name> = conflict.into_iter().map(Into::into).collect();
    let values: Vec<Assignment> = values.into_iter().collect();
    check_conflict("upsert", &conflict)?;
    check_assignments("upsert", &values)?;
    for column in &conflict {
        let plain = |value: &Assignment| value.column == *column && matches!(value.change, Change::Set(_));
        if !values.iter().any(plain) {
            return Err(StatementError::ConflictColumnWithoutValue { column: column.to_string() }.into());
        }
    }
    if values.iter().all(|value| conflict.contains(&value.column)) {
        return Err(StatementError::NoValues { statement: "upsert" }.into());
    }
    for value in &values {
        if matches!(value.change, Change::ArrayRemove(_) | Change::ArrayIntersect(_) | Change::CopyColumn(_)) {
            return Err(not_here(value, "upsert").into());
        }
    }
    Ok(Statement::Upsert { table: None, conflict, values })
}

/// Changes the rows that meet all conditions.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let renamed = update([set("name", "Lady Ada")], [eq("id", "u1")])?;
/// assert!(update([set("name", "Ada")], []).is_err(), "every row of the tenant is never meant");
/// # let _ = renamed;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
///
/// # Errors
/// [`StatementError`]: `NoCondition`, `NoValues`, and those of [`create`].
pub fn update(
    values: impl IntoIterator<Item = Assignment>,
    conditions: impl IntoIterator<Item = Condition>,
) -> Reduced {
    let values: Vec<Assignment> = values.into_iter().collect();
    let conditions = check_conditions("update", conditions)?;
    check_assignments("update", &values)?;
    if let Some(value) = values.iter().find(|value| matches!(value.change, Change::SetOnInsert(_))) {
        return Err(not_here(value, "update").into());
    }
    Ok(Statement::Update { table: None, values, conditions })
}

/// Deletes the rows that meet all conditions.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let gone = delete([eq("id", "u1")])?;
/// let old = delete([eq("state", "closed"), lt("year", 2020)])?; // both have to hold
/// # let _ = (gone, old);
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
///
/// # Errors
/// [`StatementError`]: `NoCondition`, or a name or value that cannot be used.
pub fn delete(conditions: impl IntoIterator<Item = Condition>) -> Reduced {
    Ok(Statement::Delete { table: None, conditions: check_conditions("delete", conditions)? })
}

/// Copies the rows that meet all conditions. If a row with the same conflict columns exists, it is changed. Copying
/// several rows to one key is refused when the statement runs, because chance would decide which of them stays.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// // The members of one group become members of another one, as guests.
/// let copied = copy(
///     ["group", "user"],
///     ["group", "user", "role"],
///     [source_value("g2"), source_column("user"), source_value("guest")],
///     [eq("group", "g1")],
/// )?;
/// # let _ = copied;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
///
/// # Errors
/// [`StatementError`]: `NoCondition`, `NoValues`, `UnequalColumns`, `NoConflictColumns`, and those of [`create`].
pub fn copy<C: Into<Name>, T: Into<Name>>(
    conflict: impl IntoIterator<Item = C>,
    to: impl IntoIterator<Item = T>,
    from: impl IntoIterator<Item = Source>,
    conditions: impl IntoIterator<Item = Condition>,
) -> Reduced {
    let conflict: Vec<Name> = conflict.into_iter().map(Into::into).collect();
    let to: Vec<Name> = to.into_iter().map(Into::into).collect();
    let from: Vec<Source> = from.into_iter().collect();
    let conditions = check_conditions("copy", conditions)?;
    if to.is_empty() || from.is_empty() {
        return Err(StatementError::NoValues { statement: "copy" }.into());
    }
    if to.len() != from.len() {
        return Err(StatementError::UnequalColumns { to: to.len(), from: from.len() }.into());
    }
    check_conflict("copy", &conflict)?;
    check_columns(&to.iter())?;
    for (column, source) in to.iter().zip(&from) {
        match &source.from {
            Origin::Column(name) => check_column(name)?,
            Origin::Value(value) => check_value(column, value)?,
        }
    }
    Ok(Statement::Copy { table: None, conflict, to, from, conditions })
}

/// Several statements as one, which are applied completely or not at all.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let added = multi([
///     update([increment("total", 5)], [eq("id", "o1")]),
///     in_table("items", create([set("id", "o1"), set("item", "tea")])),
/// ])?;
/// # let _ = added;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
///
/// # Errors
/// The first error among these statements.
pub fn multi(statements: impl IntoIterator<Item = Reduced>) -> Reduced {
    let statements = statements.into_iter().collect::<Result<Vec<Statement>, ReduceError>>()?;
    Ok(if statements.is_empty() { Statement::Noop } else { Statement::Multi(statements) })
}

/// Custom SQL for what the builders cannot express: a text that the projection declares under this name
/// ([`Projection::sql`](crate::Projection::sql)), with the values of `$2` and the following placeholders. `$1` is the
/// instance.
///
/// It is a part of the read model like any other statement. The engine runs it for whichever build is being filled. It
/// has to have the same effect each time, and may change only rows of its instance.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let items = Projection::new("items", 1)
///     .table(Table::new("items").column(text("id")).column(integer("n")).primary_key(["id"]))
///     .sql("double", "UPDATE {items} SET n = n * 2 WHERE instance_id = $1 AND id = $2")
///     .on_raw("item", "item.doubled", |e| exec("double", [e.aggregate_id()]));
/// items.check()?;
/// # Ok::<(), readside::Error>(())
/// ```
///
/// # Errors
/// A value that cannot be stored. An unknown name, or a wrong number of values, is found only when the event is
/// reduced.
pub fn exec<V: Into<Value>>(sql: impl Into<Name>, values: impl IntoIterator<Item = V>) -> Reduced {
    let values: Vec<Value> = values.into_iter().map(Into::into).collect();
    values.iter().try_for_each(|value| check_value("exec", value))?;
    Ok(Statement::Exec { sql: sql.into(), values })
}

/// Directs a statement to another table of the projection, by its name or by its suffix.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let item = in_table("items", create([set("id", "o1"), set("item", "tea")]))?;
/// # let _ = item;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
///
/// # Errors
/// The errors of the statement.
pub fn in_table(name: impl Into<Name>, statement: Reduced) -> Reduced {
    let mut statement = statement?;
    statement.direct(&name.into());
    Ok(statement)
}

#[cfg(test)]
mod tests;
