//! The pass under faults: every call of a store fails once, in every way, and the laws still hold.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod attempts;
mod by_hand;
#[path = "../common/mod.rs"]
mod common;
mod every_call;
mod faults;
mod history;
mod limits;
mod mending;
mod original;
mod together;

use std::sync::Arc;
use std::time::Duration;

use readside::clock::ManualClock;
use readside::error::TriggerError;
use readside::health::Stopped;
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{EventStore, HandlerConfig, NewEvent, ProjectionHandler, SqliteOptions, SqliteStore};
use serde::{Deserialize, Serialize};

/// Counts something, so an event that is applied twice or not at all shows.
#[derive(Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) by: i64,
}
impl Payload for Counted {
    const AGGREGATE: &'static str = "thing";
    const TYPE: &'static str = "thing.counted";
}

/// Counts by thing. The reducer refuses a count of 13, and the table refuses a count of 0.
pub(crate) fn counts() -> Projection {
    Projection::new("counts", 1)
        .table(Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(|e, p: Counted| match p.by {
            13 => Err(readside::error::ReduceError::new("bad luck")),
            0 => readside::statement::create([set("thing", e.aggregate_id()), set("n", 1)]),
            by => readside::statement::multi([
                upsert(["thing"], [set("thing", e.aggregate_id()), readside::statement::set_on_insert("n", 0)]),
                readside::statement::update([increment("n", by)], [eq("thing", e.aggregate_id())]),
            ]),
        })
}

pub(crate) fn count(instance: &str, thing: &str, by: i64) -> NewEvent {
    NewEvent::new(instance, thing, &Counted { by })
}

pub(crate) fn store() -> (SqliteStore, ManualClock) {
    let clock = ManualClock::at(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let options = SqliteOptions::default().clock(Arc::new(clock.clone()));
    let store = SqliteStore::in_memory_with(options).unwrap();
    ProjectionStore::setup(&store, &[&counts()]).unwrap();
    (store, clock)
}

pub(crate) fn config() -> HandlerConfig {
    HandlerConfig::default().retries(0).retry_failed_after(Duration::ZERO)
}

/// Also waits for a reducer, because these reducers are not pure.
pub(crate) fn patient() -> HandlerConfig {
    config().max_lasting_failure_count(8)
}

pub(crate) fn handler(store: &SqliteStore, config: HandlerConfig) -> ProjectionHandler {
    let store = Arc::new(store.clone());
    ProjectionHandler::new(store.clone(), store, counts(), config).unwrap()
}

pub(crate) fn push(store: &SqliteStore, commands: &[NewEvent]) {
    store.push(commands).unwrap();
}

pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

/// `instance/thing=count` for every row.
pub(crate) fn rows(store: &SqliteStore) -> Vec<String> {
    let rows = store.read_rows(&counts(), "counts").unwrap();
    rows.iter().map(|row| format!("{}/{}={}", show(&row[0].1), show(&row[1].1), show(&row[2].1))).collect()
}

pub(crate) fn position(store: &SqliteStore, instance: &str) -> i64 {
    store.states(&counts().key(), &[Arc::from(instance)]).unwrap()[0].position
}

pub(crate) fn stopped(outcome: Result<(), TriggerError>) -> Vec<Stopped> {
    match outcome {
        Err(TriggerError::Stopped { stopped, .. }) => stopped,
        other => panic!("{other:?}"),
    }
}
