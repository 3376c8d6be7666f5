//! Compares expected rows with found ones, by primary key.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Columns;
use super::report::{Fault, LawReport};
use crate::projection::Projection;
use crate::table::Table;
use crate::value::canonical;

/// Compares the rows of all tables of one instance.
pub(super) fn compare(
    projection: &Projection,
    instance: &Arc<str>,
    expected: Vec<Vec<Columns>>,
    found: Vec<Vec<Columns>>,
    report: &mut LawReport,
) {
    let mut found = found.into_iter();
    for (table, expected) in projection.tables().iter().zip(expected) {
        compare_table(table, instance, expected, found.next().unwrap_or_default(), report);
    }
}

fn compare_table(
    table: &Table,
    instance: &Arc<str>,
    expected: Vec<Columns>,
    found: Vec<Columns>,
    report: &mut LawReport,
) {
    let (expected, mut found) = (by_key(table, expected), by_key(table, found));
    report.rows += found.len() as u64;
    let mut differs = |expected: Option<Columns>, found: Option<Columns>| {
        let key = expected.as_ref().or(found.as_ref()).map(|row| key(table, row)).unwrap_or_default();
        report.add(Fault::Row { instance: Arc::clone(instance), table: table.name.clone(), key, expected, found });
    };
    for (name, row) in expected {
        match found.remove(&name) {
            Some(other) if other == row => {}
            other => differs(Some(row), other),
        }
    }
    for row in found.into_values() {
        differs(None, Some(row));
    }
}

fn by_key(table: &Table, rows: Vec<Columns>) -> BTreeMap<String, Columns> {
    let same = |row| same(table, row);
    rows.into_iter().map(same).map(|row| (format!("{:?}", key(table, &row)), row)).collect()
}

/// Brings a row into a form in which rows that count as the same are equal, whichever database they come from.
pub(crate) fn same(table: &Table, row: Columns) -> Columns {
    let kind = |name: &str| table.find(name).map(|column| column.kind);
    row.into_iter()
        .map(|(name, value)| {
            let value = canonical(value, kind(&name));
            (name, value)
        })
        .collect()
}

fn key(table: &Table, row: &Columns) -> Columns {
    row.iter().filter(|(name, _)| table.primary_key.contains(name)).cloned().collect()
}
