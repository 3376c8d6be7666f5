//! Statements and tables as SQL: text with `$n` placeholders, and values to bind.
//!
//! Pure: nothing here talks to a database. Every identifier is quoted, every value of a statement is bound.

mod ddl;
mod render;

pub(crate) use ddl::{
    Making, READ_ONLY, Trial, check_constraint, create_tables, create_view, in_schema, is_index_of, physical_name,
    physical_of, physical_raw, trials, values_constraint, view_of, view_raw,
};
#[cfg(feature = "sqlite")]
pub(crate) use ddl::{OWN, TYPE_CHECK};
pub(crate) use render::render;

use std::sync::Arc;

use crate::query::EventFilter;
pub(crate) use crate::statement::Dialect;
use crate::value::Value;

impl Dialect {
    /// One of the engine's own tables.
    pub(crate) fn table(self, name: &str) -> String {
        match self {
            Self::Postgres => format!("readside.{name}"),
            Self::Sqlite => format!("readside_{name}"),
        }
    }

    /// A condition: the column is one of the texts bound as an array.
    pub(crate) fn any(self, column: &str, placeholder: usize) -> String {
        match self {
            Self::Postgres => format!("{column} = ANY(${placeholder}::text[])"),
            Self::Sqlite => format!("{column} IN (SELECT value FROM json_each(${placeholder}))"),
        }
    }

    /// As [`any`](Self::any), with the value to bind. A single text is bound as it is: the plan of a statement that looks
    /// up one row takes less time then.
    pub(crate) fn any_of(self, column: &str, placeholder: usize, texts: &[Arc<str>]) -> (String, Value) {
        match texts {
            [one] => (format!("{column} = ${placeholder}"), Arc::clone(one).into()),
            _ => (self.any(column, placeholder), Value::TextArray(texts.iter().map(ToString::to_string).collect())),
        }
    }

    /// A condition: the column is one of the few values of a query. The query runs once, and an index finds the rows.
    /// PostgreSQL's planner would take `IN` for a join, run the query for each side of it, and may read the whole table.
    pub(crate) fn among(self, column: &str, query: &str) -> String {
        match self {
            Self::Postgres => format!("{column} = ANY(ARRAY({query}))"),
            Self::Sqlite => format!("{column} IN ({query})"),
        }
    }

    /// A condition: the column is one of these types, which are bound as an array. If the types list every type, all
    /// rows fit.
    pub(crate) fn any_type<T: AsRef<str>>(self, column: &str, placeholder: usize, types: &[T]) -> String {
        if !EventFilter::lists_every(types) {
            return self.any(column, placeholder);
        }
        match self {
            Self::Postgres => format!("${placeholder}::text[] IS NOT NULL"),
            Self::Sqlite => format!("${placeholder} IS NOT NULL"),
        }
    }

    /// The texts bound as an array, as a table with one column.
    pub(crate) fn texts(self, placeholder: usize, table: &str, column: &str) -> String {
        match self {
            Self::Postgres => format!("unnest(${placeholder}::text[]) AS {table}({column})"),
            Self::Sqlite => format!("(SELECT value AS {column} FROM json_each(${placeholder})) AS {table}"),
        }
    }

    /// The words that lock the rows of a query until the end of the transaction.
    pub(crate) fn for_update(self) -> &'static str {
        match self {
            Self::Postgres => " FOR UPDATE",
            Self::Sqlite => "",
        }
    }
}

/// True if the SQL contains a name, quoted or as a whole word. ASCII letters match in either case, as in SQLite.
pub(crate) fn mentions(sql: &str, name: &str) -> bool {
    let (text, name) = (sql.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut words = text.split(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '_' | '$')));
    text.contains(&quote(&name)) || words.any(|word| word == name)
}

/// A text and the values of its placeholders, in order from `$1`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sql {
    pub(crate) text: String,
    pub(crate) params: Vec<Value>,
    /// How many rows it has to change, if the caller asks for that.
    pub(crate) expected: Option<u64>,
}

/// For `fuzz/`: the SQL that makes the tables, and the SQL of one statement with the number of its values.
///
/// # Errors
/// A table that the projection does not have.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn render_for_fuzzing(
    postgres: bool,
    projection: &crate::projection::Projection,
    statement: &crate::statement::Statement,
) -> Result<(Vec<String>, Vec<(String, usize)>), crate::error::StatementError> {
    let dialect = if postgres { Dialect::Postgres } else { Dialect::Sqlite };
    let rendered = render(dialect, projection, "instance", statement)?;
    let statements = rendered.into_iter().map(|sql| (sql.text, sql.params.len())).collect();
    let tables = create_tables(dialect, projection, None).into_iter().map(|made| made.sql).collect();
    Ok((tables, statements))
}

/// A quoted identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted<N: AsRef<str>>(names: &[N]) -> Vec<String> {
    names.iter().map(|name| quote(name.as_ref())).collect()
}

#[cfg(test)]
mod tests;
