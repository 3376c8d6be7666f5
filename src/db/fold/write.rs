//! The effects of a round, as few statements: those of the same shape together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::admit::{self, Cell, Key};
use super::net::{Changes, Net, NewRow};
use crate::db::{Bulk, BulkKind, Conn, How, Row};
use crate::error::StoreError;
use crate::projection::Projection;
use crate::sql;
use crate::table::{INSTANCE_COLUMN, Table};
use crate::value::{ColumnType, Value};

/// Kind of the statement, and the columns that it writes.
pub(super) type Shape = (BulkKind, Vec<(usize, How)>);

pub(super) fn round(
    conn: &mut dyn Conn,
    projection: &Projection,
    table: &Table,
    nets: &[(Key<'_>, Net<'_>)],
) -> Result<(), StoreError> {
    let mut shapes: BTreeMap<Shape, Vec<Row>> = BTreeMap::new();
    for (key, net) in nets {
        for (shape, row) in effects(table, key, net).into_iter().flatten() {
            shapes.entry(shape).or_default().push(row);
        }
    }
    for ((kind, columns), rows) in shapes {
        let write = bulk(conn, projection, table, kind, &columns, rows);
        conn.bulk(&write).map_err(|error| doing(projection, error))?;
    }
    Ok(())
}

pub(super) fn doing(projection: &Projection, error: StoreError) -> StoreError {
    error.doing(format!("writing a read table of projection {:?}", projection.name()))
}

/// A row of a statement of some shape.
type Effect = (Shape, Row);

/// What is written for a net effect: nothing for an update of no column, two where a changed row gets something else than
/// a new one would.
pub(super) fn effects(table: &Table, key: &Key<'_>, net: &Net<'_>) -> [Option<Effect>; 2] {
    match net {
        Net::Delete => [Some(effect(BulkKind::Delete, key, Vec::new())), None],
        Net::Update { changes } => [update(key, changes), None],
        Net::Insert { new } => [Some(effect(BulkKind::Insert, key, inserted(table, new))), None],
        Net::Upsert { new, changes } => upsert(table, key, new, changes),
    }
}

type Columns = Vec<(usize, How, Value)>;

fn effect(kind: BulkKind, key: &Key<'_>, columns: Columns) -> Effect {
    let mut row: Row = Vec::with_capacity(1 + key.parts().len() + columns.len());
    row.push(key.instance.into());
    row.extend(key.parts().iter().map(|part| part.value()));
    let mut shape = Vec::with_capacity(columns.len());
    for (at, how, value) in columns {
        shape.push((at, how));
        row.push(value);
    }
    ((kind, shape), row)
}

fn update(key: &Key<'_>, changes: &Changes<'_>) -> Option<Effect> {
    let column = |(at, cell): &(usize, Cell<'_>)| match cell {
        Cell::Set(value) => (*at, How::Set, value.as_ref().clone()),
        Cell::Add(by) => (*at, How::Add, Value::Integer(*by)),
    };
    let mut columns: Columns = changes.iter().map(column).collect();
    columns.sort_by_key(|(at, ..)| *at);
    (!columns.is_empty()).then(|| effect(BulkKind::Update, key, columns))
}

fn is_key(table: &Table, at: usize) -> bool {
    table.columns.get(at).is_some_and(|column| admit::is_key(table, &column.name))
}

fn inserted(table: &Table, new: &NewRow<'_>) -> Columns {
    let cells = new.iter().enumerate().filter(|(at, _)| !is_key(table, *at));
    cells.filter_map(|(at, cell)| cell.as_ref().map(|value| (at, How::Set, value.as_ref().clone()))).collect()
}

/// One statement where a changed row gets what a new one would; else a change of what is there, then what is missing.
fn upsert(table: &Table, key: &Key<'_>, new: &NewRow<'_>, changes: &Changes<'_>) -> [Option<Effect>; 2] {
    let change = |at: usize| changes.iter().find(|(place, _)| *place == at).map(|(_, cell)| cell);
    let alike = new.iter().enumerate().map(|(at, new)| how(new.as_ref(), change(at)));
    if let Some(hows) = alike.collect::<Option<Vec<How>>>() {
        let mut columns = inserted(table, new);
        for (at, how, _) in &mut columns {
            *how = hows.get(*at).copied().unwrap_or(How::Keep);
        }
        return [Some(effect(BulkKind::Upsert, key, columns)), None];
    }
    [update(key, changes), Some(effect(BulkKind::InsertMissing, key, inserted(table, new)))]
}

fn how(new: Option<&Cow<'_, Value>>, change: Option<&Cell<'_>>) -> Option<How> {
    match (new, change) {
        (_, None) => Some(How::Keep),
        (Some(new), Some(Cell::Set(value))) if new == value => Some(How::Set),
        (Some(new), Some(Cell::Add(by))) if **new == Value::Integer(*by) => Some(How::Add),
        _ => None,
    }
}

pub(super) fn bulk<'t>(
    conn: &dyn Conn,
    projection: &Projection,
    table: &'t Table,
    kind: BulkKind,
    columns: &[(usize, How)],
    rows: Vec<Row>,
) -> Bulk<'t> {
    let named = |name: &'t str| (name, table.find(name).map_or(ColumnType::Text, |column| column.kind));
    let others = columns.iter().filter_map(|(at, _)| table.columns.get(*at));
    Bulk {
        table: sql::physical_name(conn.dialect(), projection, table),
        kind,
        keys: std::iter::once((INSTANCE_COLUMN, ColumnType::Text))
            .chain(table.primary_key.iter().map(|name| named(name)))
            .collect(),
        columns: others.map(|column| (column.name.as_str(), column.kind)).collect(),
        how: columns.iter().map(|(_, how)| *how).collect(),
        rows,
    }
}
