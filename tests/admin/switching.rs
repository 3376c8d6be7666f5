//! A switch waits for transactions that hold the tables.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use readside::PostgresStore;
use readside::admin::RebuildOptions;
use readside::builds::Phase;
use readside::error::SwitchError;
use readside::postgres_driver::{Client, NoTls};
use readside::store::{BuildStore, ProjectionKey};

use crate::common::postgres::{Database, database};
use crate::{LONG, Place, by, count, eager, eventually, fill, lawful, seen, start, tenant};

/// A session that read the read model, and keeps its transaction open for longer than the switch waits for its locks.
fn reader_who_left(place: &Database) -> (Client, i32) {
    let mut client = Client::connect(&format!("{}?application_name=nightly-report", place.url()), NoTls).unwrap();
    client.batch_execute("BEGIN; SELECT 1 FROM counts").unwrap();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    eventually("the age of the transaction", || {
        client.query_one("SELECT clock_timestamp() - now() > interval '1500 ms'", &[]).unwrap().get(0)
    });
    (client, pid)
}

// Contract: B1
#[test]
fn a_switch_waits_for_an_open_transaction_and_no_reader_waits_for_it() {
    let place = database();
    let engine = start(place.open(), eager());
    fill(&engine, 2, 5);
    let (mut client, pid) = reader_who_left(&place);
    let (named, done, reads) = (AtomicBool::new(false), AtomicBool::new(false), AtomicI64::new(0));
    let report = std::thread::scope(|scope| {
        let (named, done, reads, place) = (&named, &done, &reads, &place);
        // Whatever happens to the reader, the transaction ends at the end of this thread.
        let reader = scope.spawn(move || {
            let mut reader = Client::connect(place.url(), NoTls).unwrap();
            reader.batch_execute("SET lock_timeout = '500ms'").unwrap();
            while !done.load(Ordering::SeqCst) && reads.load(Ordering::SeqCst) < 500 {
                reader.query("SELECT n FROM counts", &[]).unwrap();
                reads.fetch_add(i64::from(named.load(Ordering::SeqCst)), Ordering::SeqCst);
            }
            // Only now the switch can happen.
            client.batch_execute("COMMIT").unwrap();
        });
        let mut told = Vec::new();
        let options = RebuildOptions::default().switch_within(LONG);
        let report = engine.admin().rebuild("counts", options, &by(), |progress| {
            if let Some(why) = &progress.waits_for {
                named.fetch_or(why.contains(&pid.to_string()), Ordering::SeqCst);
                told.push(why.clone());
            }
        });
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
        let why = told.iter().find(|why| why.contains(&pid.to_string())).expect("the blocker is named");
        assert!(
            why.contains("nightly-report") && why.contains("since") && why.contains("idle in transaction"),
            "{why}"
        );
        assert!(!why.contains("SELECT"), "{why}");
        report.unwrap()
    });
    assert!(report.switched && reads.load(Ordering::SeqCst) == 500, "{report:?}");
    lawful(&place);
}

// Contract: L11: people who look for the holder of a lock see which of the service's processes it is.
#[test]
fn an_engine_bears_its_name_in_the_list_of_sessions() {
    let place = database();
    let named = |name: &str| eager().name(name);
    let engine = start(place.open(), named("billing-7"));
    fill(&engine, 1, 3);
    let sql = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database() \
               AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    assert_eq!(place.query(sql), ["billing-7"]);
    engine.shutdown(LONG).unwrap();
    drop(engine);
    // An application name in the connection string takes precedence.
    let store = PostgresStore::connect(&format!("{}?application_name=reports", place.url())).unwrap();
    let engine = start(store, named("billing-8"));
    let sql = format!("{sql} AND application_name IN ('reports', 'billing-8')");
    assert_eq!(place.query(&sql), ["reports"]);
    engine.shutdown(LONG).unwrap();
}

// Contract: B1
#[test]
fn a_switch_is_given_up_in_time_and_names_who_was_in_its_way() {
    let place = database();
    let engine = start(place.open(), eager());
    fill(&engine, 2, 5);
    place.sql("UPDATE counts_1 SET n = n + 100 WHERE thing = 'x1'");
    let before = seen(&place);
    let (mut client, pid) = reader_who_left(&place);
    let options = RebuildOptions::default().switch_within(Duration::from_millis(300));
    let error = engine.admin().rebuild("counts", options, &by(), |_| {}).unwrap_err();
    let told = error.to_string();
    for wanted in [&pid.to_string(), "nightly-report", "given up after", "pg_terminate_backend", "builds switch"] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    // The switch did not wait in the lock's queue, so no reader waited behind it.
    let key = ProjectionKey { name: "counts#next".into(), version: 1 };
    let store = place.open();
    let tried = store.go_live(&key, Duration::from_millis(250), None).unwrap_err();
    let SwitchError::Held { holders, asked, .. } = tried else { panic!("it was not held") };
    assert_eq!((holders[0].pid, holders[0].application.as_str()), (i64::from(pid), "nightly-report"));
    assert_eq!((holders.len(), asked), (1, Duration::ZERO));
    assert_eq!(seen(&place), before);
    let phases: Vec<Phase> = BuildStore::builds(&store).unwrap().into_iter().map(|build| build.phase).collect();
    assert_eq!(phases, [Phase::Live, Phase::Ready]);
    client.batch_execute("COMMIT").unwrap();
    let pushed = engine.push(&[count(&tenant(0), "new", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.admin().switch("counts", &by()).unwrap();
    assert_ne!(seen(&place), before);
    lawful(&place);
}
