//! The law checker compares values, not their spelling. This test covers each column type on PostgreSQL.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use readside::postgres_driver::{Client, NoTls};
use readside::prelude::*;
use readside::testing::laws;
use readside::{EventStore, HandlerConfig, NewEvent, PostgresStore, ProjectionHandler};

use crate::common::postgres::database;

fn all_types() -> Projection {
    let table = Table::new("things").column(text("id")).column(boolean("b")).column(float("f")).column(json("j"));
    let table = table.column(bytes("y")).column(timestamp("at")).column(text_array("a")).column(uuid("u"));
    Projection::new("things", 1).table(table.primary_key(["id", "at"])).on_raw("thing", "made", |e| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_891);
        let json = r#"{"b": 1.50, "a": [1e2, "ß\/"], "b": -0.0}"#;
        create([
            set("id", e.aggregate_id()),
            set("b", e.position() % 2 == 0),
            set("f", 0.1 + 0.2),
            set("j", Value::Json(json.to_owned())),
            set("y", vec![0_u8, 255]),
            set("at", at),
            set("a", vec!["x,\"y\"", ""]),
            set("u", uuid::Uuid::from_u128(7)),
        ])
    })
}

// Contract: L2
#[test]
fn values_that_are_spelled_otherwise_are_equal() {
    let database = database();
    let store = PostgresStore::connect(database.url()).unwrap();
    let shared = Arc::new(store.clone());
    let handler = ProjectionHandler::new(shared.clone(), shared, all_types(), HandlerConfig::default()).unwrap();
    handler.setup().unwrap();
    store.push(&[NewEvent::raw("a", "thing", "1", "made"), NewEvent::raw("a", "thing", "2", "made")]).unwrap();
    handler.trigger(&["a"]).unwrap();
    let report = laws::check(&store, &store, &all_types()).unwrap();
    assert!(report.is_lawful() && report.rows() == 2, "{report}");
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    for change in [
        "f = f + 1e-9",
        "j = jsonb_set(j, '{a,0}', '101')",
        "at = at + interval '1 microsecond'",
        "a = array_append(a, '')",
        "y = '\\x00'",
        "u = gen_random_uuid()",
        "b = NOT b",
    ] {
        let change = format!("UPDATE things_1 SET {change} WHERE id = '1'");
        let mut tx = client.transaction().unwrap();
        tx.batch_execute("CREATE TABLE IF NOT EXISTS kept AS SELECT * FROM things_1").unwrap();
        tx.batch_execute(&change).unwrap();
        tx.commit().unwrap();
        let report = laws::check(&store, &store, &all_types()).unwrap();
        assert!(!report.is_lawful(), "{change}");
        client.batch_execute("DELETE FROM things_1; INSERT INTO things_1 SELECT * FROM kept").unwrap();
    }
    assert!(laws::check(&store, &store, &all_types()).unwrap().is_lawful());
}
