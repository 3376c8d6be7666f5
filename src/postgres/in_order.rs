//! An update of many rows that has the outcome of the same updates one after the other, unique keys included.
//!
//! A server takes the rows in its own order. That matters only where a row gets a unique value that another row of the
//! statement holds. Such a statement fails here when the rows one after the other would: when the one that gets the value
//! comes before the one that gives it away. So whatever order the server took, its success means theirs.

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
    if write.kind != BulkKind::Update || uniques.is_empty() {
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

/// The number of each changed row and what it held of each unique key.
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

/// The values of one unique key in one instance, so that they can be looked up.
fn text(instance: &Value, values: &[Value]) -> Option<String> {
    (!values.iter().any(Value::is_null)).then(|| format!("{instance:?}{values:?}"))
}

/// True when a row gets what a later row held.
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

/// What the row holds afterwards.
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

    // Contract: G3: a server may have taken the rows in another order, in which each value was free when it was wanted.
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
