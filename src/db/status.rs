//! Reads for operators: lag, failures, leases, members. They know projections only by what projections registered.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::census::{self, Lag};
use super::member::{Leases, Of};
use super::standstill::{self, Fed, SharedFacts};
use super::{Conn, Row, builds, member, pause, row, setup};
use crate::builds::Build;
use crate::error::StoreError;
use crate::inspect::{ActiveLease, LeaseQuery, MemberStatus, Paused, ProjectionStatus, Status};
use crate::standing::Verdict;
use crate::state::ProjectionKey;
use crate::value::{Value, to_micros};

/// How all projections are doing.
pub(super) fn status(conn: &mut dyn Conn, system: bool) -> Result<Status, StoreError> {
    let (builds, at) = (builds::builds(conn)?, to_micros(conn.now()?));
    let (held, leases, pauses) = (held(conn)?, leases(conn)?, pause::on_record(conn)?);
    let (members, own) = (member::members(conn, &leases, at)?, setup::store_id(conn)?);
    let missed = member::Missed::read(conn, at)?;
    // Summing up the lag keeps the planner from looking up single rows, which this does.
    let astray = standstill::astray(conn, &builds, None)?;
    let known = SharedFacts { at, members: &members, pauses: &pauses, astray: &astray };
    let (lags, standings) = (census::lags(conn, &builds, system)?, standstill::standings(conn, &builds, None, &known)?);
    let mut projections = Vec::with_capacity(builds.len());
    for ((build, lag), (standing, fed)) in builds.iter().zip(&lags).zip(standings) {
        let mut found = projection_status(build, (lag, at), &held, &leases, &pauses, &members);
        found.missed = missed.of((&*build.key.name, build.key.version));
        found.event_store = match fed {
            Fed::Unknown => None,
            Fed::Here => Some(own),
            Fed::Elsewhere => fed_from(conn, build)?,
        };
        found.events_elsewhere = found.event_store.is_some_and(|store| store != own);
        found.judge(standing);
        projections.push(found);
    }
    Ok(Status { at, projections, members })
}

fn projection_status(
    build: &Build,
    (lag, at): (&Lag, SystemTime),
    held: &[Held],
    leases: &[Leases],
    pauses: &[(String, Paused)],
    members: &[MemberStatus],
) -> ProjectionStatus {
    let (name, key) = (build.key.projection(), (&*build.key.name, build.key.version));
    let of_state = |state| {
        let same = |held: &&Held| held.of.is(key) && held.state == state;
        held.iter().find(same).map_or(0, |held| held.count)
    };
    let held_by = || leases.iter().filter(|leases| leases.of.is(key));
    let pauses: Vec<Paused> = pauses.iter().filter(|(of, _)| of == name).map(|(_, paused)| paused.clone()).collect();
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
        instances: lag.instances,
        lagging_instances: lag.lagging,
        lag_events: lag.events,
        handled: lag.handled,
        lag_age: lag.oldest.map(|oldest| at.duration_since(oldest).unwrap_or(Duration::ZERO)),
        failing: of_state("failing"),
        stopped: of_state("stopped"),
        parked: of_state("parked"),
        behind: of_state("behind"),
        skipped: of_state("skipped"),
        missed: None,
        leases: held_by().map(|leases| leases.count).sum(),
        owners: held_by().count() as u64,
        members: members.iter().filter(|member| member.alive).filter(runs).count() as u64,
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

/// The event store that one of the build's states names. One state is enough, because an engine reads one event store.
fn fed_from(conn: &mut dyn Conn, of: &Build) -> Result<Option<Uuid>, StoreError> {
    let sql = format!(
        "SELECT store FROM {} WHERE projection = $1 AND version = $2 AND store IS NOT NULL LIMIT 1",
        conn.dialect().table("projection_states")
    );
    let rows = conn.query(&sql, &[of.key.name.as_ref().into(), of.key.version.into()])?;
    rows.first().map_or(Ok(None), |found| row::uuid(found, 0))
}

struct Held {
    of: Of,
    state: String,
    count: u64,
}

fn held(conn: &mut dyn Conn) -> Result<Vec<Held>, StoreError> {
    let sql = format!(
        "SELECT projection, version, state, count(*) FROM {} GROUP BY projection, version, state",
        conn.dialect().table("held_events")
    );
    let held = |found: &Row| {
        Ok(Held { of: Of::read(found)?, state: row::text(found, 2)?.to_owned(), count: count(row::int(found, 3)?) })
    };
    conn.query(&sql, &[])?.iter().map(held).collect()
}

fn leases(conn: &mut dyn Conn) -> Result<Vec<Leases>, StoreError> {
    let sql = format!(
        "SELECT projection, version, owner, count(*) FROM {} WHERE owner IS NOT NULL GROUP BY projection, version, owner",
        conn.dialect().table("projection_states")
    );
    let leases = |found: &Row| {
        let process = row::uuid(found, 2)?.unwrap_or_default();
        Ok(Leases { of: Of::read(found)?, process, count: count(row::int(found, 3)?) })
    };
    conn.query(&sql, &[])?.iter().map(leases).collect()
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

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
