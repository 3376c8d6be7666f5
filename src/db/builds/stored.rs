//! What is on record of a build: enough to find its tables without its code.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use crate::builds::{Build, Phase};
use crate::db::declared::{self, Declared};
use crate::db::objects::{Own, Relation};
use crate::db::setup::catalog;
use crate::db::{Conn, Row, made, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::sql::{self, Dialect};
use crate::state::ProjectionKey;
use crate::table::INSTANCE_COLUMN;
use crate::value::ColumnType;

/// The parts of a stored definition that are read back.
#[derive(Debug, Deserialize)]
struct Definition {
    schema: Option<String>,
    events: Vec<(String, Vec<String>)>,
    tables: Vec<DefinedTable>,
}

#[derive(Debug, Deserialize)]
struct DefinedTable {
    name: String,
    columns: Vec<ColumnText>,
    #[serde(default)]
    uniques: Vec<Vec<String>>,
    #[serde(default)]
    indexes: Vec<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct ColumnText {
    name: String,
    kind: String,
}

#[derive(Debug)]
pub(in crate::db) struct Stored {
    pub(in crate::db) build: Build,
    pub(in crate::db) live: bool,
    /// The schema of its tables: the one that its code names, or the one on record.
    pub(in crate::db) schema: Option<String>,
    /// True if its code names the schema.
    pub(in crate::db) names_schema: bool,
    /// The schema on record, where its code names none.
    pub(in crate::db) place: Option<String>,
    /// The plain names of its tables.
    pub(in crate::db) tables: Vec<String>,
    /// The types of the columns, by table and column.
    kinds: HashMap<String, HashMap<String, ColumnType>>,
    /// What is declared for each of them, by its plain name.
    pub(super) declared: BTreeMap<String, Declared>,
    /// Indexes and unique constraints of each of them, as defined.
    own: Vec<Own>,
}

impl Stored {
    /// The unquoted name of a table of this build.
    pub(in crate::db) fn raw(&self, dialect: Dialect, table: &str) -> String {
        sql::physical_of(dialect, self.schema.as_deref(), table, &self.build.key)
    }

    /// The quoted name of a table of this build, with its schema.
    pub(super) fn quoted(&self, dialect: Dialect, table: &str) -> String {
        sql::in_schema(dialect, self.schema.as_deref(), &self.raw(dialect, table))
    }

    /// The type that the code gives a column.
    pub(super) fn kind(&self, table: &str, column: &str) -> Option<ColumnType> {
        if column == INSTANCE_COLUMN { Some(ColumnType::Text) } else { self.kinds.get(table)?.get(column).copied() }
    }

    /// True if this table of the build exists.
    pub(super) fn has(&self, conn: &mut dyn Conn, table: &str) -> Result<bool, StoreError> {
        let raw = self.raw(conn.dialect(), table);
        Ok(catalog::relation(conn, self.schema.as_deref(), &raw)?.as_deref() == Some("table"))
    }

    /// A table of this build, by its names.
    pub(super) fn relation(&self, dialect: Dialect, table: &str) -> Relation {
        Relation { raw: self.raw(dialect, table), quoted: self.quoted(dialect, table) }
    }

    /// The view that readers use for a table, by its names.
    pub(super) fn view(&self, dialect: Dialect, table: &str) -> Relation {
        let raw = sql::view_of(dialect, self.schema.as_deref(), table);
        Relation { quoted: sql::in_schema(dialect, self.schema.as_deref(), &raw), raw }
    }

    /// The tables of this build that exist.
    pub(super) fn relations(&self, conn: &mut dyn Conn) -> Result<Vec<Relation>, StoreError> {
        Ok(self.named_relations(conn)?.into_iter().map(|(_, relation)| relation).collect())
    }

    /// The existing tables of this build, with their plain names.
    pub(super) fn named_relations(&self, conn: &mut dyn Conn) -> Result<Vec<(String, Relation)>, StoreError> {
        let mut named = Vec::with_capacity(self.tables.len());
        for table in &self.tables {
            if self.has(conn, table)? {
                named.push((table.clone(), self.relation(conn.dialect(), table)));
            }
        }
        Ok(named)
    }

    /// The views that readers use for its tables.
    pub(super) fn views(&self, dialect: Dialect) -> Vec<Relation> {
        self.tables.iter().map(|table| self.view(dialect, table)).collect()
    }

    /// What the definition of a table says of its indexes.
    pub(super) fn own(&self, table: &str) -> Own {
        let at = self.tables.iter().position(|name| name == table);
        at.and_then(|at| self.own.get(at)).cloned().unwrap_or_default()
    }

    /// The name under which the owner of a relation is on record.
    pub(super) fn owned(&self, raw: &str) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{raw}"),
            None => raw.to_owned(),
        }
    }

    /// The build in words.
    pub(super) fn label(&self) -> String {
        label(&self.build.key)
    }
}

/// A build in words.
pub(super) fn label(key: &ProjectionKey) -> String {
    match key.mark() {
        None => format!("version {}", key.version),
        Some(mark) => format!("version {} ({mark})", key.version),
    }
}

/// Builds of all projections, or of one. A caller that changes them must hold the lock of set-ups.
pub(in crate::db) fn list(conn: &mut dyn Conn, projection: Option<&str>) -> Result<Vec<Stored>, StoreError> {
    let sql = format!(
        "SELECT name, version, definition, live, succeeded_at IS NOT NULL, phase, trouble, resets, command, place, {} \
         FROM {} p ORDER BY name, version",
        made::torn(conn.dialect()),
        conn.dialect().table("projections")
    );
    let rows = conn.query(&sql, &[])?;
    let mut stored = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    stored.retain(|stored| projection.is_none_or(|name| stored.build.key.projection() == name));
    Ok(stored)
}

/// The types of the columns of all read tables, by the name of the table in the database, and by column.
#[cfg(feature = "sqlite")]
pub(crate) fn column_types(conn: &mut dyn Conn) -> Result<HashMap<String, HashMap<String, ColumnType>>, StoreError> {
    let dialect = conn.dialect();
    let builds = list(conn, None)?;
    let of = |build: Stored| {
        let named = build.kinds.iter().map(|(table, kinds)| (build.raw(dialect, table), kinds.clone()));
        named.collect::<Vec<_>>()
    };
    Ok(builds.into_iter().flat_map(of).collect())
}

fn own(table: &DefinedTable) -> Own {
    let full = |lists: &[Vec<String>]| -> Vec<Vec<String>> {
        let full = |columns: &Vec<String>| {
            std::iter::once(INSTANCE_COLUMN.to_owned()).chain(columns.iter().cloned()).collect()
        };
        lists.iter().map(full).collect()
    };
    Own { indexes: full(&table.indexes), uniques: full(&table.uniques) }
}

fn read(found: &Row) -> Result<Stored, StoreError> {
    let corrupt = |error| StoreError::new("reading the definition of a projection", StoreErrorKind::Corrupt, error);
    let definition: Definition = serde_json::from_str(row::text(found, 2)?).map_err(corrupt)?;
    let live = row::truth(found, 3)?;
    let phase = Phase::parse(row::text(found, 5)?).unwrap_or(Phase::Halted);
    let name: Arc<str> = row::shared(found, 0)?;
    let place = if row::is_null(found, 9) { None } else { Some(row::text(found, 9)?.to_owned()) };
    let kind = |column: &ColumnText| Some((column.name.clone(), ColumnType::named(&column.kind)?));
    let kinds = |table: &DefinedTable| (table.name.clone(), table.columns.iter().filter_map(kind).collect());
    let kinds = definition.tables.iter().map(kinds).collect();
    Ok(Stored {
        kinds,
        declared: declared::read(row::text(found, 2)?)?,
        build: Build {
            key: ProjectionKey { name, version: u32::try_from(row::int(found, 1)?).unwrap_or(0) },
            phase: if live { Phase::Live } else { phase },
            succeeded: row::truth(found, 4)?,
            resets: row::int(found, 7)?,
            trouble: if row::is_null(found, 6) { None } else { Some(row::text(found, 6)?.to_owned()) },
            command: row::uuid(found, 8)?,
            torn: if row::is_null(found, 10) { None } else { Some(row::text(found, 10)?.to_owned()) },
            aggregate_types: definition.events.into_iter().map(|(name, _)| name).collect(),
        },
        live,
        names_schema: definition.schema.is_some(),
        schema: definition.schema.or_else(|| place.clone()),
        place,
        own: definition.tables.iter().map(own).collect(),
        tables: definition.tables.into_iter().map(|table| table.name).collect(),
    })
}
