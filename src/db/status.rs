//! Reads for operators: lag, failures, leases, members. They know projections only by what projections registered.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::member::{Leases, Of};
use super::standstill::{self, SharedFacts, States};
use super::{Conn, Row, builds, census, member, overview, pause, row, setup};
use crate::builds::Build;
use crate::error::StoreError;
use crate::inspect::{ActiveLease, Counts, LeaseQuery, MemberStatus, Paused, ProjectionStatus, Status, Survey};
use crate::standing::Verdict;
use crate::state::ProjectionKey;
use crate::value::{Value, to_micros};

/// How all projections are doing, by what the survey counted last and by what it counts now.
pub(super) fn status(conn: &mut dyn Conn, system: bool, survey: &mut Survey) -> Result<Status, StoreError> {
    let (builds, at) = (builds::builds(conn)?, to_micros(conn.now()?));
    let (pauses, own) = (pause::on_record(conn)?, setup::store_id(conn)?);
    let (missed, notes) = (member::Missed::read(conn, at)?, standstill::notes(conn, None, at)?);
    // Counting keeps the planner from looking up single rows, which this does.
    let astray = standstill::astray(conn, &builds, None)?;
    census::count(conn, &builds, (system, at, !notes.is_empty()), survey)?;
    let (all, counted) = survey.sums();
    let counted = counted.map_or(at, |counted| counted.min(at));
    let leases: Vec<Leases> = all.iter().flat_map(|counts| counts.leases.iter().copied()).collect();
    let members = member::members(conn, &leases, at)?;
    let known = SharedFacts { at, counted, members: &members, pauses: &pauses, astray: &astray };
    let mut projections = Vec::with_capacity(builds.len());
    for (build, counts) in builds.iter().zip(all) {
        let mut found = projection_status(build, &counts, &known);
        found.missed = missed.of((&*build.key.name, build.key.version));
        // An engine reads one event store.
        found.event_store = if counts.fed_here { Some(own) } else { counts.fed_from };
        found.events_elsewhere = found.event_store.is_some_and(|store| store != own);
        let Counts { moved_at, ahead, leased, .. } = counts;
        found.judge(standstill::standing(build, &States { moved_at, ahead, leased }, &notes, &known));
        projections.push(found);
    }
    Ok(Status { at, counted_from: counted, projections, members })
}

fn projection_status(build: &Build, counts: &Counts, known: &SharedFacts<'_>) -> ProjectionStatus {
    let (name, key) = (build.key.projection(), (&*build.key.name, build.key.version));
    let of = known.pauses.iter().filter(|(of, _)| of == name);
    let pauses: Vec<Paused> = of.map(|(_, paused)| paused.clone()).collect();
    let runs = |member: &&MemberStatus| {
        member.projections.iter().any(|(of, version)| (of.as_str(), *version) == (name, key.1))
    };
    ProjectionStatus {
        name: name.to_owned(),
        version: key.1,
        build: build.key.mark().map(str::to_owned),
        phase: build.phase,
        trouble: build.trouble.clone(),
        succeeded: build.succeeded,
        paused: pauses.iter().any(|paused| paused.instance.is_none()),
        paused_instances: pauses.iter().filter(|paused| paused.instance.is_some()).count() as u64,
        pauses,
        event_store: None,
        events_elsewhere: false,
        instances: counts.instances,
        lagging_instances: counts.lagging,
        lag_events: counts.events,
        handled: counts.handled,
        lag_age: counts.oldest.map(|oldest| known.counted.duration_since(oldest).unwrap_or(Duration::ZERO)),
        failing: counts.held("failing"),
        stopped: counts.held("stopped"),
        parked: counts.held("parked"),
        behind: counts.held("behind"),
        skipped: counts.held("skipped"),
        missed: None,
        leases: counts.leases.iter().map(|(_, count)| count).sum(),
        owners: counts.leases.len() as u64,
        members: known.members.iter().filter(|member| member.alive).filter(runs).count() as u64,
        verdict: Verdict::Idle,
        reason: None,
        since: None,
        moved_at: None,
        standstills: Vec::new(),
        standing: None,
        per_second: None,
        time_left: None,
    }
}

/// The processes on record, with their leases.
pub(super) fn processes(conn: &mut dyn Conn) -> Result<Vec<MemberStatus>, StoreError> {
    let leases: Vec<Leases> = overview::leases(conn)?.into_iter().map(|(_, leases)| leases).collect();
    let now = to_micros(conn.now()?);
    member::members(conn, &leases, now)
}

/// Leases one by one.
pub(super) fn active_leases(conn: &mut dyn Conn, query: &LeaseQuery) -> Result<Vec<ActiveLease>, StoreError> {
    let mut params = Vec::new();
    let mut sql = format!(
        "SELECT projection, version, instance_id, owner, leased_until, epoch, marked FROM {} WHERE owner IS NOT NULL",
        conn.dialect().table("projection_states")
    );
    if let Some(projection) = &query.projection {
        params.push(projection.as_str().into());
        // The name of a build beside another one ends with a mark.
        sql += " AND (projection = $1 OR substr(projection, 1, length($1) + 1) = $1 || '#')";
    }
    sql += " ORDER BY projection, version, instance_id";
    if query.limit > 0 {
        params.push(Value::Integer(i64::try_from(query.limit).unwrap_or(i64::MAX)));
        sql += format!(" LIMIT ${}", params.len()).as_str();
    }
    let rows = conn.query(&sql, &params)?;
    let now = to_micros(conn.now()?);
    let members: HashMap<Uuid, MemberStatus> =
        member::members(conn, &[], now)?.into_iter().map(|member| (member.process, member)).collect();
    rows.iter().map(|found| held_lease(found, now, &members)).collect()
}

fn held_lease(found: &Row, now: SystemTime, members: &HashMap<Uuid, MemberStatus>) -> Result<ActiveLease, StoreError> {
    let Of(name, version) = Of::read(found)?;
    let key = ProjectionKey { name: name.into(), version };
    let process = row::uuid(found, 3)?.unwrap_or_default();
    let until = row::time(found, 4)?.unwrap_or(SystemTime::UNIX_EPOCH);
    let member = members.get(&process);
    Ok(ActiveLease {
        projection: key.projection().to_owned(),
        version,
        build: key.mark().map(str::to_owned),
        instance: row::text(found, 2)?.to_owned(),
        process,
        name: member.map(|member| member.name.clone()),
        alive: member.is_some_and(|member| member.alive),
        until,
        time_left: until.duration_since(now).ok(),
        epoch: row::int(found, 5)?,
        trying: if row::is_null(found, 6) { None } else { Some(row::int(found, 6)?) },
    })
}
