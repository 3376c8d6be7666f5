//! Random batches of statements run folded and one by one. Both ways give the same rows, and the same batches fail:
//! Contract: G3.
//!
//! `READSIDE_FOLD_CASES` sets the number of batches for each backend.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{PostgresStore, SqliteStore, testing};

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

/// A random assignment. There are few choices, so batches change the same rows. On the slim table it uses only
/// columns of that table.
fn assignment(slim: bool) -> BoxedStrategy<Assignment> {
    let number = || prop_oneof![60 => -3..4_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN + 1)];
    let plain = prop_oneof![
        30 => "[xyz]".prop_map(|text| set("name", text)),
        10 => Just(set("name", Value::Null)),
        1 => Just(set("name", "long".repeat(1000))),
        30 => number().prop_map(|n| set("sum", n)),
        10 => Just(set("sum", Value::Null)),
        50 => number().prop_map(|n| increment("sum", n)),
        40 => number().prop_map(|n| increment("n", n)),
        20 => number().prop_map(|n| set("n", n)),
        1 => Just(set("n", Value::Null)),
        20 => (-3..4_i64).prop_map(|n| set("f", n)),
        5 => (-3..4_i64).prop_map(|n| increment("f", n)),
        // Some values do not fit into five digits, at once or as a sum.
        30 => money().prop_map(|money| increment("money", money)),
        15 => money().prop_map(|money| decrement("money", money)),
        15 => money().prop_map(|money| set("money", money)),
        5 => (-3..4_i64).prop_map(|n| increment("money", n)),
        5 => money().prop_map(|money| greatest("money", money)),
        5 => money().prop_map(|money| least("money", money)),
        5 => number().prop_map(|n| greatest("sum", n)),
        10 => length().prop_map(|length| increment("took", length)),
        5 => length().prop_map(|length| set("took", length)),
        10 => prop::sample::select(&["open", "it's done", "open"]).prop_map(|state| set("state", state)),
        1 => Just(set("state", "unknown")),
        5 => day().prop_map(|day| set("day", day)),
        5 => day().prop_map(|day| least("day", day)),
        5 => Just(copy_column("sum", "n")),
        5 => number().prop_map(|n| set_if("sum", n, gt("sum", 0))),
        5 => (prop::sample::select(&["plain", "slim", "uniq"]), key())
            .prop_map(|(table, key)| look_up("sum", table, "sum", is(&key))),
        2 => (prop::sample::select(&["plain", "slim"]), key())
            .prop_map(|(table, key)| look_up("n", table, "n", [all_of(is(&key))])),
    ];
    if slim {
        return plain.boxed();
    }
    prop_oneof![
        340 => plain,
        20 => (0..3).prop_map(|n| set("j", Value::Json(format!("[{n}]")))),
        1 => Just(set("j", Value::Json("[1e5]".to_owned()))),
        5 => "[xyz]".prop_map(|text| array_append("tags", text)),
        5 => texts().prop_map(|texts| set("tags", texts)),
        5 => Just(set("tags", None::<Vec<String>>)),
        5 => (0..3_u128).prop_map(|n| set("u", uuid_of(n))),
        5 => (0..3_u64).prop_map(|n| set("at", std::time::UNIX_EPOCH + std::time::Duration::from_secs(n))),
        5 => (0..3_u8).prop_map(|n| set("raw", vec![n])),
        2 => Just(set("f", Value::Float(-0.0))),
        2 => prop::sample::select(&["[1E2, -0]", "[1e400]", "[1e-16383]"]).prop_map(|text| set("j", Value::Json(text.to_owned()))),
        2 => prop::sample::select(&ENDS).prop_map(|at| set("at", at_second(at))),
        10 => time_of_day().prop_map(|time| set("time", time)),
        5 => prop::collection::vec(number(), 0..3).prop_map(|numbers| set("numbers", numbers)),
        5 => number().prop_map(|n| array_append("numbers", n)),
        3 => number().prop_map(|n| array_remove("numbers", n)),
        5 => prop::collection::vec(0..3_u128, 0..3).prop_map(|ids| set("uuids", ids.into_iter().map(::uuid::Uuid::from_u128).collect::<Vec<_>>())),
        5 => (0..3_u128).prop_map(|n| array_append("uuids", uuid_of(n))),
    ]
    .boxed()
}

/// Amounts with few or many digits. A column of five digits holds only a part of them.
fn money() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (-300..300_i64, 0..3_u8),
        1 => (-99_999..=99_999_i64).prop_map(|units| (units, 2)),
        1 => prop::sample::select(&[(99_999, 2), (-99_999, 2), (100_000, 2), (1_500, 3)]),
    ]
    .prop_map(|(units, scale)| Value::Decimal(Decimal::new(units, scale).unwrap()))
}

fn length() -> impl Strategy<Value = Value> {
    prop_oneof![8 => -3..4_i64, 1 => any::<i64>(), 1 => Just(i64::MIN)].prop_map(Value::Duration)
}

fn day() -> impl Strategy<Value = Value> {
    prop::sample::select(&["0001-01-01", "1999-12-31", "2026-01-31", "9999-12-31"]).prop_map(Value::date)
}

fn time_of_day() -> impl Strategy<Value = Value> {
    prop::sample::select(&["00:00:00", "12:00:00.000001", "23:59:59.999999"]).prop_map(Value::time)
}

/// Statements on a table that refuses some rows, also rows that exist only for a moment.
fn on_strict() -> impl Strategy<Value = Reduced> {
    let id = || "[ab]";
    let n = || -4..5_i64;
    let statement = prop_oneof![
        2 => (id(), n()).prop_map(|(id, n)| upsert(["id"], [set("id", id), increment("n", n)])),
        2 => (id(), n()).prop_map(|(id, n)| update([increment("n", n), set("name", "x")], [eq("id", id)])),
        2 => (id(), -9..10_i64).prop_map(|(id, n)| update([set("n", n)], [eq("id", id)])),
        1 => id().prop_map(|id| delete([eq("id", id)])),
    ];
    statement.prop_map(|statement| in_table("strict", statement))
}

/// Statements on tables whose keys are days, times and durations.
fn on_days() -> impl Strategy<Value = Reduced> {
    let key = || {
        let took = prop::sample::select(&[-1, 0, i64::MAX]).prop_map(Value::Duration);
        (day(), time_of_day(), took)
    };
    let row = |(day, time, took): (Value, Value, Value)| vec![set("day", day), set("time", time), set("took", took)];
    let is = |(day, time, took): (Value, Value, Value)| [eq("day", day), eq("time", time), eq("took", took)];
    let total = (day(), prop::sample::select(&[-1, 0, i64::MAX]), money(), any::<bool>());
    prop_oneof![
        3 => (key(), money()).prop_map(move |(key, money)| {
            let values = [row(key), vec![set("money", money), increment("n", 1)]].concat();
            in_table("daily", upsert(["day", "time", "took"], values))
        }),
        2 => (key(), money()).prop_map(move |(key, money)| in_table("daily", update([set("money", money)], is(key)))),
        1 => (key(), money()).prop_map(move |(key, money)| in_table("daily", update([increment("money", money)], is(key)))),
        1 => key().prop_map(move |key| in_table("daily", delete(is(key)))),
        1 => money().prop_map(|money| in_table("daily", delete([lt("money", money)]))),
        1 => (day(), money()).prop_map(|(day, money)| in_table("daily", update([increment("n", 1)], [ge("day", day), ne("money", money)]))),
        6 => total.prop_map(|(day, took, money, adds)| {
            let (key, took) = ([set("day", day.clone()), set("took", Value::Duration(took))], Value::Duration(took));
            in_table("totals", if adds {
                upsert(["day", "took"], key.into_iter().chain([increment("money", money), increment("n", 1)]))
            } else {
                update([increment("money", money)], [eq("day", day), eq("took", took)])
            })
        }),
    ]
}

/// Texts that could be misread inside a literal of an array.
fn texts() -> impl Strategy<Value = Vec<String>> {
    const ODD: [&str; 15] =
        ["", "NULL", "null", "{", "}", "{}", ",", "\"", "\\", "\\\"", "'", " x ", "a\nb", "ß😀", "$1"];
    prop::collection::vec(prop::sample::select(ODD.as_slice()), 0..4)
        .prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

/// 0001-01-01 and 9999-12-31T23:59:59, in seconds.
const ENDS: [i64; 2] = [-62_135_596_800, 253_402_300_799];

fn at_second(at: i64) -> std::time::SystemTime {
    let distance = std::time::Duration::from_secs(at.unsigned_abs());
    if at < 0 { std::time::UNIX_EPOCH - distance } else { std::time::UNIX_EPOCH + distance }
}

fn uuid_of(n: u128) -> Value {
    Value::Uuid(::uuid::Uuid::from_u128(n))
}

/// A few assignments. The builders refuse a column that comes twice.
fn assignments(slim: bool) -> impl Strategy<Value = Vec<Assignment>> {
    prop::collection::vec(assignment(slim), 1..4)
}

type Key = (bool, String);

fn key() -> impl Strategy<Value = Key> {
    (any::<bool>(), "[ab]")
}

fn with_key(key: &Key, rest: Vec<Assignment>) -> Vec<Assignment> {
    let mut values = vec![set("part", key.0), set("id", key.1.clone())];
    values.extend(rest);
    values
}

fn is(key: &Key) -> Vec<Condition> {
    vec![eq("id", key.1.clone()), eq("part", key.0)]
}

/// A statement on the plain table, the unique table, or the slim table.
fn on_things(slim: bool) -> impl Strategy<Value = Reduced> {
    let some = || (key(), assignments(slim));
    let conflict = ["id", "part"];
    prop_oneof![
        2 => some().prop_map(|(key, rest)| create(with_key(&key, rest))),
        5 => some().prop_map(move |(key, rest)| upsert(conflict, with_key(&key, rest))),
        2 => (key(), -3..4_i64).prop_map(move |(key, n)| upsert(conflict, with_key(&key, vec![set_on_insert("sum", n)]))),
        7 => some().prop_map(|(key, rest)| update(rest, is(&key))),
        3 => key().prop_map(|key| delete(is(&key))),
        1 => (-3..4_i64).prop_map(|n| update([increment("n", 1)], [gt("sum", n)])),
        1 => "[xyz]".prop_map(|text| delete([eq("name", text)])),
        2 => some().prop_map(|(key, rest)| update(rest, [all_of([eq("part", key.0), all_of([eq("id", key.1)])])])),
        1 => (key(), key()).prop_map(|(one, other)| update([increment("n", 1)], [any_of([all_of(is(&one)), all_of(is(&other))])])),
        1 => "[xyz]".prop_map(|text| delete([any_of([eq("name", text), is_null("sum")]), not(all_of([eq("part", true), gt("n", 7)]))])),
        1 => prop::collection::vec(key(), 0..3).prop_map(|keys| {
            delete([are_in(["part", "id"], keys.into_iter().map(|(part, id)| [Value::from(part), Value::from(id)]))])
        }),
        1 => (some(), 0..3_u64).prop_map(|((key, rest), rows)| update(rest, is(&key)).expect_rows(rows)),
        1 => (key(), 0..2_u64).prop_map(|(key, rows)| delete(is(&key)).expect_rows(rows)),
        1 => (key(), key()).prop_map(move |(from, to)| copy(
            conflict,
            ["id", "part", "sum", "f"],
            [source_value(to.1), source_value(to.0), source_column("sum").added(), source_column("f")],
            is(&from),
        )),
    ]
}

fn on_owners() -> impl Strategy<Value = Reduced> {
    let id = || "[a-c]";
    prop_oneof![
        id().prop_map(|id| in_table("owner", upsert(["id"], [set("id", id), increment("n", 1)]))),
        (id(), -3..4_i64).prop_map(|(id, n)| in_table("owner", update([set("n", n)], [eq("id", id)]))),
        id().prop_map(|id| in_table("owner", create([set("id", id)]))),
        (id(), id()).prop_map(|(id, of)| in_table("owned", create([set("id", id), set("owner", of)]))),
        (id(), id()).prop_map(|(id, of)| in_table("owned", update([set("owner", of)], [eq("id", id)]))),
        id().prop_map(|id| in_table("owner", delete([eq("id", id)]))),
        (id(), id()).prop_map(|(id, of)| in_table("owned", upsert(["id"], [set("id", id), set("owner", of)]))),
        id().prop_map(|id| in_table("owned", delete([eq("id", id)]))),
        (id(), id()).prop_map(|(id, of)| in_table("holding", upsert(["id"], [set("id", id), set("owner", of)]))),
        id().prop_map(|id| in_table("holding", delete([eq("id", id)]))),
    ]
}

/// Statements of one form on a table with a unique key, in which rows may take over each other's values.
fn in_order() -> impl Strategy<Value = Vec<Statement>> {
    let key = || "[a-e]";
    let name = || "[a-h]";
    let row = |id: String, rest: Vec<Assignment>| [vec![set("part", true), set("id", id)], rest].concat();
    let all = |values: Vec<Reduced>| values.into_iter().map(|built| in_table("uniq", built).unwrap()).collect();
    prop_oneof![
        3 => prop::collection::vec((key(), name()), 1..6).prop_map(move |pairs| all(
            pairs.into_iter().map(|(id, name)| update([set("name", name)], [eq("id", id), eq("part", true)])).collect()
        )),
        2 => prop::collection::vec((key(), name()), 1..6).prop_map(move |pairs| all(
            pairs.into_iter().map(|(id, name)| upsert(["id", "part"], row(id, vec![set("name", name)]))).collect()
        )),
        2 => prop::collection::vec(key(), 1..6).prop_map(move |ids| all(
            ids.into_iter().map(|id| create(row(id.clone(), vec![set("name", id)]))).collect()
        )),
        // These rows need each other, in any order. One by one, most orders fail.
        1 => Just(vec![("a", "a"), ("b", "a"), ("c", "b")]).prop_shuffle().prop_map(move |pairs| pairs
            .into_iter()
            .map(|(id, parent)| in_table("tree", create([set("id", id), set("parent", parent)])).unwrap())
            .collect()),
        4 => prop::collection::vec(on_days(), 1..8)
            .prop_map(|built| built.into_iter().map(|built| built.unwrap()).collect()),
        2 => prop::collection::vec(on_strict(), 1..6)
            .prop_map(|built| built.into_iter().map(|built| built.unwrap()).collect()),
        4 => prop::collection::vec(on_owners(), 1..8)
            .prop_map(|built| built.into_iter().map(|built| built.unwrap()).collect()),
        2 => prop::collection::vec(key(), 1..6).prop_map(move |ids| all(
            ids.into_iter().map(|id| delete([eq("id", id), eq("part", true)])).collect()
        )),
    ]
}

fn statement() -> impl Strategy<Value = Statement> {
    let one = prop_oneof![
        14 => on_things(false).prop_map(|statement| in_table("plain", statement)),
        6 => on_things(true).prop_map(|statement| in_table("slim", statement)),
        1 => on_things(false).prop_map(|statement| in_table("uniq", statement)),
        1 => on_owners(),
        5 => on_days(),
        2 => on_strict(),
    ];
    // The builders refuse some statements, which become `Noop`.
    let one = one.prop_map(|built| built.unwrap_or(Statement::Noop));
    prop_oneof![9 => one.clone(), 1 => prop::collection::vec(one, 0..3).prop_map(Statement::Multi)]
}

type Batch = Vec<(Arc<str>, Statement)>;

fn batch() -> impl Strategy<Value = Batch> {
    let one = |(at, statement): (usize, Statement)| (Arc::from(INSTANCES[at]), statement);
    let mixed = prop::collection::vec((0..INSTANCES.len(), statement()), 1..14);
    let runs = (0..INSTANCES.len(), prop::collection::vec(in_order(), 1..3));
    prop_oneof![
        2 => mixed.prop_map(move |all| all.into_iter().map(one).collect::<Batch>()),
        1 => runs.prop_map(move |(at, all)| all.into_iter().flatten().map(|statement| one((at, statement))).collect::<Batch>()),
    ]
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
