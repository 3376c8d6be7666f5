//! Erasing, removing and archiving, and the record of who did it.

use anyhow::Context;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;

use super::by;
use super::format::{clean, count, moment, positions, quoted, several};
use super::options::{
    ArchiveArgs, OperationsArgs, ProjectionsArgs, ProjectionsCommand, RedactArgs, RemoveArgs, RemoveProjectionArgs,
    ReopenArgs, WaitArgs,
};
use super::output::{number, text};
use super::projections::{shown, shown_build};
use super::{Ended, Outcome, Session};
use crate::builds::{Build, Phase};
use crate::command::{AdminCommand, RebuildOptions};
use crate::failure::By;
use crate::retention::{AffectedProjection, Archival, Operation, Redaction, TableRows};
use crate::state::ProjectionKey;

/// The largest number of operations in memory.
const MOST: usize = 100_000;

pub(super) fn redact(session: &mut Session<'_>, args: &RedactArgs) -> Outcome {
    let mut redaction = match (args.position, &args.aggregate_type, &args.aggregate_id) {
        (Some(position), ..) => Redaction::of_event(&args.instance, position),
        (None, Some(kind), Some(id)) => Redaction::of_aggregate(&args.instance, kind, id),
        _ => anyhow::bail!("say what to erase: --position, or --aggregate-type and --aggregate-id"),
    };
    if args.creator_and_owner {
        redaction = redaction.creator_and_owner();
    }
    for pair in &args.unique {
        let (constraint, value) = pair;
        redaction = redaction.unique(constraint, value);
    }
    let report = if args.by.dry_run {
        session.store.redact_dry_run(&redaction)?
    } else {
        let by = by::of(&args.by)?;
        let report = with_progress(session, |progress| Ok(session.store.redact(&redaction, &by, progress)?))?;
        session.out.changed("what was asked for is erased");
        report
    };
    if session.out.is_json() {
        object(session, &report)?;
    } else {
        tables(session, &report.tables, report.dry_run, "erased")?;
        remains(session, report.remains.as_deref())?;
    }
    let builds = session.builds()?;
    let mut ended = Ended::Fine;
    for affected in &report.rebuild {
        if args.rebuild && affected.live {
            let rebuilt = rebuild(session, args, affected)?;
            ended = if matches!(ended, Ended::Fine) { rebuilt } else { ended };
        } else if !session.out.is_json() {
            let build = builds
                .iter()
                .find(|build| *build.key.name == *affected.projection && build.key.version == affected.version);
            session.out.line(&still_shows(affected, build, &args.instance, report.dry_run))?;
        }
    }
    Ok(ended)
}

/// Rebuilds the instance in a read model that may show what was erased.
fn rebuild(session: &mut Session<'_>, args: &RedactArgs, affected: &AffectedProjection) -> Outcome {
    let by = By {
        why: format!("what it shows was erased: {}", args.by.why.as_deref().unwrap_or_default()),
        ..by::of(&args.by)?
    };
    let options = RebuildOptions { instance: Some(args.instance.clone()), ..RebuildOptions::default() };
    let wait = WaitArgs { timeout: None, detach: false };
    let projection = &affected.projection;
    let rebuilt = session.operated(projection, AdminCommand::Rebuild(options), &by, &wait, super::rebuild::report);
    rebuilt.with_context(|| format!("rebuilding instance {:?} of projection {projection:?}", args.instance))
}

/// Says which read model may still show what was erased, and which command helps.
fn still_shows(affected: &AffectedProjection, build: Option<&Build>, instance: &str, is_dry: bool) -> String {
    let key = ProjectionKey { name: affected.projection.as_str().into(), version: affected.version };
    let what = build.map_or_else(|| shown(key.projection(), key.version, key.mark()), shown_build);
    let name = quoted(key.projection());
    let run = match build.map(|build| build.phase) {
        _ if affected.live => format!("rebuild {name} --instance {}", quoted(instance)),
        Some(Phase::Kept) => format!("builds drop-old {name}"),
        _ => format!("builds abandon {name}"),
    };
    let then = if is_dry { " afterwards; then" } else { ";" };
    format!("{what} may still show it{then} run: readside {run} --why 'an event was erased'")
}

pub(super) fn remove(session: &mut Session<'_>, args: &RemoveArgs) -> Outcome {
    let instance = args.instance.as_str();
    let report = if args.by.dry_run {
        session.store.remove_instance_dry_run(instance)?
    } else {
        let by = by::of(&args.by)?;
        let report = with_progress(session, |progress| Ok(session.store.remove_instance(instance, &by, progress)?))?;
        session.out.changed(format!("instance {instance:?} is removed"));
        report
    };
    if session.out.is_json() {
        return object(session, &report);
    }
    tables(session, &report.tables, report.dry_run, "removed")?;
    let words = if report.dry_run { "would be refused" } else { "are refused" };
    session.out.remark(&format!(
        "pushes to {instance:?} {words} until `readside reopen-instance`; its positions then go on after {}",
        positions(report.head)
    ))?;
    remains(session, report.remains.as_deref())
}

pub(super) fn projections(session: &mut Session<'_>, args: &ProjectionsArgs) -> Outcome {
    match &args.command {
        ProjectionsCommand::Remove(args) => remove_projection(session, args),
    }
}

fn remove_projection(session: &mut Session<'_>, args: &RemoveProjectionArgs) -> Outcome {
    let projection = args.projection.as_str();
    let report = if args.by.dry_run {
        session.store.remove_projection_dry_run(projection)?
    } else {
        let report = session.store.remove_projection(projection, &by::of(&args.by)?)?;
        session.out.changed(format!("projection {projection:?} is removed"));
        report
    };
    if session.out.is_json() {
        return object(session, &report);
    }
    let word = if report.dry_run { "would be removed" } else { "removed" };
    let row = |touched: &TableRows| vec![clean(&touched.table), count(touched.rows), word.to_owned()];
    session.out.table(&[text("TABLE"), number("ROWS"), text("")], report.tables.iter().map(row).collect())?;
    Ok(Ended::Fine)
}

pub(super) fn reopen(session: &mut Session<'_>, args: &ReopenArgs) -> Outcome {
    session.store.reopen_instance(&args.instance, &by::of_acts(&args.by)?)?;
    session.out.changed(format!("instance {:?} is opened again", args.instance));
    if session.out.is_json() {
        return object(session, &serde_json::json!({ "instance": args.instance, "open": true }));
    }
    session.out.remark(&format!("instance {:?} accepts pushes again", args.instance))?;
    Ok(Ended::Fine)
}

pub(super) fn archive(session: &mut Session<'_>, args: &ArchiveArgs) -> Outcome {
    let mut archival = Archival::before(args.before);
    if let Some(instance) = &args.instance {
        archival = archival.instance(instance);
    }
    let report = if args.by.dry_run {
        session.store.archive_dry_run(&archival)?
    } else {
        let by = by::of(&args.by)?;
        let report = with_progress(session, |progress| Ok(session.store.archive(&archival, &by, progress)?))?;
        session.out.changed("what was asked for is archived");
        report
    };
    if session.out.is_json() {
        return object(session, &report);
    }
    if report.events == 0 {
        session.out.remark(&format!("no event stored before {} is left to archive", moment(args.before)))?;
        return Ok(Ended::Fine);
    }
    let done = match report.events {
        _ if report.dry_run => "would be archived",
        1 => "is archived",
        _ => "are archived",
    };
    let of = several(report.instances, "instance");
    session.out.remark(&format!(
        "{} of {of}, stored before {}, {done}",
        several(report.events, "event"),
        moment(args.before)
    ))?;
    Ok(Ended::Fine)
}

pub(super) fn operations(session: &mut Session<'_>, args: &OperationsArgs) -> Outcome {
    let limit = if args.limit == 0 { MOST } else { args.limit };
    let operations = session.store.operations(limit)?;
    if session.out.is_json() {
        operations.iter().try_for_each(|operation| session.out.object(operation))?;
        return Ok(Ended::Fine);
    }
    if operations.is_empty() {
        session.out.remark("nothing was erased, removed or archived here")?;
        return Ok(Ended::Fine);
    }
    // Nobody has to say who imports, or why.
    let told = |text: &str| if text.is_empty() { "-".to_owned() } else { clean(text) };
    let row = |operation: &Operation| {
        let rows: u64 = operation.tables.iter().map(|touched| touched.rows).sum();
        vec![
            moment(operation.began_at),
            operation.kind.to_string(),
            operation.instance.as_deref().map_or("all".to_owned(), clean),
            subject(&operation.subject),
            operation.ended_at.map_or("not finished".to_owned(), |_| several(rows, "row")),
            told(&operation.by.who),
            told(&operation.by.why),
        ]
    };
    let columns =
        [text("BEGAN"), text("WHAT"), text("INSTANCE"), text("SUBJECT"), text("DONE"), text("BY"), text("WHY")];
    session.out.table(&columns, operations.iter().map(row).collect())?;
    Ok(Ended::Fine)
}

/// What an operation was about, in words made from its JSON document. Values that are false are left out.
fn subject(document: &str) -> String {
    let told = serde_json::from_str(document).ok().and_then(|document| words(&document));
    told.filter(|told| !told.is_empty()).unwrap_or_else(|| "-".to_owned())
}

fn words(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null | Value::Bool(false) => return None,
        Value::Bool(true) => String::new(),
        Value::Number(number) if number.as_u64() == Some(0) => return None,
        Value::Number(number) => number.to_string(),
        Value::String(text) => clean(text),
        Value::Array(items) => items.iter().filter_map(words).collect::<Vec<_>>().join(", "),
        Value::Object(pairs) => {
            let text = |name: &str| pairs.get(name).and_then(Value::as_str);
            if let (Some(kind), Some(id)) = (text("aggregate_type"), text("aggregate_id")) {
                return Some(format!("{} {}", clean(kind), clean(id)));
            }
            let pair = |(name, value): (&String, &Value)| {
                words(value).map(|told| format!("{} {told}", clean(name).replace('_', " ")).trim_end().to_owned())
            };
            pairs.iter().filter_map(pair).collect::<Vec<_>>().join(", ")
        }
    })
}

fn object(session: &mut Session<'_>, report: &impl Serialize) -> Outcome {
    session.out.object(report)?;
    Ok(Ended::Fine)
}

/// Does the work, and counts its rows on a terminal.
fn with_progress<T>(
    session: &Session<'_>,
    work: impl FnOnce(&mut dyn FnMut(&TableRows)) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let bar = if session.out.shows_progress() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let mut rows = 0;
    let outcome = work(&mut |touched| {
        rows += touched.rows;
        bar.set_message(format!("{} in {}", several(rows, "row"), touched.table));
        bar.tick();
    });
    bar.finish_and_clear();
    outcome
}

fn tables(session: &mut Session<'_>, touched: &[TableRows], dry_run: bool, done: &str) -> anyhow::Result<()> {
    let rows: Vec<&TableRows> = touched.iter().filter(|touched| touched.rows > 0).collect();
    if rows.is_empty() {
        return session.out.remark(&format!("nothing is left to be {done}"));
    }
    let word = if dry_run { format!("would be {done}") } else { done.to_owned() };
    let row = |touched: &&TableRows| {
        // Other commands stay on record; only what they answered goes.
        let is_answers = matches!(touched.table.as_str(), "readside.commands" | "readside_commands");
        let word = if is_answers { format!("{word} (old answers of commands)") } else { word.clone() };
        vec![clean(&touched.table), count(touched.rows), word]
    };
    session.out.table(&[text("TABLE"), number("ROWS"), text("")], rows.iter().map(row).collect())
}

fn remains(session: &mut Session<'_>, remains: Option<&str>) -> Outcome {
    if let Some(remains) = remains {
        session.out.remark(remains)?;
    }
    Ok(Ended::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operation_was_about_is_told_in_words() {
        for (document, told) in [
            (r#"{"event":1,"creator_and_owner":false,"unique_values":0}"#, "event 1"),
            (
                r#"{"event":1,"creator_and_owner":true,"unique_values":2}"#,
                "creator and owner, event 1, unique values 2",
            ),
            (r#"{"aggregate":{"aggregate_type":"user","aggregate_id":"u 1"}}"#, "aggregate user u 1"),
            (r#"{"before":"2026-01-31T12:00:00Z"}"#, "before 2026-01-31T12:00:00Z"),
            ("{}", "-"),
            ("no json", "-"),
        ] {
            assert_eq!(subject(document), told);
        }
    }
}
