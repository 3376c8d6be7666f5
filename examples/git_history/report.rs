//! Prints the read models of a repository, and how fast the run made them.

use std::io::Write;
use std::time::{Duration, SystemTime};

use indicatif::HumanCount;
use jiff::Timestamp;
use readside::Error;

use super::Failure;
use super::projections::Projected;
use super::push::Pushed;
use super::store::{self, Contributor, File, Month, Store};

/// What a run did, and where.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) database: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) pushed: &'a Pushed,
    pub(crate) projected: &'a [Projected],
}

/// How many rows of each table are printed.
const TOP: i64 = 10;
const MONTHS: i64 = 12;

/// Prints the top of each table, then the throughput.
pub(crate) fn print(out: &mut dyn Write, store: &dyn Store, work: &Work<'_>) -> Result<(), Failure> {
    let (total, new) = (HumanCount(work.pushed.total), HumanCount(work.pushed.commits));
    let mut text = format!("{}: {total} commits, {new} of them new\n", clean(work.instance));
    text += &tables(store, work.instance).map_err(Error::from)?;
    text += &throughput(work);
    let database = clean(&store::shown(work.database));
    write!(out, "{text}\ndatabase: {database}\n").and_then(|()| out.flush()).map_err(Failure::Output)
}

/// The rows with the highest numbers, and the last months.
fn tables(store: &dyn Store, repository: &str) -> Result<String, readside::error::QueryError> {
    let counts = store.counts(repository)?.pop();
    let (contributors, files, months) =
        counts.map_or((0, 0, 0), |counts| (counts.contributors, counts.files, counts.months));

    let rows = store.contributors(repository, TOP)?;
    let title = format!("contributors: {} of {} by commits", rows.len(), HumanCount(contributors));
    let columns = ["author", "commits", "lines_added", "lines_removed", "first_commit_at", "last_commit_at"];
    let mut text = layout(&title, columns, rows.iter().map(contributor).collect());

    let rows = store.files(repository, TOP)?;
    let title = format!("files: {} of {} by changes", rows.len(), HumanCount(files));
    let columns = ["path", "changes", "lines_added", "lines_removed", "last_author", "last_changed_at"];
    text += &layout(&title, columns, rows.iter().map(file).collect());

    let rows = store.months(repository, MONTHS)?;
    let title = format!("activity: the last {} of {months} months with commits", rows.len());
    Ok(text + &layout(&title, ["month", "commits"], rows.iter().map(month).collect()))
}

/// A cell of a printed table.
enum Cell {
    /// Aligned to the left.
    Text(String),
    /// Aligned to the right.
    Number(i64),
}

impl Cell {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => clean(text),
            Self::Number(number) => number.to_string(),
        }
    }
}

fn contributor(row: &Contributor) -> [Cell; 6] {
    [
        Cell::Text(row.author.clone()),
        Cell::Number(row.commits),
        Cell::Number(row.lines_added),
        Cell::Number(row.lines_removed),
        Cell::Text(day(row.first_commit_at)),
        Cell::Text(day(row.last_commit_at)),
    ]
}

fn file(row: &File) -> [Cell; 6] {
    [
        Cell::Text(row.path.clone()),
        Cell::Number(row.changes),
        Cell::Number(row.lines_added),
        Cell::Number(row.lines_removed),
        Cell::Text(row.last_author.clone()),
        Cell::Text(day(row.last_changed_at)),
    ]
}

fn month(row: &Month) -> [Cell; 2] {
    [Cell::Text(row.month.clone()), Cell::Number(row.commits)]
}

/// Prints a title and aligned columns.
fn layout<const N: usize>(title: &str, columns: [&str; N], rows: Vec<[Cell; N]>) -> String {
    let mut text = format!("\n{title}\n");
    if rows.is_empty() {
        return text + "  (none)\n";
    }
    let mut lines = vec![String::new(); rows.len() + 1];
    let mut rows: Vec<_> = rows.into_iter().map(IntoIterator::into_iter).collect();
    for name in columns {
        let cells: Vec<Cell> = rows.iter_mut().filter_map(Iterator::next).collect();
        let is_number = cells.iter().any(|cell| matches!(cell, Cell::Number(_)));
        let cells: Vec<String> = std::iter::once(name.to_owned()).chain(cells.iter().map(Cell::shown)).collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        for (line, cell) in lines.iter_mut().zip(cells) {
            let room = " ".repeat(width - cell.chars().count());
            let (before, after) = if is_number { (room.as_str(), "") } else { ("", &*room) };
            line.extend(["  ", before, &cell, after]);
        }
    }
    for line in lines {
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Replaces characters that would move the cursor or colour the terminal.
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
