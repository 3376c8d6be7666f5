//! Writes the effects of a round as few statements: rows of the same shape go together.

use std::borrow::Cow;

use super::admit::{Cell, Facts, NumberedInstance, RowKey};
use super::net::{Changes, Net, NewRow};
use crate::db::{Bulk, BulkKind, BulkRow, Conn, How, execute};
use crate::error::{StoreError, StoreErrorKind};
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::statement::Statement;
use crate::table::{INSTANCE_COLUMN, Table};
use crate::value::{ColumnType, Value};

/// Kind of the statement, and the columns that it writes.
pub(super) type Shape = (BulkKind, Vec<(usize, How)>);

/// Whose tables are written, and how their names are spelled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'s> {
    pub(super) projection: &'s Projection,
    pub(super) dialect: Dialect,
}

/// What a database has to do.
pub(super) enum Write<'s> {
    /// Rows that do not affect each other. This many of them may be missing without being missed updates.
    Bulk(Bulk<'s>, usize),
    /// Rows with the outcome of writing one after the other, in a table with these unique keys.
    InOrder(Bulk<'s>, Vec<&'s [String]>),
    Alone(NumberedInstance<'s>, &'s Statement),
}

impl Write<'_> {
    /// Returns how many statements met no row, as far as the database shows it.
    pub(super) fn perform(&self, conn: &mut dyn Conn, projection: &Projection) -> Result<u64, StoreError> {
        let written = match self {
            Self::Bulk(bulk, may_miss) => conn
                .bulk(bulk)
                .and_then(|touched| refuse(bulk, touched))
                .map(|touched| missed(bulk, *may_miss, touched)),
            Self::InOrder(bulk, uniques) => conn.bulk_in_order(bulk, uniques).map(|touched| missed(bulk, 0, touched)),
            Self::Alone(instance, statement) => {
                return execute::execute(conn, projection, instance.text(), statement);
            }
        };
        written.map_err(|error| execute::of_table(conn, error, projection))
    }
}

/// How many updates met no row: rows that should have changed, and that the database did not touch. A deleted row may
/// have been inserted in the same batch, so deletes do not count.
fn missed(bulk: &Bulk<'_>, may_miss: usize, touched: u64) -> u64 {
    if bulk.kind != BulkKind::Update {
        return 0;
    }
    let wanted = u64::try_from(bulk.rows.len().saturating_sub(may_miss)).unwrap_or(u64::MAX);
    wanted.saturating_sub(touched)
}

fn refuse(bulk: &Bulk<'_>, touched: u64) -> Result<u64, StoreError> {
    if bulk.kind != BulkKind::Absent || touched == 0 {
        return Ok(touched);
    }
    Err(StoreError::new("writing rows", StoreErrorKind::Constraint, "a row that was to be new is there already"))
}

pub(super) fn round<'s>(
    target: Target<'s>,
    facts: &Facts<'s>,
    nets: Vec<(RowKey<'s>, Net<'s>)>,
    out: Out<'_, 's>,
) -> Result<(), StoreError> {
    let mut effects = Effects::default();
    for (key, net) in nets {
        effects.add(facts, &key, net);
    }
    effects.shapes.sort_by(|(a, _), (b, _)| a.cmp(b));
    let may_miss = effects.may_miss;
    let bulk = |((kind, columns), rows): (Shape, _)| bulk(target, facts.table, kind, &columns, rows);
    effects.shapes.into_iter().map(bulk).try_for_each(|bulk| out(Write::Bulk(bulk, may_miss)))
}

/// What is written, row by row, grouped by shape.
#[derive(Debug, Default)]
pub(super) struct Effects<'s> {
    pub(super) shapes: Vec<(Shape, Vec<BulkRow<'s>>)>,
    /// The place of the last row's shape. The next row most often has the same one.
    last: usize,
    /// The columns of the current row.
    columns: Vec<(usize, How)>,
    /// How many updates are of rows that are inserted if they are missing.
    may_miss: usize,
}

impl<'s> Effects<'s> {
    /// Adds what is written for a net effect: nothing for an update of no column, and two rows if a changed row gets
    /// other values than a new one.
    pub(super) fn add(&mut self, facts: &Facts<'_>, key: &RowKey<'s>, net: Net<'s>) {
        match net {
            Net::Delete => self.key(BulkKind::Delete, key),
            Net::Absent => self.key(BulkKind::Absent, key),
            Net::Update { changes } => self.update(key, changes),
            Net::Insert { new } => self.insert(facts, BulkKind::Insert, key, new, |_, _| How::Set),
            Net::Upsert { new, changes } => self.upsert(facts, key, new, changes),
        }
    }

    /// A row with its key, and room for other columns.
    fn begin(&mut self, key: &RowKey<'s>, room: usize) -> BulkRow<'s> {
        self.columns.clear();
        let mut row = Vec::with_capacity(3 + room);
        row.extend(key.values().map(Cow::Borrowed));
        row
    }

    fn end(&mut self, kind: BulkKind, row: BulkRow<'s>) {
        let is = |(shape, _): &(Shape, Vec<BulkRow<'s>>)| shape.0 == kind && shape.1 == self.columns;
        if !self.shapes.get(self.last).is_some_and(is) {
            self.last = self.shapes.iter().position(is).unwrap_or(self.shapes.len());
            if self.last == self.shapes.len() {
                self.shapes.push(((kind, self.columns.clone()), Vec::new()));
            }
        }
        if let Some((_, rows)) = self.shapes.get_mut(self.last) {
            rows.push(row);
        }
    }

    fn key(&mut self, kind: BulkKind, key: &RowKey<'s>) {
        let row = self.begin(key, 0);
        self.end(kind, row);
    }

    fn update(&mut self, key: &RowKey<'s>, mut changes: Changes<'s>) {
        if changes.is_empty() {
            return;
        }
        changes.sort_unstable_by_key(|(at, _)| *at);
        let mut row = self.begin(key, changes.len());
        for (at, cell) in changes {
            let (how, value) = match cell {
                Cell::Set(value) => (How::Set, value),
                Cell::Add(by) => (How::Add, by),
            };
            self.columns.push((at, how));
            row.push(value);
        }
        self.end(BulkKind::Update, row);
    }

    /// `how` gets the place of a column and its value.
    fn insert(
        &mut self,
        facts: &Facts<'_>,
        kind: BulkKind,
        key: &RowKey<'s>,
        new: NewRow<'s>,
        how: impl Fn(usize, &Value) -> How,
    ) {
        let mut row = self.begin(key, new.len());
        for (at, value) in new.into_iter().enumerate().filter(|(at, _)| !facts.is_key(*at)) {
            if let Some(value) = value {
                self.columns.push((at, how(at, &value)));
                row.push(value);
            }
        }
        self.end(kind, row);
    }

    /// Adds one statement if a changed row gets the values of a new one. Otherwise it adds a change of existing rows,
    /// then an insert of missing ones.
    fn upsert(&mut self, facts: &Facts<'_>, key: &RowKey<'s>, new: NewRow<'s>, changes: Changes<'s>) {
        let change = |at: usize| changes.iter().find(|(place, _)| *place == at).map(|(_, cell)| cell);
        let alike = |(at, new): (usize, &Option<Cow<'s, Value>>)| how(new.as_deref(), change(at)).is_some();
        if new.iter().enumerate().all(alike) {
            let of = |at: usize, new: &Value| how(Some(new), change(at)).unwrap_or(How::Keep);
            self.insert(facts, BulkKind::Upsert, key, new, of);
        } else {
            self.may_miss += 1;
            self.update(key, changes);
            self.insert(facts, BulkKind::InsertMissing, key, new, |_, _| How::Set);
        }
    }
}

fn how(new: Option<&Value>, change: Option<&Cell<'_>>) -> Option<How> {
    match (new, change) {
        (_, None) => Some(How::Keep),
        (Some(new), Some(Cell::Set(value))) if *new == **value => Some(How::Set),
        (Some(new), Some(Cell::Add(by))) if *new == **by => Some(How::Add),
        _ => None,
    }
}

pub(super) fn bulk<'t>(
    target: Target<'_>,
    table: &'t Table,
    kind: BulkKind,
    columns: &[(usize, How)],
    rows: Vec<BulkRow<'t>>,
) -> Bulk<'t> {
    let named = |name: &'t str| (name, table.find(name).map_or(ColumnType::Text, |column| column.kind));
    let others = columns.iter().filter_map(|(at, _)| table.columns.get(*at));
    Bulk {
        table: sql::physical_name(target.dialect, target.projection, table),
        kind,
        keys: std::iter::once((INSTANCE_COLUMN, ColumnType::Text))
            .chain(table.primary_key.iter().map(|name| named(name)))
            .collect(),
        columns: others.map(|column| (column.name.as_str(), column.kind)).collect(),
        how: columns.iter().map(|(_, how)| *how).collect(),
        only_if: None,
        rows,
    }
}

/// Where writes go, in order.
pub(super) type Out<'o, 's> = &'o mut dyn FnMut(Write<'s>) -> Result<(), StoreError>;
