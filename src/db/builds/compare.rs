//! How two builds differ: the rows of each that the other lacks, by primary key, both at the same position of each
//! instance.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::of;
use super::stored::{self, Stored};
use crate::builds::{Comparison, JsonRow, LaggingInstance, RowDifference, SAMPLES, TableComparison};
use crate::db::setup::catalog::{self, CatalogColumn};
use crate::db::{Conn, Row, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::sql::{self, Dialect};
use crate::state::ProjectionKey;
use crate::table::INSTANCE_COLUMN;
use crate::value::{ColumnType, Value, canonical};

/// The two builds, and the instances that are compared.
struct ComparedBuilds<'p> {
    old: &'p Stored,
    new: &'p Stored,
    instances: Value,
}

/// Compares the instances that have the same position in both builds, in one snapshot. Returns the other instances with
/// both positions.
pub(in crate::db) fn compare(
    conn: &mut dyn Conn,
    old: &ProjectionKey,
    new: &ProjectionKey,
    instances: &[Arc<str>],
    equal: &[LaggingInstance],
    into: &mut Comparison,
) -> Result<Vec<LaggingInstance>, StoreError> {
    match conn.dialect() {
        Dialect::Postgres => {
            conn.batch("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL statement_timeout = '10min'")?;
            compare_all(conn, old, new, instances, equal, into)
        }
        Dialect::Sqlite => {
            conn.batch("BEGIN")?;
            let outcome = compare_all(conn, old, new, instances, equal, into);
            conn.batch("ROLLBACK")?;
            outcome
        }
    }
}

fn compare_all(
    conn: &mut dyn Conn,
    old: &ProjectionKey,
    new: &ProjectionKey,
    instances: &[Arc<str>],
    equal: &[LaggingInstance],
    into: &mut Comparison,
) -> Result<Vec<LaggingInstance>, StoreError> {
    let known = stored::list(conn, Some(old.projection()))?;
    let find = |key: &ProjectionKey| {
        let gone = || {
            let why = format!("{} of projection {:?} is gone", stored::label(key), key.projection());
            StoreError::new("comparing two builds", StoreErrorKind::Unsupported, why)
        };
        known.iter().find(|stored| stored.build.key == *key).ok_or_else(gone)
    };
    let (stored_old, stored_new) = (find(old)?, find(new)?);
    let (before, after) = (positions(conn, old, instances)?, positions(conn, new, instances)?);
    let (mut same, mut others) = (Vec::new(), Vec::new());
    for instance in instances {
        let at = |positions: &BTreeMap<Arc<str>, i64>| positions.get(instance).copied().unwrap_or(0);
        let pair = LaggingInstance { instance: Arc::clone(instance), from: at(&after), to: at(&before) };
        if pair.from == pair.to || equal.contains(&pair) {
            same.push(instance.to_string());
        } else {
            others.push(pair);
        }
    }
    into.instances += same.len() as u64;
    let pair = ComparedBuilds { old: stored_old, new: stored_new, instances: Value::TextArray(same) };
    let mut tables: Vec<&String> = pair.old.tables.iter().chain(&pair.new.tables).collect();
    tables.sort_unstable();
    tables.dedup();
    for table in tables {
        let at = into.tables.iter().position(|known| known.table == *table).unwrap_or_else(|| {
            into.tables.push(TableComparison { table: table.clone(), ..TableComparison::default() });
            into.tables.len() - 1
        });
        if let Some(entry) = into.tables.get_mut(at) {
            pair.table(conn, table, entry)?;
        }
    }
    Ok(others)
}

fn positions(
    conn: &mut dyn Conn,
    key: &ProjectionKey,
    instances: &[Arc<str>],
) -> Result<BTreeMap<Arc<str>, i64>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT instance_id, position FROM {} WHERE projection = $1 AND version = $2 AND {}",
        dialect.table("projection_states"),
        dialect.any("instance_id", 3)
    );
    let [name, version] = of(key);
    let ids = Value::TextArray(instances.iter().map(ToString::to_string).collect());
    conn.query(&sql, &[name, version, ids])?
        .iter()
        .map(|found| Ok((row::shared(found, 0)?, row::int(found, 1)?)))
        .collect()
}

impl ComparedBuilds<'_> {
    fn count(&self, conn: &mut dyn Conn, stored: &Stored, table: &str) -> Result<u64, StoreError> {
        let dialect = conn.dialect();
        let which = dialect.any(&sql::quote(INSTANCE_COLUMN), 1);
        self.number(conn, &format!("SELECT count(*) FROM {} WHERE {which}", stored.quoted(dialect, table)))
    }

    fn number(&self, conn: &mut dyn Conn, sql: &str) -> Result<u64, StoreError> {
        let rows = conn.query(sql, std::slice::from_ref(&self.instances))?;
        let count = rows.first().map_or(Ok(0), |found| row::int(found, 0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn table(&self, conn: &mut dyn Conn, table: &str, entry: &mut TableComparison) -> Result<(), StoreError> {
        let has = |stored: &Stored| stored.tables.iter().any(|name| name == table);
        if has(self.old) && !self.old.has(conn, table)? {
            entry.not_comparable = Some("the table of the old build is gone".to_owned());
            return Ok(());
        }
        if has(self.old) {
            entry.old_rows += self.count(conn, self.old, table)?;
        }
        if has(self.new) {
            entry.new_rows += self.count(conn, self.new, table)?;
        }
        if !has(self.old) || !has(self.new) {
            let which = if has(self.old) { "new" } else { "old" };
            entry.not_comparable = Some(format!("the {which} build does not have it"));
            return Ok(());
        }
        let dialect = conn.dialect();
        let old = catalog::columns(conn, self.old.schema.as_deref(), &self.old.raw(dialect, table))?;
        let new = catalog::columns(conn, self.new.schema.as_deref(), &self.new.raw(dialect, table))?;
        if key(&old) != key(&new) {
            entry.not_comparable = Some("its primary key is another one in the new build".to_owned());
            return Ok(());
        }
        Rows { pair: self, dialect, table, old, new }.compare(conn, entry)
    }
}

/// The columns of a primary key with their types, in order.
fn key(columns: &[CatalogColumn]) -> Vec<(&str, &str)> {
    let mut key: Vec<&CatalogColumn> = columns.iter().filter(|column| column.key > 0).collect();
    key.sort_by_key(|column| column.key);
    key.into_iter().map(|column| (column.name.as_str(), column.kind.as_str())).collect()
}

/// The rows of one table in both builds.
struct Rows<'r> {
    pair: &'r ComparedBuilds<'r>,
    dialect: Dialect,
    table: &'r str,
    old: Vec<CatalogColumn>,
    new: Vec<CatalogColumn>,
}

impl Rows<'_> {
    fn compare(&self, conn: &mut dyn Conn, entry: &mut TableComparison) -> Result<(), StoreError> {
        let (old, new) =
            (self.pair.old.quoted(self.dialect, self.table), self.pair.new.quoted(self.dialect, self.table));
        let join: Vec<String> =
            key(&self.old).iter().map(|(name, _)| format!("o.{name} = n.{name}", name = sql::quote(name))).collect();
        let join = join.join(" AND ");
        let which = |alias: &str| self.dialect.any(&format!("{alias}.{}", sql::quote(INSTANCE_COLUMN)), 1);
        let only = |one: &str, alias: &str, other: &str, against: &str| {
            format!(
                "FROM {one} {alias} WHERE {} AND NOT EXISTS (SELECT 1 FROM {other} {against} WHERE {join})",
                which(alias)
            )
        };
        let (added, gone) = (only(&new, "n", &old, "o"), only(&old, "o", &new, "n"));
        let changed = format!("FROM {old} o JOIN {new} n ON {join} WHERE {} AND ({})", which("o"), self.differs());
        entry.added += self.difference(conn, &added, (false, true), entry)?;
        entry.gone += self.difference(conn, &gone, (true, false), entry)?;
        entry.changed += self.difference(conn, &changed, (true, true), entry)?;
        Ok(())
    }

    /// A condition: a column that both have holds different values.
    fn differs(&self) -> String {
        let operator = match self.dialect {
            Dialect::Postgres => "IS DISTINCT FROM",
            Dialect::Sqlite => "IS NOT",
        };
        let kind = |stored: &Stored, column: &CatalogColumn| stored.kind(self.table, &column.name);
        let common = self.old.iter().filter(|column| {
            self.new.iter().any(|other| other.name == column.name && other.kind == column.kind)
                && kind(self.pair.old, column) == kind(self.pair.new, column)
        });
        let part = |column: &CatalogColumn| {
            let name = sql::quote(&column.name);
            match (self.dialect, kind(self.pair.new, column)) {
                // Documents are compared by meaning.
                (Dialect::Sqlite, Some(ColumnType::Json)) => {
                    format!("readside_json(o.{name}) {operator} readside_json(n.{name})")
                }
                _ => format!("o.{name} {operator} n.{name}"),
            }
        };
        common.map(part).collect::<Vec<_>>().join(" OR ")
    }

    /// Counts the rows and keeps some of them as samples.
    fn difference(
        &self,
        conn: &mut dyn Conn,
        from: &str,
        (old, new): (bool, bool),
        entry: &mut TableComparison,
    ) -> Result<u64, StoreError> {
        let count = self.pair.number(conn, &format!("SELECT count(*) {from}"))?;
        let is_like = |sample: &&RowDifference| (sample.old.is_some(), sample.new.is_some()) == (old, new);
        let room = SAMPLES.saturating_sub(entry.samples.iter().filter(is_like).count());
        if count == 0 || room == 0 {
            return Ok(count);
        }
        let side = |wanted: bool, alias: &'static str, columns: &[CatalogColumn]| -> Vec<String> {
            let columns = columns.iter().filter(|_| wanted);
            columns.map(|column| format!("{alias}.{}", sql::quote(&column.name))).collect()
        };
        let columns = [side(old, "o", &self.old), side(new, "n", &self.new)].concat().join(", ");
        let rows =
            conn.query(&format!("SELECT {columns} {from} LIMIT {room}"), std::slice::from_ref(&self.pair.instances))?;
        for found in rows {
            let split = if old { self.old.len() } else { 0 };
            let mut left = found;
            let right = left.split_off(split.min(left.len()));
            entry.samples.push(RowDifference {
                old: old.then(|| self.shown(conn, left, (self.pair.old, &self.old))),
                new: new.then(|| self.shown(conn, right, (self.pair.new, &self.new))),
            });
        }
        Ok(count)
    }

    /// The row in the form in which every report shows rows.
    fn shown(&self, conn: &dyn Conn, row: Row, (stored, columns): (&Stored, &[CatalogColumn])) -> JsonRow {
        let value = |(value, column): (Value, &CatalogColumn)| {
            let kind = stored.kind(self.table, &column.name);
            let value = kind.map_or(value.clone(), |kind| conn.typed(value, kind));
            (column.name.clone(), canonical(value, kind).to_json())
        };
        row.into_iter().zip(columns).map(value).collect()
    }
}
