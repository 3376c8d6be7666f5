//! Statements on tables whose rows can affect each other, by unique keys or foreign keys. Consecutive statements on one
//! table that have the same shape become one statement, with the same outcome as in their order.
//!
//! Each table has its own run. The statements of a table are written after the pending ones of the tables that it
//! refers to. So an insert or a delete is not added to a table while tables that refer to it have pending statements.
//! An update is added: it keeps the primary key, and other tables refer only to that.

use std::collections::HashSet;

use super::admit::{ByHash, Facts, NumberedInstance, Op, RowKey};
use super::net::Net;
use super::write::{self, Effects, Out, Shape, Target, Write};
use crate::db::{BulkKind, BulkRow, How};
use crate::error::StoreError;
use crate::statement::Statement;
use crate::table::Table;
use crate::value::ColumnType as T;

/// Fewer statements than this run one by one: planning one statement for all would cost more.
const FEWEST: usize = 3;

/// Statements on different rows of one table that write the same columns in the same way.
#[derive(Default)]
struct Run<'s> {
    shape: Shape,
    keys: HashSet<RowKey<'s>, ByHash>,
    rows: Vec<BulkRow<'s>>,
    statements: Vec<(NumberedInstance<'s>, &'s Statement)>,
}

impl<'s> Run<'s> {
    fn write(&mut self, target: Target<'s>, table: &'s Table, out: Out<'_, 's>) -> Result<(), StoreError> {
        self.keys.clear();
        let (rows, statements) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.statements));
        if statements.len() < FEWEST {
            let mut all = statements.into_iter();
            return all.try_for_each(|(instance, statement)| out(Write::Alone(instance, statement)));
        }
        let (kind, columns) = &self.shape;
        let bulk = write::bulk(target, table, *kind, columns, rows);
        out(Write::InOrder(bulk, table.uniques.iter().map(Vec::as_slice).collect()))
    }
}

/// The pending runs, by place of the table.
pub(super) struct Runs<'s> {
    target: Target<'s>,
    tables: Vec<Run<'s>>,
    /// The tables that each table refers to, directly or not. Those that refer to the fewest tables come first.
    above: Vec<Vec<usize>>,
}

impl<'s> Runs<'s> {
    pub(super) fn new(target: Target<'s>) -> Self {
        let tables = target.projection.tables();
        let above: Vec<Vec<usize>> = (0..tables.len()).map(|at| above(tables, at)).collect();
        let sorted = |tables: &Vec<usize>| {
            let mut sorted = tables.clone();
            sorted.sort_by_key(|at| above.get(*at).map_or(0, Vec::len));
            sorted
        };
        let sorted = above.iter().map(sorted).collect();
        Self { target, tables: tables.iter().map(|_| Run::default()).collect(), above: sorted }
    }

    /// Adds what the statement does, and writes what has to come before it. Returns false if it has to run on its own.
    pub(super) fn add(
        &mut self,
        out: Out<'_, 's>,
        (at, facts): (usize, &Facts<'s>),
        (instance, statement): (NumberedInstance<'s>, &'s Statement),
        op: &mut Op<'s>,
    ) -> Result<bool, StoreError> {
        if self.is_above(at, at) || facts.is_opaque {
            // A row may need another row of the same statement, or conflict with one.
            return Ok(false);
        }
        let Some(key) = op.admit(facts, instance, statement) else { return Ok(false) };
        let Some((shape, row)) = effect(facts, &key, op) else { return Ok(false) };
        if !is_comparable(facts.table, &shape) {
            return Ok(false);
        }
        if shape.0 != BulkKind::Update {
            for below in (0..self.tables.len()).filter(|below| self.is_above(at, *below)).collect::<Vec<_>>() {
                self.write(out, below)?;
            }
        }
        let run = self.tables.get(at);
        if run.is_some_and(|run| !run.rows.is_empty() && (run.shape != shape || run.keys.contains(&key))) {
            self.write(out, at)?;
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

    /// Writes the pending statements of a table, and before that those of the tables that it refers to.
    fn write(&mut self, out: Out<'_, 's>, at: usize) -> Result<(), StoreError> {
        if self.tables.get(at).is_none_or(|run| run.rows.is_empty()) {
            return Ok(());
        }
        let above = self.above.get(at).cloned().unwrap_or_default();
        for at in above.into_iter().chain([at]) {
            if let (Some(run), Some(table)) = (self.tables.get_mut(at), self.target.projection.tables().get(at)) {
                run.write(self.target, table, out)?;
            }
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, out: Out<'_, 's>) -> Result<(), StoreError> {
        (0..self.tables.len()).try_for_each(|at| self.write(out, at))
    }
}

/// What a statement writes, if it is one row.
fn effect<'s>(facts: &Facts<'s>, key: &RowKey<'s>, op: &mut Op<'s>) -> Option<(Shape, BulkRow<'s>)> {
    let mut effects = Effects::default();
    effects.add(facts, key, Net::new(facts.table, op));
    let [(shape, rows)] = <[_; 1]>::try_from(effects.shapes).ok()?;
    let [row] = <[_; 1]>::try_from(rows).ok()?;
    Some((shape, row))
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

/// Whether the unique values that an update writes have the same equality here and in both databases.
fn is_comparable(table: &Table, (kind, columns): &Shape) -> bool {
    let is_plain = |name: &String| {
        let of = |(at, column): (usize, &crate::table::Column)| (at, column.name == *name, column.kind);
        let Some((at, _, kind)) = table.columns.iter().enumerate().map(of).find(|(_, is, _)| *is) else { return false };
        let added = columns.iter().any(|(place, how)| *place == at && *how != How::Set);
        let is_plain = matches!(kind, T::Text | T::Integer | T::Boolean | T::Uuid | T::Date | T::Time | T::Duration);
        !added && is_plain
    };
    let writes = |unique: &&Vec<String>| {
        columns.iter().any(|(at, _)| table.columns.get(*at).is_some_and(|column| unique.contains(&column.name)))
    };
    *kind != BulkKind::Update || table.uniques.iter().filter(writes).all(|unique| unique.iter().all(is_plain))
}
