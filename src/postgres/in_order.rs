//! An update of many rows with the same outcome as single updates one after the other, also with unique keys.
//!
//! The server updates the rows in its own order. That matters only if a row gets a unique value that another row of
//! the statement holds. One after the other, the rows fail if the row that gets the value comes before the row that
//! gives it up. This module makes the statement fail in that case too. So if the statement succeeds, the single
//! updates would succeed as well, whatever order the server used.

use std::collections::HashMap;

use postgres::GenericClient;

use super::session::Session;
use super::{bulk, value};
use crate::db::{Bulk, BulkKind};
use crate::error::{StoreError, StoreErrorKind};
use crate::sql::quote;
use crate::value::Value;

pub(super) fn write<C: GenericClient>(
    session: &mut Session<'_, C>,
    write: &Bulk,
    uniques: &[&[String]],
) -> Result<u64, StoreError> {
    let written = |name: &String| write.columns.iter().any(|(column, _)| column == name);
    let uniques: Vec<&[String]> = uniques.iter().copied().filter(|unique| unique.iter().any(written)).collect();
    if write.kind != BulkKind::Update || uniques.is_empty() || write.rows.len() == 1 {
        return bulk::write(session, write);
    }
    let arrays = bulk::arrays(write)?;
    let found = session.rows(&sql(write, &uniques), &bulk::typed(&arrays), "writing rows")?;
    let mut old = Vec::with_capacity(found.len());
    for row in &found {
        let mut values = value::row(row)?.into_iter();
        let number = match values.next() {
            Some(Value::Integer(number)) => usize::try_from(number).unwrap_or(0).wrapping_sub(1),
            _ => usize::MAX,
        };
        old.push((number, values.collect::<Vec<_>>()));
    }
    let mut from = 0;
    for unique in &uniques {
        let to = from + unique.len();
        let values = |values: &Vec<Value>| values.get(from..to).map(<[Value]>::to_vec).unwrap_or_default();
        let held: Vec<(usize, Vec<Value>)> = old.iter().map(|(number, old)| (*number, values(old))).collect();
        if collides(write, unique, &held) {
            let why = "a row gets a unique value that another one gives away only later";
            return Err(StoreError::new("writing rows", StoreErrorKind::Constraint, why));
        }
        from = to;
    }
    Ok(found.len() as u64)
}

/// An update that returns the number of each changed row and its old values in each unique key.
fn sql(write: &Bulk<'_>, uniques: &[&[String]]) -> String {
    let names: Vec<String> = write.keys.iter().chain(&write.columns).map(|(name, _)| quote(name)).collect();
    let params: Vec<String> = (1..=names.len()).map(|number| format!("${number}")).collect();
    let aliases: Vec<String> = (1..=names.len()).map(|number| format!("c{number}")).collect();
    let same = |table: &str| {
        let keys = names.iter().zip(&aliases).take(write.keys.len());
        keys.map(|(name, alias)| format!("{table}.{name} = u.{alias}")).collect::<Vec<_>>().join(" AND ")
    };
    let column = |at: usize| format!("u.c{}", write.keys.len() + at + 1);
    let kind = |at: usize| write.columns.get(at).map(|(_, kind)| *kind);
    let cast = |at: usize| kind(at).and_then(bulk::cast).unwrap_or_default();
    let set = write.assigned("t.", |at, _| column(at) + cast(at)).join(", ");
    let old: Vec<String> =
        uniques.iter().flat_map(|unique| unique.iter()).map(|name| format!("o.{}", quote(name))).collect();
    format!(
        "UPDATE {table} t SET {set} FROM unnest({}) WITH ORDINALITY AS u({}, number), {table} o \
         WHERE {} AND {} RETURNING u.number, {}",
        params.join(", "),
        aliases.join(", "),
        same("o"),
        same("t"),
        old.join(", "),
        table = write.table
    )
}

/// The values of one unique key in one instance, as a text to look up. `None` if one of them is NULL.
fn text(instance: &Value, values: &[Value]) -> Option<String> {
    (!values.iter().any(Value::is_null)).then(|| format!("{instance:?}{values:?}"))
}

/// True if a row gets a value that a later row held.
fn collides(write: &Bulk<'_>, unique: &[String], held: &[(usize, Vec<Value>)]) -> bool {
    let instance =
        |number: usize| write.rows.get(number).and_then(|row| row.first()).map_or(&Value::Null, AsRef::as_ref);
    let holders: HashMap<String, usize> =
        held.iter().filter_map(|(number, values)| Some((text(instance(*number), values)?, *number))).collect();
    held.iter().any(|(number, old)| {
        let new: Vec<Value> = unique.iter().zip(old).map(|(name, old)| new(write, *number, name, old)).collect();
        let holder = text(instance(*number), &new).and_then(|text| holders.get(&text));
        holder.is_some_and(|holder| holder > number)
    })
}

/// The value of a column after the update.
fn new(write: &Bulk<'_>, number: usize, name: &str, old: &Value) -> Value {
    let column = write.columns.iter().position(|(column, _)| *column == name);
    let value = column.and_then(|at| write.rows.get(number)?.get(write.keys.len() + at));
    value.map_or(old, AsRef::as_ref).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::owned;
    use crate::value::ColumnType as T;

    /// Rows of `(id, name)` that get these names, in this order.
    fn renames(names: &[(&str, &str)]) -> Bulk<'static> {
        let row = |(id, name): &(&str, &str)| vec![Value::from("a"), Value::from(*id), Value::from(*name)];
        Bulk {
            table: "t".to_owned(),
            kind: BulkKind::Update,
            keys: vec![("instance_id", T::Text), ("id", T::Text)],
            columns: vec![("name", T::Text)],
            how: Vec::new(),
            only_if: None,
            rows: owned(names.iter().map(row).collect()),
        }
    }

    // Contract: G3: the server may have used another order, in which each value was free when a row needed it.
    #[test]
    fn a_value_that_is_given_away_only_later_is_not_free() {
        let unique = ["name".to_owned()];
        let held = |names: &[&str]| -> Vec<(usize, Vec<Value>)> {
            names.iter().enumerate().map(|(at, name)| (at, vec![Value::from(*name)])).collect()
        };
        let moves = renames(&[("1", "y"), ("2", "z")]);
        assert!(collides(&moves, &unique, &held(&["x", "y"])), "1 gets y before 2 gives it away");
        let moves = renames(&[("2", "z"), ("1", "y")]);
        assert!(!collides(&moves, &unique, &held(&["y", "x"])), "2 has given it away");
        let stays = renames(&[("1", "x"), ("2", "y")]);
        assert!(!collides(&stays, &unique, &held(&["x", "y"])), "each keeps its own");
        let missing = vec![(0, vec![Value::from("x")])];
        assert!(!collides(&moves, &unique, &missing), "a row that is not there holds nothing");
    }
}
