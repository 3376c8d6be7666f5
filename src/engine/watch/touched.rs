//! Which rows statements change, according to the statements alone. Nothing is read for that.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::engine::watch::changes::ChangedRows;
use crate::projection::Projection;
use crate::statement::{Assignment, Change, Condition, Name, Origin, Source, Statement, Test, find_table};
use crate::table::Table;
use crate::value::Value;

/// The most keys of one table that are told. With more of them, any row may have changed.
const MOST: usize = 256;

type Key = Vec<Value>;

/// Rows of the tables of a projection, by the index of the table.
#[derive(Debug)]
pub(crate) struct Touched<'p> {
    tables: &'p [Table],
    rows: BTreeMap<usize, Keys>,
}

/// `None` when any row may have changed.
#[derive(Debug)]
struct Keys(Option<(Vec<Key>, HashSet<String>)>);

impl Keys {
    fn add(&mut self, key: Key) {
        let Some((keys, known)) = &mut self.0 else { return };
        let name = key.iter().map(Value::to_json).collect::<serde_json::Value>().to_string();
        if !known.insert(name) {
            return;
        }
        keys.push(key);
        if keys.len() > MOST {
            self.0 = None;
        }
    }
}

impl<'p> Touched<'p> {
    pub(crate) fn new(projection: &'p Projection) -> Self {
        Self { tables: projection.tables(), rows: BTreeMap::new() }
    }

    pub(crate) fn rows(self) -> Arc<[ChangedRows]> {
        let tables = self.tables;
        let of = |(at, keys): (usize, Keys)| {
            let table = tables.get(at)?;
            let (table, columns) = (table.name.clone(), table.primary_key.clone());
            Some(ChangedRows { table, columns, keys: keys.0.map(|(keys, _)| keys) })
        };
        self.rows.into_iter().filter_map(of).collect()
    }

    pub(crate) fn add(&mut self, statement: &Statement) {
        match statement {
            Statement::Noop => {}
            Statement::Create { table, values } => {
                self.note(table.as_ref(), |table| Some(vec![inserted(table, values)?]));
            }
            Statement::Upsert { table, conflict, values } => self.note(table.as_ref(), |table| {
                // A row that is found by another key may have any primary key.
                let is_own = table.primary_key.iter().all(|column| conflict.iter().any(|name| name == column));
                is_own.then(|| inserted(table, values).map(|key| vec![key])).flatten()
            }),
            Statement::Update { table, values, conditions } => {
                self.note(table.as_ref(), |table| updated(table, values, conditions));
                let is_key =
                    |table: &Table| values.iter().any(|value| table.primary_key.contains(&value.column.to_string()));
                self.cascade(table.as_ref(), is_key);
            }
            Statement::Delete { table, conditions } => {
                self.note(table.as_ref(), |table| named(table, conditions));
                self.cascade(table.as_ref(), |_| true);
            }
            Statement::Copy { table, to, from, conditions, .. } => {
                self.note(table.as_ref(), |table| copied(table, to, from, conditions));
            }
            Statement::Expect { statement, .. } => self.add(statement),
            Statement::Multi(statements) => statements.iter().for_each(|statement| self.add(statement)),
            // It may write to any table of the projection.
            Statement::Exec { .. } => (0..self.tables.len()).for_each(|at| self.any(at)),
        }
    }

    fn any(&mut self, at: usize) {
        self.rows.insert(at, Keys(None));
    }

    fn find(&self, name: Option<&Name>) -> Option<(usize, &'p Table)> {
        let found = find_table(self.tables, name.map(AsRef::as_ref)).ok()?;
        self.tables.iter().enumerate().find(|(_, table)| std::ptr::eq(*table, found))
    }

    /// Adds the keys that a statement names in a table. If it names none, any row may have changed.
    fn note(&mut self, name: Option<&Name>, keys: impl Fn(&Table) -> Option<Vec<Key>>) {
        let Some((at, table)) = self.find(name) else { return };
        // Nobody can tell which rows of a table without a key changed.
        match keys(table).filter(|_| !table.primary_key.is_empty()) {
            None => self.any(at),
            Some(keys) => {
                let known = self.rows.entry(at).or_insert_with(|| Keys(Some((Vec::new(), HashSet::new()))));
                for key in keys {
                    known.add(key);
                }
            }
        }
    }

    /// Adds rows of tables that refer to this one: they are deleted with its rows, and so are those that refer to them.
    fn cascade(&mut self, name: Option<&Name>, does: impl Fn(&Table) -> bool) {
        let Some((at, table)) = self.find(name).filter(|(_, table)| does(table)) else { return };
        let mut todo = vec![(at, table)];
        // A table that refers to itself loses rows, too.
        let mut seen = HashSet::new();
        while let Some((_, gone)) = todo.pop() {
            for (other, table) in self.tables.iter().enumerate() {
                let refers = table.foreign_keys.iter().any(|key| {
                    let referred = find_table(self.tables, key.table.as_deref());
                    referred.is_ok_and(|referred| std::ptr::eq(referred, gone))
                });
                if refers && seen.insert(other) {
                    self.any(other);
                    todo.push((other, table));
                }
            }
        }
    }
}

/// The key, if these values name all of it.
fn inserted(table: &Table, values: &[Assignment]) -> Option<Key> {
    let value = |column: &String| {
        let value = values.iter().find(|value| value.column == *column)?;
        match &value.change {
            Change::Set(value) | Change::SetOnInsert(value) => Some(value.clone()),
            _ => None,
        }
    };
    table.primary_key.iter().map(value).collect()
}

/// The keys that these conditions name: each column of the key equals a value, or one of several.
fn named(table: &Table, conditions: &[Condition]) -> Option<Vec<Key>> {
    let mut keys: Vec<Key> = vec![Vec::new()];
    for column in &table.primary_key {
        let values = conditions.iter().find_map(|condition| match &condition.0 {
            Test::Compare(name, "=", value) if name == column => Some(std::slice::from_ref(value)),
            Test::IsIn(name, values) if name == column => Some(values.as_slice()),
            _ => None,
        })?;
        if keys.len().saturating_mul(values.len()) > MOST {
            return None;
        }
        let with = |key: &Key| {
            let key = key.clone();
            values.iter().map(move |value| key.iter().chain([value]).cloned().collect())
        };
        keys = keys.iter().flat_map(with).collect();
    }
    Some(keys)
}

/// The keys that an update finds, and those that it turns them into.
fn updated(table: &Table, values: &[Assignment], conditions: &[Condition]) -> Option<Vec<Key>> {
    let mut keys = named(table, conditions)?;
    let mut made = keys.clone();
    for (at, column) in table.primary_key.iter().enumerate() {
        let Some(value) = values.iter().find(|value| value.column == *column) else { continue };
        let Change::Set(value) = &value.change else { return None };
        made.iter_mut().filter_map(|key| key.get_mut(at)).for_each(|part| *part = value.clone());
    }
    keys.extend(made);
    Some(keys)
}

/// The key of a copied row, if values or conditions name each of its columns.
fn copied(table: &Table, to: &[Name], from: &[Source], conditions: &[Condition]) -> Option<Vec<Key>> {
    let value = |column: &String| {
        let (_, source) = to.iter().zip(from).find(|(name, _)| *name == column)?;
        match &source.from {
            Origin::Value(value) => Some(value.clone()),
            Origin::Column(name) => conditions.iter().find_map(|condition| match &condition.0 {
                Test::Compare(found, "=", value) if found == name => Some(value.clone()),
                _ => None,
            }),
        }
    };
    table.primary_key.iter().map(value).collect::<Option<Key>>().map(|key| vec![key])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn projection() -> Projection {
        Projection::new("users", 1)
            .table(Table::new("users").column(text("id")).column(integer("n")).column(text("mail")).primary_key(["id"]))
            .table(
                Table::suffix("phones")
                    .column(text("id"))
                    .column(integer("no"))
                    .primary_key(["id", "no"])
                    .references_primary(["id"]),
            )
            .table(Table::suffix("log").column(text("word")))
            .sql("all", "UPDATE {users} SET n = 0 WHERE instance_id = $1")
    }

    /// The keys by table, as JSON.
    fn touched(statements: impl IntoIterator<Item = Reduced>) -> serde_json::Value {
        let projection = projection();
        let mut touched = Touched::new(&projection);
        statements.into_iter().for_each(|statement| touched.add(&statement.unwrap()));
        touched.rows().iter().map(|rows| (rows.table.clone(), rows.keys_json())).collect()
    }

    // Contract: S6: a deleted row takes the rows of the same table along that refer to it.
    #[test]
    fn a_row_takes_rows_of_its_own_table_along() {
        let nodes = Table::new("nodes").column(text("id")).column(text("parent").nullable()).primary_key(["id"]);
        let nodes = Projection::new("nodes", 1).table(nodes.references_primary(["parent"]));
        let mut touched = Touched::new(&nodes);
        touched.add(&delete([eq("id", "a")]).unwrap());
        let rows = touched.rows();
        assert_eq!(rows.iter().map(|rows| (&*rows.table, rows.keys.clone())).collect::<Vec<_>>(), [("nodes", None)]);
    }

    // Contract: S6
    #[test]
    fn statements_say_which_rows_they_change() {
        let phone = |no: i64| serde_json::json!({ "id": "a", "no": no });
        for (statement, expected) in [
            (create([set("id", "a"), set("n", 1)]), serde_json::json!({ "users": [{ "id": "a" }] })),
            (upsert(["id"], [set("id", "a"), increment("n", 1)]), serde_json::json!({ "users": [{ "id": "a" }] })),
            (update([set("n", 1)], [eq("id", "a"), gt("n", 0)]), serde_json::json!({ "users": [{ "id": "a" }] })),
            (
                update([set("n", 1)], [is_in("id", ["a", "b"])]),
                serde_json::json!({ "users": [{ "id": "a" }, { "id": "b" }] }),
            ),
            (update([set("n", 1)], [gt("n", 0)]), serde_json::json!({ "users": null })),
            (update([set("n", 1)], [ne("id", "a")]), serde_json::json!({ "users": null })),
            (upsert(["mail"], [set("mail", "m"), set("id", "a")]), serde_json::json!({ "users": null })),
            (create([set("n", 1)]), serde_json::json!({ "users": null })),
            (
                update([set("id", "b")], [eq("id", "a")]),
                serde_json::json!({ "users": [{ "id": "a" }, { "id": "b" }], "users_phones": null }),
            ),
            (delete([eq("id", "a")]), serde_json::json!({ "users": [{ "id": "a" }], "users_phones": null })),
            (
                in_table("phones", delete([eq("id", "a"), eq("no", 1)])),
                serde_json::json!({ "users_phones": [phone(1)] }),
            ),
            (in_table("phones", delete([eq("id", "a")])), serde_json::json!({ "users_phones": null })),
            (in_table("log", create([set("word", "w")])), serde_json::json!({ "users_log": null })),
            (
                copy(["id"], ["id", "n"], [source_value("b"), source_column("n")], [eq("id", "a")]),
                serde_json::json!({ "users": [{ "id": "b" }] }),
            ),
            (
                in_table(
                    "phones",
                    copy(["id", "no"], ["id", "no"], [source_column("id"), source_value(2)], [eq("id", "a")]),
                ),
                serde_json::json!({ "users_phones": [phone(2)] }),
            ),
            (
                in_table(
                    "phones",
                    copy(["id", "no"], ["id", "no"], [source_value("b"), source_column("no")], [eq("id", "a")]),
                ),
                serde_json::json!({ "users_phones": null }),
            ),
            (noop(), serde_json::json!({})),
            (exec("all", [1]), serde_json::json!({ "users": null, "users_phones": null, "users_log": null })),
        ] {
            let statement = statement.unwrap();
            assert_eq!(touched([Ok(statement.clone())]), expected, "{statement:?}");
            assert_eq!(touched([multi([Ok(statement)])]), expected);
        }
    }

    // Contract: S6, L9: each key is told once, and no more keys than are useful.
    #[test]
    fn keys_are_told_once_and_are_bounded() {
        let row = |n: usize| upsert(["id"], [set("id", format!("{n}")), increment("n", 1)]);
        assert_eq!(touched([row(1), row(1), row(2)]), serde_json::json!({ "users": [{ "id": "1" }, { "id": "2" }] }));
        let many = |count: usize| touched((0..count).map(row))["users"].as_array().map(Vec::len);
        assert_eq!((many(MOST), many(MOST + 1)), (Some(MOST), None));
        let ids = |count: usize| touched([delete([is_in("id", (0..count).map(|n| n.to_string()))])])["users"].is_null();
        assert!(!ids(MOST) && ids(MOST + 1));
    }
}
