//! Given events, expect rows: it applies the events on SQLite in memory, as a service would.

use std::fmt::Write;
use std::sync::Arc;

use super::{Given, fail};
use crate::engine::{HandlerConfig, Policy, ProjectionHandler};
use crate::error::{Error, chain};
use crate::sqlite::SqliteStore;
use crate::store::ProjectionStore;
use crate::value::{Value, canonical};

/// An expected row: the columns that matter to the test. Other columns are not compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(Vec<(String, Value)>);

/// The row with these columns. `instance_id` is a column too.
#[must_use]
pub fn row<'c>(columns: impl IntoIterator<Item = (&'c str, Value)>) -> Row {
    Row(columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

type Found = Vec<(String, Value)>;

impl Given<'_> {
    /// Applies the events on SQLite in memory, and expects exactly these rows in the table, in any order. `table` is
    /// the name or the suffix, as in a statement.
    ///
    /// # Panics
    /// When an event fails, or the table holds other rows.
    #[track_caller]
    pub fn expect_rows(&self, table: &str, expected: impl IntoIterator<Item = Row>) {
        let found = match self.apply(table) {
            Ok(rows) => rows,
            Err(error) => fail(&chain(&error)),
        };
        let expected: Vec<Row> = expected.into_iter().collect();
        if let Some(difference) = difference(&expected, found) {
            fail(&format!("table {table:?} of projection {:?} holds other rows\n{difference}", self.projection.name()));
        }
    }

    fn apply(&self, table: &str) -> Result<Vec<Found>, Error> {
        let store = SqliteStore::in_memory()?;
        ProjectionStore::setup(&store, &[self.projection])?;
        let instances = self.source.instances();
        if !instances.is_empty() {
            let handler = ProjectionHandler::new(
                Arc::new(self.source.clone()),
                Arc::new(store.clone()),
                self.projection.clone(),
                // An event that fails ends the test.
                HandlerConfig { retries: 0, policy: Policy::Stop, ..HandlerConfig::default() },
            )?;
            let names: Vec<&str> = instances.iter().map(AsRef::as_ref).collect();
            handler.trigger(&names)?;
        }
        Ok(store.read_rows(self.projection, table)?)
    }
}

/// Pairs expected rows with found ones, and lists those without a partner. The expected rows with the most columns
/// come first.
fn difference(expected: &[Row], mut found: Vec<Found>) -> Option<String> {
    let mut by_detail: Vec<&Row> = expected.iter().collect();
    by_detail.sort_by_key(|row| std::cmp::Reverse(row.0.len()));
    let (mut missing, mut equal) = (Vec::new(), Vec::new());
    for row in by_detail {
        match found.iter().position(|candidate| matches(row, candidate)) {
            Some(at) => equal.push(found.swap_remove(at)),
            None => missing.push(&row.0),
        }
    }
    if missing.is_empty() && found.is_empty() {
        return None;
    }
    let mut text = String::new();
    let marked =
        [("   missing", missing), ("unexpected", found.iter().collect()), ("        ok", equal.iter().collect())];
    for (mark, rows) in marked {
        let mut lines: Vec<String> = rows.into_iter().map(|row| line(row)).collect();
        lines.sort_unstable();
        for line in lines {
            // Writing into a `String` cannot fail.
            let _ = writeln!(text, "{mark}: {line}");
        }
    }
    Some(text)
}

fn line(row: &[(String, Value)]) -> String {
    let columns: Vec<String> = row.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    columns.join(", ")
}

fn matches(expected: &Row, found: &[(String, Value)]) -> bool {
    expected
        .0
        .iter()
        .all(|(name, value)| found.iter().any(|(column, candidate)| column == name && same(value, candidate)))
}

/// True if a column would hold the two as the same value: JSON by its meaning, an integer in a float column as a
/// float.
fn same(expected: &Value, found: &Value) -> bool {
    let one = |value: &Value| canonical(value.clone(), found.column_type());
    one(expected) == one(found)
}

#[cfg(test)]
mod tests {
    use super::super::given;
    use super::*;
    use crate::event::Event;
    use crate::projection::Projection;
    use crate::statement::{create, eq, increment, set, update};
    use crate::table::{Table, float, integer, json, text};

    fn counts() -> Projection {
        let table =
            Table::new("counts").column(text("id")).column(integer("n").default(0)).column(float("f").default(1));
        Projection::new("counts", 1)
            .table(table.column(json("j").nullable()).primary_key(["id"]))
            .on_raw("user", "added", |e| create([set("id", e.aggregate_id())]))
            .on_raw("user", "counted", |e| update([increment("n", 1)], [eq("id", e.aggregate_id())]))
    }

    fn event(instance: &str, id: &str, kind: &str) -> Event {
        Event::new(instance, "user", id, kind)
    }

    fn message(test: impl FnOnce()) -> String {
        let test = std::panic::AssertUnwindSafe(test);
        *std::panic::catch_unwind(test).unwrap_err().downcast::<String>().unwrap()
    }

    // Contract: B6
    #[test]
    fn rows_are_those_that_a_service_would_read() {
        let projection = counts();
        let events =
            [event("t", "a", "added"), event("t", "b", "added"), event("t", "b", "counted"), event("s", "a", "added")];
        let given = given(&projection, events);
        given.expect_rows(
            "counts",
            [
                row([("instance_id", "t".into()), ("id", "b".into()), ("n", 1.into()), ("f", 1.into())]),
                row([("instance_id", "t".into()), ("id", "a".into()), ("n", 0.into())]),
                row([("instance_id", "s".into())]),
            ],
        );
        let said = message(|| given.expect_rows("counts", [row([("id", "c".into())]), row([("n", 1.into())])]));
        assert!(said.contains("missing: id=Text(\"c\")") && said.contains("unexpected: instance_id"), "{said}");
    }

    // Contract: B6: no failure is parked and forgotten.
    #[test]
    fn an_event_that_fails_ends_the_test() {
        let refuses = counts().on_raw("user", "refused", |_| Err(crate::error::ReduceError::new("bad luck")));
        let given = given(&refuses, [event("t", "a", "added"), event("t", "a", "refused")]);
        let said = message(|| given.expect_rows("counts", [row([("id", "a".into())])]));
        assert!(said.contains("bad luck"), "{said}");
    }

    #[test]
    fn no_events_make_no_rows() {
        given(&counts(), []).expect_rows("counts", []);
    }

    #[test]
    fn values_are_compared_as_columns_hold_them() {
        assert!(same(&Value::Json("{\"a\": 1}".into()), &Value::Json("{\"a\":1}".into())));
        assert!(!same(&Value::Json("{\"a\": 1}".into()), &Value::Json("{\"a\":2}".into())));
        assert!(same(&Value::Integer(-2), &Value::Float(-2.0)));
        assert!(!same(&Value::Integer(2), &Value::Float(2.25)));
        assert!(!same(&Value::Integer(2), &Value::Text("2".into())));
    }
}
