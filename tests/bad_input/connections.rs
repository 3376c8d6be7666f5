//! Connections that end, grow too old, cannot be opened, or are used on the wrong thread.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use readside::error::{PushError, StoreErrorKind as Kind, chain};
use readside::failure::FailureQuery;
use readside::inspect::Inspect;
use readside::postgres_driver::Client;
use readside::query::Query;
use readside::store::{LeaseStore, ProjectionStore};
use readside::{EventStore, HandlerConfig, PostgresOptions, PostgresStore, ProjectionHandler, error};

use crate::common::{eventually, postgres::Database};
use crate::{OnPostgres, Store, command, names::people};

/// A store whose sessions have a name of their own in the server's list.
fn named(database: &Database, options: PostgresOptions) -> PostgresStore {
    PostgresStore::connect_with(&format!("{}?application_name=named", database.url()), options).unwrap()
}

/// The sessions of the named store.
fn sessions(client: &mut Client) -> BTreeSet<i32> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'named' AND datname = current_database()";
    client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// Makes a store open three connections at the same time.
fn open_three(store: &OnPostgres, opened: &PostgresStore) {
    let mut client = store.connect();
    std::thread::scope(|scope| {
        store.transaction_of_ones_own(false, &mut |tx| {
            tx.sql("LOCK TABLE readside.events");
            for _ in 0..3 {
                scope.spawn(|| opened.filter(&Query::new()).unwrap());
            }
            eventually("three that wait", || {
                let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'named' \
                               AND wait_event_type = 'Lock' AND datname = current_database()";
                client.query_one(waiting, &[]).unwrap().get::<_, i64>(0) == 3
            });
        });
    });
}

/// How many connections were lost or given up.
fn generation(store: &PostgresStore) -> u64 {
    let text = format!("{store:?}");
    let number = text.split_once("generation: ").expect("it shows the generation").1;
    number.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

// Contract: L10: if a server can no longer be written to, or says that it shuts down, the store gives up all
// connections to it.
#[test]
fn a_server_that_goes_or_only_reads_is_left_with_all_connections() {
    let store = OnPostgres::new();
    let named = named(&store.database, PostgresOptions::default());
    let mut client = store.connect();
    for code in ["25006", "57P01", "57P02", "57P03"] {
        client
            .batch_execute(&format!(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                   $$ BEGIN RAISE EXCEPTION 'not here' USING ERRCODE = '{code}'; END $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON readside.events FOR EACH ROW EXECUTE FUNCTION refuse()",
            ))
            .unwrap();
        open_three(&store, &named);
        let (before, generation_before) = (sessions(&mut client), generation(&named));
        assert!(before.len() >= 3, "{before:?}");
        match named.push(&[command("a", "1")]) {
            Err(PushError::Store(error)) => assert_eq!(error.code(), Some(code), "{error:?}"),
            other => panic!("{other:?}"),
        }
        eventually("the end of all that was connected before", || before.is_disjoint(&sessions(&mut client)));
        assert!(generation(&named) > generation_before);
        client.batch_execute("DROP TRIGGER refuse ON readside.events").unwrap();
        named.push(&[command("a", "1")]).unwrap();
    }
}

// Contract: L10: this includes connections that were idle, or in use, when they ended.
#[test]
fn a_lost_connection_is_counted() {
    let store = OnPostgres::new();
    let named = named(&store.database, PostgresOptions::default());
    let mut client = store.connect();
    let mut before = generation(&named);
    named.filter(&Query::new()).unwrap();
    assert_eq!(generation(&named), before);
    let mut end_all = || {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name = 'named' AND datname = current_database()";
        client.batch_execute(end).unwrap();
        eventually("the end of all", || sessions(&mut client).is_empty());
    };
    end_all();
    named.filter(&Query::new()).unwrap();
    assert!(generation(&named) > before);
    before = generation(&named);
    let cut = named.transaction(&mut |tx| {
        end_all();
        tx.failed_events(&people("people", 1).key(), &FailureQuery::all()).map(|_| ())
    });
    assert_eq!(cut.unwrap_err().kind(), Kind::Connection);
    assert!(generation(&named) > before);
    before = generation(&named);
    let failed = named.transaction(&mut |_| Err(error::StoreError::new("a test", Kind::Other, "no")));
    assert_eq!((failed.unwrap_err().kind(), generation(&named)), (Kind::Other, before));
}

// The address may lead to another server by now, so connections end, also the connection that keeps leases.
#[test]
fn connections_do_not_live_for_ever() {
    let store = OnPostgres::new();
    let mut client = store.connect();
    let use_all = |named: &PostgresStore| {
        named.push(&[command("a", "1")]).unwrap();
        open_three(&store, named);
        named.renew(uuid::Uuid::nil(), Duration::from_secs(5)).unwrap();
    };
    let zero = Duration::ZERO;
    for options in [PostgresOptions::default().max_lifetime(zero), PostgresOptions::default().idle_timeout(zero)] {
        let named = named(&store.database, options.clone());
        use_all(&named);
        eventually("the end of all connections", || sessions(&mut client).is_empty());
        assert_eq!(generation(&named), 0, "their ends are no losses: {options:?}");
    }
    let named = named(&store.database, PostgresOptions::default());
    use_all(&named);
    let before = sessions(&mut client);
    use_all(&named);
    assert!(before.len() >= 4 && before == sessions(&mut client), "by default they are kept for a while");
}

// If the server takes no more connections, a call waits for a connection of the pool.
#[test]
fn a_call_waits_for_a_connection_when_the_server_takes_no_more() {
    let store = OnPostgres::new();
    let role = format!("crowded_{}", std::process::id());
    store.sql(&format!(
        "CREATE ROLE {role} LOGIN CONNECTION LIMIT 2; GRANT USAGE ON SCHEMA readside TO {role}; \
         GRANT ALL ON ALL TABLES IN SCHEMA readside TO {role}"
    ));
    let (base, name) = store.database.url().rsplit_once('/').unwrap();
    let url = format!("postgres://{role}@{}/{name}", base.rsplit_once('@').unwrap().1);
    let crowded = PostgresStore::connect(&url).unwrap();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..20 {
                    crowded.push(&[command("a", "1")]).unwrap();
                    crowded.filter(&Query::new()).unwrap();
                }
            });
        }
    });
    assert_eq!(store.filter(&Query::new()).unwrap().len(), 160);
    // If no connection can become free, the caller gets the server's answer.
    let error = PostgresStore::connect(&url).err().map(|error| error.code().map(str::to_owned));
    assert!(error.is_none_or(|code| code.as_deref() == Some("53300")));
    drop(crowded);
    store.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

fn refused(error: &error::StoreError) {
    let text = chain(error);
    assert_eq!(error.kind(), Kind::Usage, "{text}");
    assert!(text.contains("asynchronous runtime") && text.contains("spawn_blocking"), "{text}");
}

// Contract: J4: on such a thread the driver panics. It would panic again while the first panic unwinds, and that ends
// the process.
#[test]
fn calls_on_a_thread_of_an_asynchronous_runtime_are_refused() {
    let store = OnPostgres::new();
    let url = store.database.url().to_owned();
    let others = PostgresStore::connect(&url).unwrap();
    let projection = people("people", 1);
    ProjectionStore::setup(&others, &[&projection]).unwrap();
    let shared = Arc::new(PostgresStore::connect(&url).unwrap());
    let config = HandlerConfig::default().retries(0);
    let handler = ProjectionHandler::new(shared.clone(), shared.clone(), projection, config).unwrap();
    let on_thread = move || {
        refused(&PostgresStore::connect(&url).unwrap_err());
        match others.push(&[command("a", "1")]) {
            Err(PushError::Store(error)) => refused(&error),
            other => panic!("{other:?}"),
        }
        refused(&others.filter(&Query::new()).unwrap_err());
        refused(&others.renew(uuid::Uuid::nil(), Duration::from_secs(5)).unwrap_err());
        match handler.trigger(&["a"]) {
            Err(error::TriggerError::Store(error)) => refused(&error),
            other => panic!("{other:?}"),
        }
        assert!(others.examine(Duration::from_millis(100)).iter().any(|found| found.found.contains("spawn_blocking")));
        // The same with idle connections.
        drop(others);
    };
    for runtime in [tokio::runtime::Builder::new_multi_thread(), tokio::runtime::Builder::new_current_thread()] {
        let mut runtime = runtime;
        let runtime = runtime.build().unwrap();
        let shared = Arc::clone(&shared);
        let blocking = move || {
            shared.push(&[command("a", "1")]).unwrap();
            shared.filter(&Query::new()).unwrap().len()
        };
        let stored = runtime.block_on(async move { tokio::task::spawn_blocking(blocking).await.unwrap() });
        assert!(stored > 0, "it works on threads that may block");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async { tokio::spawn(async move { on_thread() }).await.unwrap() });
    shared.push(&[command("a", "1")]).unwrap();
    runtime.block_on(async move { drop(shared) });
}
