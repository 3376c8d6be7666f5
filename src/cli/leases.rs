//! `leases`: shows which process works on what.

use serde::Serialize;

use super::format::{clean, count, duration};
use super::options::LeasesArgs;
use super::output::{number, text};
use super::projections::shown;
use super::{Ended, Outcome, Session};
use crate::inspect::{ActiveLease, LeaseQuery, MemberStatus};

#[derive(Serialize)]
struct LeasesReport {
    members: Vec<MemberStatus>,
    leases: Vec<ActiveLease>,
}

pub(super) fn run(session: &mut Session<'_>, args: &LeasesArgs) -> Outcome {
    let mut query = LeaseQuery::all().limit(args.limit);
    if let Some(name) = &args.projection {
        session.build(name, None)?;
        query = query.projection(name);
    }
    let members = session.store.processes()?;
    let leases = session.store.active_leases(&query)?;
    if session.out.is_json() {
        session.out.object(&LeasesReport { members, leases })?;
        return Ok(Ended::Fine);
    }
    print_members(session, &members)?;
    session.out.line("")?;
    print_leases(session, &leases, args.limit)?;
    Ok(Ended::Fine)
}

fn print_members(session: &mut Session<'_>, members: &[MemberStatus]) -> anyhow::Result<()> {
    if members.is_empty() {
        return session.out.line("no engine has announced itself");
    }
    let row = |member: &MemberStatus| {
        let runs: Vec<String> = member.projections.iter().map(|(name, version)| shown(name, *version, None)).collect();
        let alive = if member.alive { "alive" } else { "dead" };
        vec![clean(&member.name), member.process.to_string(), alive.to_owned(), count(member.leases), runs.join(", ")]
    };
    let columns = [text("ENGINE"), text("PROCESS"), text("STATE"), number("LEASES"), text("RUNS")];
    session.out.table(&columns, members.iter().map(row).collect())
}

fn print_leases(session: &mut Session<'_>, leases: &[ActiveLease], limit: usize) -> anyhow::Result<()> {
    if leases.is_empty() {
        return session.out.line("no instance is leased: there is no work");
    }
    let row = |lease: &ActiveLease| {
        let ends = lease.time_left.map_or("over".to_owned(), |left| format!("in {}", duration(left)));
        let process = lease.process.to_string();
        vec![
            shown(&lease.projection, lease.version, lease.build.as_deref()),
            clean(&lease.instance),
            lease.name.as_deref().map_or(process, clean),
            if lease.alive { "alive" } else { "dead" }.to_owned(),
            ends,
            lease.epoch.to_string(),
            lease.trying.map_or("-".to_owned(), |event| event.to_string()),
        ]
    };
    let columns = [
        text("PROJECTION"),
        text("INSTANCE"),
        text("HELD BY"),
        text("WHO IS"),
        text("ENDS"),
        number("EPOCH"),
        number("TRYING"),
    ];
    session.out.table(&columns, leases.iter().map(row).collect())?;
    if leases.len() == limit { session.out.remark("there may be more: --limit 0 for all") } else { Ok(()) }
}
