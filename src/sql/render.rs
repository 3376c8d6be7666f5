//! One statement as SQL. `$1` is the instance, which the engine adds to every row and every condition.

use super::{Dialect, Sql, ddl, quote, quoted};
use crate::error::StatementError;
use crate::projection::Projection;
use crate::statement::{Assignment, Change, Condition, LookUp, Name, Origin, Source, Statement, Test, find_table};
use crate::table::{INSTANCE_COLUMN, Table};
use crate::value::{ColumnType, Value};

/// The SQL of a statement: several for `Multi`, none for `Noop`.
pub(crate) fn render(
    dialect: Dialect,
    projection: &Projection,
    instance: &str,
    statement: &Statement,
) -> Result<Vec<Sql>, StatementError> {
    let mut out = Vec::new();
    push(dialect, projection, instance, statement, &mut out)?;
    Ok(out)
}

fn push(
    dialect: Dialect,
    projection: &Projection,
    instance: &str,
    statement: &Statement,
    out: &mut Vec<Sql>,
) -> Result<(), StatementError> {
    let text = |table: &Option<Name>| {
        let table = find_table(projection.tables(), table.as_deref())?;
        Ok::<_, StatementError>(Text::new(dialect, projection, instance, table))
    };
    out.push(match statement {
        Statement::Noop => return Ok(()),
        Statement::Multi(parts) => {
            return parts.iter().try_for_each(|part| push(dialect, projection, instance, part, out));
        }
        Statement::Expect { rows, statement } => {
            push(dialect, projection, instance, statement, out)?;
            if let Some(sql) = out.last_mut() {
                sql.expected = Some(*rows);
            }
            return Ok(());
        }
        Statement::Exec { sql, values } => {
            let own = projection.own_sql(sql).ok_or_else(|| StatementError::UnknownSql { sql: sql.to_string() })?;
            let no_text = || StatementError::NoText { sql: sql.to_string(), database: dialect.name() };
            let tables = projection.tables();
            let table = |name: &str| match find_table(tables, Some(name)) {
                Ok(table) => ddl::physical_name(dialect, projection, table),
                // The check of the projection refuses such a statement; no relation has an empty name.
                Err(_) => quote(""),
            };
            let text = own.of(dialect).ok_or_else(no_text)?.fill(table, quote);
            let params = std::iter::once(Value::from(instance)).chain(values.iter().cloned()).collect();
            Sql { text, params, expected: None }
        }
        Statement::Create { table, values } => text(table)?.create(values),
        Statement::Upsert { table, conflict, values } => text(table)?.upsert(conflict, values),
        Statement::Update { table, values, conditions } => text(table)?.update(values, conditions),
        Statement::Delete { table, conditions } => text(table)?.delete(conditions),
        Statement::Copy { table, conflict, to, from, conditions } => text(table)?.copy(conflict, to, from, conditions),
    });
    Ok(())
}

/// A statement while it is rendered.
struct Text<'t> {
    dialect: Dialect,
    projection: &'t Projection,
    table: &'t Table,
    name: String,
    params: Vec<Value>,
}

impl<'t> Text<'t> {
    fn new(dialect: Dialect, projection: &'t Projection, instance: &str, table: &'t Table) -> Self {
        let name = ddl::physical_name(dialect, projection, table);
        Self { dialect, projection, table, name, params: vec![instance.into()] }
    }

    fn done(self, text: String) -> Sql {
        Sql { text, params: self.params, expected: None }
    }

    /// Binds a value for a column and returns its placeholder. NULL is written as a word.
    fn bind(&mut self, column: &str, value: &Value) -> String {
        let kind = self.table.find(column).map(|column| column.kind);
        match (value, kind) {
            (Value::Null, _) => "NULL".to_owned(),
            (value, Some(kind)) => self.bind_plain(value.held_by(kind).into_owned()),
            (value, None) => self.bind_plain(value.clone()),
        }
    }

    /// Binds an item of an array in the form that it has in this database's arrays.
    fn bind_item(&mut self, item: &Value) -> String {
        self.bind_plain(match (self.dialect, item) {
            (Dialect::Sqlite, Value::Uuid(id)) => Value::Text(id.to_string()),
            (_, item) => item.clone(),
        })
    }

    /// The sum of what a column holds and what is added. SQLite's own sum of floats can become infinite.
    fn sum(&self, column: &str, held: &str, added: &str) -> String {
        let is_float = self.table.find(column).is_some_and(|column| column.kind == ColumnType::Float);
        if is_float && self.dialect == Dialect::Sqlite {
            return format!("readside_plus({held}, {added})");
        }
        format!("{held} + {added}")
    }

    /// An array of these items, for a column.
    fn array(&self, column: &str, items: &[Value]) -> Value {
        let kind = self.table.find(column).map_or(ColumnType::TextArray, |column| column.kind);
        Value::array(kind, items)
    }

    fn bind_plain(&mut self, value: Value) -> String {
        self.params.push(value);
        format!("${}", self.params.len())
    }

    fn create(mut self, values: &[Assignment]) -> Sql {
        let (columns, inserted) = self.inserted(values);
        let text = format!("INSERT INTO {} ({columns}) VALUES ({inserted})", self.name);
        self.done(text)
    }

    /// Columns and values of a new row.
    fn inserted(&mut self, values: &[Assignment]) -> (String, String) {
        let mut columns = vec![quote(INSTANCE_COLUMN)];
        let mut inserted = vec!["$1".to_owned()];
        for value in values {
            columns.push(quote(&value.column));
            let placeholder = match &value.change {
                Change::Set(v)
                | Change::SetOnInsert(v)
                | Change::SetIf(v, _)
                | Change::Increment(v)
                | Change::Greatest(v)
                | Change::Least(v) => self.bind(&value.column, v),
                Change::ArrayAppend(item) => {
                    let array = self.array(&value.column, std::slice::from_ref(item));
                    self.bind_plain(array)
                }
                Change::LookUp(look_up) => self.look_up(look_up),
                // The builders refuse all others here.
                _ => "NULL".to_owned(),
            };
            inserted.push(placeholder);
        }
        (columns.join(", "), inserted.join(", "))
    }

    fn upsert(mut self, conflict: &[Name], values: &[Assignment]) -> Sql {
        let (columns, inserted) = self.inserted(values);
        let changes: Vec<String> = values
            .iter()
            .filter(|value| !conflict.contains(&value.column))
            .filter_map(|value| self.on_conflict(value))
            .collect();
        let action =
            if changes.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", changes.join(", ")) };
        let text = format!(
            "INSERT INTO {} AS t ({columns}) VALUES ({inserted}) ON CONFLICT ({}) DO {action}",
            self.name,
            target(conflict)
        );
        self.done(text)
    }

    fn on_conflict(&mut self, value: &Assignment) -> Option<String> {
        let column = quote(&value.column);
        let existing = format!("t.{column}");
        Some(match &value.change {
            Change::SetOnInsert(_) => return None,
            Change::SetIf(_, condition) => {
                let holds = self.test(&condition.0, "t.");
                format!("{column} = CASE WHEN {holds} THEN excluded.{column} ELSE {existing} END")
            }
            Change::Increment(_) => {
                format!("{column} = {}", self.sum(&value.column, &existing, &format!("excluded.{column}")))
            }
            Change::Greatest(_) => format!("{column} = {}", extreme(&existing, "<", &format!("excluded.{column}"))),
            Change::Least(_) => format!("{column} = {}", extreme(&existing, ">", &format!("excluded.{column}"))),
            Change::ArrayAppend(item) => {
                let appended = self.array_append(&existing, item);
                format!("{column} = {appended}")
            }
            _ => format!("{column} = excluded.{column}"),
        })
    }

    fn update(mut self, values: &[Assignment], conditions: &[Condition]) -> Sql {
        let changes: Vec<String> = values.iter().map(|value| self.change(value)).collect();
        let conditions = self.conditions(conditions, "");
        let text = format!("UPDATE {} SET {} WHERE {conditions}", self.name, changes.join(", "));
        self.done(text)
    }

    fn change(&mut self, value: &Assignment) -> String {
        let column = quote(&value.column);
        let new = match &value.change {
            Change::Set(v) | Change::SetOnInsert(v) => self.bind(&value.column, v),
            Change::Increment(by) => {
                let by = self.bind(&value.column, by);
                self.sum(&value.column, &column, &by)
            }
            Change::Greatest(v) => extreme(&column, "<", &self.bind(&value.column, v)),
            Change::Least(v) => extreme(&column, ">", &self.bind(&value.column, v)),
            Change::ArrayAppend(item) => self.array_append(&column, item),
            Change::ArrayRemove(item) => {
                let param = self.bind_item(item);
                self.array_filter(&column, true, &param)
            }
            Change::ArrayIntersect(items) => {
                let items = self.array(&value.column, items);
                let param = self.bind_plain(items);
                self.array_filter(&column, false, &param)
            }
            Change::CopyColumn(from) => quote(from),
            Change::SetIf(v, condition) => {
                let holds = self.test(&condition.0, "");
                let then = self.bind(&value.column, v);
                format!("CASE WHEN {holds} THEN {then} ELSE {column} END")
            }
            Change::LookUp(look_up) => self.look_up(look_up),
            Change::Broken(_) => "NULL".to_owned(),
        };
        format!("{column} = {new}")
    }

    /// A query for a value of the row that the look-up names.
    fn look_up(&mut self, look_up: &LookUp) -> String {
        // The check of the statement has already found the table.
        let Ok(table) = find_table(self.projection.tables(), Some(&look_up.table)) else { return "NULL".to_owned() };
        let written = std::mem::replace(&mut self.table, table);
        let conditions = self.conditions(&look_up.conditions, "o.");
        self.table = written;
        let name = ddl::physical_name(self.dialect, self.projection, table);
        format!("(SELECT o.{} FROM {name} AS o WHERE {conditions})", quote(&look_up.column))
    }

    /// NULL counts as empty on both databases.
    fn array_append(&mut self, existing: &str, item: &Value) -> String {
        let item = self.bind_item(item);
        match self.dialect {
            Dialect::Postgres => format!("array_append({existing}, {item})"),
            Dialect::Sqlite => format!("json_insert(coalesce({existing}, '[]'), '$[#]', {item})"),
        }
    }

    /// Drops one item of an array, or all others, and keeps the order; NULL stays NULL.
    fn array_filter(&self, column: &str, removes: bool, param: &str) -> String {
        match (self.dialect, removes) {
            (Dialect::Postgres, true) => format!("array_remove({column}, {param})"),
            (Dialect::Postgres, false) => format!(
                "CASE WHEN {column} IS NULL THEN NULL ELSE ARRAY(SELECT u.e FROM unnest({column}) WITH ORDINALITY AS u(e, o) \
                 WHERE u.e = ANY({param}) ORDER BY u.o) END"
            ),
            (Dialect::Sqlite, _) => {
                let keeps = if removes {
                    format!("j.value <> {param}")
                } else {
                    format!("j.value IN (SELECT value FROM json_each({param}))")
                };
                format!(
                    "CASE WHEN {column} IS NULL THEN NULL ELSE (SELECT json_group_array(j.value ORDER BY j.key) \
                     FROM json_each({column}) j WHERE {keeps}) END"
                )
            }
        }
    }

    fn delete(mut self, conditions: &[Condition]) -> Sql {
        let conditions = self.conditions(conditions, "");
        let text = format!("DELETE FROM {} WHERE {conditions}", self.name);
        self.done(text)
    }

    fn copy(mut self, conflict: &[Name], to: &[Name], from: &[Source], conditions: &[Condition]) -> Sql {
        let mut selected = Vec::new();
        for (column, source) in to.iter().zip(from) {
            selected.push(match &source.from {
                Origin::Column(name) => format!("c.{}", quote(name)),
                Origin::Value(value) => self.bind(column, value),
            });
        }
        let changes: Vec<String> = to
            .iter()
            .zip(from)
            .filter(|(column, _)| !conflict.contains(column))
            .map(|(column, source)| self.copied(column, source.added))
            .collect();
        let instance = self.copied_instance((conflict, to, from), &selected, changes.is_empty());
        selected.insert(0, instance);
        let action =
            if changes.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", changes.join(", ")) };
        let mut columns = vec![quote(INSTANCE_COLUMN)];
        columns.extend(quoted(to));
        let conditions = self.conditions(conditions, "c.");
        let text = format!(
            "INSERT INTO {} AS t ({}) SELECT {} FROM {} AS c WHERE {conditions} ON CONFLICT ({}) DO {action}",
            self.name,
            columns.join(", "),
            selected.join(", "),
            self.name,
            target(conflict)
        );
        self.done(text)
    }

    /// The instance of a copied row. If several rows would get the same key, chance would decide which one stays. So
    /// the statement is refused: by PostgreSQL itself, and by this SQL on SQLite.
    fn copied_instance(
        &self,
        (conflict, to, from): (&[Name], &[Name], &[Source]),
        selected: &[String],
        is_kept: bool,
    ) -> String {
        let instance = format!("c.{}", quote(INSTANCE_COLUMN));
        let sources = || to.iter().zip(from).zip(selected).filter(|((column, _), _)| conflict.contains(column));
        let names = sources().filter_map(|((_, source), _)| match &source.from {
            Origin::Column(name) => Some(Name::from(name.clone())),
            Origin::Value(_) => None,
        });
        let is_one_to_one = self.table.is_unique(&names.collect::<Vec<_>>());
        if self.dialect == Dialect::Postgres || is_kept || is_one_to_one {
            return instance;
        }
        let key: Vec<&str> = sources().map(|(_, selected)| selected.as_str()).collect();
        // Rows with NULL in a unique key do not conflict.
        let are_given: Vec<String> = key.iter().map(|selected| format!("{selected} IS NOT NULL")).collect();
        let rivals = format!("count(*) OVER (PARTITION BY {instance}, {})", key.join(", "));
        let are_given = are_given.join(" AND ");
        format!("CASE WHEN {rivals} > 1 AND {are_given} THEN readside_twice() ELSE {instance} END")
    }

    /// One side of a comparison with a column, in a form in which equal documents are equal.
    fn compared(&self, column: &str, side: String) -> String {
        let is_json = self.table.find(column).is_some_and(|column| column.kind == ColumnType::Json);
        if is_json && self.dialect == Dialect::Sqlite { format!("readside_json({side})") } else { side }
    }

    fn copied(&self, name: &str, added: bool) -> String {
        let column = quote(name);
        let new = format!("excluded.{column}");
        let value = if added { self.sum(name, &format!("t.{column}"), &new) } else { new };
        format!("{column} = {value}")
    }

    fn conditions(&mut self, conditions: &[Condition], prefix: &str) -> String {
        let mut parts = vec![format!("{prefix}{} = $1", quote(INSTANCE_COLUMN))];
        parts.extend(conditions.iter().map(|condition| format!("({})", self.test(&condition.0, prefix))));
        parts.join(" AND ")
    }

    fn test(&mut self, test: &Test, prefix: &str) -> String {
        let named = |column: &str| format!("{prefix}{}", quote(column));
        match test {
            Test::Compare(column, "=", Value::Null) | Test::IsNull(column) => format!("{} IS NULL", named(column)),
            Test::Compare(column, _, Value::Null) => format!("{} IS NOT NULL", named(column)),
            Test::Compare(column, operator, value) => {
                let param = self.bind(column, value);
                let [column, param] = [named(column), param].map(|side| self.compared(column, side));
                format!("{column} {operator} {param}")
            }
            Test::IsIn(_, values) if values.is_empty() => "FALSE".to_owned(),
            Test::IsIn(column, values) => {
                let bound = |value: &Value| {
                    let param = self.bind(column, value);
                    self.compared(column, param)
                };
                let params: Vec<String> = values.iter().map(bound).collect();
                format!("{} IN ({})", self.compared(column, named(column)), params.join(", "))
            }
            Test::Contains(column, item) => {
                let param = self.bind_item(item);
                match self.dialect {
                    Dialect::Postgres => format!("{param} = ANY({})", named(column)),
                    Dialect::Sqlite => format!(
                        "CASE WHEN {0} IS NULL THEN NULL ELSE EXISTS (SELECT 1 FROM json_each({0}) j WHERE j.value = {param}) END",
                        named(column)
                    ),
                }
            }
            Test::JsonContains(column, json) => {
                let param = self.bind(column, json);
                match self.dialect {
                    Dialect::Postgres => format!("{} @> {param}", named(column)),
                    Dialect::Sqlite => format!("readside_json_contains({}, {param})", named(column)),
                }
            }
            Test::Not(test) => format!("NOT ({})", self.test(test, prefix)),
            Test::Any(tests) if tests.is_empty() => "FALSE".to_owned(),
            Test::Any(tests) => self.joined(tests, " OR ", prefix),
            Test::All(tests) => self.joined(tests, " AND ", prefix),
            Test::Broken(..) | Test::Refused(_) => "FALSE".to_owned(),
        }
    }
}

/// How many conditions may follow each other in one expression. Databases limit the depth of an expression, and such a
/// row counts as deep as it is long.
const MOST_BESIDE: usize = 64;

impl Text<'_> {
    /// Halves a long list of conditions again and again, so that none of them is deep in the expression.
    fn joined(&mut self, tests: &[Test], by: &str, prefix: &str) -> String {
        if tests.len() > MOST_BESIDE {
            let (one, other) = tests.split_at(tests.len() / 2);
            return format!("({}){by}({})", self.joined(one, by, prefix), self.joined(other, by, prefix));
        }
        let parts: Vec<String> = tests.iter().map(|test| format!("({})", self.test(test, prefix))).collect();
        parts.join(by)
    }
}

fn target(conflict: &[Name]) -> String {
    let mut columns = vec![quote(INSTANCE_COLUMN)];
    columns.extend(quoted(conflict));
    columns.join(", ")
}

/// `value` if the column holds NULL or compares to it by this operator; else what the column holds.
fn extreme(held: &str, operator: &str, value: &str) -> String {
    format!("CASE WHEN {held} IS NULL OR {held} {operator} {value} THEN {value} ELSE {held} END")
}
