//! A measurement leaves nothing behind.

use readside::postgres_driver::{Client, NoTls};

use crate::common::pooler::Pooler;
use crate::{Place, fresh, on_both};

/// Names of all tables and views.
fn relations(place: &Place) -> Vec<String> {
    match place {
        Place::Sqlite(_) => {
            let db = readside::rusqlite::Connection::open(place.name()).unwrap();
            let mut names = db.prepare("SELECT name FROM sqlite_master ORDER BY name").unwrap();
            names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        }
        Place::Postgres(database) => {
            let mut client = Client::connect(database.url(), NoTls).unwrap();
            let sql = "SELECT table_schema || '.' || table_name FROM information_schema.tables ORDER BY 1";
            client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
        }
    }
}

#[test]
fn a_measurement_compares_and_cleans_up() {
    on_both(|place| {
        place.with(|store| drop(store.push(&[readside::NewEvent::raw("acme", "user", "u", "t")]).unwrap()));
        let before = relations(place);
        let report = place.run_directly(&["bench", "--events", "2000", "--instances", "4", "--json"]).json();
        assert_eq!((report["events"].as_u64(), report["instances"].as_u64()), (Some(2000), Some(4)));
        for part in ["push", "catch_up"] {
            assert!(report[part]["ratio"].as_f64().unwrap() > 0.0, "{report}");
        }
        assert_eq!(relations(place), before);
        assert_eq!(place.run(&["instances", "--json"]).lines().len(), 1);
        assert_eq!(place.run(&["status", "--json"]).json()["projections"].as_array().unwrap().len(), 0);
        let text = place.run_directly(&["bench", "--events", "100", "--instances", "1"]).ok();
        assert!(text.contains("TIMES AS LONG") && text.contains("catch-up from nothing"), "{text}");
        place.run(&["bench", "--clean"]).ok();
    });
}

// The sessions of this pooler have prepared statements of others, under the names that the driver gives.
#[test]
fn behind_a_pooler_it_says_where_to_measure() {
    let [_, place] = fresh();
    place.run(&["setup"]).ok();
    let pooler = Pooler::before(&place.direct());
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(pooler.url(), NoTls).unwrap()).collect();
    for client in &mut clients {
        client.batch_execute("BEGIN; PREPARE s0 AS SELECT 1").unwrap();
    }
    for client in &mut clients {
        client.batch_execute("COMMIT").unwrap();
    }
    let before = relations(&place);
    let error = crate::run(&["-d", pooler.url(), "bench", "--events", "100", "--instances", "1"]).failed();
    assert!(error.contains("pooler in transaction mode") && error.contains("the server itself with -d"), "{error}");
    assert_eq!(relations(&place), before);
}
