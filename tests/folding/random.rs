//! Random statements on the tables of the projection.

use std::sync::Arc;

use proptest::prelude::*;
use readside::prelude::*;

use crate::INSTANCES;

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

pub(crate) type Key = (bool, String);

fn key() -> impl Strategy<Value = Key> {
    (any::<bool>(), "[ab]")
}

pub(crate) fn with_key(key: &Key, rest: Vec<Assignment>) -> Vec<Assignment> {
    let mut values = vec![set("part", key.0), set("id", key.1.clone())];
    values.extend(rest);
    values
}

pub(crate) fn is(key: &Key) -> Vec<Condition> {
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

pub(crate) type Batch = Vec<(Arc<str>, Statement)>;

pub(crate) fn batch() -> impl Strategy<Value = Batch> {
    let one = |(at, statement): (usize, Statement)| (Arc::from(INSTANCES[at]), statement);
    let mixed = prop::collection::vec((0..INSTANCES.len(), statement()), 1..14);
    let runs = (0..INSTANCES.len(), prop::collection::vec(in_order(), 1..3));
    prop_oneof![
        2 => mixed.prop_map(move |all| all.into_iter().map(one).collect::<Batch>()),
        1 => runs.prop_map(move |(at, all)| all.into_iter().flatten().map(|statement| one((at, statement))).collect::<Batch>()),
    ]
}
