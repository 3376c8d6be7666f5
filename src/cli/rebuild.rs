//! `rebuild`, `builds` and `reset`: rebuild read models, and say which build readers see.

use super::by;
use super::format::{clean, count, positions, several};
use super::options::{
    BackArgs, BuildChangeArgs, BuildsArgs, BuildsCommand, DiscardArgs, RebuildArgs, ResetArgs, RetryArgs,
};
use super::output::{number, text};
use super::projections::{shown, shown_status};
use super::status::{NONE_HERE, known};
use super::{Ended, Outcome, Session};
use crate::admin::{Change, RebuildReport};
use crate::builds::{Comparison, LeftOut, RowDifference, TableComparison};
use crate::command::{AdminCommand, RebuildOptions};
use crate::failure::{Refused, RetryOutcome};
use crate::inspect::{ProjectionStatus, Survey};

pub(super) fn rebuild(session: &mut Session<'_>, args: &RebuildArgs) -> Outcome {
    let options = RebuildOptions {
        instance: args.instance.clone(),
        switch: args.switch.into(),
        compare: !args.no_compare,
        switch_within: args.switch_within,
        unless_live: false,
        accept_loss: args.accept_loss,
        retry_discarded: args.retry_discarded,
    };
    let by = by::of_acts(&args.by)?;
    session.operated(&args.projection, AdminCommand::Rebuild(options), &by, &args.wait, report)
}

pub(super) fn report(session: &mut Session<'_>, report: &RebuildReport) -> Outcome {
    if session.out.is_json() {
        return left_out(session, &report.left_out);
    }
    if let Some(comparison) = &report.comparison {
        compared(session, comparison)?;
    }
    let of = report.instance.as_deref().map_or(String::new(), |instance| format!(", instance {instance:?}"));
    let what = format!("{}{of}", shown(&report.projection, report.version, None));
    let words = match &report.waits_for {
        None if report.switched => format!("{what} is rebuilt, and readers see it"),
        None => format!("{what} is rebuilt"),
        Some(waits_for) => format!("{what} is rebuilt; readers do not see it yet: {waits_for}"),
    };
    session.out.remark(&words)?;
    for left in &report.left_behind {
        session.out.remark(&format!("its new tables are without {}", clean(left)))?;
    }
    left_out(session, &report.left_out)
}

/// Prints what a read model lacks although the log has it.
fn left_out(session: &mut Session<'_>, left: &LeftOut) -> Outcome {
    if !session.out.is_json() && (!left.is_empty() || left.discarded > 0) {
        session.out.line(&format!("left out: {}", clean(&left.to_string())))?;
    }
    Ok(if left.is_empty() { Ended::Fine } else { Ended::Found })
}

/// Prints the difference between old and new rows.
fn compared(session: &mut Session<'_>, comparison: &Comparison) -> anyhow::Result<()> {
    let row = |table: &TableComparison| {
        let TableComparison { table, old_rows, new_rows, added, gone, changed, not_comparable, .. } = table;
        let mut cells = vec![clean(table)];
        cells.extend([old_rows, new_rows, added, gone, changed].map(|rows| count(*rows)));
        cells.push(not_comparable.as_deref().map_or(String::new(), clean));
        cells
    };
    let columns = [
        text("TABLE"),
        number("OLD ROWS"),
        number("NEW ROWS"),
        number("ADDED"),
        number("GONE"),
        number("CHANGED"),
        text(""),
    ];
    if comparison.instances > 0 {
        session.out.table(&columns, comparison.tables.iter().map(row).collect())?;
    }
    for table in &comparison.tables {
        for RowDifference { old, new } in &table.samples {
            let shown = |row: &Option<crate::builds::JsonRow>| {
                row.as_ref().map_or("none".to_owned(), |row| clean(&serde_json::Value::Object(row.clone()).to_string()))
            };
            session.out.line(&format!("{}: old {}, new {}", clean(&table.table), shown(old), shown(new)))?;
        }
    }
    let left_out = match comparison.left_out {
        0 => String::new(),
        left => format!("; in {} the two builds were never at one position", several(left, "instance")),
    };
    let compared = match comparison.instances {
        0 => "no instance was compared".to_owned(),
        some => format!("compared in {}", several(some, "instance")),
    };
    session.out.remark(&format!("{compared}{left_out}"))
}

pub(super) fn builds(session: &mut Session<'_>, args: &BuildsArgs) -> Outcome {
    match &args.command {
        BuildsCommand::List => list(session),
        BuildsCommand::Switch(args) => change(session, &args.change, AdminCommand::Switch { within: args.within }),
        BuildsCommand::Back(BackArgs { switch, stale }) => {
            change(session, &switch.change, AdminCommand::Back { stale: *stale, within: switch.within })
        }
        BuildsCommand::DropOld(args) => change(session, args, AdminCommand::DropOld),
        BuildsCommand::Abandon(args) => change(session, args, AdminCommand::Abandon),
    }
}

fn list(session: &mut Session<'_>) -> Outcome {
    let status = session.status(false, &mut Survey::of_figures())?;
    if session.out.is_json() {
        status.projections.iter().try_for_each(|projection| session.out.object(projection))?;
        return Ok(Ended::Fine);
    }
    if status.projections.is_empty() {
        return session.out.remark(NONE_HERE).map(|()| Ended::Fine);
    }
    let row = |projection: &ProjectionStatus| {
        let ProjectionStatus { phase, trouble, lag_events, .. } = projection;
        vec![
            shown_status(projection),
            phase.to_string(),
            known(projection, positions(*lag_events)),
            trouble.as_deref().map_or(String::new(), clean),
        ]
    };
    let columns = [text("BUILD"), text("PHASE"), number("LAG"), text("TROUBLE")];
    session.out.table(&columns, status.projections.iter().map(row).collect())?;
    Ok(Ended::Fine)
}

fn change(session: &mut Session<'_>, args: &BuildChangeArgs, command: AdminCommand) -> Outcome {
    let by = by::of_acts(&args.by)?;
    session.operated(&args.projection, command, &by, &args.wait, changed)
}

fn changed(session: &mut Session<'_>, change: &Change) -> Outcome {
    session.out.remark(&format!("{}: {}", clean(&change.projection), clean(&change.done)))?;
    match change.mended.as_ref().filter(|mended| !mended.refused.is_empty()) {
        Some(mended) => refused(session, mended),
        None => left_out(session, &change.left_out),
    }
}

/// Prints the events that a retry refused again.
fn refused(session: &mut Session<'_>, mended: &RetryOutcome) -> Outcome {
    if !session.out.is_json() {
        let row = |one: &Refused| {
            let class = one.class.map_or("not tried".to_owned(), |class| class.to_string());
            (vec![clean(&one.instance), one.position.to_string()], format!("{class}: {}", clean(&one.error)))
        };
        let columns = [text("FAILS AGAIN IN INSTANCE"), number("POSITION")];
        session.out.told_table(&columns, mended.refused.iter().map(row).collect())?;
        if mended.not_named > 0 {
            session.out.remark(&format!("and {} more: see `readside failed list`", count(mended.not_named)))?;
        }
    }
    Ok(Ended::Found)
}

pub(super) fn reset(session: &mut Session<'_>, args: &ResetArgs) -> Outcome {
    let by = by::of_acts(&args.by)?;
    let command = AdminCommand::Reset { instance: args.instance.clone(), retry_discarded: args.retry_discarded };
    session.operated(&args.projection, command, &by, &args.wait, changed)
}

pub(super) fn retry(session: &mut Session<'_>, args: &RetryArgs) -> Outcome {
    let by = by::of_acts(&args.by)?;
    let command = match (&args.instance, args.position) {
        (Some(instance), Some(position)) => {
            session.check_retry((&args.projection, args.projection_version), instance, position)?;
            AdminCommand::Retry { instance: instance.clone(), position }
        }
        _ => AdminCommand::RetryAll,
    };
    session.operated_in((&args.projection, args.projection_version), command, &by, &args.wait, changed)
}

pub(super) fn discard(session: &mut Session<'_>, args: &DiscardArgs) -> Outcome {
    let by = by::of_acts(&args.by)?;
    let of = (&*args.projection, args.projection_version);
    session.check_discard(of, &args.instance, args.position)?;
    let command = AdminCommand::Discard { instance: args.instance.clone(), position: args.position };
    session.operated_in(of, command, &by, &args.wait, changed)
}
