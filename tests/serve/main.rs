//! The status page, metrics and health, as clients see them.
#![cfg(all(feature = "serve", feature = "sqlite", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

/// Stands above a test function, and runs it on each database.
macro_rules! both {
    ($test:ident) => {
        mod $test {
            #[test]
            fn on_sqlite() {
                super::$test(&crate::common::file::File::new());
            }
            #[cfg(feature = "postgres")]
            #[test]
            fn on_postgres() {
                super::$test(&crate::common::postgres::database());
            }
        }
    };
}

#[path = "../common/mod.rs"]
mod common;

mod browser;
mod changes;
mod chrome;
mod client;
#[cfg(feature = "cli")]
mod command;
#[cfg(feature = "postgres")]
mod cost;
mod health;
mod http;
mod metrics;
mod pages;
#[cfg(feature = "cli")]
mod words;

use std::time::Duration;

use readside::inspect::Inspect;
use readside::prelude::*;
use readside::serve::{ServeOptions, StatusServer};

use readside::{
    Engine, EngineBuilder, EngineConfig, EngineStore, HandlerConfig, NewEvent, Policy, PostgresStore, SqliteStore,
};

pub(crate) use client::Client;

/// A text that must never be in a page unescaped.
pub(crate) const EVIL: &str = "\"><script>alert('x')</script><img src=x onerror=alert(1)>";

/// A database that can be opened many times.
pub(crate) trait Place {
    type Store: EngineStore + Inspect + Clone;
    fn open(&self) -> Self::Store;
    /// The database's name, as the command takes it.
    fn address(&self) -> String;
}

impl Place for common::file::File {
    type Store = SqliteStore;
    fn open(&self) -> SqliteStore {
        SqliteStore::open(self.path()).unwrap()
    }
    fn address(&self) -> String {
        self.path()
    }
}

#[cfg(feature = "postgres")]
impl Place for common::postgres::Database {
    type Store = PostgresStore;
    fn open(&self) -> PostgresStore {
        PostgresStore::connect(&self.store_url()).unwrap()
    }
    fn address(&self) -> String {
        self.store_url()
    }
}

/// Counts by thing. Events of a thing named `bad…` cannot be reduced.
pub(crate) fn counts(name: &str, version: u32) -> Projection {
    let table = Table::new(name).column(text("thing")).column(integer("n")).primary_key(["thing"]);
    let reduce = |event: &Event| {
        if event.aggregate_id().starts_with("bad") {
            return Err(ReduceError::new(format!("{EVIL} cannot be counted")));
        }
        upsert(["thing"], [set("thing", event.aggregate_id()), increment("n", 1)])
    };
    Projection::new(name, version).table(table).on_raw("thing", "thing.counted", reduce).on_raw("thing", EVIL, reduce)
}

pub(crate) fn count(instance: &str, thing: &str) -> NewEvent {
    NewEvent::raw(instance, "thing", thing, "thing.counted")
}

/// Parks an event after its first failure, with all later events of its aggregate.
pub(crate) fn config() -> EngineConfig {
    let handler = HandlerConfig::default().max_failure_count(1).policy(Policy::Park);
    EngineConfig::default().name("api-1").handler(handler)
}

pub(crate) fn start(store: impl EngineStore, projections: impl IntoIterator<Item = Projection>) -> Engine {
    let builder = Engine::builder(store).config(config());
    projections.into_iter().fold(builder, EngineBuilder::projection).start().unwrap()
}

pub(crate) fn options() -> ServeOptions {
    ServeOptions::at("127.0.0.1:0".parse().unwrap()).every(Duration::from_millis(100))
}

pub(crate) fn serve(engine: &Engine) -> (StatusServer, Client) {
    served(engine, options())
}

pub(crate) fn served(engine: &Engine, options: ServeOptions) -> (StatusServer, Client) {
    let server = engine.serve_status_with(options).unwrap();
    let client = Client::of(server.address().tcp().unwrap());
    (server, client)
}
