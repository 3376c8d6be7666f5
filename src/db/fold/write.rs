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
type Shape = (BulkKind, Vec<(usize, How)>);

pub(super) fn round(
    conn: &mut dyn Conn,
    projection: &Projection,
    table: &Table,
    nets: &[(Key<'_>, Net<'_>)],
) -> Result<(), StoreError> {
    let mut shapes: BTreeMap<Shape, Vec<Row>> = BTreeMap::new();
    for (key, net) in nets {
        match net {
            Net::Delete => add(&mut shapes, BulkKind::Delete, key, Vec::new()),
            Net::Update { changes } => update(&mut shapes, key, changes),
            Net::Insert { new } => add(&mut shapes, BulkKind::Insert, key, inserted(table, new)),
            Net::Upsert { new, changes } => upsert(&mut shapes, table, key, new, changes),
        }
    }
    for ((kind, columns), rows) in shapes {
        let write = bulk(conn, projection, table, kind, &columns, rows);
        conn.bulk(&write)
            .map_err(|error| error.doing(format!("writing a read table of projection {:?}", projection.name())))?;
    }
    Ok(())
}

type Columns = Vec<(usize, How, Value)>;

fn add(shapes: &mut BTreeMap<Shape, Vec<Row>>, kind: BulkKind, key: &Key<'_>, columns: Columns) {
    let mut row: Row = Vec::with_capacity(1 + key.parts().len() + columns.len());
    row.push(key.instance.into());
    row.extend(key.parts().iter().map(|part| part.value()));
    let mut shape = Vec::with_capacity(columns.len());
    for (at, how, value) in columns {
        shape.push((at, how));
        row.push(value);
    }
    shapes.entry((kind, shape)).or_default().push(row);
}

/// An update of no column does nothing.
fn update(shapes: &mut BTreeMap<Shape, Vec<Row>>, key: &Key<'_>, changes: &Changes<'_>) {
    let column = |(at, cell): &(usize, Cell<'_>)| match cell {
        Cell::Set(value) => (*at, How::Set, value.as_ref().clone()),
        Cell::Add(by) => (*at, How::Add, Value::Integer(*by)),
    };
    let mut columns: Columns = changes.iter().map(column).collect();
    columns.sort_by_key(|(at, ..)| *at);
    if !columns.is_empty() {
        add(shapes, BulkKind::Update, key, columns);
    }
}

fn is_key(table: &Table, at: usize) -> bool {
    table.columns.get(at).is_some_and(|column| admit::is_key(table, &column.name))
}

fn inserted(table: &Table, new: &NewRow<'_>) -> Columns {
    let cells = new.iter().enumerate().filter(|(at, _)| !is_key(table, *at));
    cells.filter_map(|(at, cell)| cell.as_ref().map(|value| (at, How::Set, value.as_ref().clone()))).collect()
}

/// One statement where a changed row gets what a new one would; else a change of what is there, then what is missing.
fn upsert(
    shapes: &mut BTreeMap<Shape, Vec<Row>>,
    table: &Table,
    key: &Key<'_>,
    new: &NewRow<'_>,
    changes: &Changes<'_>,
) {
    let change = |at: usize| changes.iter().find(|(place, _)| *place == at).map(|(_, cell)| cell);
    let alike = new.iter().enumerate().map(|(at, new)| how(new.as_ref(), change(at)));
    if let Some(hows) = alike.collect::<Option<Vec<How>>>() {
        let mut columns = inserted(table, new);
        for (at, how, _) in &mut columns {
            *how = hows.get(*at).copied().unwrap_or(How::Keep);
        }
        return add(shapes, BulkKind::Upsert, key, columns);
    }
    update(shapes, key, changes);
    add(shapes, BulkKind::InsertMissing, key, inserted(table, new));
}

fn how(new: Option<&Cow<'_, Value>>, change: Option<&Cell<'_>>) -> Option<How> {
    match (new, change) {
        (_, None) => Some(How::Keep),
        (Some(new), Some(Cell::Set(value))) if new == value => Some(How::Set),
        (Some(new), Some(Cell::Add(by))) if **new == Value::Integer(*by) => Some(How::Add),
        _ => None,
    }
}

fn bulk<'t>(
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
