//! Prints the read models of a repository, and how fast they were made.

use std::cmp::Reverse;
use std::io::Write;
use std::time::{Duration, SystemTime};

use indicatif::HumanCount;
use jiff::Timestamp;
use readside::{Error, Projection, Value};

use super::Failure;
use super::projections::{self, Projected};
use super::push::Pushed;
use super::store::{self, Row, Store};

/// What a run did, and where.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) database: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) pushed: &'a Pushed,
    pub(crate) projected: &'a [Projected],
}

/// Rows of each table that are printed.
const TOP: usize = 10;
const MONTHS: usize = 12;

/// Prints the top of each table, then the throughput.
pub(crate) fn print(out: &mut dyn Write, store: &dyn Store, work: &Work<'_>) -> Result<(), Failure> {
    let (total, new) = (HumanCount(work.pushed.total), HumanCount(work.pushed.commits));
    let mut text = format!("{}: {total} commits, {new} of them new\n", clean(work.instance));
    text += &top(store, work, &projections::contributors(), "contributors", "commits")?;
    text += &top(store, work, &projections::files(), "files", "changes")?;
    text += &months(store, work)?;
    text += &throughput(work);
    let database = clean(&store::shown(work.database));
    write!(out, "{text}\ndatabase: {database}\n").and_then(|()| out.flush()).map_err(Failure::Output)
}

/// The rows with the highest numbers in a column.
fn top(
    store: &dyn Store,
    work: &Work<'_>,
    projection: &Projection,
    table: &str,
    column: &str,
) -> Result<String, Failure> {
    let mut rows = rows(store, work, projection, table)?;
    let count = rows.len();
    rows.sort_by_key(|row| Reverse(integer(row, column)));
    rows.truncate(TOP);
    let title = format!("{table}: {} of {} by {column}", rows.len(), HumanCount(count as u64));
    Ok(layout(&title, &rows))
}

/// The last months.
fn months(store: &dyn Store, work: &Work<'_>) -> Result<String, Failure> {
    let mut rows = rows(store, work, &projections::activity(), "activity")?;
    let count = rows.len();
    rows.drain(..count.saturating_sub(MONTHS));
    Ok(layout(&format!("activity: the last {} of {count} months with commits", rows.len()), &rows))
}

/// The repository's rows, by primary key.
fn rows(store: &dyn Store, work: &Work<'_>, projection: &Projection, table: &str) -> Result<Vec<Row>, Failure> {
    let rows = store.rows(projection, table).map_err(Error::from)?;
    let ours = |row: &Row| row.first().is_some_and(|(_, value)| *value == Value::from(work.instance));
    Ok(rows.into_iter().filter(ours).map(|row| row.into_iter().skip(1).collect()).collect())
}

fn integer(row: &Row, column: &str) -> i64 {
    match row.iter().find(|(name, _)| name == column) {
        Some((_, Value::Integer(number))) => *number,
        _ => 0,
    }
}

/// A title and aligned columns: numbers to the right, all else to the left.
fn layout(title: &str, rows: &[Row]) -> String {
    let mut text = format!("\n{title}\n");
    let Some(first) = rows.first() else { return text + "  (none)\n" };
    let mut lines = vec![String::new(); rows.len() + 1];
    for (at, (name, value)) in first.iter().enumerate() {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|(_, value)| cell(value));
        let cells: Vec<String> = std::iter::once(name.clone()).chain(cells).collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        for (line, cell) in lines.iter_mut().zip(cells) {
            let room = " ".repeat(width - cell.chars().count());
            let (before, after) = if matches!(value, Value::Integer(_)) { (room.as_str(), "") } else { ("", &*room) };
            line.extend(["  ", before, &cell, after]);
        }
    }
    for line in lines {
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::Text(text) => clean(text),
        Value::Integer(number) => number.to_string(),
        Value::Timestamp(at) => day(*at),
        other => format!("{other:?}"),
    }
}

/// What would move the cursor, or colour the terminal, must not.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn day(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|error| error.to_string(), |at| at.strftime("%Y-%m-%d").to_string())
}

fn throughput(work: &Work<'_>) -> String {
    let mut text = "\nthroughput\n".to_owned();
    text += &speed("pushed", work.pushed.events, work.pushed.took);
    for projected in work.projected {
        text += &speed(&format!("projected: {}", projected.name), projected.events, projected.took);
    }
    let events = work.projected.iter().map(|projected| projected.events).sum();
    text + &speed("projected: all", events, work.projected.iter().map(|projected| projected.took).sum())
}

fn speed(what: &str, events: u64, took: Duration) -> String {
    let micros = took.as_micros().max(1);
    let rate = u64::try_from(u128::from(events) * 1_000_000 / micros).unwrap_or(u64::MAX);
    let (events, rate) = (HumanCount(events).to_string(), HumanCount(rate).to_string());
    format!("  {what:<24} {events:>10} events in {:>8.3} s {rate:>10} events/s\n", took.as_secs_f64())
}
