//! The canonical text of a definition. It shows whether a definition changed under the same version.

use serde::Serialize;

use super::Projection;
use crate::dialect::{Dialect, Dialects};
use crate::table::{Column, ForeignKey, Index, Key, Table};
use crate::value::{Value, micros};

/// The fields, and the variants of defaults, are part of the stored text: changing them makes every definition look
/// changed.
#[derive(Serialize)]
struct Text<'p> {
    schema: Option<&'p str>,
    events: Vec<(&'p str, Vec<&'p str>)>,
    primary: Option<&'p str>,
    tables: Vec<TableText<'p>>,
}

#[derive(Serialize)]
struct TableText<'p> {
    name: &'p str,
    columns: Vec<ColumnText<'p>>,
    primary_key: &'p [String],
    uniques: Vec<&'p [String]>,
    indexes: Vec<&'p [String]>,
    foreign_keys: Vec<(&'p [String], Option<&'p str>)>,
    /// The foreign keys that restrict the deletion of the rows they refer to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restricting: Vec<(&'p [String], Option<&'p str>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    more_indexes: Vec<IndexText<'p>>,
    /// Names and texts for each database.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<(&'p str, SqlText)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'p str>,
    /// Roles, each with its rights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grants: Vec<(String, Vec<&'static str>)>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    isolated: bool,
}

/// SQL for each database.
type SqlText = [Option<&'static str>; 2];

#[derive(Serialize)]
struct IndexText<'p> {
    name: &'p str,
    method: &'static str,
    keys: Vec<KeyText<'p>>,
    covered: &'p [String],
    only: Option<SqlText>,
}

#[derive(Serialize)]
enum KeyText<'p> {
    Column(&'p str),
    Descending(&'p str),
    Expression(SqlText),
}

#[derive(Serialize)]
struct ColumnText<'p> {
    name: &'p str,
    kind: String,
    nullable: bool,
    default: Option<DefaultText<'p>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<&'p [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generated: Option<SqlText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'p str>,
}

#[derive(Serialize)]
enum DefaultText<'p> {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(&'p str),
    Bytes(&'p [u8]),
    Micros(Option<i64>),
    Texts(&'p [String]),
    Decimal(String),
    Date(String),
    Time(String),
    Duration(i64),
    Integers(&'p [i64]),
    Uuids(Vec<String>),
    Unfit,
}

impl Projection {
    /// Event types and tables as a JSON text. The text is the same for definitions that mean the same: the order of
    /// columns, of secondary tables and of reducers does not matter.
    #[must_use]
    pub fn definition(&self) -> String {
        let events = self.inner.reducers.iter();
        let mut tables: Vec<TableText<'_>> = self.tables().iter().map(table_text).collect();
        tables.sort_unstable_by_key(|table| table.name);
        let text = Text {
            schema: self.schema_name(),
            events: events.map(|(name, types)| (name.as_str(), types.keys().map(String::as_str).collect())).collect(),
            primary: self.tables().first().map(|table| table.name.as_str()),
            tables,
        };
        // Only maps whose keys are not texts cannot be written, and there are none.
        serde_json::to_string(&text).unwrap_or_default()
    }
}

/// True when two definitions produce the same rows. Comments, grants and row isolation may differ.
pub(crate) fn brings_the_same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let bare = |text: &str| {
        let mut read: serde_json::Value = serde_json::from_str(text).ok()?;
        for table in read.get_mut("tables")?.as_array_mut()? {
            let table = table.as_object_mut()?;
            for name in ["comment", "grants", "isolated"] {
                table.remove(name);
            }
            for column in table.get_mut("columns")?.as_array_mut()? {
                column.as_object_mut()?.remove("comment");
            }
        }
        Some(read)
    };
    bare(one).is_some_and(|one| bare(other) == Some(one))
}

fn table_text(table: &Table) -> TableText<'_> {
    let mut columns: Vec<ColumnText<'_>> = table.columns.iter().map(column_text).collect();
    columns.sort_unstable_by_key(|column| column.name);
    TableText {
        name: &table.name,
        columns,
        primary_key: &table.primary_key,
        uniques: sorted(table.uniques.iter().map(Vec::as_slice)),
        indexes: sorted(table.indexes.iter().map(Vec::as_slice)),
        more_indexes: more_indexes(table),
        comment: table.comment.as_deref(),
        grants: table.granted(),
        isolated: table.isolated,
        checks: sorted(table.checks.iter().map(|check| (check.name.as_str(), sql_text(check.sql)))),
        foreign_keys: foreign_keys(table, |_| true),
        restricting: foreign_keys(table, |key| key.restricts),
    }
}

fn foreign_keys(table: &Table, which: impl Fn(&ForeignKey) -> bool) -> Vec<(&[String], Option<&str>)> {
    let keys = table.foreign_keys.iter().filter(|key| which(key));
    sorted(keys.map(|key| (key.columns.as_slice(), key.table.as_deref())))
}

fn more_indexes(table: &Table) -> Vec<IndexText<'_>> {
    let mut texts: Vec<IndexText<'_>> = table.more_indexes.iter().map(index_text).collect();
    texts.sort_unstable_by_key(|index| index.name);
    texts
}

fn index_text(index: &Index) -> IndexText<'_> {
    IndexText {
        name: &index.name,
        method: index.method.word(),
        keys: index.keys.iter().map(key_text).collect(),
        covered: &index.covered,
        only: index.only.map(sql_text),
    }
}

fn key_text(key: &Key) -> KeyText<'_> {
    match key {
        Key::Column { name, descending: false } => KeyText::Column(name),
        Key::Column { name, descending: true } => KeyText::Descending(name),
        Key::Expression(sql) => KeyText::Expression(sql_text(*sql)),
    }
}

fn sql_text(sql: Dialects) -> SqlText {
    [Dialect::Postgres, Dialect::Sqlite].map(|dialect| sql.text(dialect))
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = items.collect();
    list.sort_unstable();
    list
}

fn column_text(column: &Column) -> ColumnText<'_> {
    ColumnText {
        name: &column.name,
        kind: column.kind.to_string(),
        nullable: column.nullable,
        default: column.default.as_ref().map(default_text),
        values: column.values.as_deref(),
        generated: column.generated.map(sql_text),
        comment: column.comment.as_deref(),
    }
}

fn default_text(value: &Value) -> DefaultText<'_> {
    match value {
        Value::Null => DefaultText::Null,
        Value::Boolean(truth) => DefaultText::Boolean(*truth),
        Value::Integer(number) => DefaultText::Integer(*number),
        Value::Float(number) => DefaultText::Float(*number),
        Value::Text(text) | Value::Json(text) => DefaultText::Text(text),
        Value::Bytes(bytes) => DefaultText::Bytes(bytes),
        Value::Timestamp(at) => DefaultText::Micros(micros(*at)),
        Value::TextArray(texts) => DefaultText::Texts(texts),
        Value::Uuid(id) => DefaultText::Bytes(id.as_bytes()),
        Value::Decimal(number) => DefaultText::Decimal(number.to_string()),
        Value::Date(day) => DefaultText::Date(day.to_string()),
        Value::Time(time) => DefaultText::Time(time.to_string()),
        Value::Duration(micros) => DefaultText::Duration(*micros),
        Value::IntegerArray(numbers) => DefaultText::Integers(numbers),
        Value::UuidArray(ids) => DefaultText::Uuids(ids.iter().map(ToString::to_string).collect()),
        // Set-up refuses such a default.
        Value::Unfit(_) => DefaultText::Unfit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::noop;
    use crate::table::{Privilege, decimal, enumeration, integer, text};

    fn users(version: u32, table: Table) -> Projection {
        Projection::new("users", version).on_raw("user", "user.added", |_| noop()).table(table.primary_key(["id"]))
    }

    fn with(more: impl Fn(Table) -> Table) -> Table {
        more(Table::new("users").column(text("id")).column(integer("n").default(1)))
    }

    // Contract: B1, I2
    #[test]
    fn only_what_changes_the_read_model_changes_the_definition() {
        let one = users(1, Table::new("users").column(text("id")).column(integer("n").default(1)));
        let moved = users(2, Table::new("users").column(integer("n").default(1)).column(text("id")));
        assert_eq!(one.definition(), moved.definition());
        let changed = [
            one.clone().schema("crm"),
            one.clone().on_raw("user", "user.closed", |_| noop()),
            one.clone().table(Table::suffix("x").column(text("id")).primary_key(["id"])),
            users(1, Table::new("users").column(text("id")).column(integer("n").default(2))),
            users(1, Table::new("users").column(text("id")).column(integer("n").default(1).nullable())),
            users(1, Table::new("users").column(text("id")).column(integer("n").default(1)).index(["n"])),
            users(1, Table::new("users").column(text("id")).column(decimal("n", 12, 2).default(1))),
            users(1, Table::new("users").column(text("id")).column(decimal("n", 12, 3).default(1))),
            one.clone().table(Table::suffix("y").column(text("id")).primary_key(["id"]).references_primary(["id"])),
            one.clone().table(
                Table::suffix("y")
                    .column(text("id"))
                    .primary_key(["id"])
                    .foreign_key(ForeignKey::primary(["id"]).restrict()),
            ),
            users(1, with(|table| table.demand("a", "n > 0"))),
            users(1, with(|table| table.demand("a", "n > 1"))),
            users(1, with(|table| table.index_by(Index::new("a").column("n")))),
            users(1, with(|table| table.index_by(Index::new("a").descending("n")))),
            users(1, with(|table| table.index_by(Index::new("a").column("n").covering(["id"])))),
            users(1, with(|table| table.index_by(Index::new("a").column("n").only("n > 0")))),
            users(1, with(|table| table.index_by(Index::new("a").expression("n + 1")))),
            users(1, with(|table| table.index_by(Index::new("a").expression(Dialects::postgres("n + 1"))))),
            users(1, with(|table| table.index_by(Index::new("a").column("n").gist()))),
            users(1, Table::new("users").column(text("id")).column(integer("n").generated("length(id)"))),
            users(1, Table::new("users").column(text("id")).column(integer("n").generated("length(id) + 1"))),
            users(1, Table::new("users").column(enumeration("id", ["a"])).column(integer("n").default(1))),
            users(1, Table::new("users").column(enumeration("id", ["a", "b"])).column(integer("n").default(1))),
        ];
        for projection in &changed {
            let same = changed.iter().filter(|other| other.definition() == projection.definition()).count();
            assert!(same == 1 && one.definition() != projection.definition(), "{projection:?}");
        }
    }

    // Contract: I2
    #[test]
    fn what_changes_no_row_needs_no_version() {
        let plain = || Table::new("users").column(text("id"));
        let one = users(1, plain()).definition();
        for dressed in [
            plain().comment("all of them"),
            plain().tenant_isolation(),
            plain().grant("reports", [Privilege::Select]),
            Table::new("users").column(text("id").comment("who")),
        ] {
            let dressed = users(1, dressed).definition();
            assert!(one != dressed && brings_the_same(&one, &dressed), "{dressed}");
        }
        assert!(!brings_the_same(&one, &users(1, plain().column(text("n"))).definition()));
        assert!(!brings_the_same("x", "y"));
    }

    // Contract: I2: the text is stored, so its form must not change by accident.
    #[test]
    fn the_text_is_stable() {
        let table =
            Table::new("users").column(text("id")).column(text("name").nullable().default("x")).unique(["name"]);
        let wanted = concat!(
            r#"{"schema":null,"events":[["user",["user.added"]]],"primary":"users","tables":[{"name":"users","#,
            r#""columns":[{"name":"id","kind":"Text","nullable":false,"default":null},"#,
            r#"{"name":"name","kind":"Text","nullable":true,"default":{"Text":"x"}}],"#,
            r#""primary_key":["id"],"uniques":[["name"]],"indexes":[],"foreign_keys":[]}]}"#
        );
        assert_eq!(users(1, table).definition(), wanted);
    }
}
