//! Tables, indexes and views of projections.

use std::borrow::Cow;

use super::{Dialect, quote, quoted};
use crate::projection::Projection;
use crate::state::{ProjectionKey, SHADOW};
use crate::table::{Column, ForeignKey, INSTANCE_COLUMN, Index, Key, MAX_NAME, Method, Table};
use crate::value::{ColumnType as T, Value, time_text, unsigned_zero};

/// The unquoted name of a table of this version, without PostgreSQL's schema.
pub(crate) fn physical_raw(dialect: Dialect, projection: &Projection, table: &Table) -> String {
    physical_of(dialect, projection.place(), &table.name, &projection.key())
}

/// The unquoted name of a table of a build, by the table's plain name.
pub(crate) fn physical_of(dialect: Dialect, schema: Option<&str>, table: &str, key: &ProjectionKey) -> String {
    let plain = format!("{}_{}", view_of(dialect, schema, table), key.version);
    match key.mark() {
        None => plain,
        Some(mark) => fitting(&format!("{plain}{SHADOW}{mark}")),
    }
}

/// The unquoted name of the view that readers use, without PostgreSQL's schema.
pub(crate) fn view_raw(dialect: Dialect, projection: &Projection, table: &Table) -> String {
    view_of(dialect, projection.place(), &table.name)
}

/// The unquoted name of the view that readers use, by the table's plain name.
pub(crate) fn view_of(dialect: Dialect, schema: Option<&str>, table: &str) -> String {
    match (dialect, schema) {
        (Dialect::Sqlite, Some(schema)) => format!("{schema}_{table}"),
        _ => table.to_owned(),
    }
}

fn qualified(dialect: Dialect, projection: &Projection, raw: &str) -> String {
    in_schema(dialect, projection.place(), raw)
}

/// A quoted name with PostgreSQL's schema before it.
pub(crate) fn in_schema(dialect: Dialect, schema: Option<&str>, raw: &str) -> String {
    match (dialect, schema) {
        (Dialect::Postgres, Some(schema)) => format!("{}.{}", quote(schema), quote(raw)),
        _ => quote(raw),
    }
}

/// The quoted name of a table of this version.
pub(crate) fn physical_name(dialect: Dialect, projection: &Projection, table: &Table) -> String {
    qualified(dialect, projection, &physical_raw(dialect, projection, table))
}

/// Statements that make the tables of a projection where they are missing. They make a schema only if the code names
/// it.
///
/// `tag` makes the names of indexes unique, because the indexes of a build beside the live one keep their names longer
/// than the build keeps its own.
pub(crate) fn create_tables(dialect: Dialect, projection: &Projection, tag: Option<&str>) -> Vec<Making> {
    let mut made = Vec::new();
    if let (Dialect::Postgres, Some(schema)) = (dialect, projection.schema_name()) {
        let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", quote(schema));
        made.push(Making { what: format!("schema {schema:?}"), sql });
    }
    for table in projection.tables() {
        let checks: Vec<&str> = table.checks.iter().map(|check| check.name.as_str()).collect();
        let checks = if checks.is_empty() { String::new() } else { format!(" with the checks {checks:?}") };
        let what = format!("table {:?}{checks}", table.name);
        made.push(Making { what, sql: create_table(dialect, projection, table) });
    }
    for table in projection.tables() {
        for columns in &table.indexes {
            let what = format!("the index over {columns:?} of table {:?}", table.name);
            made.push(Making { what, sql: create_index(dialect, projection, table, columns, tag) });
        }
        for index in table.more_indexes.iter().filter(|index| index.is_for(dialect)) {
            let what = format!("index {:?} of table {:?}", index.name, table.name);
            made.push(Making { what, sql: create_more(dialect, projection, table, index, tag) });
        }
    }
    made
}

/// Statements that try out the service's own SQL in a definition: what each is about, and whether its effect stays for
/// the next ones. They make tables with names that nothing else uses. The caller has to undo everything.
pub(crate) fn trials(dialect: Dialect, projection: &Projection) -> Vec<Trial> {
    let mut trials = Vec::new();
    for table in projection.tables() {
        let mut plain = Table { name: TRIAL.to_owned(), checks: Vec::new(), ..table.clone() };
        (plain.foreign_keys, plain.uniques, plain.indexes) = (Vec::new(), Vec::new(), Vec::new());
        let bare = |column: &Column| Column { generated: None, ..column.clone() };
        let trial = |what: String, made: &Table, stays: bool| Trial {
            table: table.name.clone(),
            what,
            sql: create_table(dialect, projection, made),
            stays,
        };
        let plain_columns: Vec<Column> = plain.columns.iter().map(bare).collect();
        for (at, column) in plain.columns.iter().enumerate().filter(|(_, column)| column.generated.is_some()) {
            let mut one = Table { columns: plain_columns.clone(), ..plain.clone() };
            if let Some(of) = one.columns.get_mut(at) {
                of.generated = column.generated;
            }
            trials.push(trial(format!("the generated column {:?}", column.name), &one, false));
        }
        for check in &table.checks {
            let one = Table { columns: plain_columns.clone(), checks: vec![check.clone()], ..plain.clone() };
            trials.push(trial(format!("the check {:?}", check.name), &one, false));
        }
        let mut indexes = table.more_indexes.iter().filter(|index| index.is_for(dialect)).peekable();
        if indexes.peek().is_none() {
            continue;
        }
        trials.push(trial("its columns".to_owned(), &plain, true));
        for index in indexes {
            let sql = create_more(dialect, projection, &plain, index, None);
            trials.push(Trial {
                table: table.name.clone(),
                what: format!("the index {:?}", index.name),
                sql,
                stays: false,
            });
        }
        let sql = format!("DROP TABLE {}", physical_name(dialect, projection, &plain));
        trials.push(Trial { table: table.name.clone(), what: "its columns".to_owned(), sql, stays: true });
    }
    trials
}

/// The plain name of a table that is tried out.
const TRIAL: &str = "readside_trial";

/// A statement that tries something out.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The plain name of the table.
    pub(crate) table: String,
    /// What it tries out, in words.
    pub(crate) what: String,
    pub(crate) sql: String,
    /// True if the next statements need what this one makes.
    pub(crate) stays: bool,
}

/// A statement that makes something, and what that is, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Making {
    pub(crate) what: String,
    pub(crate) sql: String,
}

fn create_table(dialect: Dialect, projection: &Projection, table: &Table) -> String {
    let instance = column_sql(dialect, &Column::new(INSTANCE_COLUMN, T::Text));
    let mut parts: Vec<String> = vec![instance];
    parts.extend(table.columns.iter().map(|column| column_sql(dialect, column)));
    parts.push(format!("PRIMARY KEY ({})", with_instance(&table.primary_key)));
    parts.extend(table.uniques.iter().map(|columns| format!("UNIQUE ({})", with_instance(columns))));
    parts.extend(table.foreign_keys.iter().filter_map(|key| foreign_key(dialect, projection, key)));
    parts.extend(table.checks.iter().filter_map(|check| {
        let name = check_constraint(&check.name);
        Some(format!("CONSTRAINT {} CHECK ({})", quote(&name), check.sql.text(dialect)?))
    }));
    let strict = if dialect == Dialect::Sqlite { " STRICT" } else { "" };
    format!("CREATE TABLE IF NOT EXISTS {} ({}){strict}", physical_name(dialect, projection, table), parts.join(", "))
}

fn with_instance(columns: &[String]) -> String {
    let mut names = vec![quote(INSTANCE_COLUMN)];
    names.extend(quoted(columns));
    names.join(", ")
}

fn foreign_key(dialect: Dialect, projection: &Projection, key: &ForeignKey) -> Option<String> {
    let table = crate::statement::find_table(projection.tables(), key.table.as_deref()).ok()?;
    Some(format!(
        "FOREIGN KEY ({}) REFERENCES {} ({}){}",
        with_instance(&key.columns),
        physical_name(dialect, projection, table),
        with_instance(&table.primary_key),
        // Each statement is followed by a check of the keys, so one statement may delete both rows.
        if key.restricts { "" } else { " ON DELETE CASCADE" }
    ))
}

/// Texts compare by bytes on both databases, so that order and equality are the same.
fn type_sql(dialect: Dialect, kind: T) -> Cow<'static, str> {
    Cow::Borrowed(match dialect {
        Dialect::Postgres => match kind {
            T::Text => "text COLLATE \"C\"",
            T::Integer => "bigint",
            T::Boolean => "boolean",
            T::Float => "double precision",
            T::Json => "jsonb",
            T::Bytes => "bytea",
            T::Timestamp => "timestamptz",
            T::TextArray => "text[]",
            T::Uuid => "uuid",
            T::Decimal { precision, scale } => return Cow::Owned(format!("numeric({precision},{scale})")),
            T::Date => "date",
            T::Time => "time without time zone",
            T::Duration => "interval",
            T::IntegerArray => "bigint[]",
            T::UuidArray => "uuid[]",
        },
        Dialect::Sqlite => match kind {
            T::Text | T::Json | T::Timestamp | T::TextArray | T::Date | T::Time | T::IntegerArray | T::UuidArray => {
                "TEXT"
            }
            T::Integer | T::Boolean | T::Decimal { .. } | T::Duration => "INTEGER",
            T::Float => "REAL",
            T::Bytes | T::Uuid => "BLOB",
        },
    })
}

fn column_sql(dialect: Dialect, column: &Column) -> String {
    let not_null = if column.nullable { "" } else { " NOT NULL" };
    let default = match &column.default {
        Some(value) if !value.is_null() => format!(" DEFAULT {}", literal(dialect, &value.held_by(column.kind))),
        _ => String::new(),
    };
    let check = match dialect {
        Dialect::Postgres => None,
        Dialect::Sqlite => check_sql(&quote(&column.name), column.kind),
    };
    let check = check.map_or(String::new(), |check| format!(" CONSTRAINT {TYPE_CHECK} CHECK ({check})"));
    let values = column.values.as_deref().map(|values| listed(column, values)).unwrap_or_default();
    let generated = column.generated.and_then(|sql| sql.text(dialect));
    let generated = generated.map(|sql| format!(" GENERATED ALWAYS AS ({sql}) STORED")).unwrap_or_default();
    format!("{} {}{not_null}{default}{generated}{check}{values}", quote(&column.name), type_sql(dialect, column.kind))
}

/// The name of the constraint that checks a column's type, where the database has no such type. If it refuses a value,
/// that is a fault of the value.
pub(crate) const TYPE_CHECK: &str = "readside_type";

/// The name of the constraint of a check.
pub(crate) fn check_constraint(check: &str) -> String {
    fitting(&format!("{OWN}check_{check}"))
}

/// The name of the constraint that lists the values of a column.
pub(crate) fn values_constraint(column: &str) -> String {
    fitting(&format!("{OWN}values_{column}"))
}

/// True if the index was made for the declared one, on any table.
pub(crate) fn is_index_of(index: &str, declared: &str) -> bool {
    let made = |index: &str| Some(index.strip_prefix(OWN)?.split_at_checked(16)?.1.strip_prefix('_')?.to_owned());
    let whole = format!("{OWN}{:016x}_{declared}", 0);
    let Some(rest) = made(index) else { return false };
    if whole.len() <= MAX_NAME {
        return rest == declared;
    }
    // The name was cut at the end of a character, and ends with a hash of the whole name.
    let is_cut = index.len() + 4 > MAX_NAME;
    is_cut && rest.get(..rest.len().saturating_sub(17)).is_some_and(|begin| declared.starts_with(begin))
}

/// A check that a column holds one of these texts. The name of the check shows that it belongs to the library.
fn listed(column: &Column, values: &[String]) -> String {
    let name = values_constraint(&column.name);
    let values: Vec<String> = values.iter().map(|value| text(value)).collect();
    format!(" CONSTRAINT {} CHECK ({} IN ({}))", quote(&name), quote(&column.name), values.join(", "))
}

/// A text as an SQL literal.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What a type of this library demands beyond the type that SQLite has for it. So neither a service's own SQL nor a
/// person can store in a column what PostgreSQL would refuse there, or what this library cannot read back. NULL passes.
fn check_sql(column: &str, kind: T) -> Option<String> {
    Some(match kind {
        T::Boolean => format!("{column} IN (0, 1)"),
        // Times have the form in which the engine writes them; the rest refuses days and hours that do not exist. SQLite
        // 3.51 knows an hour 24.
        T::Timestamp => {
            let [two, four, six] = [2, 4, 6].map(|digits| "[0-9]".repeat(digits));
            format!(
                "{column} GLOB '{four}-{two}-{two}T{two}:{two}:{two}.{six}Z' AND date({column}) IS substr({column}, 1, 10) \
                 AND substr({column}, 12) < '24'"
            )
        }
        T::Json => format!("json_valid({column})"),
        T::TextArray | T::IntegerArray | T::UuidArray => format!("json_type({column}) = 'array'"),
        T::Uuid => format!("length({column}) = 16"),
        T::Decimal { precision, .. } => {
            let most = "9".repeat(precision.into());
            format!("{column} BETWEEN -{most} AND {most}")
        }
        // PostgreSQL has no year 0.
        T::Date => {
            format!("date({column}) IS {column} AND {column} GLOB '[0-9][0-9][0-9][0-9]-*' AND {column} > '0001'")
        }
        T::Time => {
            let [two, six] = [2, 6].map(|digits| "[0-9]".repeat(digits));
            format!(
                "{column} GLOB '{two}:{two}:{two}.{six}' AND time({column}) IS substr({column}, 1, 8) AND {column} < '24'"
            )
        }
        T::Text | T::Integer | T::Float | T::Bytes | T::Duration => return None,
    })
}

/// The default of a column, in the form that the column holds. No other values stand in SQL as text, and these come
/// from the code of the service.
fn literal(dialect: Dialect, value: &Value) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    match (dialect, value) {
        // The check of the table refuses a value that is unfit.
        (_, Value::Null | Value::Unfit(_)) => "NULL".to_owned(),
        (Dialect::Postgres, Value::Boolean(b)) => b.to_string(),
        (Dialect::Sqlite, Value::Boolean(b)) => i64::from(*b).to_string(),
        (_, Value::Integer(n)) | (Dialect::Sqlite, Value::Duration(n)) => integer(*n),
        (Dialect::Postgres, Value::Decimal(number)) => number.to_string(),
        (Dialect::Sqlite, Value::Decimal(number)) => number.units().to_string(),
        (_, Value::Date(day)) => text(&day.to_string()),
        (_, Value::Time(time)) => text(&time.to_string()),
        (Dialect::Postgres, Value::Duration(micros)) => interval(*micros),
        (Dialect::Postgres, Value::IntegerArray(numbers)) => {
            let items: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            format!("'{{{}}}'::bigint[]", items.join(","))
        }
        (Dialect::Postgres, Value::UuidArray(ids)) => {
            let items: Vec<String> = ids.iter().map(ToString::to_string).collect();
            format!("'{{{}}}'::uuid[]", items.join(","))
        }
        (Dialect::Sqlite, Value::IntegerArray(_) | Value::UuidArray(_)) => text(&value.to_json().to_string()),
        (_, Value::Float(f)) => format!("{:?}", unsigned_zero(*f)),
        (_, Value::Text(t) | Value::Json(t)) => text(t),
        (Dialect::Postgres, Value::Bytes(bytes)) => format!("'\\x{}'::bytea", hex(bytes)),
        (Dialect::Sqlite, Value::Bytes(bytes)) => format!("x'{}'", hex(bytes)),
        (_, Value::Timestamp(at)) => text(&time_text(*at)),
        (Dialect::Postgres, Value::TextArray(texts)) => {
            let items: Vec<String> = texts.iter().map(|item| text(item)).collect();
            format!("ARRAY[{}]::text[]", items.join(", "))
        }
        (Dialect::Sqlite, Value::TextArray(texts)) => text(&serde_json::Value::from(texts.clone()).to_string()),
        (Dialect::Postgres, Value::Uuid(id)) => text(&id.to_string()),
        (Dialect::Sqlite, Value::Uuid(id)) => format!("x'{}'", id.simple()),
    }
}

fn integer(n: i64) -> String {
    // The smallest integer has no literal of this type.
    if n == i64::MIN { "(-9223372036854775807 - 1)".to_owned() } else { n.to_string() }
}

/// An interval as a sum, because a server takes at most a 32-bit number of hours in one text.
fn interval(micros: i64) -> String {
    const HOUR: i64 = 3_600_000_000;
    let (hours, rest) = (micros / HOUR, micros % HOUR);
    let (half, sign) = (hours / 2, if rest < 0 { "-" } else { "" });
    let seconds = rest.unsigned_abs() / 1_000_000;
    format!(
        "(interval '{half} hours' + interval '{} hours' + interval '{sign}00:{:02}:{:02}.{:06}')",
        hours - half,
        seconds / 60,
        seconds % 60,
        rest.unsigned_abs() % 1_000_000
    )
}

fn create_index(
    dialect: Dialect,
    projection: &Projection,
    table: &Table,
    columns: &[String],
    tag: Option<&str>,
) -> String {
    let physical = physical_raw(dialect, projection, table);
    let tag = tag.map(|tag| format!("_{tag}")).unwrap_or_default();
    let name = fitting(&format!("{physical}{tag}_{}_idx", columns.join("_")));
    format!(
        "CREATE INDEX IF NOT EXISTS {} ON {} ({})",
        quote(&name),
        physical_name(dialect, projection, table),
        with_instance(columns)
    )
}

/// The beginning of the names of checks and indexes that a definition brings with a name. No other names begin so.
pub(crate) const OWN: &str = "readside_";

/// Makes an index with a name that tells that a definition brings it. A hash in the name distinguishes the indexes of
/// different tables.
fn create_more(dialect: Dialect, projection: &Projection, table: &Table, index: &Index, tag: Option<&str>) -> String {
    let physical = physical_raw(dialect, projection, table);
    let whole = format!("{physical} {} {}", tag.unwrap_or_default(), index.name);
    let name = fitting(&format!("{OWN}{:016x}_{}", hash(&whole), index.name));
    let key = |key: &Key| match key {
        Key::Column { name, descending: false } => quote(name),
        Key::Column { name, descending: true } => format!("{} DESC", quote(name)),
        Key::Expression(sql) => format!("({})", sql.text(dialect).unwrap_or_default()),
    };
    let mut keys: Vec<String> = index.keys.iter().map(key).collect();
    if index.method == Method::Tree {
        keys.insert(0, quote(INSTANCE_COLUMN));
    }
    let covered = quoted(&index.covered);
    let include = match dialect {
        Dialect::Postgres if !covered.is_empty() => format!(" INCLUDE ({})", covered.join(", ")),
        Dialect::Postgres => String::new(),
        Dialect::Sqlite => {
            keys.extend(covered);
            String::new()
        }
    };
    let method = match dialect {
        Dialect::Postgres => format!("USING {} ", index.method.word()),
        Dialect::Sqlite => String::new(),
    };
    let only =
        index.only.and_then(|only| only.text(dialect)).map(|only| format!(" WHERE ({only})")).unwrap_or_default();
    format!(
        "CREATE INDEX IF NOT EXISTS {} ON {} {method}({}){include}{only}",
        quote(&name),
        physical_name(dialect, projection, table),
        keys.join(", ")
    )
}

/// Cuts a name that is too long, and ends it with a hash (FNV-1a, 64 bits) of the whole name.
fn fitting(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let hash = hash(name);
    let mut end = MAX_NAME - 17;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{hash:016x}", name.get(..end).unwrap_or_default())
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The name of a second entry in the FROM of each view on PostgreSQL. Without it, everybody could write through a view
/// on a single table, past the engine and into the live build. The planner removes the entry before it makes a plan.
/// The name explains the entry to a person who reads the view.
pub(crate) const READ_ONLY: &str = "readside writes the table, nobody writes to the view";

/// The view that readers use, with these columns of a table of a build.
pub(crate) fn create_view(
    dialect: Dialect,
    schema: Option<&str>,
    table: &str,
    key: &ProjectionKey,
    columns: &[String],
) -> String {
    let beside = match dialect {
        Dialect::Postgres => format!(", (SELECT) AS {}", quote(READ_ONLY)),
        Dialect::Sqlite => String::new(),
    };
    format!(
        "CREATE VIEW {} AS SELECT {} FROM {}{beside}",
        in_schema(dialect, schema, &view_of(dialect, schema, table)),
        quoted(columns).join(", "),
        in_schema(dialect, schema, &physical_of(dialect, schema, table, key))
    )
}
