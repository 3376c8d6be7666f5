//! Connections and transactions that a store lends to a service: Contract: A4, A10.

use readside::error::{QueryError, StoreError, StoreErrorKind};
use readside::prelude::*;
use readside::{Date, NewEvent, Time};

use crate::reading::{ALL, Facts, fill};
use crate::{Fixture, Which};

fn other(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::new("a test", StoreErrorKind::Other, error)
}

// Contract: A10
both!(a_lent_connection_only_reads);
fn a_lent_connection_only_reads(fixture: &Fixture) {
    fill(fixture, 2);
    let generation = fixture.store.generation();
    // More calls than there are connections.
    for _ in 0..30 {
        let count: i64 = match &fixture.which {
            #[cfg(feature = "sqlite")]
            Which::Sqlite(store) => store.with_client(|client| {
                client.execute("DELETE FROM facts_1", []).unwrap_err();
                client.query_row("SELECT count(*) FROM facts", [], |row| row.get(0)).map_err(other)
            }),
            #[cfg(feature = "postgres")]
            Which::Postgres(store) => store.with_client(|client| {
                client.batch_execute("SET search_path TO nowhere; SELECT pg_advisory_lock(7)").map_err(other)?;
                let count = client.query_one("SELECT count(*) FROM public.facts", &[]).map_err(other)?.get(0);
                client.execute("DELETE FROM public.facts_1", &[]).unwrap_err();
                Ok::<i64, StoreError>(count)
            }),
        }
        .unwrap();
        assert_eq!(count, 3);
    }
    assert_eq!(fixture.store.generation(), generation, "no connection was given up");
    let failed = with_store!(fixture, store => store.with_client(|_| Err::<(), _>(StoreError::new("a", StoreErrorKind::Other, "b"))));
    assert_eq!(failed.unwrap_err().kind(), StoreErrorKind::Other);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(
        || with_store!(fixture, store => store.with_client(|_| -> Result<(), StoreError> { panic!("on purpose") })),
    ));
    assert!(panicked.is_err());
    fixture.store.push(&[NewEvent::raw("acme", "fact", "3", "fact.added")]).unwrap();
    let found: Vec<Facts> = with_store!(fixture, store => store.query_as("acme", ALL, &[])).unwrap();
    assert_eq!(found.len(), 2);
}

// Contract: A4, A10: rows and events are stored through one pool.
both!(a_lent_transaction_stores_rows_and_events_together);
fn a_lent_transaction_stores_rows_and_events_together(fixture: &Fixture) {
    let add = |id: &str, fails: bool| match &fixture.which {
        #[cfg(feature = "sqlite")]
        Which::Sqlite(store) => store.with_transaction(|transaction| {
            transaction.execute_batch("CREATE TABLE IF NOT EXISTS carts (id TEXT PRIMARY KEY)").map_err(other)?;
            transaction.execute("INSERT INTO carts VALUES (?1)", [id]).map_err(other)?;
            let pushed = store.push_in(transaction, &[NewEvent::raw("acme", "cart", id, "cart.opened")]);
            if fails { Err(StoreError::new("a", StoreErrorKind::Other, "b").into()) } else { pushed }
        }),
        #[cfg(feature = "postgres")]
        Which::Postgres(store) => store.with_transaction(|transaction| {
            let sql = "SET search_path TO public; CREATE TABLE IF NOT EXISTS carts (id TEXT PRIMARY KEY)";
            transaction.batch_execute(sql).map_err(other)?;
            transaction.execute("INSERT INTO carts VALUES ($1)", &[&id]).map_err(other)?;
            let pushed = store.push_in(transaction, &[NewEvent::raw("acme", "cart", id, "cart.opened")]);
            transaction.batch_execute("SET search_path TO nowhere").map_err(other)?;
            if fails { Err(StoreError::new("a", StoreErrorKind::Other, "b").into()) } else { pushed }
        }),
    };
    let pushed = add("c1", false).unwrap();
    pushed.token.fire();
    add("c2", true).unwrap_err();
    add("c1", false).unwrap_err();
    add("c3", false).unwrap().token.fire();
    let rows: Vec<String> =
        with_store!(fixture, store => store.query_all_as("SELECT id FROM carts ORDER BY id", &[])).unwrap();
    assert_eq!(rows, ["c1", "c3"]);
    let events = fixture.store.filter(&readside::query::Query::new()).unwrap();
    assert_eq!(events.iter().map(readside::Event::aggregate_id).collect::<Vec<_>>(), ["c1", "c3"]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(
        || with_store!(fixture, store => store.with_transaction(|_| -> Result<(), StoreError> { panic!("on purpose") })),
    ));
    assert!(panicked.is_err());
    fixture.store.push(&[NewEvent::raw("acme", "cart", "c4", "cart.opened")]).unwrap();
}

// Contract: A10: if the caller ignores an error, the transaction does not count as committed.
#[cfg(feature = "postgres")]
#[test]
fn a_lent_transaction_that_failed_inside_is_not_committed() {
    let fixture = crate::postgres();
    let Which::Postgres(store) = &fixture.which else { unreachable!() };
    let outcome = store.with_transaction(|transaction| {
        transaction.batch_execute("CREATE TABLE carts (id TEXT PRIMARY KEY)").map_err(other)?;
        let _ = transaction.execute("INSERT INTO nowhere VALUES (1)", &[]);
        Ok::<(), StoreError>(())
    });
    assert_eq!(outcome.unwrap_err().kind(), StoreErrorKind::Usage);
    let missing = store.query_all_as::<String>("SELECT id FROM carts", &[]);
    assert!(matches!(missing, Err(QueryError::Store(error)) if error.kind() == StoreErrorKind::Schema));
}

// Contract: A10: no Ok for a transaction that the service itself ended.
both!(a_lent_transaction_that_was_ended_inside_is_no_success);
fn a_lent_transaction_that_was_ended_inside_is_no_success(fixture: &Fixture) {
    let run = |sql: &str| match &fixture.which {
        #[cfg(feature = "sqlite")]
        Which::Sqlite(store) => store.with_transaction(|transaction| transaction.execute_batch(sql).map_err(other)),
        #[cfg(feature = "postgres")]
        Which::Postgres(store) => store.with_transaction(|transaction| transaction.batch_execute(sql).map_err(other)),
    };
    run("CREATE TABLE carts (id TEXT PRIMARY KEY)").unwrap();
    let ends = ["ROLLBACK", "COMMIT", "ROLLBACK; BEGIN", "COMMIT; BEGIN; INSERT INTO carts VALUES ('lost')"];
    for (at, end) in ends.iter().enumerate() {
        let error = run(&format!("INSERT INTO carts VALUES ('{at}'); {end}")).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Usage, "{end}: {error}");
        let why = readside::error::chain(&error);
        assert!(why.contains("a COMMIT or ROLLBACK of its own"), "{why}");
    }
    run("SAVEPOINT a; INSERT INTO carts VALUES ('none'); ROLLBACK TO a; INSERT INTO carts VALUES ('some'); RELEASE a")
        .unwrap();
    let rows: Vec<String> =
        with_store!(fixture, store => store.query_all_as("SELECT id FROM carts ORDER BY id", &[])).unwrap();
    assert_eq!(rows, ["1", "3", "some"]);
}

// Contract: A10: no Ok for a read whose transaction the service itself ended: the rest of it could write.
both!(a_lent_read_that_was_ended_inside_is_no_success);
fn a_lent_read_that_was_ended_inside_is_no_success(fixture: &Fixture) {
    fill(fixture, 1);
    let run = |sql: &str| match &fixture.which {
        #[cfg(feature = "sqlite")]
        Which::Sqlite(store) => store.with_client(|client| client.execute_batch(sql).map_err(other)),
        #[cfg(feature = "postgres")]
        Which::Postgres(store) => store.with_client(|client| client.batch_execute(sql).map_err(other)),
    };
    for end in ["ROLLBACK", "COMMIT", "ROLLBACK; BEGIN", "COMMIT; BEGIN; SELECT 1"] {
        let error = run(end).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Usage, "{end}: {error}");
        let why = readside::error::chain(&error);
        assert!(why.contains("a COMMIT or ROLLBACK of its own"), "{why}");
    }
    run("SAVEPOINT a; SELECT 1; ROLLBACK TO a; RELEASE a").unwrap();
}

// Contract: A10, A4: rows of a service's own hold money and days, too.
#[cfg(feature = "postgres")]
#[test]
fn the_driver_takes_money_and_days() {
    let fixture = crate::postgres();
    let Which::Postgres(store) = &fixture.which else { unreachable!() };
    let amounts: Vec<Decimal> =
        ["0", "19.90", "-0.01", "999999999999999999", "0.000000000000000001"].map(|n| n.parse().unwrap()).to_vec();
    let (day, hour) = (Date::new(1, 1, 1).unwrap(), Time::new(23, 59, 59, 999_999).unwrap());
    store
        .with_transaction(|transaction| {
            let sql = "CREATE TABLE receipts (n bigint, amount numeric, day date, hour time)";
            transaction.batch_execute(sql).map_err(other)?;
            for (n, amount) in (0_i64..).zip(&amounts) {
                let sql = "INSERT INTO receipts VALUES ($1, $2, $3, $4)";
                transaction.execute(sql, &[&n, amount, &Some(day), &hour]).map_err(other)?;
            }
            Ok::<(), StoreError>(())
        })
        .unwrap();
    store
        .with_client(|client| {
            let rows = client.query("SELECT amount, day, hour FROM receipts ORDER BY n", &[]).map_err(other)?;
            assert_eq!(rows.iter().map(|row| row.get::<_, Decimal>(0)).collect::<Vec<_>>(), amounts);
            assert!(rows.iter().all(|row| (row.get::<_, Option<Date>>(1), row.get::<_, Time>(2)) == (Some(day), hour)));
            for (sql, wanted) in [
                ("SELECT 'NaN'::numeric", "beyond the range of a Decimal"),
                ("SELECT 1e18::numeric", "beyond the range of a Decimal"),
                ("SELECT 1", "cannot convert"),
            ] {
                let row = client.query_one(sql, &[]).map_err(other)?;
                let refused = readside::error::chain(&row.try_get::<_, Decimal>(0).unwrap_err());
                assert!(refused.contains(wanted), "{sql}: {refused}");
            }
            let row = client.query_one("SELECT 'infinity'::date, '24:00'::time", &[]).map_err(other)?;
            assert!(row.try_get::<_, Date>(0).is_err() && row.try_get::<_, Time>(1).is_err());
            Ok::<(), StoreError>(())
        })
        .unwrap();
}
