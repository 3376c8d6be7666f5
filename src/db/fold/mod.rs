//! A batch of statements as few writes: per table and primary key their net effect, many keys in one statement.
//!
//! It folds only where the result is provably the same as one by one (G3): statements that name one row by its primary
//! key, in tables without other unique keys and without foreign keys, which would accept every row in between. In other
//! tables only runs of statements on different rows become one (`run.rs`). Every other statement runs unchanged, after
//! everything before it was written. A batch fails when folded whenever it fails one by one; single steps then find the
//! event that failed.

mod admit;
mod net;
mod run;
mod worker;
mod write;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::Conn;
use crate::error::{StoreError, StoreErrorKind};
use crate::projection::Projection;
use crate::statement::{Statement, find_table};
use crate::value::Value;
use admit::{ByHash, Facts, NumberedInstance, Op, RowKey};
use net::Net;
use run::Runs;
use write::{Out, Target, Write};

/// When more rows than this are pending at the end of an instance, they are written: statements of two instances never
/// fold. While the database works on these rows, the worker folds the next ones.
const ROWS: usize = 5_000;

/// Applies the statements of all these events, in order within each instance. Returns how many of them met no row, as
/// far as the database reports that at no extra cost.
pub(super) fn apply(
    conn: &mut dyn Conn,
    projection: &Projection,
    batches: &[(Arc<str>, Vec<&Statement>)],
) -> Result<u64, StoreError> {
    let target = Target { projection, dialect: conn.dialect() };
    let (names, numbers) = number(batches);
    let statements: usize = batches.iter().map(|(_, statements)| statements.len()).sum();
    worker::run(conn, projection, statements > ROWS, |out| {
        let mut fold = Fold::new(target, out);
        for ((_, statements), number) in batches.iter().zip(numbers) {
            let Some(name) = names.get(number) else { continue };
            for statement in statements {
                fold.add(NumberedInstance { number, name }, statement)?;
            }
            if fold.rows >= ROWS {
                fold.flush()?;
            }
        }
        fold.flush()
    })
}

/// The instances as they are written, each once, and for each batch the place of its instance.
fn number(batches: &[(Arc<str>, Vec<&Statement>)]) -> (Vec<Value>, Vec<usize>) {
    let (mut names, mut known) = (Vec::new(), HashMap::new());
    let place = |(instance, _): &(Arc<str>, Vec<&Statement>)| {
        *known.entry(Arc::clone(instance)).or_insert_with(|| {
            names.push(Arc::clone(instance).into());
            names.len() - 1
        })
    };
    let numbers = batches.iter().map(place).collect();
    (names, numbers)
}

struct Fold<'o, 's> {
    target: Target<'s>,
    out: Out<'o, 's>,
    /// By place of the table.
    facts: Vec<Facts<'s>>,
    pending: Vec<Pending<'s>>,
    /// How many effects are pending.
    rows: usize,
    /// What the current statement does.
    op: Op<'s>,
    /// The pending statements on tables that cannot be folded.
    runs: Runs<'s>,
}

/// The pending effects on a table. Effects on one key that cannot be merged follow each other in rounds. Effects on
/// different keys do not affect each other.
#[derive(Default)]
struct Pending<'s> {
    rounds: Vec<Vec<(RowKey<'s>, Net<'s>)>>,
    last: HashMap<RowKey<'s>, (usize, usize), ByHash>,
}

impl<'o, 's> Fold<'o, 's> {
    fn new(target: Target<'s>, out: Out<'o, 's>) -> Self {
        let tables = target.projection.tables();
        Self {
            target,
            out,
            facts: tables.iter().map(|table| Facts::new(table, tables)).collect(),
            pending: tables.iter().map(|_| Pending::default()).collect(),
            rows: 0,
            op: Op::default(),
            runs: Runs::new(target),
        }
    }

    fn add(&mut self, instance: NumberedInstance<'s>, statement: &'s Statement) -> Result<(), StoreError> {
        match statement {
            Statement::Noop => return Ok(()),
            Statement::Multi(parts) => return parts.iter().try_for_each(|part| self.add(instance, part)),
            _ => {}
        }
        if let Some(at) = self.table(statement)?
            && let Some(facts) = self.facts.get(at)
        {
            let taken = if facts.is_foldable {
                self.fold(at, instance, statement)
            } else {
                self.runs.add(&mut *self.out, (at, facts), (instance, statement), &mut self.op)?
            };
            if taken {
                return Ok(());
            }
        }
        self.flush()?;
        (self.out)(Write::Alone(instance, statement))
    }

    /// The place of the table of a statement that may concern a single row.
    fn table(&self, statement: &Statement) -> Result<Option<usize>, StoreError> {
        let name = match statement {
            Statement::Create { table, .. }
            | Statement::Upsert { table, .. }
            | Statement::Update { table, .. }
            | Statement::Delete { table, .. } => table.as_deref(),
            _ => return Ok(None),
        };
        let tables = self.target.projection.tables();
        let table = find_table(tables, name)
            .map_err(|error| StoreError::new("folding a statement", StoreErrorKind::Usage, error))?;
        Ok(tables.iter().position(|other| std::ptr::eq(other, table)))
    }

    /// Adds a statement to the pending writes. Returns false if it has to run on its own.
    fn fold(&mut self, at: usize, instance: NumberedInstance<'s>, statement: &'s Statement) -> bool {
        let (Some(facts), Some(pending)) = (self.facts.get(at), self.pending.get_mut(at)) else { return false };
        let Some(key) = self.op.admit(facts, instance, statement) else { return false };
        self.rows += usize::from(pending.add(facts, key, &mut self.op));
        true
    }

    /// Writes everything. The tables that are folded and those that are written in order do not affect each other.
    fn flush(&mut self) -> Result<(), StoreError> {
        self.runs.flush(&mut *self.out)?;
        self.rows = 0;
        for (facts, pending) in self.facts.iter().zip(&mut self.pending) {
            pending.last.clear();
            for round in pending.rounds.drain(..) {
                write::round(self.target, facts, round, &mut *self.out)?;
            }
        }
        Ok(())
    }
}

impl<'s> Pending<'s> {
    /// Returns true if this added a pending effect.
    fn add(&mut self, facts: &Facts<'_>, key: RowKey<'s>, op: &mut Op<'s>) -> bool {
        match self.last.entry(key) {
            Entry::Vacant(place) => {
                let key = place.key().clone();
                place.insert(insert(&mut self.rounds, 0, (key, Net::new(facts.table, op))));
            }
            Entry::Occupied(mut place) => {
                let (round, slot) = *place.get();
                let net = self.rounds.get_mut(round).and_then(|nets| nets.get_mut(slot));
                if net.is_some_and(|(_, net)| net.merge(facts.table, op)) {
                    return false;
                }
                let key = place.key().clone();
                place.insert(insert(&mut self.rounds, round + 1, (key, Net::new(facts.table, op))));
            }
        }
        true
    }
}

/// Adds an effect to a round, which may be a new one, and returns its place.
fn insert<T>(rounds: &mut Vec<Vec<T>>, round: usize, effect: T) -> (usize, usize) {
    if rounds.len() <= round {
        rounds.push(Vec::new());
    }
    let place = (round, rounds.get(round).map_or(0, Vec::len));
    if let Some(effects) = rounds.get_mut(round) {
        effects.push(effect);
    }
    place
}
