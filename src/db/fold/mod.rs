//! A batch of statements as few writes: per table and primary key their net effect, many keys in one statement.
//!
//! Folded is only what is provably the same as one by one (G3): statements that name one row by its primary key, in
//! tables without further unique keys and without foreign keys, whose every intermediate row the table would hold.
//! In other tables only runs of statements on different rows become one (`run.rs`). The rest runs as it is, after
//! everything before it was written. A batch fails folded whenever it fails one by one;
//! who failed is then found in single steps.

mod admit;
mod net;
mod run;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use super::Conn;
use crate::error::{StoreError, StoreErrorKind};
use crate::projection::Projection;
use crate::statement::{Statement, find_table};
use crate::table::Table;
use admit::{Key, Op};
use net::Net;
use run::Runs;

/// Applies the statements of all these events in order.
pub(super) fn apply(
    conn: &mut dyn Conn,
    projection: &Projection,
    statements: &[(Arc<str>, &Statement)],
) -> Result<(), StoreError> {
    let tables = projection.tables();
    let mut fold = Fold {
        projection,
        foldable: tables.iter().map(|table| admit::is_foldable(table, tables)).collect(),
        pending: tables.iter().map(|_| Pending::default()).collect(),
        op: Op::default(),
        runs: Runs::new(projection),
    };
    for (instance, statement) in statements {
        fold.add(conn, instance, statement)?;
    }
    fold.flush(conn)
}

struct Fold<'s> {
    projection: &'s Projection,
    foldable: Vec<bool>,
    pending: Vec<Pending<'s>>,
    /// What the statement at hand does.
    op: Op<'s>,
    /// The statements at hand on tables that cannot be folded.
    runs: Runs<'s>,
}

/// What a table is to suffer. The effects on one key, where they are not one, follow each other in rounds; those on
/// different keys do not touch each other.
#[derive(Default)]
struct Pending<'s> {
    rounds: Vec<Vec<(Key<'s>, Net<'s>)>>,
    last: HashMap<Key<'s>, (usize, usize)>,
}

impl<'s> Fold<'s> {
    fn add(&mut self, conn: &mut dyn Conn, instance: &'s str, statement: &'s Statement) -> Result<(), StoreError> {
        match statement {
            Statement::Noop => return Ok(()),
            Statement::Multi(parts) => return parts.iter().try_for_each(|part| self.add(conn, instance, part)),
            _ => {}
        }
        if let Some((at, table)) = self.table(statement)? {
            let taken = if self.foldable.get(at).copied().unwrap_or(false) {
                self.fold(at, table, instance, statement)
            } else {
                self.runs.add(conn, (at, table), (instance, statement), &mut self.op)?
            };
            if taken {
                return Ok(());
            }
        }
        self.flush(conn)?;
        super::state::execute(conn, self.projection, instance, statement)
    }

    /// The table of a statement that may be about one row, and its place.
    fn table(&self, statement: &Statement) -> Result<Option<(usize, &'s Table)>, StoreError> {
        let name = match statement {
            Statement::Create { table, .. }
            | Statement::Upsert { table, .. }
            | Statement::Update { table, .. }
            | Statement::Delete { table, .. } => table.as_deref(),
            _ => return Ok(None),
        };
        let tables = self.projection.tables();
        let table: &'s Table = find_table(tables, name)
            .map_err(|error| StoreError::new("folding a statement", StoreErrorKind::Usage, error))?;
        Ok(tables.iter().position(|other| std::ptr::eq(other, table)).map(|at| (at, table)))
    }

    /// Adds it to what is to be written; false when it has to run by itself.
    fn fold(&mut self, at: usize, table: &'s Table, instance: &'s str, statement: &'s Statement) -> bool {
        match (self.op.admit(table, instance, statement), self.pending.get_mut(at)) {
            (Some(key), Some(pending)) => {
                pending.add(table, key, &mut self.op);
                true
            }
            _ => false,
        }
    }

    /// Writes everything. What is folded and what runs in order are on tables that do not touch each other.
    fn flush(&mut self, conn: &mut dyn Conn) -> Result<(), StoreError> {
        self.runs.flush(conn)?;
        for (table, pending) in self.projection.tables().iter().zip(&mut self.pending) {
            pending.last.clear();
            for round in pending.rounds.drain(..) {
                write::round(conn, self.projection, table, &round)?;
            }
        }
        Ok(())
    }
}

impl<'s> Pending<'s> {
    fn add(&mut self, table: &Table, key: Key<'s>, op: &mut Op<'s>) {
        let round = match self.last.get(&key).copied() {
            None => 0,
            Some((round, slot)) => {
                let Some((_, net)) = self.rounds.get_mut(round).and_then(|nets| nets.get_mut(slot)) else { return };
                if net.merge(table, op) {
                    return;
                }
                round + 1
            }
        };
        if self.rounds.len() <= round {
            self.rounds.push(Vec::new());
        }
        if let Some(nets) = self.rounds.get_mut(round) {
            self.last.insert(key.clone(), (round, nets.len()));
            nets.push((key, Net::new(table, op)));
        }
    }
}
