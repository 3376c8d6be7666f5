use std::time::{Duration, SystemTime};

use super::*;
use crate::engine::{HandlerConfig, Policy, ProjectionHandler};
use crate::error::{ReduceError, StoreError};
use crate::event::{NewEvent, Payload};
use crate::statement::{create, in_table, increment, multi, set, upsert};
use crate::table::{Table, float, integer, json, text, timestamp};
use crate::testing::{Answer, Call, Faults, FaultyStore};

#[derive(serde::Serialize, serde::Deserialize)]
struct Counted {
    by: i64,
}

impl Payload for Counted {
    const AGGREGATE: &'static str = "thing";
    const TYPE: &'static str = "thing.counted";
}

fn counts() -> Projection {
    let counts = Table::new("counts").column(text("thing")).column(integer("n")).column(float("f").nullable());
    let counts = counts.column(json("j").nullable()).column(timestamp("at").nullable()).primary_key(["thing"]);
    let log = Table::suffix("log").column(text("thing")).column(integer("position")).primary_key(["thing", "position"]);
    Projection::new("counts", 1).table(counts).table(log.references_primary(["thing"])).on(|e, p: Counted| {
        if p.by == 13 {
            return Err(ReduceError::new("bad luck"));
        }
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let row = [set("thing", e.aggregate_id()), increment("n", p.by), set("f", 1), set("at", at)];
        multi([
            upsert(["thing"], row),
            in_table("log", create([set("thing", e.aggregate_id()), set("position", e.position())])),
        ])
    })
}

fn push(store: &SqliteStore, instance: &str, by: i64) {
    store.push(&[NewEvent::new(instance, "x", &Counted { by })]).unwrap();
}

/// Two instances of three events each, projected.
fn projected() -> SqliteStore {
    let store = SqliteStore::in_memory().unwrap();
    let config = HandlerConfig { policy: Policy::Skip, max_failure_count: 1, ..HandlerConfig::default() };
    let handler = ProjectionHandler::new(Arc::new(store.clone()), Arc::new(store.clone()), counts(), config).unwrap();
    handler.setup().unwrap();
    for instance in ["a", "b"] {
        for by in [1, 2, 3] {
            push(&store, instance, by);
        }
    }
    handler.trigger(&["a", "b"]).unwrap();
    store
}

fn spoil(store: &SqliteStore, sql: &str) {
    let touched = store.backend().write("spoiling", |conn| conn.execute(sql, &[]));
    assert_eq!(touched.unwrap_or_else(|error: StoreError| panic!("{error:?}")), 1, "{sql}");
}

/// The only fault that the checker finds after this change.
fn fault(sql: &str) -> (Fault, String) {
    let store = projected();
    spoil(&store, sql);
    let report = check(&store, &store, &counts()).unwrap();
    assert!(!report.is_lawful() && report.to_string().contains("1 faults"), "{report}");
    (report.faults()[0].clone(), report.faults()[0].to_string())
}

#[test]
fn a_read_model_that_is_right_has_no_faults() {
    let store = projected();
    let report = check(&store, &store, &counts()).unwrap();
    assert!(report.is_lawful(), "{report}");
    assert_eq!((report.instances(), report.events(), report.rows(), report.behind()), (2, 6, 8, &[][..]));
    push(&store, "b", 4);
    let report = check(&store, &store, &counts()).unwrap();
    assert!(report.is_lawful(), "{report}");
    assert_eq!(report.behind(), [LawLag { instance: "b".into(), position: 3, relevant: 4 }]);
}

#[test]
fn an_event_on_record_counts_as_not_applied() {
    let store = projected();
    push(&store, "a", 13);
    push(&store, "a", 5);
    let config = HandlerConfig { policy: Policy::Skip, max_failure_count: 1, retries: 0, ..HandlerConfig::default() };
    let handler = ProjectionHandler::new(Arc::new(store.clone()), Arc::new(store.clone()), counts(), config).unwrap();
    handler.trigger(&["a"]).unwrap();
    let report = check(&store, &store, &counts()).unwrap();
    assert!(report.is_lawful() && report.behind().is_empty(), "{report}");
    assert_eq!(report.held(), 1);
    spoil(&store, "DELETE FROM readside_held_events");
    let report = check(&store, &store, &counts()).unwrap();
    assert!(matches!(report.faults(), [Fault::Refused { position: 4, .. }]), "{report}");
    assert!(report.to_string().contains("neither applied nor on record: reducer: bad luck"), "{report}");
}

// Contract: L2
#[test]
fn rows_that_differ_are_found() {
    let (found, said) = fault("UPDATE counts_1 SET n = 7 WHERE instance_id = 'b'");
    assert!(matches!(&found, Fault::Row { expected: Some(_), found: Some(_), .. }), "{said}");
    assert!(said.contains("key (thing=Text(\"x\"))"), "{said}");
    assert!(said.contains("n=Integer(6)") && said.contains("n=Integer(7)"), "{said}");
    let (found, said) = fault("DELETE FROM counts_log_1 WHERE instance_id = 'a' AND position = 2");
    assert!(matches!(&found, Fault::Row { expected: Some(_), found: None, .. }), "{said}");
    assert!(said.contains("instance \"a\": table \"counts_log\"") && said.contains("missing"), "{said}");
    let (found, said) = fault("INSERT INTO counts_1 (instance_id, thing, n) VALUES ('c', 'y', 1)");
    assert!(matches!(&found, Fault::Row { expected: None, found: Some(_), .. }), "{said}");
    assert!(said.contains("instance \"c\"") && said.contains("unexpected"), "{said}");
}

// Contract: L2, L3
#[test]
fn wrong_checkpoints_are_found() {
    let b = "WHERE instance_id = 'b'";
    let (found, said) = fault(&format!("UPDATE readside_projection_states SET position = 4 {b}"));
    assert!(matches!(found, Fault::Ahead { position: 4, head: 3, .. }), "{said}");
    let (found, said) = fault(&format!("UPDATE readside_projection_states SET event = randomblob(16) {b}"));
    assert!(matches!(found, Fault::OtherEvent { position: 3, .. }), "{said}");
    let (found, said) = fault(&format!("UPDATE readside_projection_states SET event = NULL {b}"));
    assert!(matches!(found, Fault::OtherEvent { found: None, .. }), "{said}");
    let (found, said) = fault(&format!("UPDATE readside_projection_states SET store = randomblob(16) {b}"));
    assert!(matches!(found, Fault::OtherStore { .. }), "{said}");
    let ahead = "INSERT INTO readside_projection_states (instance_id, projection, version, position, store) \
                 SELECT 'c', projection, 1, 2, store FROM readside_projection_states WHERE instance_id = 'a'";
    assert!(matches!(fault(ahead).0, Fault::Ahead { position: 2, head: 0, .. }));
}

// Contract: L1
#[test]
fn holes_in_the_log_are_found() {
    // Without their event the rows differ too.
    let store = projected();
    spoil(&store, "DELETE FROM readside_events WHERE instance_id = 'a' AND position = 2");
    let report = check(&store, &store, &counts()).unwrap();
    assert!(matches!(report.faults()[0], Fault::Hole { from: 2, to: 2, .. }), "{report}");
    let store = projected();
    push(&store, "a", 1);
    spoil(&store, "DELETE FROM readside_events WHERE instance_id = 'a' AND position = 4");
    let report = check(&store, &store, &counts()).unwrap();
    assert!(report.faults().iter().any(|fault| matches!(fault, Fault::Hole { from: 4, to: 4, .. })), "{report}");
    let (found, said) = fault("UPDATE readside_heads SET head = 2 WHERE instance_id = 'a'");
    assert!(matches!(found, Fault::RelevantHead { expected: 3, found: 2, .. }), "{said}");
}

/// Gives each page's last event twice.
struct Doubling;

impl Faults for Doubling {
    fn after(&self, _: &Call, answer: Answer<'_>) -> Result<(), StoreError> {
        if let Answer::Events(events) = answer {
            events.extend(events.last().cloned());
        }
        Ok(())
    }
}

// Contract: L1
#[test]
fn a_position_that_comes_twice_is_found() {
    let store = projected();
    let report = check(&FaultyStore::new(store.clone(), Arc::new(Doubling)), &store, &counts()).unwrap();
    assert!(report.faults().iter().any(|fault| matches!(fault, Fault::Doubled { position: 3, .. })), "{report}");
}

#[test]
fn faults_without_end_are_counted_only() {
    let mut report = LawReport::new("p");
    for position in 0..1500 {
        report.add(Fault::Doubled { instance: "a".into(), position });
    }
    assert_eq!(report.faults().len(), 1000);
    let said = report.to_string();
    assert!(said.contains("1500 faults") && said.ends_with("and 500 more"), "{said}");
}

// Contract: L9: pages of instances and of events.
#[test]
fn long_logs_and_many_instances_are_read_in_pages() {
    let store = SqliteStore::in_memory().unwrap();
    let config = HandlerConfig::default();
    let handler = ProjectionHandler::new(Arc::new(store.clone()), Arc::new(store.clone()), counts(), config).unwrap();
    handler.setup().unwrap();
    let names: Vec<String> = (0..=PAGE).map(|n| format!("t{n:04}")).collect();
    let one: Vec<NewEvent> = names.iter().map(|name| NewEvent::new(name, "x", &Counted { by: 1 })).collect();
    store.push(&one).unwrap();
    let many: Vec<NewEvent> = (0..250).map(|by| NewEvent::new("t0000", "x", &Counted { by: by % 7 })).collect();
    store.push(&many).unwrap();
    handler.trigger(&names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let report = check(&store, &store, &counts()).unwrap();
    assert!(report.is_lawful() && report.behind().is_empty(), "{report}");
    assert_eq!((report.instances(), report.events()), (PAGE as u64 + 1, PAGE as u64 + 251));
}
