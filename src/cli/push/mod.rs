//! `push`: stores events from JSON lines. `source` reads lines, `line` and `cloud` turn them into new events, and
//! `batch` stores these.

mod batch;
mod cloud;
mod defaults;
mod line;
mod source;

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::format::{count, masked, several};
use super::options::PushArgs;
use super::stop::Stop;
use super::{Ended, Outcome, Session};
use crate::plain::plain;
use batch::{Batch, Read, Refused};
pub(super) use defaults::Defaults;
pub(super) use line::command;
pub(super) use source::{Next, Source};

/// A batch with this many bytes is stored before it is full.
const BYTES: usize = 32 << 20;

/// The time after which a signal is noticed.
const NOTICE: Duration = Duration::from_millis(100);

/// If no line follows within this time, the lines so far are stored.
const IDLE: Duration = Duration::from_secs(1);

/// What a push stored.
#[derive(Debug, Default, Serialize)]
struct PushReport {
    /// All events of the lines that are stored now.
    events: u64,
    /// How many of them an earlier run had stored.
    repeated: u64,
    /// The last line that is stored.
    last_line: u64,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrong_line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    first_line: u64,
}

/// Why a push went no further.
struct Wrong {
    line: Option<u64>,
    why: String,
    /// The first line that is not stored. With `unknown_to`, the outcome of the lines from here to there is unknown.
    from: u64,
    unknown_to: Option<u64>,
}

pub(super) fn run(session: &mut Session<'_>, args: &PushArgs) -> Outcome {
    let source = Source::open(args.file.as_deref())?;
    let stop = Stop::on_signals()?;
    let bar = bar(session, &source);
    let mut report = PushReport::default();
    let outcome = push(session, args, &source, &stop, &bar, &mut report);
    bar.finish_and_clear();
    match outcome {
        Ok(ended) => {
            report.complete = ended == Ended::Fine;
            done(session, args, &report)?;
            Ok(ended)
        }
        Err(wrong) => {
            failed(session, args, report, &wrong);
            Ok(Ended::Failed)
        }
    }
}

fn push(
    session: &Session<'_>,
    args: &PushArgs,
    source: &Source,
    stop: &Stop,
    bar: &ProgressBar,
    report: &mut PushReport,
) -> Result<Ended, Wrong> {
    let (instance, aggregate_type) = (args.instance.as_deref(), args.aggregate_type.as_deref());
    let defaults = Defaults { instance, aggregate_type, keep: args.keep_times };
    let mut batch = Batch::of(args.keep_times);
    let (mut came, mut read) = (Instant::now(), 0);
    loop {
        let next = source.next(NOTICE).map_err(|error| wrong(&batch, report.last_line + 1, None, &error))?;
        let (mut is_due, at_end) = (came.elapsed() >= IDLE, matches!(next, Next::End));
        if let Next::Line(line) = next {
            if line.number < args.from_line {
                continue;
            }
            let next = Read::line(&line, &defaults, args.key_prefix.as_deref());
            let next = next.map_err(|error| wrong(&batch, line.number, Some(line.number), &error))?;
            if !batch.takes(&next) {
                store(session, args, &batch, report)?;
                batch = Batch::of(args.keep_times);
            }
            batch.add(next);
            (came, read, is_due) = (Instant::now(), line.end, false);
        }
        let is_full = batch.len() == args.batch || batch.bytes() >= BYTES;
        if batch.len() > 0 && (is_full || is_due || at_end || stop.is_asked()) {
            store(session, args, &batch, report)?;
            bar.set_position(if source.length.is_some() { read } else { report.events });
            batch = Batch::of(args.keep_times);
        }
        if at_end {
            return Ok(Ended::Fine);
        }
        if stop.is_asked() {
            return Ok(Ended::Interrupted);
        }
    }
}

/// The end of a push at a line that cannot be read. Nothing of its batch is stored.
fn wrong(batch: &Batch, next: u64, line: Option<u64>, error: &anyhow::Error) -> Wrong {
    let from = if batch.len() == 0 { next } else { batch.first_line() };
    Wrong { line, why: crate::error::chain(error.as_ref()), from, unknown_to: None }
}

fn store(session: &Session<'_>, args: &PushArgs, batch: &Batch, report: &mut PushReport) -> Result<(), Wrong> {
    if !args.dry_run {
        let repeated = batch.store(&*session.events).map_err(|refused| {
            let Refused { line, stored, repeated, error, unknown } = refused;
            report.events += stored as u64;
            report.repeated += repeated as u64;
            let unknown_to = unknown.then(|| batch.last_line());
            Wrong { line, why: crate::error::chain(error.as_ref()), from: batch.first_line(), unknown_to }
        })?;
        report.repeated += repeated as u64;
    }
    if report.events == 0 {
        report.first_line = batch.first_line();
    }
    report.events += batch.len() as u64;
    report.last_line = batch.last_line();
    Ok(())
}

fn bar(session: &Session<'_>, source: &Source) -> ProgressBar {
    if !session.out.shows_progress() {
        return ProgressBar::hidden();
    }
    let Some(length) = source.length else {
        let style = ProgressStyle::with_template("{spinner} {human_pos} events {per_sec}");
        return ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    };
    let style = ProgressStyle::with_template("{bar:30} {binary_bytes}/{binary_total_bytes} {eta}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `1 event of line 7`, `12,000 events of lines 1 to 12,000`.
fn stored(report: &PushReport) -> String {
    let lines = match (report.first_line, report.last_line) {
        (first, last) if first == last => format!("line {first}"),
        (first, last) => format!("lines {first} to {last}"),
    };
    match (report.events - report.repeated, report.repeated) {
        (0, 0) => "nothing".to_owned(),
        (new, 0) => format!("{} of {lines}", several(new, "event")),
        (0, repeated) => {
            format!("nothing new; {} of {lines} {} there already", several(repeated, "event"), were(repeated))
        }
        (new, repeated) => {
            format!("{} of {lines}; {} more {} there already", several(new, "event"), count(repeated), were(repeated))
        }
    }
}

fn were(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

fn done(session: &mut Session<'_>, args: &PushArgs, report: &PushReport) -> anyhow::Result<()> {
    if !args.dry_run && report.events > 0 {
        session.out.changed(format!("stored {}", stored(report)));
    }
    if session.out.is_json() {
        return session.out.object(report);
    }
    if args.dry_run {
        return session.out.remark(&format!("{} can be read; nothing was stored", stored(report)));
    }
    session.out.remark(&format!("stored {}", stored(report)))?;
    if !report.complete {
        session.out.remark(&format!("a signal ended it; --from-line {} goes on", report.last_line + 1))?;
    }
    Ok(())
}

fn failed(session: &mut Session<'_>, args: &PushArgs, mut report: PushReport, wrong: &Wrong) {
    let place = wrong.line.map_or(String::new(), |line| format!("line {line}: "));
    let error = format!("{place}{}", plain(&wrong.why));
    if session.out.is_json() {
        report.wrong_line = wrong.line;
        report.error = Some(error.clone());
        // Standard error says the same, so a failing output does not matter.
        let _ = session.out.object(&report).and_then(|()| session.out.flush());
    }
    let stored = if args.dry_run { "nothing".to_owned() } else { stored(&report) };
    let further = match (wrong.unknown_to, &args.key_prefix) {
        _ if args.dry_run => String::new(),
        (_, Some(_)) => "; the same push with the same --key-prefix goes on".to_owned(),
        (None, None) if report.events == 0 => "; when that is mended, run the same command again".to_owned(),
        (None, None) => format!(", and nothing from line {} on; --from-line {0} goes on", wrong.from),
        (Some(last), None) => format!(
            "; lines {} to {last} may be stored or not: look with `readside events`, and use --key-prefix, which makes a push repeatable",
            wrong.from
        ),
    };
    eprintln!("readside: {}\nstored: {stored}{further}", masked(&error));
}
