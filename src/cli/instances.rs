//! `instances`: lists instances with their heads, and how far a projection is in them.

use std::sync::Arc;

use serde::Serialize;

use super::format::{clean, positions};
use super::options::InstancesArgs;
use super::output::{number, text};
use super::{Ended, Outcome, Session};
use crate::builds::Build;
use crate::query::{Head, HeadsRequest};

const PAGE: usize = 1000;

#[derive(Serialize)]
struct InstanceLine {
    instance: String,
    head: i64,
    #[serde(flatten)]
    standing: Option<Standing>,
}

/// How far a projection is in an instance.
#[derive(Serialize)]
struct Standing {
    relevant_head: i64,
    checkpoint: i64,
    lag_events: i64,
    state: &'static str,
}

pub(super) fn run(session: &mut Session<'_>, args: &InstancesArgs) -> Outcome {
    let projection = match &args.projection {
        Some(name) => Some(session.build(name, args.projection_version)?),
        None => None,
    };
    let mut left = if args.limit == 0 { usize::MAX } else { args.limit };
    let instances = args.instances.iter().map(|instance| Arc::from(instance.as_str())).collect();
    let aggregate_types = projection.as_ref().map(|build| build.aggregate_types.clone()).unwrap_or_default();
    let after = args.after.as_deref().map(Arc::from);
    let mut request = HeadsRequest { instances, aggregate_types, after, limit: PAGE };
    let mut printed = Vec::new();
    while left > 0 {
        let heads = session.events.heads(&request)?;
        let complete = heads.len() < PAGE;
        request.after = heads.last().map(|head| Arc::clone(&head.instance));
        let mut lines = lines(session, projection.as_ref(), &heads)?;
        if args.behind {
            lines.retain(|line| line.standing.as_ref().is_some_and(|standing| standing.lag_events > 0));
        }
        lines.truncate(left);
        left -= lines.len();
        if session.out.is_json() {
            lines.iter().try_for_each(|line| session.out.object(line))?;
        } else {
            printed.extend(lines);
        }
        if complete {
            break;
        }
    }
    if !session.out.is_json() {
        let nothing = match args {
            InstancesArgs { behind: true, .. } => "no instance is behind",
            InstancesArgs { instances, .. } if instances.is_empty() => "no instance has events",
            _ => "none of these instances has events",
        };
        print(session, projection.as_ref(), &printed, nothing, left == 0 && args.limit > 0)?;
    }
    Ok(Ended::Fine)
}

fn lines(session: &Session<'_>, projection: Option<&Build>, heads: &[Head]) -> anyhow::Result<Vec<InstanceLine>> {
    let bare = |head: &Head, standing| InstanceLine { instance: head.instance.to_string(), head: head.head, standing };
    let Some(projection) = projection else { return Ok(heads.iter().map(|head| bare(head, None)).collect()) };
    let instances: Vec<Arc<str>> = heads.iter().map(|head| Arc::clone(&head.instance)).collect();
    let states = session.store.states(&projection.key, &instances)?;
    let standing = |(head, state): (&Head, &crate::state::State)| {
        let blocked = state.blocked.as_ref();
        let word = match blocked {
            Some(blocked) if blocked.stopped => "stopped",
            Some(_) => "failing",
            None if state.held => "holds events back",
            None => "-",
        };
        let standing = Standing {
            relevant_head: head.relevant,
            checkpoint: state.position,
            lag_events: (head.relevant - state.position).max(0),
            state: word,
        };
        bare(head, Some(standing))
    };
    Ok(heads.iter().zip(&states).map(standing).collect())
}

fn print(
    session: &mut Session<'_>,
    projection: Option<&Build>,
    lines: &[InstanceLine],
    nothing: &str,
    is_full: bool,
) -> anyhow::Result<()> {
    let mut columns = vec![text("INSTANCE"), number("HEAD")];
    if projection.is_some() {
        columns.extend([number("RELEVANT"), number("CHECKPOINT"), number("LAG"), text("STATE")]);
    }
    let row = |line: &InstanceLine| {
        let mut cells = vec![clean(&line.instance), positions(line.head)];
        if let Some(Standing { relevant_head, checkpoint, lag_events, state }) = &line.standing {
            cells.extend([*relevant_head, *checkpoint, *lag_events].map(positions));
            cells.push((*state).to_owned());
        }
        cells
    };
    if lines.is_empty() {
        return session.out.remark(nothing);
    }
    session.out.table(&columns, lines.iter().map(row).collect())?;
    match lines.last() {
        Some(last) if is_full => {
            let more = format!("there may be more: --after {:?}, or --limit 0 for all", last.instance);
            session.out.remark(&more)
        }
        _ => Ok(()),
    }
}
