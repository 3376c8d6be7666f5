//! `events`: prints events as JSON lines, stored ones or new ones.

mod follow;
mod line;

pub(super) use line::{exact, print};

use super::options::EventsArgs;
use super::{Ended, Outcome, Session};
use crate::query::{Query, SubQuery};

/// Adds a value to a condition.
type Add = fn(SubQuery, &str) -> SubQuery;

/// The largest number of events in memory.
const PAGE: usize = 500;

/// The largest number of bytes of events in memory, unless one event has more.
const BYTES: usize = 8 << 20;

/// The default limit.
const LIMIT: usize = 100;

pub(super) fn run(session: &mut Session<'_>, args: &EventsArgs) -> Outcome {
    if args.follow {
        return follow::run(session, args);
    }
    let limit = args.limit.unwrap_or(LIMIT);
    let mut query = Query::new().or(conditions(args));
    if args.desc {
        query = query.descending();
    }
    let printed = pages(session, query, if limit == 0 { usize::MAX } else { limit })?;
    if args.limit.is_none() && printed == LIMIT {
        session.out.flush()?;
        eprintln!("readside: these are the first {LIMIT}; --limit 0 prints all");
    }
    Ok(Ended::Fine)
}

/// Prints what a query finds, page by page. Returns how many events it printed.
fn pages(session: &mut Session<'_>, mut query: Query, most: usize) -> anyhow::Result<usize> {
    let mut left = most;
    while left > 0 {
        let page = session.events.filter(&query.clone().limit(left.min(PAGE)).max_bytes(BYTES))?;
        page.iter().try_for_each(|event| print(&mut session.out, event))?;
        left -= page.len();
        let Some(last) = page.last() else { break };
        query = query.resume(last.instance(), last.position());
    }
    Ok(most - left)
}

fn conditions(args: &EventsArgs) -> SubQuery {
    let mut sub = SubQuery::new();
    let lists: [(&[String], Add); 9] = [
        (&args.instance, SubQuery::instance),
        (&args.not_instance, SubQuery::exclude_instance),
        (&args.aggregate_type, SubQuery::aggregate_type),
        (&args.not_aggregate_type, SubQuery::exclude_aggregate_type),
        (&args.aggregate_id, SubQuery::aggregate_id),
        (&args.event_type, SubQuery::event_type),
        (&args.not_type, SubQuery::exclude_event_type),
        (&args.creator, SubQuery::creator),
        (&args.owner, SubQuery::owner),
    ];
    for (values, add) in lists {
        sub = values.iter().fold(sub, |sub, value| add(sub, value));
    }
    if let Some(position) = args.after {
        sub = sub.after(position);
    }
    if let Some(position) = args.before {
        sub = sub.before(position);
    }
    if let Some(at) = args.created_after {
        sub = sub.created_after(at);
    }
    if let Some(at) = args.created_before {
        sub = sub.created_before(at);
    }
    sub
}
