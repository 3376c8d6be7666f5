//! A service projects from its own table, only through `EventSource`.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::Arc;

use parking_lot::Mutex;
use readside::error::{StoreError, StoreErrorKind};
use readside::prelude::*;
use readside::query::{Cursor, EventBatch, EventFilter, Flaw, Head, HeadsRequest, ReadRequest, Span};
use readside::rusqlite::{Connection, params};
use readside::store::{EventSource, ProjectionStore};
use readside::testing::{FaultyStore, conformance};
use readside::{Engine, EngineConfig, HandlerConfig, NewEvent, ProjectionHandler, SqliteStore};

/// The audit log that the service has kept for years: one table, numbered for each tenant in the order of commits.
#[derive(Debug)]
struct AuditLog {
    db: Mutex<Connection>,
}

const ID: uuid::Uuid = uuid::Uuid::from_u128(0x0a0d_1706);

impl AuditLog {
    fn new() -> Self {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE audit (tenant TEXT, number INTEGER, kind TEXT, subject TEXT, body TEXT, PRIMARY KEY (tenant, number))",
        )
        .unwrap();
        Self { db: Mutex::new(db) }
    }

    fn write(&self, tenant: &str, kind: &str, subject: &str, body: &str) {
        let sql = "INSERT INTO audit SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4 FROM audit WHERE tenant = ?1";
        self.db.lock().execute(sql, params![tenant, kind, subject, body]).unwrap();
    }
}

fn failed(error: readside::rusqlite::Error) -> StoreError {
    StoreError::new("reading the audit log", StoreErrorKind::Other, error)
}

/// True if orders are wanted. The table has only events of orders.
fn is_order(aggregate_types: &[String]) -> bool {
    EventFilter::lists(aggregate_types, "order")
}

/// An id. It only has to be the same whenever the same event is read.
fn id(tenant: &str, number: i64) -> uuid::Uuid {
    let bytes = tenant.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    uuid::Uuid::from_u64_pair(bytes, number.unsigned_abs())
}

impl EventSource for AuditLog {
    fn store_id(&self) -> Result<uuid::Uuid, StoreError> {
        Ok(ID)
    }

    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        let db = self.db.lock();
        let mut select = db
            .prepare("SELECT tenant, max(number) FROM audit WHERE tenant > ?1 GROUP BY tenant ORDER BY tenant")
            .map_err(failed)?;
        let after = request.after.as_deref().unwrap_or("");
        let rows = select
            .query_map(params![after], |row| Ok((Arc::from(row.get::<_, String>(0)?), row.get(1)?)))
            .map_err(failed)?;
        let is_asked = |tenant: &Arc<str>| request.instances.is_empty() || request.instances.contains(tenant);
        let is_relevant = request.aggregate_types.is_empty() || is_order(&request.aggregate_types);
        let heads = rows.filter(|row| row.as_ref().map_or(true, |(tenant, _)| is_asked(tenant))).take(request.limit);
        heads
            .map(|row| {
                let (instance, head) = row.map_err(failed)?;
                Ok(Head { instance, head, relevant: if is_relevant { head } else { 0 } })
            })
            .collect()
    }

    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        let db = self.db.lock();
        request.cursors.iter().map(|cursor| slice(&db, cursor, request)).collect()
    }

    fn removed(&self, _instance: &str) -> Result<i64, StoreError> {
        Ok(0)
    }

    fn flaws(&self, _spans: &[Span]) -> Result<Vec<Flaw>, StoreError> {
        Ok(Vec::new())
    }

    fn generation(&self) -> u64 {
        0
    }

    fn forget(&self) {}
}

fn slice(db: &Connection, cursor: &Cursor, request: &ReadRequest) -> Result<EventBatch, StoreError> {
    let tenant = &*cursor.instance;
    let head: i64 = db
        .query_row("SELECT coalesce(max(number), 0) FROM audit WHERE tenant = ?1", [tenant], |row| row.get(0))
        .map_err(failed)?;
    let mut select = db
        .prepare(
            "SELECT number, kind, subject, body FROM audit WHERE tenant = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
        )
        .map_err(failed)?;
    let is_wanted = is_order(&request.wanted.aggregate_types);
    let limit = if is_wanted { i64::try_from(request.limit).unwrap() } else { 0 };
    let events = select
        .query_map(params![tenant, cursor.after, limit], |row| {
            let number: i64 = row.get(0)?;
            let event = Event::new(tenant, "order", &row.get::<_, String>(2)?, &row.get::<_, String>(1)?);
            Ok(event.with_position(number).with_id(id(tenant, number)).with_payload(row.get::<_, String>(3)?))
        })
        .map_err(failed)?;
    let mut events: Vec<Event> = events.collect::<Result<_, _>>().map_err(failed)?;
    let (read, mut bytes) = (events.len(), 0);
    let fits = |event: &&Event| {
        bytes += event.payload_json().len();
        bytes <= request.max_bytes
    };
    // The batch holds at least one event.
    events.truncate(events.iter().take_while(fits).count().max(1));
    Ok(EventBatch {
        instance: cursor.instance.clone(),
        after: cursor.after,
        at: (1..=head).contains(&cursor.after).then(|| id(tenant, cursor.after)),
        head,
        head_id: (head > 0).then(|| id(tenant, head)),
        relevant: if is_wanted { head } else { 0 },
        more: is_wanted && (read >= request.limit || events.len() < read),
        events,
    })
}

fn orders() -> Projection {
    Projection::new("orders", 1)
        .table(Table::new("orders").column(text("id")).column(integer("total")).primary_key(["id"]))
        .on_raw("order", "placed", |e| create([set("id", e.aggregate_id()), set("total", 0)]))
        .on_raw("order", "added", |e| update([increment("total", e.payload::<i64>()?)], [eq("id", e.aggregate_id())]))
}

// Contract: A0
#[test]
fn a_read_model_follows_a_table_of_the_services_own() {
    let log = Arc::new(AuditLog::new());
    let models = Arc::new(SqliteStore::in_memory().unwrap());
    let config = HandlerConfig::default().bulk_limit(2);
    let handler = ProjectionHandler::new(log.clone(), models.clone(), orders(), config).unwrap();
    handler.setup().unwrap();
    log.write("t1", "placed", "o1", "null");
    for n in 1..=5 {
        log.write("t1", "added", "o1", &n.to_string());
        log.write("t1", "seen", "o1", "null");
    }
    log.write("t2", "placed", "o9", "null");
    let heads = log.heads(&HeadsRequest { limit: 10, ..HeadsRequest::default() }).unwrap();
    let tenants: Vec<&str> = heads.iter().map(|head| &*head.instance).collect();
    handler.trigger(&tenants).unwrap();
    log.write("t1", "added", "o1", "100");
    handler.trigger(&tenants).unwrap();
    handler.trigger(&tenants).unwrap();
    let rows = models.read_rows(&orders(), "orders").unwrap();
    let totals: Vec<&Value> = rows.iter().map(|row| &row[2].1).collect();
    assert_eq!(totals, [&Value::Integer(115), &Value::Integer(0)]);
    assert_eq!(models.states(&orders().key(), &["t1".into()]).unwrap()[0].position, 12);
}

// Contract: A0
#[test]
fn the_table_is_a_source_as_the_engine_needs_it() {
    let log = AuditLog::new();
    let append =
        |event: &Event| log.write(event.instance(), event.event_type(), event.aggregate_id(), event.payload_json());
    conformance::event_source(&log, &append).kinds([("order", "placed"), ("order", "added")]).assert();
}

// Contract: A0, G5, J1
#[test]
fn an_engine_runs_on_a_source_of_the_services_own() {
    let (log, patience) = (Arc::new(AuditLog::new()), std::time::Duration::from_secs(30));
    log.write("t1", "placed", "o1", "null");
    let models = SqliteStore::in_memory().unwrap();
    let (initialized, signal) = crossbeam_channel::bounded(1);
    let config = EngineConfig::default().requeue_every(std::time::Duration::from_millis(20)).workers(2);
    let builder = Engine::builder(models.clone()).source(log.clone()).projection(orders()).config(config);
    let engine = std::thread::scope(|scope| {
        let starting = scope.spawn(|| builder.initialized(signal).start().unwrap());
        log.write("t1", "added", "o1", "7");
        initialized.send(()).unwrap();
        starting.join().unwrap()
    });
    engine.await_position("orders", "t1", 2, patience).unwrap();
    log.write("t2", "placed", "o2", "null");
    engine.await_position("orders", "t2", 1, patience).unwrap();
    assert_eq!(models.read_rows(&orders(), "orders").unwrap().len(), 2);
    let refused = engine.push(&[NewEvent::raw("t1", "order", "o1", "added")]).unwrap_err();
    assert!(refused.to_string().contains("source of its service's own"), "{refused}");
    engine.shutdown(patience).unwrap();
}

// Contract: L4, L8: the source panics outside of a reducer. The other instances of the batch go on, and the panic is
// reported.
#[test]
fn a_source_that_panics_for_one_instance_keeps_no_others() {
    let (log, patience) = (Arc::new(AuditLog::new()), std::time::Duration::from_secs(30));
    let tenants = ["a", "broken", "z"];
    for tenant in tenants {
        log.write(tenant, "placed", "o1", "null");
    }
    let models = SqliteStore::in_memory().unwrap();
    let config = EngineConfig::default().requeue_every(std::time::Duration::from_millis(20)).workers(1);
    // This source cannot read one tenant, not even together with others.
    let broken = FaultyStore::failing(log.clone(), |call| {
        assert!(call.name != "EventSource::read" || !call.names("broken"), "a bug of the service's own");
        Ok(())
    });
    let builder = Engine::builder(models.clone()).source(broken).projection(orders()).config(config);
    let engine = builder.start().unwrap();
    for tenant in ["a", "z"] {
        engine.await_position("orders", tenant, 1, patience).unwrap();
    }
    assert!(engine.health().unwrap().worker_panics > 0);
    let error = engine.trigger("orders", &tenants).unwrap_err();
    assert!(error.to_string().contains("panicked (a bug of the service's own)"), "{error}");
    log.write("z", "added", "o1", "7");
    engine.trigger("orders", &["z"]).unwrap();
    engine.shutdown(patience).unwrap();
}
