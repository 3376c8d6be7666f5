//! What the code declares for a table besides its columns, as it is on record, compared with what the database has.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::relation::Relation;
use super::{Conn, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::sql::{self, Dialect};
use crate::table::INSTANCE_COLUMN;
use crate::value::Value;

/// What a definition says of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Declared {
    columns: Vec<DeclaredColumn>,
    #[serde(default)]
    uniques: Vec<Vec<String>>,
    #[serde(default)]
    indexes: Vec<Vec<String>>,
    #[serde(default)]
    foreign_keys: Vec<(Vec<String>, Option<String>)>,
    #[serde(default)]
    more_indexes: Vec<DeclaredIndex>,
    #[serde(default)]
    checks: Vec<(String, SqlText)>,
    #[serde(default)]
    pub(crate) comment: Option<String>,
    #[serde(default)]
    pub(crate) grants: Vec<(String, Vec<String>)>,
    #[serde(default)]
    pub(crate) isolated: bool,
}

/// SQL for each database: PostgreSQL, then SQLite.
type SqlText = [Option<String>; 2];

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct DeclaredColumn {
    name: String,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    values: Option<Vec<String>>,
    #[serde(default)]
    generated: Option<SqlText>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct DeclaredIndex {
    name: String,
    method: String,
    keys: Vec<DeclaredKey>,
    only: Option<SqlText>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
enum DeclaredKey {
    Column(String),
    Descending(String),
    Expression(SqlText),
}

#[derive(Deserialize)]
struct Tables {
    tables: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    declared: Declared,
}

/// The declarations, by the plain name of the table.
pub(super) fn read(definition: &str) -> Result<BTreeMap<String, Declared>, StoreError> {
    let corrupt = |error| StoreError::new("reading the definition of a projection", StoreErrorKind::Corrupt, error);
    let Tables { tables } = serde_json::from_str(definition).map_err(corrupt)?;
    Ok(tables.into_iter().map(|table| (table.name, table.declared)).collect())
}

/// Something on a table, or on the view that readers use, that changes no row.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// In words.
    pub(crate) what: String,
    /// A query, with its values, that tells whether it exists.
    pub(crate) is_there: (&'static str, Vec<Value>),
    /// The statement that makes it.
    pub(crate) make: String,
    /// The statement that removes it; empty if it stays.
    pub(crate) undo: String,
    /// The remedy if the database refuses the statement.
    pub(crate) remedy: &'static str,
}

/// What a table has in the database.
#[derive(Debug, Default)]
pub struct Structure {
    /// Indexes that the database can use.
    pub(crate) indexes: Vec<FoundIndex>,
    /// Those of the constraints asked for that exist, by name.
    pub(crate) constraints: Vec<String>,
    /// Columns that the database computes.
    pub(crate) generated: Vec<String>,
    /// The columns of foreign keys.
    pub(crate) references: Vec<Vec<String>>,
}

/// An index as a database has it.
#[derive(Debug)]
pub(crate) struct FoundIndex {
    pub(crate) name: String,
    pub(crate) unique: bool,
    /// Its columns in order, if it has only columns.
    pub(crate) columns: Option<Vec<String>>,
}

impl Declared {
    /// Each column that has a comment, with the comment.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "SQLite has none of that"))]
    pub(crate) fn comments(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().filter_map(|column| Some((column.name.as_str(), column.comment.as_deref()?)))
    }

    /// The names of constraints that check rows, each with what it is in words.
    fn constraints(&self, dialect: Dialect) -> Vec<(String, String)> {
        let checks = self.checks.iter().filter(|(_, sql)| text(sql, dialect));
        let checks = checks.map(|(name, _)| (sql::check_constraint(name), format!("check {name:?}")));
        let lists = self.columns.iter().filter(|column| column.values.is_some()).map(|column| {
            (sql::values_constraint(&column.name), format!("list of values of column {:?}", column.name))
        });
        checks.chain(lists).collect()
    }

    /// What the table lacks of the declaration, in words.
    fn missing(&self, conn: &mut dyn Conn, table: &Relation) -> Result<Vec<String>, StoreError> {
        let dialect = conn.dialect();
        let constraints = self.constraints(dialect);
        let names: Vec<String> = constraints.iter().map(|(name, _)| name.clone()).collect();
        let found = conn.catalogue().structure(conn, table, &names)?;
        let mut missing = Vec::new();
        let full = |columns: &[String]| -> Vec<String> {
            std::iter::once(INSTANCE_COLUMN.to_owned()).chain(columns.iter().cloned()).collect()
        };
        let has = |columns: &[String], unique: bool| {
            let wanted = full(columns);
            found.indexes.iter().any(|index| index.columns.as_ref() == Some(&wanted) && (index.unique || !unique))
        };
        missing.extend(
            self.uniques
                .iter()
                .filter(|columns| !has(columns, true))
                .map(|columns| format!("unique constraint over {columns:?}")),
        );
        missing.extend(
            self.indexes.iter().filter(|columns| !has(columns, false)).map(|columns| format!("index over {columns:?}")),
        );
        let is_made = |index: &&DeclaredIndex| index.is_for(dialect);
        let is_lost = |index: &&DeclaredIndex| !found.indexes.iter().any(|of| sql::is_index_of(&of.name, &index.name));
        let more = self.more_indexes.iter().filter(is_made).filter(is_lost);
        missing.extend(more.map(|index| format!("index {:?}", index.name)));
        let lacks = |(name, _): &(String, String)| !found.constraints.contains(name);
        missing.extend(constraints.into_iter().filter(lacks).map(|(_, what)| what));
        let generated = self.columns.iter().filter(|column| column.generated.is_some());
        let is_plain = |column: &&DeclaredColumn| !found.generated.contains(&column.name);
        missing.extend(generated.filter(is_plain).map(|column| format!("generated column {:?}", column.name)));
        let keys = self.foreign_keys.iter().map(|(columns, _)| columns);
        let lost = keys.filter(|columns| !found.references.contains(&full(columns)));
        missing.extend(lost.map(|columns| format!("foreign key over {columns:?}")));
        Ok(missing)
    }
}

impl DeclaredIndex {
    fn is_for(&self, dialect: Dialect) -> bool {
        let has_method = self.method == "btree" || dialect == Dialect::Postgres;
        let mut texts = self.keys.iter().filter_map(|key| match key {
            DeclaredKey::Expression(sql) => Some(sql),
            DeclaredKey::Column(_) | DeclaredKey::Descending(_) => None,
        });
        has_method && texts.all(|sql| text(sql, dialect)) && self.only.as_ref().is_none_or(|sql| text(sql, dialect))
    }
}

/// True if there is a text for this database.
fn text([postgres, sqlite]: &SqlText, dialect: Dialect) -> bool {
    match dialect {
        Dialect::Postgres => postgres.is_some(),
        Dialect::Sqlite => sqlite.is_some(),
    }
}

/// A table of a build, and the view on it if readers see it.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "SQLite has none of that"))]
pub struct Worn<'r> {
    pub(crate) schema: Option<&'r str>,
    pub(crate) table: &'r Relation,
    pub(crate) view: Option<&'r Relation>,
}

/// Gives a table what its definition declares besides rows, and removes what only an earlier definition declared.
pub(super) fn wear(
    conn: &mut dyn Conn,
    worn: Worn<'_>,
    before: Option<&Declared>,
    declared: &Declared,
) -> Result<(), StoreError> {
    let pieces = conn.catalogue().pieces(declared, worn);
    let before = before.map(|before| conn.catalogue().pieces(before, worn)).unwrap_or_default();
    for old in before.iter().rev().filter(|old| !old.undo.is_empty() && !pieces.iter().any(|new| new.make == old.make))
    {
        if is_there(conn, old)? {
            conn.batch(&old.undo).map_err(|error| error.doing(format!("taking back the {}", old.what)))?;
        }
    }
    for piece in &pieces {
        if !is_there(conn, piece)? {
            conn.batch(&piece.make).map_err(|error| {
                let error = error.doing(format!("giving the {}", piece.what));
                let is_about_it = matches!(error.kind(), StoreErrorKind::Usage | StoreErrorKind::Schema);
                if is_about_it { error.with_remedy(piece.remedy) } else { error }
            })?;
        }
    }
    Ok(())
}

fn is_there(conn: &mut dyn Conn, piece: &Piece) -> Result<bool, StoreError> {
    let (query, params) = &piece.is_there;
    conn.query(query, params)?.first().map_or(Ok(false), |found| row::truth(found, 0))
}

/// What the database lacks of what the code declares, in words.
pub(super) fn lacking(conn: &mut dyn Conn, worn: Worn<'_>, declared: &Declared) -> Result<Vec<String>, StoreError> {
    let mut lacking = declared.missing(conn, worn.table)?;
    for piece in conn.catalogue().pieces(declared, worn) {
        if !is_there(conn, &piece)? {
            lacking.push(piece.what);
        }
    }
    Ok(lacking)
}
