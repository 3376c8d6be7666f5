//! Statements on a table whose rows can touch each other, by unique keys or foreign keys: those that follow each other and
//! are of one shape become one statement, with the same outcome as in their order.

use std::collections::HashSet;

use super::admit::{Key, Op};
use super::net::Net;
use super::write::{self, Shape};
use crate::db::{BulkKind, Conn, How, Row, state};
use crate::error::StoreError;
use crate::projection::Projection;
use crate::statement::Statement;
use crate::table::Table;
use crate::value::ColumnType;

/// Fewer statements than this run by themselves: planning one for all would cost more.
const FEWEST: usize = 3;

/// Statements on different rows of one table that write the same columns in the same way.
#[derive(Default)]
pub(super) struct Run<'s> {
    of: Option<(&'s Table, Shape)>,
    keys: HashSet<Key<'s>>,
    rows: Vec<Row>,
    statements: Vec<(&'s str, &'s Statement)>,
}

impl<'s> Run<'s> {
    /// Adds what the statement does, writing what came before where it does not continue that; false when it has to run
    /// by itself.
    pub(super) fn add(
        &mut self,
        conn: &mut dyn Conn,
        projection: &'s Projection,
        table: &'s Table,
        (instance, statement): (&'s str, &'s Statement),
        op: &mut Op<'s>,
    ) -> Result<bool, StoreError> {
        if refers_to_itself(table, projection.tables()) {
            return Ok(false);
        }
        let Some(key) = op.admit(table, instance, statement) else { return Ok(false) };
        let [Some((shape, row)), None] = write::effects(table, &key, &Net::new(table, op)) else { return Ok(false) };
        if !is_comparable(table, &shape) {
            return Ok(false);
        }
        let continues = self.of.as_ref().is_some_and(|(of, other)| std::ptr::eq(*of, table) && *other == shape);
        if !continues || self.keys.contains(&key) {
            self.flush(conn, projection)?;
            self.of = Some((table, shape));
        }
        self.keys.insert(key);
        self.rows.push(row);
        self.statements.push((instance, statement));
        Ok(true)
    }

    pub(super) fn flush(&mut self, conn: &mut dyn Conn, projection: &Projection) -> Result<(), StoreError> {
        self.keys.clear();
        let (rows, statements) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.statements));
        let Some((table, (kind, columns))) = self.of.take() else { return Ok(()) };
        if statements.len() < FEWEST {
            let mut all = statements.into_iter();
            return all.try_for_each(|(instance, statement)| state::execute(conn, projection, instance, statement));
        }
        let write = write::bulk(conn, projection, table, kind, &columns, rows);
        let uniques: Vec<&[String]> = table.uniques.iter().map(Vec::as_slice).collect();
        conn.bulk_in_order(&write, &uniques).map(|_| ()).map_err(|error| write::doing(projection, error))
    }
}

/// Rows that a statement writes could then be what another row of it needs.
fn refers_to_itself(table: &Table, all: &[Table]) -> bool {
    let is_first = all.first().is_some_and(|first| std::ptr::eq(first, table));
    table.foreign_keys.iter().any(|key| key.table.as_ref().map_or(is_first, |name| *name == table.name))
}

/// Whether equality of the unique values that an update writes is the same here and in both databases.
fn is_comparable(table: &Table, (kind, columns): &Shape) -> bool {
    let is_plain = |name: &String| {
        let of = |(at, column): (usize, &crate::table::Column)| (at, column.name == *name, column.kind);
        let Some((at, _, kind)) = table.columns.iter().enumerate().map(of).find(|(_, is, _)| *is) else { return false };
        let added = columns.iter().any(|(place, how)| *place == at && *how != How::Set);
        !added && matches!(kind, ColumnType::Text | ColumnType::Integer | ColumnType::Boolean | ColumnType::Uuid)
    };
    let writes = |unique: &&Vec<String>| {
        columns.iter().any(|(at, _)| table.columns.get(*at).is_some_and(|column| unique.contains(&column.name)))
    };
    *kind != BulkKind::Update || table.uniques.iter().filter(writes).all(|unique| unique.iter().all(is_plain))
}
