//! Reads what the database has of everything that some pushes touch, in one statement, after their counters were
//! locked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::draft::{Draft, Push};
use super::known::KnownVersions;
use super::ledger::{Ledger, Numbered, PushKey, key};
use super::unique::{self, UniqueValue};
use crate::db::row::{self, EVENT_COLUMNS};
use crate::db::{Conn, Row};
use crate::error::{PushError, StoreError, StoreErrorKind};
use crate::event::Event;
use crate::sql::Dialect;
use crate::sync::Mutex;
use crate::value::Value;
use uuid::Uuid;

/// The kinds of answers.
const AGGREGATE: i64 = 0;
const UNIQUE: i64 = 1;
const KEY: i64 = 2;
const ID: i64 = 3;

/// What to ask the database for.
#[derive(Debug, Default)]
struct CommandRecord {
    /// Numbers of aggregates in the ledger.
    aggregates: Vec<usize>,
    uniques: Vec<UniqueValue>,
    keys: Vec<PushKey>,
    /// The ids that imported events bring.
    ids: Vec<(Arc<str>, Uuid)>,
}

/// Completes a ledger whose counters are locked with what these pushes touch.
pub(super) fn complete<'p>(
    conn: &mut dyn Conn,
    ledger: &mut Ledger,
    pushes: &[&'p Push],
    known: &Mutex<KnownVersions>,
) -> Result<Vec<Numbered<'p>>, PushError> {
    let numbered = number(ledger, pushes);
    let known = known.lock();
    ledger.versions.resize(ledger.aggregates.len(), 0);
    let mut unknown = Vec::new();
    for ((at, aggregate), version) in ledger.aggregates.iter().enumerate().zip(&mut ledger.versions) {
        match known.version(&ledger.counters, aggregate) {
            Some(known) => *version = known,
            None => unknown.push(at),
        }
    }
    drop(known);
    let asked = CommandRecord {
        aggregates: unknown,
        uniques: distinct(pushes.iter().flat_map(|push| unique::wanted(push))),
        keys: distinct(
            pushes.iter().filter(|push| push.continues.is_none()).flat_map(|push| push.drafts.iter().filter_map(key)),
        ),
        ids: distinct(pushes.iter().flat_map(|push| push.drafts.iter().filter_map(id))),
    };
    if !asked.ids.is_empty() {
        let since = Instant::now();
        conn.index_ids().map_err(|error| match error.kind() {
            StoreErrorKind::Timeout => PushError::IndexBusy { waited: since.elapsed(), source: error },
            _ => PushError::Store(error),
        })?;
    }
    ask(conn, &asked, ledger)?;
    Ok(numbered)
}

/// Gives each aggregate a number.
fn number<'p>(ledger: &mut Ledger, pushes: &[&'p Push]) -> Vec<Numbered<'p>> {
    let mut numbers: HashMap<(&str, &str, &str), usize> = HashMap::new();
    let aggregates = &mut ledger.aggregates;
    let mut number = |draft: &'p Draft| {
        let event = &draft.event;
        *numbers.entry((&event.instance, &event.aggregate_type, event.aggregate_id())).or_insert_with(|| {
            aggregates.push(draft.aggregate());
            aggregates.len() - 1
        })
    };
    let numbered = |push: &&'p Push| Numbered { push, aggregates: push.drafts.iter().map(&mut number).collect() };
    pushes.iter().map(numbered).collect()
}

/// The id that an imported event brings.
fn id(draft: &Draft) -> Option<(Arc<str>, Uuid)> {
    draft.id.map(|id| (Arc::clone(&draft.event.instance), id))
}

fn distinct<T: Eq + std::hash::Hash>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.collect::<HashSet<T>>().into_iter().collect()
}

fn ask(conn: &mut dyn Conn, asked: &CommandRecord, ledger: &mut Ledger) -> Result<(), StoreError> {
    let mut question = ExplainRequest { dialect: conn.dialect(), parts: Vec::new(), params: Vec::new() };
    let [events, archive, all] = ["events", "events_archive", "all_events"].map(|name| conn.dialect().table(name));
    let constraints = conn.dialect().table("unique_constraints");
    // Follows the index of versions, in their order. Archived events are the first ones of an aggregate.
    let last = |table: &str| {
        format!(
            "(SELECT e.version FROM {table} e WHERE e.instance_id = r.a AND e.aggregate_type = r.b \
             AND e.aggregate_id = r.c ORDER BY e.version DESC LIMIT 1)"
        )
    };
    let version = format!("coalesce({}, {})", last(&events), last(&archive));
    question.add(
        AGGREGATE,
        &version,
        "",
        asked.aggregates.iter().filter_map(|at| ledger.aggregates.get(*at)).map(|(i, t, a)| [i.as_ref(), t, a]),
    )?;
    let taken = format!(
        "WHERE EXISTS (SELECT 1 FROM {constraints} u WHERE u.instance_id = r.a AND u.constraint_type = r.b AND u.value = r.c)"
    );
    question.add(UNIQUE, "NULL", &taken, asked.uniques.iter().map(|(i, c, v)| [i.as_ref(), c, v]))?;
    let used = format!("WHERE EXISTS (SELECT 1 FROM {all} e WHERE e.instance_id = r.a AND e.push_key = r.b)");
    question.add(KEY, "NULL", &used, asked.keys.iter().map(|(i, k)| [i.as_ref(), k, ""]))?;
    let bytes = match conn.dialect() {
        Dialect::Postgres => "r.b::uuid",
        Dialect::Sqlite => "unhex(r.b)",
    };
    // Follows the index of ids, id by id, even if statistics are out of date: a count cannot become a join, and the
    // expression rules out the indexes that begin with the instance, which may have many events.
    let there = |table: &str| {
        format!("(SELECT count(*) FROM {table} e WHERE e.event_id = {bytes} AND (e.instance_id || '') = r.a)")
    };
    let exists = format!("WHERE {} + {} > 0", there(&events), there(&archive));
    let ids: Vec<(&Arc<str>, String)> = asked.ids.iter().map(|(i, id)| (i, id.simple().to_string())).collect();
    question.add(ID, "NULL", &exists, ids.iter().map(|(i, id)| [i.as_ref(), id, ""]))?;
    let (mut taken, mut used) = (HashSet::new(), Vec::new());
    for found in question.answer(conn)? {
        let at = usize::try_from(row::int(&found, 1)? - 1).unwrap_or(usize::MAX);
        match row::int(&found, 0)? {
            AGGREGATE => {
                let version = row::int_or_zero(&found, 2)?;
                if let Some(of) = asked.aggregates.get(at).and_then(|at| ledger.versions.get_mut(*at)) {
                    *of = version;
                }
            }
            UNIQUE => taken.extend(asked.uniques.get(at).cloned()),
            ID => ledger.ids.extend(asked.ids.get(at).cloned()),
            _ => used.extend(asked.keys.get(at)),
        }
    }
    for key in used {
        ledger.keyed.insert(key.clone(), by_push_key(conn, key)?);
    }
    ledger.uniques.stored = Arc::new(taken);
    Ok(())
}

/// Several queries about texts, combined into one.
struct ExplainRequest {
    dialect: Dialect,
    parts: Vec<String>,
    params: Vec<Value>,
}

impl ExplainRequest {
    /// Asks for a value for each of some triples `r.a`, `r.b`, `r.c`. A row has the kind, the triple's number from 1,
    /// and the value.
    fn add<'t>(
        &mut self,
        kind: i64,
        value: &str,
        condition: &str,
        triples: impl Iterator<Item = [&'t str; 3]>,
    ) -> Result<(), StoreError> {
        let triples: Vec<[&str; 3]> = triples.collect();
        if triples.is_empty() {
            return Ok(());
        }
        let first = self.params.len() + 1;
        let rows = match self.dialect {
            Dialect::Postgres => {
                for at in 0..3 {
                    let column = triples.iter().filter_map(|triple| triple.get(at)).map(|text| (*text).to_owned());
                    self.params.push(Value::TextArray(column.collect()));
                }
                let [a, b, c] = [first, first + 1, first + 2];
                format!("unnest(${a}::text[], ${b}::text[], ${c}::text[]) WITH ORDINALITY r(a, b, c, n)")
            }
            Dialect::Sqlite => {
                let json = Value::json(&triples);
                let failed = |error| StoreError::new("reading versions", StoreErrorKind::Usage, error);
                self.params.push(json.map_err(failed)?);
                format!(
                    "(SELECT value ->> 0 AS a, value ->> 1 AS b, value ->> 2 AS c, key + 1 AS n FROM json_each(${first})) r"
                )
            }
        };
        self.parts.push(format!("SELECT {kind}, r.n, CAST({value} AS bigint) FROM {rows} {condition}"));
        Ok(())
    }

    fn answer(self, conn: &mut dyn Conn) -> Result<Vec<Row>, StoreError> {
        if self.parts.is_empty() {
            return Ok(Vec::new());
        }
        let doing = "reading versions, unique values and push keys";
        conn.query(&self.parts.join(" UNION ALL "), &self.params).map_err(|error| error.doing(doing))
    }
}

fn by_push_key(conn: &mut dyn Conn, (instance, key): &PushKey) -> Result<Vec<Event>, StoreError> {
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM {} WHERE instance_id = $1 AND push_key = $2 ORDER BY position",
        conn.dialect().table("all_events")
    );
    row::events(&conn.query(&sql, &[Arc::clone(instance).into(), Arc::clone(key).into()])?)
}
