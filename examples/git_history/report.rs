//! What is printed.

use std::io::{self, Write};
use std::time::Duration;

use readside::Value;

use super::store::{Done, Rows};

/// Rows of each table that are printed.
const TOP: usize = 10;

/// Prints the top of a table: by commits or changes, or the last months.
pub(crate) fn table(out: &mut dyn Write, name: &str, rows: Rows, instance: &str) -> io::Result<()> {
    let mut rows: Rows = rows
        .into_iter()
        .filter(|row| row.first().is_some_and(|(_, value)| *value == Value::from(instance)))
        .map(|row| row.into_iter().skip(1).collect())
        .collect();
    let count = rows.len();
    let by_count = name != "activity";
    if by_count {
        rows.sort_by_key(|row| std::cmp::Reverse(row.get(1).map_or(0, |(_, value)| number(value))));
    } else {
        rows.reverse();
    }
    rows.truncate(TOP);
    let shown = rows.len();
    writeln!(out, "{name} ({shown} of {count}, {})", if by_count { "most first" } else { "latest first" })?;
    print(out, &rows)?;
    writeln!(out)
}

fn number(value: &Value) -> i64 {
    if let Value::Integer(number) = value { *number } else { 0 }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Integer(number) => number.to_string(),
        Value::Timestamp(at) => jiff::Timestamp::try_from(*at).map_or_else(|_| String::new(), |at| format!("{at:.0}")),
        other => format!("{other:?}"),
    }
}

/// Columns side by side, numbers to the right.
fn print(out: &mut dyn Write, rows: &Rows) -> io::Result<()> {
    let Some(first) = rows.first() else { return writeln!(out, "  (no rows)") };
    let mut lines: Vec<Vec<String>> = vec![first.iter().map(|(name, _)| name.clone()).collect()];
    lines.extend(rows.iter().map(|row| row.iter().map(|(_, value)| shown(value)).collect()));
    let right: Vec<bool> = first.iter().map(|(_, value)| matches!(value, Value::Integer(_))).collect();
    let width = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..right.len()).map(|at| width(at).unwrap_or(0)).collect();
    for line in &lines {
        let cells =
            line.iter().zip(&widths).zip(&right).map(|((cell, width), right)| {
                if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
        writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Prints how fast it was.
pub(crate) fn throughput(
    out: &mut dyn Write,
    instance: &str,
    place: &str,
    stored: &Done,
    projected: &Done,
) -> io::Result<()> {
    if stored.commits == 0 {
        writeln!(out, "nothing new in instance {instance:?}")?;
    } else {
        let (commits, events) = (stored.commits, stored.events);
        writeln!(
            out,
            "stored {commits} commits as {events} events of instance {instance:?}: {}",
            rate(events, stored.time)
        )?;
    }
    if projected.events > 0 {
        writeln!(out, "projected {} events: {}", projected.events, rate(projected.events, projected.time))?;
    }
    writeln!(out, "the tables are in {place}")
}

#[expect(clippy::cast_precision_loss, reason = "a rate is printed without decimals")]
fn rate(events: usize, time: Duration) -> String {
    let seconds = time.as_secs_f64();
    format!("{seconds:.2} s, {:.0} events/s", events as f64 / seconds.max(0.000_001))
}
