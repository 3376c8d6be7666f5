//! Statements on tables whose rows can touch each other, by unique keys or foreign keys: those on one table that follow each
//! other and are of one shape become one statement, with the same outcome as in their order.
//!
//! Each table has a run of its own. What is written for a table is written after what is at hand for the tables that it
//! refers to; so a row that may come or go is not added to a table while others that refer to it have statements at hand.
//! An update may be: it leaves the primary key, which is all that others refer to.

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
struct Run<'s> {
    shape: Shape,
    keys: HashSet<Key<'s>>,
    rows: Vec<Row>,
    statements: Vec<(&'s str, &'s Statement)>,
}

impl Run<'_> {
    fn write(&mut self, conn: &mut dyn Conn, projection: &Projection, table: &Table) -> Result<(), StoreError> {
        self.keys.clear();
        let (rows, statements) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.statements));
        if statements.len() < FEWEST {
            let mut all = statements.into_iter();
            return all.try_for_each(|(instance, statement)| state::execute(conn, projection, instance, statement));
        }
        let (kind, columns) = &self.shape;
        let write = write::bulk(conn, projection, table, *kind, columns, rows);
        let uniques: Vec<&[String]> = table.uniques.iter().map(Vec::as_slice).collect();
        conn.bulk_in_order(&write, &uniques).map(|_| ()).map_err(|error| write::doing(projection, error))
    }
}

/// The runs at hand, by place of the table.
pub(super) struct Runs<'s> {
    projection: &'s Projection,
    tables: Vec<Run<'s>>,
    /// The tables that each table refers to, directly or not, those first that refer to the fewest.
    above: Vec<Vec<usize>>,
}

impl<'s> Runs<'s> {
    pub(super) fn new(projection: &'s Projection) -> Self {
        let tables = projection.tables();
        let above: Vec<Vec<usize>> = (0..tables.len()).map(|at| above(tables, at)).collect();
        let sorted = |tables: &Vec<usize>| {
            let mut sorted = tables.clone();
            sorted.sort_by_key(|at| above.get(*at).map_or(0, Vec::len));
            sorted
        };
        let sorted = above.iter().map(sorted).collect();
        Self { projection, tables: tables.iter().map(|_| Run::default()).collect(), above: sorted }
    }

    /// Adds what the statement does, writing what has to come before; false when it has to run by itself.
    pub(super) fn add(
        &mut self,
        conn: &mut dyn Conn,
        (at, table): (usize, &'s Table),
        (instance, statement): (&'s str, &'s Statement),
        op: &mut Op<'s>,
    ) -> Result<bool, StoreError> {
        if self.is_above(at, at) {
            // A row may need another one of its own statement.
            return Ok(false);
        }
        let Some(key) = op.admit(table, instance, statement) else { return Ok(false) };
        let [Some((shape, row)), None] = write::effects(table, &key, &Net::new(table, op)) else { return Ok(false) };
        if !is_comparable(table, &shape) {
            return Ok(false);
        }
        if shape.0 != BulkKind::Update {
            for below in (0..self.tables.len()).filter(|below| self.is_above(at, *below)).collect::<Vec<_>>() {
                self.write(conn, below)?;
            }
        }
        let run = self.tables.get(at);
        if run.is_some_and(|run| !run.rows.is_empty() && (run.shape != shape || run.keys.contains(&key))) {
            self.write(conn, at)?;
        }
        if let Some(run) = self.tables.get_mut(at) {
            run.shape = shape;
            run.keys.insert(key);
            run.rows.push(row);
            run.statements.push((instance, statement));
        }
        Ok(true)
    }

    fn is_above(&self, at: usize, below: usize) -> bool {
        self.above.get(below).is_some_and(|above| above.contains(&at))
    }

    /// Writes what is at hand for a table, and before that for those that it refers to.
    fn write(&mut self, conn: &mut dyn Conn, at: usize) -> Result<(), StoreError> {
        if self.tables.get(at).is_none_or(|run| run.rows.is_empty()) {
            return Ok(());
        }
        let above = self.above.get(at).cloned().unwrap_or_default();
        for at in above.into_iter().chain([at]) {
            if let (Some(run), Some(table)) = (self.tables.get_mut(at), self.projection.tables().get(at)) {
                run.write(conn, self.projection, table)?;
            }
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, conn: &mut dyn Conn) -> Result<(), StoreError> {
        (0..self.tables.len()).try_for_each(|at| self.write(conn, at))
    }
}

/// The tables that a table refers to, directly or not.
fn above(tables: &[Table], at: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut next = vec![at];
    while let Some(table) = next.pop().and_then(|at| tables.get(at)) {
        for key in &table.foreign_keys {
            let place = match &key.table {
                None => Some(0),
                Some(name) => tables.iter().position(|other| other.name == *name),
            };
            if let Some(place) = place.filter(|place| !found.contains(place)) {
                found.push(place);
                next.push(place);
            }
        }
    }
    found
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
