//! `verify` and `explain`: check that tables hold what they should, and say where a row comes from.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::by;
use super::format::{clean, count, quoted, several};
use super::options::{ExplainArgs, VerifyArgs};
use super::projections::shown;
use super::{Ended, Outcome, Session};
use crate::command::{AdminCommand, ExplainRequest};

/// The part of an engine's report that is shown. The engine may be of another version than this command.
#[derive(Deserialize)]
struct Verified {
    projection: String,
    version: u32,
    instances: u64,
    events: u64,
    rows: u64,
    held: u64,
    differing: Vec<Differing>,
    more: u64,
    repaired: Vec<String>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the report")]
struct Differing {
    instance: String,
    position: i64,
    rows: u64,
    differing_rows: u64,
    samples: Vec<Row>,
    others: Vec<String>,
}

#[derive(Deserialize)]
struct Row {
    table: String,
    expected: Option<Map<String, Value>>,
    found: Option<Map<String, Value>>,
}

pub(super) fn verify(session: &mut Session<'_>, args: &VerifyArgs) -> Outcome {
    let by = by::of_looks(&args.by);
    let command = AdminCommand::Verify { instance: args.instance.clone(), repair: args.repair };
    session.operated(&args.projection, command, &by, &args.wait, verified)
}

fn verified(session: &mut Session<'_>, found: &Verified) -> Outcome {
    let is_left = found.more > 0 || found.differing.len() > found.repaired.len();
    if !session.out.is_json() {
        for differing in &found.differing {
            let repaired = if found.repaired.contains(&differing.instance) { "; rebuilt" } else { "" };
            describe(session, differing, repaired)?;
        }
        let what = shown(&found.projection, found.version, None);
        let held = if found.held > 0 {
            let counts = if found.held == 1 { "counts" } else { "count" };
            format!("; {} {counts} as not applied", several(found.held, "failed event"))
        } else {
            String::new()
        };
        let differ = match found.differing.len() as u64 + found.more {
            0 => "no row differs".to_owned(),
            1 => "1 instance differs".to_owned(),
            many => format!("{} instances differ", count(many)),
        };
        session.out.line(&format!(
            "{what}: {differ}; looked at {} with {}, from {}{held}",
            several(found.instances, "instance"),
            several(found.rows, "row"),
            several(found.events, "event")
        ))?;
    }
    Ok(if is_left { Ended::Found } else { Ended::Fine })
}

fn describe(session: &mut Session<'_>, differing: &Differing, repaired: &str) -> anyhow::Result<()> {
    let Differing { instance, position, rows, differing_rows, samples, others } = differing;
    let verb = if *differing_rows == 1 { "differs" } else { "differ" };
    let differ = format!("{} {verb}, of the {} there", several(*differing_rows, "row"), count(*rows));
    session.out.line(&format!("instance {instance:?} at position {position}: {differ}{repaired}"))?;
    for Row { table, expected, found } in samples {
        session.out.line(&format!("  {}: is         {}", clean(table), json(found.as_ref())))?;
        session.out.line(&format!(
            "  {}  should be  {}",
            " ".repeat(clean(table).chars().count()),
            json(expected.as_ref())
        ))?;
    }
    others.iter().try_for_each(|other| session.out.line(&format!("  {}", clean(other))))
}

/// A row as JSON, or a text if there is none.
fn json(row: Option<&Map<String, Value>>) -> String {
    row.map_or("not there".to_owned(), |row| clean(&Value::Object(row.clone()).to_string()))
}

#[derive(Deserialize)]
struct Explained {
    projection: String,
    version: u32,
    instance: String,
    table: String,
    key: Map<String, Value>,
    position: i64,
    events: u64,
    steps: Vec<Step>,
    left_out: u64,
    held: Vec<i64>,
    row: Option<Map<String, Value>>,
    found: Option<Map<String, Value>>,
    /// Engines of earlier versions do not say this.
    differs: Option<bool>,
}

#[derive(Deserialize)]
struct Step {
    position: i64,
    event_type: String,
    aggregate: (String, String),
    statement: String,
    row: Option<Map<String, Value>>,
}

pub(super) fn explain(session: &mut Session<'_>, args: &ExplainArgs) -> Outcome {
    let by = by::of_looks(&args.by);
    let question = ExplainRequest {
        instance: args.instance.clone(),
        table: args.table.clone(),
        key: args.key.clone(),
        at: args.at,
    };
    let at_checkpoint = args.at.is_none();
    let words = |session: &mut Session<'_>, found: &Explained| explained(session, found, at_checkpoint);
    session.operated(&args.projection, AdminCommand::Explain(question), &by, &args.wait, words)
}

fn explained(session: &mut Session<'_>, found: &Explained, at_checkpoint: bool) -> Outcome {
    let differs = at_checkpoint && found.differs.unwrap_or_else(|| found.row != found.found);
    if !session.out.is_json() {
        let what = shown(&found.projection, found.version, None);
        let place = format!("table {}, instance {:?}", clean(&found.table), found.instance);
        session.out.line(&format!(
            "{what}, {place}, row {}, as of position {}",
            json(Some(&found.key)),
            found.position
        ))?;
        if found.left_out > 0 {
            session.out.line(&format!("({} before these are not shown)", several(found.left_out, "change")))?;
        }
        for Step { position, event_type, aggregate: (kind, id), statement, row } in &found.steps {
            let event = format!("{} of {} {}", clean(event_type), clean(kind), clean(id));
            session.out.line(&format!("{position:>9}  {event}: {}", clean(statement)))?;
            session.out.line(&format!("{:>9}  {}", "->", json(row.as_ref())))?;
        }
        conclusion(session, found, differs)?;
    }
    Ok(if differs { Ended::Found } else { Ended::Fine })
}

fn conclusion(session: &mut Session<'_>, found: &Explained, differs: bool) -> anyhow::Result<()> {
    if found.steps.is_empty() {
        session.out.line(&format!("no event made such a row; looked at {}", several(found.events, "event")))?;
    }
    if !found.held.is_empty() {
        let held = several(found.held.len() as u64, "event");
        let were = if found.held.len() == 1 { "was" } else { "were" };
        let see = "see `readside failed list`, and with `--state discarded` those that were given up";
        session.out.line(&format!("{held} of the instance failed and {were} not applied; {see}"))?;
    }
    if differs {
        let rebuild = format!("readside rebuild {} --instance {}", quoted(&found.projection), quoted(&found.instance));
        let holds = json(found.found.as_ref());
        session.out.line(&format!("but the table holds {holds}; run: {rebuild} --why 'a row was wrong'"))?;
    }
    Ok(())
}
