//! The projections of a soak, and the processes that run them.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use readside::prelude::*;
use readside::{Engine, EngineConfig, HandlerConfig, Policy};
use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::place::Place;
use crate::{Options, Result, Tally, heard, push};

pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// False in the processes of the soak, where poison fails. True where failed events are retried and checked.
static MENDED: AtomicBool = AtomicBool::new(false);

pub(crate) fn mend() {
    MENDED.store(true, Ordering::SeqCst);
}

/// How an event fails, until the reducers are repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Poison {
    None,
    Refused,
    Panics,
    Kills,
    BreaksConstraint,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) by: i64,
    pub(crate) poison: Poison,
}
impl Payload for Changed {
    const AGGREGATE: &str = "item";
    const TYPE: &str = "item.changed";
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Removed {}
impl Payload for Removed {
    const AGGREGATE: &str = "item";
    const TYPE: &str = "item.removed";
}

fn poisoned(poison: Poison, healthy: Reduced, broken: Reduced) -> Reduced {
    if MENDED.load(Ordering::SeqCst) {
        return healthy;
    }
    match poison {
        Poison::None => healthy,
        Poison::Refused => Err(ReduceError::new("poison")),
        #[expect(clippy::panic, reason = "that is what is tried")]
        Poison::Panics => panic!("poison"),
        Poison::Kills => std::process::abort(),
        Poison::BreaksConstraint => broken,
    }
}

/// Counters: they show an event that is applied twice or not at all.
fn counters() -> Projection {
    Projection::new("counters", 1)
        .table(Table::new("counters").column(text("id")).column(integer("n")).primary_key(["id"]))
        .on(|e, p: Changed| {
            let change = multi([
                upsert(["id"], [set("id", e.aggregate_id()), set_on_insert("n", 0)]),
                update([increment("n", p.by)], [eq("id", e.aggregate_id())]),
            ]);
            poisoned(p.poison, change, create([set("id", e.aggregate_id()), set("n", Value::Null)]))
        })
}

/// Rows that come and go: they show an event that is applied out of order.
fn items() -> Projection {
    Projection::new("items", 1)
        .table(
            Table::new("items")
                .column(text("id"))
                .column(integer("last"))
                .column(integer("changes"))
                .primary_key(["id"]),
        )
        .on(|e, p: Changed| {
            let change = multi([
                upsert(["id"], [set("id", e.aggregate_id()), set_on_insert("changes", 0), set("last", e.position())]),
                update([increment("changes", 1)], [eq("id", e.aggregate_id())]),
            ]);
            poisoned(
                p.poison,
                change,
                create([set("id", e.aggregate_id()), set("last", Value::Null), set("changes", 0)]),
            )
        })
        .on(|e, _: Removed| delete([eq("id", e.aggregate_id())]))
}

/// One row for each event.
fn journal() -> Projection {
    let row =
        |e: &Event| create([set("position", e.position()), set("id", e.aggregate_id()), set("kind", e.event_type())]);
    Projection::new("journal", 1)
        .table(
            Table::new("journal")
                .column(integer("position"))
                .column(text("id"))
                .column(text("kind"))
                .primary_key(["position"]),
        )
        .on(move |e, p: Changed| {
            let broken = create([set("position", Value::Null), set("id", ""), set("kind", "")]);
            poisoned(p.poison, row(e), broken)
        })
        .on(move |e, _: Removed| row(e))
}

/// All projections, each with its policy.
pub(crate) fn projections() -> Vec<(Projection, HandlerConfig)> {
    let config = |policy| {
        HandlerConfig::default()
            .policy(policy)
            .max_failure_count(2)
            .max_lasting_failure_count(2)
            .retries(1)
            .backoff_base(Duration::from_millis(50))
            .backoff_cap(Duration::from_millis(400))
            .bulk_limit(50)
    };
    vec![(counters(), config(Policy::Park)), (items(), config(Policy::Stop)), (journal(), config(Policy::Skip))]
}

pub(crate) fn start<P: Place>(store: P::Store, name: &str) -> Result<Engine> {
    let config = EngineConfig::default().name(name).requeue_every(Duration::from_millis(200)).lease(LEASE).workers(3);
    let builder = Engine::builder(store).config(config);
    let all = projections().into_iter();
    Ok(all.fold(builder, |builder, (projection, config)| builder.projection_with(projection, config)).start()?)
}

/// Runs a process of the soak. A process that speaks also pushes, through the store beneath its engine.
pub(crate) fn until_input_ends<P: Place>(place: &P, options: &Options) -> Result<()> {
    if std::env::var_os("RUST_LOG").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let store = place.open()?;
    let engine = start::<P>(store.clone(), "soak")?;
    let tally = Tally { speaks: options.speaks, ..Tally::default() };
    let pushers = if options.speaks { options.pushers } else { 0 };
    std::thread::scope(|scope| {
        for number in 0..pushers {
            let (store, tally, seed) = (&store, &tally, heard::now().wrapping_add(u64::from(number)));
            scope.spawn(move || push::until_stopped(place, store, number, Chance::new(seed), tally));
        }
        let ended = std::io::stdin().read_to_end(&mut Vec::new());
        tally.stop.store(true, Ordering::SeqCst);
        ended
    })?;
    engine.shutdown(Duration::from_secs(20))?;
    Ok(())
}
