//! Erases the content of events, and keeps the fact that they happened.

use std::time::Duration;

use super::operation::{self, OperationRequest};
use super::{Tally, count, counted, lock, number, step};
use crate::db::{Backend, Conn, Row, command, row};
use crate::error::{RetentionError, StoreError, StoreErrorKind};
use crate::event::ERASED;
use crate::failure::By;
use crate::query::EventFilter;
use crate::retention::{AffectedProjection, OperationKind, Redacted, Redaction, Subject, TableRows};
use crate::value::Value;

const DOING: &str = "erasing events";

/// The text in place of a recorded error that may quote an event.
const ERROR: &str = "erased";

/// Events of one aggregate between two versions; all of them, or one.
struct Scope {
    instance: String,
    aggregate_type: String,
    aggregate_id: String,
    from: i64,
    to: i64,
    event_types: Vec<String>,
}

const OF_AGGREGATE: &str = "instance_id = $1 AND aggregate_type = $2 AND aggregate_id = $3";

impl Scope {
    fn params(&self, from: i64, to: i64) -> Vec<Value> {
        let of = [&self.instance, &self.aggregate_type, &self.aggregate_id].map(|text| text.clone().into());
        of.into_iter().chain([from.into(), to.into()]).collect()
    }
}

fn scope(conn: &mut dyn Conn, redaction: &Redaction) -> Result<Scope, RetentionError> {
    let all = conn.dialect().table("all_events");
    let instance = redaction.instance.clone();
    match &redaction.subject {
        Subject::Event(position) => {
            let sql = format!(
                "SELECT aggregate_type, aggregate_id, version, event_type FROM {all} \
                 WHERE instance_id = $1 AND position = $2"
            );
            let rows = conn.query(&sql, &[instance.clone().into(), (*position).into()])?;
            let unknown = || RetentionError::UnknownEvent { instance: instance.clone(), position: *position };
            let found = rows.first().ok_or_else(unknown)?;
            let version = row::int(found, 2)?;
            Ok(Scope {
                aggregate_type: row::text(found, 0)?.to_owned(),
                aggregate_id: row::text(found, 1)?.to_owned(),
                from: version,
                to: version,
                event_types: vec![row::text(found, 3)?.to_owned()],
                instance,
            })
        }
        Subject::Aggregate { aggregate_type, aggregate_id } => {
            let sql = format!("SELECT event_type, max(version) FROM {all} WHERE {OF_AGGREGATE} GROUP BY event_type");
            let (aggregate_type, aggregate_id) = (aggregate_type.clone(), aggregate_id.clone());
            let params = [&instance, &aggregate_type, &aggregate_id].map(|text| text.clone().into());
            let rows = conn.query(&sql, &params)?;
            let mut scope = Scope { instance, aggregate_type, aggregate_id, from: 1, to: 0, event_types: Vec::new() };
            for found in &rows {
                scope.event_types.push(row::text(found, 0)?.to_owned());
                scope.to = scope.to.max(row::int(found, 1)?);
            }
            if scope.to == 0 {
                return Err(RetentionError::UnknownAggregate {
                    instance: scope.instance,
                    aggregate_type: scope.aggregate_type,
                    aggregate_id: scope.aggregate_id,
                });
            }
            Ok(scope)
        }
    }
}

pub(super) fn redact<B: Backend>(
    backend: &B,
    redaction: &Redaction,
    by: &By,
    progress: &mut dyn FnMut(&TableRows),
) -> Result<Redacted, RetentionError> {
    let asked = asked(redaction)?;
    let mut tally = Tally::new(progress);
    let (id, scope, given_back, answers) = step(backend, DOING, |conn| {
        lock(conn, &redaction.instance)?;
        let scope = scope(conn, redaction)?;
        let about = command::about(conn, &redaction.instance, true)?;
        command::forget(conn, &about)?;
        Ok((operation::begin(conn, &asked, by)?, scope, give_back(conn, redaction)?, about.rows()))
    })?;
    tally.add(&backend.dialect().table("commands"), answers);
    tally.add(&backend.dialect().table("unique_constraints"), given_back);
    let mut from = scope.from;
    while from <= scope.to {
        let to = scope.to.min(from.saturating_add(super::STEP - 1));
        let touched = step(backend, DOING, |conn| {
            lock(conn, &scope.instance)?;
            Ok(erase(conn, &scope, (from, to), redaction.creator_and_owner)?)
        })?;
        for TableRows { table, rows } in touched {
            tally.add(&table, rows);
        }
        from = to + 1;
    }
    // Answers of a verification or an explanation, which came meanwhile, may show what was erased.
    let commands = backend.dialect().table("commands");
    let (rebuild, late) = step(backend, DOING, |conn| {
        let late = command::forget_rows(conn, Duration::ZERO)?;
        operation::end(conn, id, &asked, &tally.with(&commands, late))?;
        Ok((affected(conn, &scope)?, late))
    })?;
    tally.add(&commands, late);
    let remains = backend.scrub()?;
    Ok(Redacted { dry_run: false, instance: scope.instance, tables: tally.tables, rebuild, remains })
}

pub(super) fn dry_run(conn: &mut dyn Conn, redaction: &Redaction) -> Result<Redacted, RetentionError> {
    let scope = scope(conn, redaction)?;
    let mut tables = Vec::new();
    let answers = command::about(conn, &redaction.instance, true)?.rows();
    tables.extend(counted(&conn.dialect().table("commands"), answers));
    let unique = conn.dialect().table("unique_constraints");
    let mut taken = 0;
    for (constraint, value) in &redaction.unique {
        let sql = format!("SELECT count(*) FROM {unique} WHERE {OF_VALUE}");
        taken += number(conn, &sql, &value_params(redaction, constraint, value))?;
    }
    tables.extend(counted(&unique, count(taken)));
    let (from, to) = (scope.from, scope.to);
    for (table, condition) in parts(conn, redaction.creator_and_owner) {
        let rows = number(conn, &format!("SELECT count(*) FROM {table} WHERE {condition}"), &scope.params(from, to))?;
        tables.extend(counted(&table, count(rows)));
    }
    let rebuild = affected(conn, &scope)?;
    Ok(Redacted { dry_run: true, instance: scope.instance, tables, rebuild, remains: None })
}

/// Unique values are personal data, so only their number is recorded.
fn asked(redaction: &Redaction) -> Result<OperationRequest<'_>, StoreError> {
    #[derive(serde::Serialize)]
    struct Text<'r> {
        #[serde(flatten)]
        subject: &'r Subject,
        creator_and_owner: bool,
        unique_values: usize,
    }
    let text = Text {
        subject: &redaction.subject,
        creator_and_owner: redaction.creator_and_owner,
        unique_values: redaction.unique.len(),
    };
    let subject = operation::subject(&text)?;
    Ok(OperationRequest { kind: OperationKind::Redact, instance: Some(&redaction.instance), subject })
}

const OF_VALUE: &str = "instance_id = $1 AND constraint_type = $2 AND value = $3";

fn value_params(redaction: &Redaction, constraint: &str, value: &str) -> [Value; 3] {
    [redaction.instance.clone().into(), constraint.into(), value.into()]
}

fn give_back(conn: &mut dyn Conn, redaction: &Redaction) -> Result<u64, StoreError> {
    let sql = format!("DELETE FROM {} WHERE {OF_VALUE}", conn.dialect().table("unique_constraints"));
    let values = redaction.unique.iter();
    values.map(|(constraint, value)| conn.execute(&sql, &value_params(redaction, constraint, value))).sum()
}

/// The tables that hold something, with a condition for the rows that do.
fn parts(conn: &dyn Conn, creator_and_owner: bool) -> [(String, String); 3] {
    let dialect = conn.dialect();
    let people = if creator_and_owner { " OR creator <> '' OR owner <> ''" } else { "" };
    let events = format!("{OF_AGGREGATE} AND version BETWEEN $4 AND $5 AND (metadata <> '{ERASED}'{people})");
    let held = format!(
        "{OF_AGGREGATE} AND error <> '{ERROR}' AND position IN \
         (SELECT position FROM {} WHERE {OF_AGGREGATE} AND version BETWEEN $4 AND $5)",
        dialect.table("all_events")
    );
    [
        (dialect.table("events"), events.clone()),
        (dialect.table("events_archive"), events),
        (dialect.table("held_events"), held),
    ]
}

fn erase(
    conn: &mut dyn Conn,
    scope: &Scope,
    (from, to): (i64, i64),
    creator_and_owner: bool,
) -> Result<Vec<TableRows>, StoreError> {
    let people = if creator_and_owner { ", creator = '', owner = ''" } else { "" };
    let events = format!("payload = '{ERASED}', metadata = '{ERASED}'{people}");
    let held = format!("error = '{ERROR}'");
    let mut touched = Vec::new();
    for ((table, condition), set) in parts(conn, creator_and_owner).into_iter().zip([&events, &events, &held]) {
        let rows = conn.execute(&format!("UPDATE {table} SET {set} WHERE {condition}"), &scope.params(from, to))?;
        touched.push(TableRows { table, rows });
    }
    Ok(touched)
}

/// The part of a definition that names the events it handles.
#[derive(serde::Deserialize)]
struct Handles {
    events: Vec<(String, Vec<String>)>,
}

/// The projections that handle one of these events. A projection that has not reached the event yet counts too: its
/// process may hold the event in a queue.
fn affected(conn: &mut dyn Conn, scope: &Scope) -> Result<Vec<AffectedProjection>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT p.name, p.version, p.live, coalesce(s.position, 0), p.definition FROM {} p LEFT JOIN {} s \
         ON s.instance_id = $1 AND s.projection = p.name AND s.version = p.version ORDER BY p.name, p.version",
        dialect.table("projections"),
        dialect.table("projection_states")
    );
    let mut found = Vec::new();
    for projection in conn.query(&sql, &[scope.instance.clone().into()])? {
        if handles(&projection, scope)? {
            found.push(AffectedProjection {
                projection: row::text(&projection, 0)?.to_owned(),
                version: u32::try_from(row::int(&projection, 1)?).unwrap_or(0),
                live: row::truth(&projection, 2)?,
                position: row::int(&projection, 3)?,
            });
        }
    }
    Ok(found)
}

fn handles(projection: &Row, scope: &Scope) -> Result<bool, StoreError> {
    let corrupt = |error| StoreError::new("reading a projection's definition", StoreErrorKind::Corrupt, error);
    let handles: Handles = serde_json::from_str(row::text(projection, 4)?).map_err(corrupt)?;
    let is_of = |name: &String, types: &[String]| name == EventFilter::EVERY || types.contains(name);
    let of_type = handles.events.iter().filter(|(name, _)| is_of(name, std::slice::from_ref(&scope.aggregate_type)));
    Ok(of_type.flat_map(|(_, types)| types).any(|name| is_of(name, &scope.event_types)))
}
