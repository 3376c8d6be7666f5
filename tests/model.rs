//! Random programs run on every backend. The result is compared with a plain model in memory, which applies each
//! event alone and in order.
//!
//! `READSIDE_MODEL_CASES` sets the number of programs for each backend.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{EventStore, HandlerConfig, NewEvent, Policy, PostgresStore, ProjectionHandler, SqliteStore};
use serde::{Deserialize, Serialize};

/// What one event does to the table of items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Op {
    Create {
        id: u8,
        n: Option<i64>,
        name: Option<u8>,
    },
    Upsert {
        id: u8,
        by: i64,
        name: Option<u8>,
    },
    Rename {
        id: u8,
        name: Option<u8>,
    },
    AddWhereAbove {
        than: i64,
        by: i64,
    },
    Lower {
        id: u8,
        to: i64,
    },
    Raise {
        id: u8,
        to: i64,
    },
    Pay {
        id: u8,
        cents: i64,
    },
    Tag {
        id: u8,
        tag: u8,
    },
    Untag {
        id: u8,
        tag: u8,
    },
    Keep {
        id: u8,
        tags: Vec<u8>,
    },
    DeleteBelow {
        than: i64,
    },
    DeleteTagged {
        tag: u8,
    },
    Delete {
        id: u8,
    },
    Copy {
        from: u8,
        to: u8,
    },
    /// Takes over the number of another item. Fails if its own item does not exist.
    Take {
        id: u8,
        from: u8,
    },
    /// Deletes items whose number is below a limit, or that have one of these pairs of id and number.
    Clear {
        than: i64,
        pairs: Vec<(u8, i64)>,
    },
    Several(Vec<Op>),
    Nothing,
    Fail,
    Panic,
}

impl Payload for Op {
    const AGGREGATE: &'static str = "item";
    const TYPE: &'static str = "item.op";
}

fn text_of(number: u8) -> String {
    format!("t'{number}")
}

fn items() -> Projection {
    let table = Table::new("items")
        .column(text("id"))
        .column(integer("n").nullable())
        .column(text("name").nullable())
        .column(text_array("tags").default(Vec::<String>::new()))
        .column(decimal("paid", 5, 2).default(0))
        .primary_key(["id"])
        .unique(["name"]);
    Projection::new("items", 1).table(table).on(|_, op: Op| statement(&op))
}

fn statement(op: &Op) -> Reduced {
    let id = |id: &u8| eq("id", text_of(*id));
    let name = |name: &Option<u8>| set("name", name.map(text_of));
    match op {
        Op::Create { id, n, name: new } => create([set("id", text_of(*id)), set("n", *n), name(new)]),
        Op::Upsert { id, by, name: new } => upsert(["id"], [set("id", text_of(*id)), increment("n", *by), name(new)]),
        Op::Rename { id: which, name: new } => update([name(new)], [id(which)]),
        Op::AddWhereAbove { than, by } => update([increment("n", *by)], [gt("n", *than)]),
        Op::Lower { id: which, to } => update([set_if("n", *to, gt("n", *to))], [id(which)]),
        Op::Raise { id: which, to } => update([greatest("n", *to)], [id(which)]),
        Op::Pay { id: which, cents } => {
            update([increment("paid", Value::Decimal(Decimal::new(*cents, 2).unwrap()))], [id(which)])
        }
        Op::Tag { id: which, tag } => update([array_append("tags", text_of(*tag))], [id(which)]),
        Op::Untag { id: which, tag } => update([array_remove("tags", text_of(*tag))], [id(which)]),
        Op::Keep { id: which, tags } => {
            update([array_intersect("tags", tags.iter().map(|tag| text_of(*tag)))], [id(which)])
        }
        Op::DeleteBelow { than } => delete([lt("n", *than)]),
        Op::DeleteTagged { tag } => delete([contains("tags", text_of(*tag))]),
        Op::Delete { id: which } => delete([id(which)]),
        Op::Copy { from, to } => {
            copy(["id"], ["id", "n"], [source_value(text_of(*to)), source_column("n").added()], [id(from)])
        }
        Op::Take { id: which, from } => update([look_up("n", "items", "n", [id(from)])], [id(which)]).expect_rows(1),
        Op::Clear { than, pairs } => delete([any_of([
            all_of([lt("n", *than), not(is_null("name"))]),
            are_in(["id", "n"], pairs.iter().map(|(id, n)| [Value::from(text_of(*id)), Value::from(*n)])),
        ])]),
        Op::Several(ops) => multi(ops.iter().map(statement)),
        Op::Nothing => noop(),
        Op::Fail => Err(ReduceError::new("on purpose")),
        Op::Panic => panic!("on purpose"),
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Item {
    n: Option<i64>,
    name: Option<u8>,
    tags: Vec<u8>,
    cents: i64,
}

type Items = BTreeMap<u8, Item>;

/// Applies an operation as a whole or not at all, as a statement does.
fn apply(items: &mut Items, op: &Op) -> Result<(), ()> {
    let mut after = items.clone();
    change(&mut after, op)?;
    *items = after;
    Ok(())
}

fn change(items: &mut Items, op: &Op) -> Result<(), ()> {
    match op {
        Op::Create { id, n, name } => {
            if items.contains_key(id) {
                return Err(());
            }
            items.insert(*id, Item { n: *n, name: *name, ..Item::default() });
        }
        Op::Upsert { id, by, name } => match items.get_mut(id) {
            Some(item) => {
                item.n = item.n.map(|n| n.checked_add(*by).ok_or(())).transpose()?;
                item.name = *name;
            }
            None => {
                items.insert(*id, Item { n: Some(*by), name: *name, ..Item::default() });
            }
        },
        Op::Several(ops) => ops.iter().try_for_each(|op| change(items, op).and_then(|()| unique(items)))?,
        Op::AddWhereAbove { than, by } => {
            for n in items.values_mut().filter_map(|item| item.n.as_mut()).filter(|n| **n > *than) {
                *n = n.checked_add(*by).ok_or(())?;
            }
        }
        Op::DeleteBelow { than } => items.retain(|_, item| item.n.is_none_or(|n| n >= *than)),
        Op::DeleteTagged { tag } => items.retain(|_, item| !item.tags.contains(tag)),
        Op::Delete { id } => {
            items.remove(id);
        }
        Op::Copy { from, to } => {
            let Some(n) = items.get(from).map(|item| item.n) else { return Ok(()) };
            match items.get_mut(to) {
                Some(item) => {
                    item.n = match (item.n, n) {
                        (Some(a), Some(b)) => Some(a.checked_add(b).ok_or(())?),
                        _ => None,
                    }
                }
                None => {
                    items.insert(*to, Item { n, ..Item::default() });
                }
            }
        }
        Op::Take { id, from } => {
            let n = items.get(from).and_then(|item| item.n);
            items.get_mut(id).ok_or(())?.n = n;
        }
        Op::Clear { than, pairs } => items.retain(|id, item| {
            let is_below = item.n.is_some_and(|n| n < *than) && item.name.is_some();
            !is_below && !pairs.iter().any(|(other, n)| other == id && item.n == Some(*n))
        }),
        Op::Pay { id, cents } => {
            if let Some(item) = items.get_mut(id) {
                item.cents += cents;
                // The column has five digits.
                return if item.cents.abs() < 100_000 { Ok(()) } else { Err(()) };
            }
        }
        Op::Rename { id, .. }
        | Op::Raise { id, .. }
        | Op::Lower { id, .. }
        | Op::Tag { id, .. }
        | Op::Untag { id, .. }
        | Op::Keep { id, .. } => {
            if let Some(item) = items.get_mut(id) {
                change_item(item, op);
            }
        }
        Op::Nothing => {}
        Op::Fail | Op::Panic => return Err(()),
    }
    unique(items)
}

fn change_item(item: &mut Item, op: &Op) {
    match op {
        Op::Rename { name, .. } => item.name = *name,
        Op::Lower { to, .. } => item.n = item.n.map(|n| n.min(*to)),
        Op::Raise { to, .. } => item.n = Some(item.n.map_or(*to, |n| n.max(*to))),
        Op::Tag { tag, .. } => item.tags.push(*tag),
        Op::Untag { tag, .. } => item.tags.retain(|other| other != tag),
        Op::Keep { tags, .. } => item.tags.retain(|tag| tags.contains(tag)),
        other => panic!("{other:?}"),
    }
}

fn unique(items: &Items) -> Result<(), ()> {
    let mut names: Vec<u8> = items.values().filter_map(|item| item.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    if names.len() == count { Ok(()) } else { Err(()) }
}

/// A program: pushes of events of two instances. After each push a pass may follow.
#[derive(Debug, Clone)]
struct Program {
    pushes: Vec<(Vec<(bool, Op)>, bool)>,
    bulk_limit: usize,
    concurrent_instances: usize,
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -5..5_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)]
}

fn op() -> impl Strategy<Value = Op> {
    let (id, tag, name) = (0..4_u8, 0..3_u8, proptest::option::of(0..4_u8));
    let simple = prop_oneof![
        4 => (id.clone(), proptest::option::of(number()), name.clone()).prop_map(|(id, n, name)| Op::Create { id, n, name }),
        4 => (id.clone(), number(), name.clone()).prop_map(|(id, by, name)| Op::Upsert { id, by, name }),
        2 => (id.clone(), name).prop_map(|(id, name)| Op::Rename { id, name }),
        2 => (number(), number()).prop_map(|(than, by)| Op::AddWhereAbove { than, by }),
        2 => (id.clone(), number()).prop_map(|(id, to)| Op::Lower { id, to }),
        1 => (id.clone(), number()).prop_map(|(id, to)| Op::Raise { id, to }),
        4 => (id.clone(), prop_oneof![4 => -500..500_i64, 1 => 50_000..60_000_i64]).prop_map(|(id, cents)| Op::Pay { id, cents }),
        2 => (id.clone(), tag.clone()).prop_map(|(id, tag)| Op::Tag { id, tag }),
        1 => (id.clone(), tag.clone()).prop_map(|(id, tag)| Op::Untag { id, tag }),
        1 => (id.clone(), proptest::collection::vec(tag.clone(), 0..2)).prop_map(|(id, tags)| Op::Keep { id, tags }),
        1 => number().prop_map(|than| Op::DeleteBelow { than }),
        1 => tag.prop_map(|tag| Op::DeleteTagged { tag }),
        1 => id.clone().prop_map(|id| Op::Delete { id }),
        2 => (id.clone(), id).prop_map(|(from, to)| Op::Copy { from, to }),
        2 => (0..4_u8, 0..4_u8).prop_map(|(id, from)| Op::Take { id, from }),
        1 => (number(), proptest::collection::vec((0..4_u8, number()), 0..3)).prop_map(|(than, pairs)| Op::Clear { than, pairs }),
        1 => Just(Op::Nothing),
        1 => Just(Op::Fail),
        1 => Just(Op::Panic),
    ];
    simple.prop_recursive(1, 4, 3, |op| proptest::collection::vec(op, 1..4).prop_map(Op::Several))
}

fn program() -> impl Strategy<Value = Program> {
    let push = proptest::collection::vec((any::<bool>(), op()), 1..8);
    (proptest::collection::vec((push, any::<bool>()), 1..8), 1..8_usize, 0..3_usize)
        .prop_map(|(pushes, bulk_limit, concurrent_instances)| Program { pushes, bulk_limit, concurrent_instances })
}

/// The result that both ways must agree on, for each of the two instances: items, and positions that failed.
type Outcome = [(Items, Vec<i64>); 2];

fn expected(program: &Program) -> Outcome {
    let mut outcome = Outcome::default();
    let mut positions = [0; 2];
    for (second, op) in program.pushes.iter().flat_map(|(events, _)| events) {
        let at = usize::from(*second);
        positions[at] += 1;
        if apply(&mut outcome[at].0, op).is_err() {
            outcome[at].1.push(positions[at]);
        }
    }
    outcome
}

trait Rows: EventStore + ProjectionStore {
    fn rows(&self) -> Vec<Vec<(String, Value)>>;
}

#[cfg(feature = "sqlite")]
impl Rows for SqliteStore {
    fn rows(&self) -> Vec<Vec<(String, Value)>> {
        self.read_rows(&items(), "items").unwrap()
    }
}

#[cfg(feature = "postgres")]
impl Rows for PostgresStore {
    fn rows(&self) -> Vec<Vec<(String, Value)>> {
        self.read_rows(&items(), "items").unwrap()
    }
}

static CASE: AtomicU32 = AtomicU32::new(0);

fn run<S: Rows + 'static>(store: &Arc<S>, program: &Program) -> Outcome {
    let case = CASE.fetch_add(1, Ordering::Relaxed);
    let names = [format!("{case}-a"), format!("{case}-b")];
    let config = HandlerConfig::default()
        .bulk_limit(program.bulk_limit)
        .concurrent_instances(program.concurrent_instances)
        .max_failure_count(1)
        .policy(Policy::Skip)
        .retries(0);
    let handler = ProjectionHandler::new(store.clone(), store.clone(), items(), config).unwrap();
    for (events, triggers) in &program.pushes {
        let commands: Vec<NewEvent> =
            events.iter().map(|(second, op)| NewEvent::new(&names[usize::from(*second)], "i", op)).collect();
        store.push(&commands).unwrap();
        if *triggers {
            handler.trigger(&[&names[0], &names[1]]).unwrap();
        }
    }
    handler.trigger(&[&names[0], &names[1]]).unwrap();
    found(store.as_ref(), &names)
}

fn found(store: &dyn Rows, names: &[String; 2]) -> Outcome {
    let mut outcome = Outcome::default();
    let number = |text: &str| text.strip_prefix("t'").unwrap().parse::<u8>().unwrap();
    for row in store.rows() {
        let mut values = row.into_iter().map(|(_, value)| value);
        let mut next = || values.next().unwrap();
        let Value::Text(instance) = next() else { panic!() };
        let Some(at) = names.iter().position(|name| *name == instance) else { continue };
        let Value::Text(id) = next() else { panic!() };
        let n = match next() {
            Value::Integer(n) => Some(n),
            other => other.is_null().then_some(None).unwrap(),
        };
        let name = match next() {
            Value::Text(name) => Some(number(&name)),
            other => other.is_null().then_some(None).unwrap(),
        };
        let Value::TextArray(tags) = next() else { panic!() };
        let tags = tags.iter().map(|tag| number(tag)).collect();
        let Value::Decimal(paid) = next() else { panic!() };
        let cents = paid.at_scale(2).unwrap().units();
        outcome[at].0.insert(number(&id), Item { n, name, tags, cents });
    }
    for held in store.failed_events(&items().key(), &readside::failure::FailureQuery::all()).unwrap() {
        if let Some(at) = names.iter().position(|name| **name == *held.attempt.instance) {
            outcome[at].1.push(held.attempt.position);
        }
    }
    outcome
}

fn check<S: Rows + 'static>(store: &Arc<S>, default_cases: u32) {
    ProjectionStore::setup(store.as_ref(), &[&items()]).unwrap();
    let cases = std::env::var("READSIDE_MODEL_CASES").map_or(default_cases, |text| text.parse().unwrap());
    // Reducers panic on purpose. Their traces would hide everything else.
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload().downcast_ref::<&str>().is_none_or(|text| *text != "on purpose") {
            eprintln!("{panic}");
        }
    }));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&program(), |program| {
        prop_assert_eq!(run(store, &program), expected(&program));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

// Contract: B2, B3, B5, G1, G2, G3, L2
#[cfg(feature = "sqlite")]
#[test]
fn sqlite_equals_the_model() {
    check(&Arc::new(SqliteStore::in_memory().unwrap()), 200);
}

// Contract: B2, B3, B5, G1, G2, G3, L2
#[cfg(feature = "postgres")]
#[test]
fn postgres_equals_the_model() {
    let database = common::postgres::database();
    check(&Arc::new(PostgresStore::connect(&database.store_url()).unwrap()), 100);
}
