//! Rows and statements for people.

use crate::builds::JsonRow;
use crate::projection::Projection;
use crate::statement::{Assignment, Change, Condition, Name, Origin, Source, Statement, Test};
use crate::value::Value;

/// A row as JSON.
pub(super) fn json(row: &[(String, Value)]) -> JsonRow {
    row.iter().map(|(name, value)| (name.clone(), value.to_json())).collect()
}

/// The statement on one line.
pub(super) fn statement(projection: &Projection, statement: &Statement) -> String {
    let table = |name: &Option<Name>| match name {
        Some(name) => name.to_string(),
        None => projection.tables().first().map(|table| table.name.clone()).unwrap_or_default(),
    };
    match statement {
        Statement::Noop => "nothing".to_owned(),
        Statement::Multi(parts) => {
            let parts: Vec<String> = parts.iter().map(|part| self::statement(projection, part)).collect();
            parts.join("; ")
        }
        Statement::Exec { sql, values } => {
            let values: Vec<String> = values.iter().map(value).collect();
            format!("exec {sql} with ({})", values.join(", "))
        }
        Statement::Create { table: name, values } => format!("create {} ({})", table(name), assignments(values)),
        Statement::Upsert { table: name, conflict, values } => {
            format!("upsert {} ({}) by {}", table(name), assignments(values), conflict.join(", "))
        }
        Statement::Update { table: name, values, conditions } => {
            format!("update {} set {} where {}", table(name), assignments(values), all(conditions))
        }
        Statement::Delete { table: name, conditions } => format!("delete {} where {}", table(name), all(conditions)),
        Statement::Expect { rows, statement } => {
            format!(
                "{} (of exactly {rows} {})",
                self::statement(projection, statement),
                if *rows == 1 { "row" } else { "rows" }
            )
        }
        Statement::Copy { table: name, to, from, conditions, .. } => {
            let pairs: Vec<String> = to.iter().zip(from).map(|(to, from)| format!("{to} = {}", source(from))).collect();
            format!("copy {} with {} where {}", table(name), pairs.join(", "), all(conditions))
        }
    }
}

fn value(value: &Value) -> String {
    value.to_json().to_string()
}

/// A number without the quotes that decimals would have.
fn plain(number: &Value) -> String {
    value(number).trim_matches('"').to_owned()
}

fn assignments(values: &[Assignment]) -> String {
    values.iter().map(assignment).collect::<Vec<_>>().join(", ")
}

fn assignment(assignment: &Assignment) -> String {
    let column = &assignment.column;
    match &assignment.change {
        Change::Set(v) => format!("{column} = {}", value(v)),
        Change::Broken(why) => format!("{column} = ? ({why})"),
        Change::Increment(by) => match plain(by) {
            by if by.starts_with('-') => format!("{column} = {column} - {}", by.trim_start_matches('-')),
            by => format!("{column} = {column} + {by}"),
        },
        Change::Greatest(v) => format!("{column} = the greater one of {column} and {}", value(v)),
        Change::Least(v) => format!("{column} = the lesser one of {column} and {}", value(v)),
        Change::ArrayAppend(item) => format!("{column} = {column} with {}", value(item)),
        Change::ArrayRemove(item) => format!("{column} = {column} without {}", value(item)),
        Change::ArrayIntersect(items) => {
            let items: serde_json::Value = items.iter().map(Value::to_json).collect();
            format!("{column} = those of {column} in {items}")
        }
        Change::CopyColumn(other) => format!("{column} = {other}"),
        Change::SetOnInsert(v) => format!("{column} = {} if the row is new", value(v)),
        Change::LookUp(of) => format!("{column} = {} of {} where {}", of.column, of.table, all(&of.conditions)),
        Change::SetIf(v, condition) => format!("{column} = {} if {}", value(v), test(&condition.0)),
    }
}

fn source(source: &Source) -> String {
    match &source.from {
        Origin::Column(name) => name.clone(),
        Origin::Value(v) => value(v),
    }
}

fn all(conditions: &[Condition]) -> String {
    conditions.iter().map(|condition| test(&condition.0)).collect::<Vec<_>>().join(" and ")
}

fn test(condition: &Test) -> String {
    match condition {
        Test::Compare(column, operator, v) => format!("{column} {operator} {}", value(v)),
        Test::IsNull(column) => format!("{column} is null"),
        Test::IsIn(column, values) => {
            format!("{column} in ({})", values.iter().map(value).collect::<Vec<_>>().join(", "))
        }
        Test::Contains(column, text) => format!("{column} contains {}", value(text)),
        Test::JsonContains(column, v) => format!("{column} contains {}", value(v)),
        Test::Not(inner) => format!("not ({})", test(inner)),
        Test::Any(tests) if tests.is_empty() => "never".to_owned(),
        Test::Any(tests) => joined(tests, " or "),
        Test::All(tests) => joined(tests, " and "),
        Test::Broken(column, why) => format!("{column} = ? ({why})"),
        Test::Refused(why) => format!("? ({why})"),
    }
}

fn joined(tests: &[Test], by: &str) -> String {
    format!("({})", tests.iter().map(test).collect::<Vec<_>>().join(by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{create, delete, eq, increment, multi, not, set, set_on_insert, update, upsert};
    use crate::table::{Table, integer, text};

    #[test]
    fn statements_are_told_on_one_line() {
        let users = Projection::new("users", 1)
            .table(Table::new("users").column(text("id")).column(integer("n")).primary_key(["id"]));
        let said = |reduced: crate::statement::Reduced| statement(&users, &reduced.unwrap());
        assert_eq!(said(create([set("id", "a"), set("n", 1)])), r#"create users (id = "a", n = 1)"#);
        assert_eq!(
            said(upsert(["id"], [set("id", "a"), increment("n", -2), set_on_insert("m", 0)])),
            r#"upsert users (id = "a", n = n - 2, m = 0 if the row is new) by id"#
        );
        assert_eq!(
            said(multi([update([increment("n", 1)], [eq("id", "a"), not(eq("n", 5))]), delete([eq("id", "b")])])),
            r#"update users set n = n + 1 where id = "a" and not (n = 5); delete users where id = "b""#
        );
    }
}
