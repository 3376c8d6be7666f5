//! Random batches of statements run folded and one by one. Both ways give the same rows, and the same batches fail:
//! Contract: G3.
//!
//! `READSIDE_FOLD_CASES` sets the number of batches for each backend.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;
#[path = "folding/random.rs"]
mod random;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{PostgresStore, SqliteStore, testing};

use random::{Batch, Key, batch, is, with_key};

const INSTANCES: [&str; 2] = ["a", "b"];

/// A plain table that is folded, one with a second unique key, and one that refers to the first of its own tables.
fn projection(version: u32) -> Projection {
    let table = |name: &str| {
        Table::new(name)
            .column(integer("n").default(7))
            .column(text("id"))
            .column(text("name").nullable())
            .column(integer("sum").nullable())
            .column(float("f").nullable())
            .column(json("j").default(Value::Json("{}".to_owned())))
            .column(text_array("tags").nullable())
            .column(boolean("part"))
            .column(Column::new("u", ColumnType::Uuid).nullable())
            .column(timestamp("at").nullable())
            .column(bytes("raw").nullable())
            .column(decimal("money", 5, 2).nullable())
            .column(date("day").nullable())
            .column(time("time").nullable().default(Value::time("12:00:00")))
            .column(duration("took").nullable().default(Value::Duration(i64::MIN)))
            .column(enumeration("state", ["open", "it's done"]).default("it's done"))
            .column(integer_array("numbers").nullable())
            .column(uuid_array("uuids").default(Vec::<::uuid::Uuid>::new()))
            .primary_key(["part", "id"])
            .index(["name"])
    };
    Projection::new("fold", version)
        .table(table("plain"))
        .table(table("uniq").unique(["name"]))
        .table(
            Table::new("slim")
                .column(integer("n").default(7))
                .column(text("id"))
                .column(text("name").nullable())
                .column(integer("sum").nullable())
                .column(float("f").nullable().default(3))
                .column(decimal("money", 5, 2).default(Value::decimal("1.5")))
                .column(duration("took").nullable())
                .column(enumeration("state", ["open", "it's done"]).nullable())
                .column(date("day").nullable())
                .column(boolean("part"))
                .primary_key(["part", "id"]),
        )
        .table(
            Table::new("daily")
                .column(date("day"))
                .column(time("time"))
                .column(duration("took"))
                .column(decimal("money", 5, 2).default(0))
                .column(integer("n").default(0))
                .primary_key(["day", "time", "took"])
                .unique(["money", "day"]),
        )
        .table(
            Table::new("totals")
                .column(date("day"))
                .column(duration("took"))
                .column(decimal("money", 5, 2).default(0))
                .column(integer("n").default(0))
                .primary_key(["took", "day"]),
        )
        .table(
            ["a", "b", "c"].iter().fold(
                Table::new("wide").column(text("id")).primary_key(["id"]).index(["a", "b", "c"]),
                |table, name| table.column(text(*name).nullable()),
            ),
        )
        .table(
            Table::new("strict")
                .column(text("id"))
                .column(integer("n").default(0))
                .column(text("name").nullable())
                .column(integer("twice").generated("n * 2"))
                .column(text("said").nullable().generated("name || '!'"))
                .primary_key(["id"])
                .index(["said"])
                .index_by(Index::new("part").expression("100 / (n - 3)"))
                .index_by(Index::new("some").descending("name").covering(["n"]).only("n > 0"))
                .demand("small", "n BETWEEN -6 AND 6"),
        )
        .table(Table::new("owner").column(text("id")).column(integer("n").nullable()).primary_key(["id"]))
        .table(
            Table::new("owned")
                .column(text("id"))
                .column(text("owner").nullable())
                .primary_key(["id"])
                .references(["owner"], "owner"),
        )
        .table(
            Table::new("holding")
                .column(text("id"))
                .column(text("owner").nullable())
                .primary_key(["id"])
                .foreign_key(ForeignKey::to(["owner"], "owner").restrict()),
        )
        .table(
            Table::new("tree")
                .column(text("id"))
                .column(text("parent").nullable())
                .primary_key(["id"])
                .references(["parent"], "tree"),
        )
        .on_raw("thing", "thing.changed", |_| noop())
}

/// Runs each batch in its own transaction, which a failure rolls back. Says which batches succeeded.
fn run<S: ProjectionStore>(store: &S, projection: &Projection, batches: &[Batch], folded: bool) -> Vec<bool> {
    let run = |batch: &Batch| {
        let statements: Vec<(Arc<str>, Vec<&Statement>)> =
            batch.iter().map(|(instance, statement)| (instance.clone(), vec![statement])).collect();
        let outcome = store.transaction(&mut |tx| {
            if folded {
                return tx.apply(projection, &statements);
            }
            batch.iter().try_for_each(|(instance, statement)| tx.apply_one(projection, instance, statement))
        });
        if let Err(error) = &outcome {
            assert!(error.is_statements_fault(), "{error}: {:?}", std::error::Error::source(error));
        }
        outcome.is_ok()
    };
    batches.iter().map(run).collect()
}

static VERSION: AtomicU32 = AtomicU32::new(1);

fn compare<S: testing::laws::Models + ProjectionStore>(
    store: &S,
    batches: &[Batch],
    counts: &RefCell<Vec<bool>>,
) -> Result<(), TestCaseError> {
    let version = VERSION.fetch_add(2, Ordering::Relaxed);
    let (folded, single) = (projection(version), projection(version + 1));
    store.setup(&[&folded]).unwrap();
    store.setup(&[&single]).unwrap();
    let succeeded = run(store, &single, batches, false);
    prop_assert_eq!(run(store, &folded, batches, true), succeeded.clone());
    counts.borrow_mut().extend(succeeded);
    for instance in INSTANCES {
        let sorted = |projection: &Projection| {
            let mut tables = store.model(projection, instance).unwrap().tables;
            for rows in &mut tables {
                rows.sort_by_key(|row| format!("{row:?}"));
            }
            tables
        };
        prop_assert_eq!(sorted(&folded), sorted(&single));
    }
    Ok(())
}

/// The number of cases on one store. Each case creates tables, and set-up reads all existing ones.
const OF_ONE_STORE: u32 = 60;

fn all<S: testing::laws::Models + ProjectionStore>(open: impl Fn() -> S, cases: u32) {
    let mut left = std::env::var("READSIDE_FOLD_CASES").map_or(cases, |cases| cases.parse().unwrap());
    let batches = prop::collection::vec(batch(), 1..6);
    let counts = RefCell::default();
    while left > 0 {
        let cases = left.min(OF_ONE_STORE);
        left -= cases;
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let store = open();
        TestRunner::new(config).run(&batches, |batches| compare(&store, &batches, &counts)).unwrap();
    }
    let counts = counts.into_inner();
    let succeeded = counts.iter().filter(|succeeded| **succeeded).count();
    println!("{succeeded} of {} batches succeeded", counts.len());
    // A failed batch compares no rows, so most batches have to succeed.
    assert!(succeeded * 2 > counts.len() && succeeded < counts.len(), "{succeeded} of {}", counts.len());
}

/// If a sum overflows for a moment, the batch fails, whatever follows.
fn overflows<S: testing::laws::Models + ProjectionStore>(store: &S) {
    let key = (true, "a".to_owned());
    let on_plain = |built: Reduced| (Arc::from("a"), in_table("plain", built).unwrap());
    let add = |by: i64| on_plain(update([increment("sum", by)], is(&key)));
    let batches = [
        vec![on_plain(create(with_key(&key, vec![set("sum", i64::MAX)])))],
        vec![add(1), add(-1)],
        vec![add(1), on_plain(delete(is(&key)))],
        vec![add(1), on_plain(update([set("sum", 0)], is(&key)))],
        vec![add(-1), add(-1)],
    ];
    let counts = RefCell::default();
    compare(store, &batches, &counts).unwrap();
    assert_eq!(counts.into_inner(), [true, false, false, false, true]);
}

/// If a check refuses a row for a moment, the batch fails, whatever follows.
fn refusals<S: testing::laws::Models + ProjectionStore>(store: &S) {
    let on = |built: Reduced| (Arc::from("a"), in_table("strict", built).unwrap());
    let set_n = |n: i64| on(update([set("n", n)], [eq("id", "a")]));
    let batches = [
        vec![on(create([set("id", "a"), set("n", 5)]))],
        vec![set_n(9), set_n(1)],
        vec![set_n(-7), on(delete([eq("id", "a")]))],
        vec![on(upsert(["id"], [set("id", "a"), increment("n", 2)])), set_n(1)],
        vec![on(create([set("id", "b"), set("n", 7)])), on(delete([eq("id", "b")]))],
        vec![set_n(6), set_n(1)],
    ];
    let counts = RefCell::default();
    compare(store, &batches, &counts).unwrap();
    assert_eq!(counts.into_inner(), [true, false, false, false, false, true]);
}

// Contract: G3
#[cfg(feature = "sqlite")]
#[test]
fn nothing_that_a_check_refuses_is_folded_away_on_sqlite() {
    refusals(&SqliteStore::in_memory().unwrap());
}

// Contract: G3
#[cfg(feature = "postgres")]
#[test]
fn nothing_that_a_check_refuses_is_folded_away_on_postgres() {
    let database = common::postgres::database();
    refusals(&PostgresStore::connect(&database.store_url()).unwrap());
}

/// Rows that come and go in one batch. The batch must still fail if such a row existed before.
fn comings_and_goings<S: testing::laws::Models + ProjectionStore>(store: &S, table: &str) {
    let (old, other) = ((true, "a".to_owned()), (false, "a".to_owned()));
    let on = |built: Reduced| (Arc::from("a"), in_table(table.to_owned(), built).unwrap());
    let new = |key: &Key, sum: i64| on(create(with_key(key, vec![set("sum", sum)])));
    let add = |key: &Key| on(update([increment("sum", 1)], is(key)));
    let gone = |key: &Key| on(delete(is(key)));
    let put = |key: &Key| on(upsert(["id", "part"], with_key(key, vec![set("name", "x"), increment("n", 1)])));
    let steps = [
        (vec![new(&old, 1), put(&old)], true),
        (vec![new(&other, 1), add(&other), gone(&other)], true),
        (vec![new(&old, 1), gone(&old)], false),
        (vec![new(&old, 1), gone(&old), new(&old, 2)], false),
        (vec![new(&other, 1), gone(&other), gone(&other), add(&other), new(&other, 2), add(&other)], true),
        (vec![gone(&other), new(&other, 1), new(&other, 1)], false),
        (vec![gone(&old), add(&old), new(&old, 5), add(&old)], true),
        (vec![gone(&old), put(&old), put(&old)], true),
        (vec![gone(&other), new(&other, 3), gone(&other), put(&other)], true),
    ];
    let (batches, wanted): (Vec<Batch>, Vec<bool>) = steps.into_iter().unzip();
    let counts = RefCell::default();
    for end in 1..=batches.len() {
        compare(store, &batches[..end], &counts).unwrap();
    }
    assert!(counts.into_inner().ends_with(&wanted));
}

// Contract: G3
#[cfg(feature = "sqlite")]
#[test]
fn rows_that_come_and_go_are_the_same_on_sqlite() {
    let store = SqliteStore::in_memory().unwrap();
    for table in ["plain", "slim"] {
        comings_and_goings(&store, table);
    }
}

// Contract: G3
#[cfg(feature = "postgres")]
#[test]
fn rows_that_come_and_go_are_the_same_on_postgres() {
    let database = common::postgres::database();
    let store = PostgresStore::connect(&database.store_url()).unwrap();
    for table in ["plain", "slim"] {
        comings_and_goings(&store, table);
    }
}

/// A row that no index of PostgreSQL can hold, although each of its texts would fit, is not folded away. Returns the
/// outcomes.
fn too_wide<S: testing::laws::Models + ProjectionStore>(store: &S) -> Vec<bool> {
    let wide = |built: Reduced| (Arc::from("a"), in_table("wide", built).unwrap());
    // A text that cannot be compressed.
    let text = |column: u64| (0..60).map(|n| hash(column * 100 + n).to_string()).collect::<Vec<_>>().concat();
    let values = [set("id", "x"), set("a", text(1)), set("b", text(2)), set("c", text(3))];
    let batches = [vec![wide(create(values)), wide(delete([eq("id", "x")]))], vec![wide(create([set("id", "x")]))]];
    let counts = RefCell::default();
    compare(store, &batches, &counts).unwrap();
    counts.into_inner()
}

fn hash(n: u64) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(n)
}

// Contract: G3
#[cfg(feature = "sqlite")]
#[test]
fn a_row_too_wide_for_an_index_is_the_same_on_sqlite() {
    assert_eq!(too_wide(&SqliteStore::in_memory().unwrap()), [true, true]);
}

// Contract: G3
#[cfg(feature = "postgres")]
#[test]
fn a_row_too_wide_for_an_index_is_the_same_on_postgres() {
    let database = common::postgres::database();
    assert_eq!(too_wide(&PostgresStore::connect(&database.store_url()).unwrap()), [false, true]);
}

/// So many rows that folding runs in parallel to writing: new rows, sums over rows written before, and then a
/// failure.
fn many<S: testing::laws::Models + ProjectionStore>(store: &S) {
    let key = |n: usize| (n.is_multiple_of(2), format!("k{}", n % 5_500));
    let on = |n: usize, built: Reduced| (Arc::from(INSTANCES[n / 5_500]), in_table("plain", built).unwrap());
    let new = |n: usize| on(n, create(with_key(&key(n), vec![set("sum", 1)])));
    let more = |n: usize| on(n, update([increment("sum", 2)], is(&key(n))));
    let all = || (0..11_000).map(new);
    let mut failing: Batch = (0..11_000).map(more).collect();
    failing.push(new(0));
    let batches = [all().chain((0..11_000).step_by(7).map(more)).collect(), failing, vec![more(3)]];
    let counts = RefCell::default();
    compare(store, &batches, &counts).unwrap();
    assert_eq!(counts.into_inner(), [true, false, true]);
}

// Contract: G3
#[cfg(feature = "sqlite")]
#[test]
fn what_is_folded_beside_the_writing_is_the_same_on_sqlite() {
    many(&SqliteStore::in_memory().unwrap());
}

// Contract: G3
#[cfg(feature = "postgres")]
#[test]
fn what_is_folded_beside_the_writing_is_the_same_on_postgres() {
    let database = common::postgres::database();
    many(&PostgresStore::connect(&database.store_url()).unwrap());
}

// Contract: G3
#[cfg(feature = "sqlite")]
#[test]
fn no_overflow_is_folded_away_on_sqlite() {
    overflows(&SqliteStore::in_memory().unwrap());
}

// Contract: G3
#[cfg(feature = "postgres")]
#[test]
fn no_overflow_is_folded_away_on_postgres() {
    let database = common::postgres::database();
    overflows(&PostgresStore::connect(&database.store_url()).unwrap());
}

// Contract: G3
#[cfg(feature = "sqlite")]
#[test]
fn folded_and_one_by_one_are_the_same_on_sqlite() {
    all(|| SqliteStore::in_memory().unwrap(), 300);
}

// Contract: G3
#[cfg(feature = "postgres")]
#[test]
fn folded_and_one_by_one_are_the_same_on_postgres() {
    let database = common::postgres::database();
    all(|| PostgresStore::connect(&database.store_url()).unwrap(), 60);
}
