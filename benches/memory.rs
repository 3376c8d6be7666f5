//! How much memory catching up takes on PostgreSQL. An engine in its own process reads a log, and then a log that is
//! twenty times as long.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]
#![allow(clippy::cast_precision_loss, reason = "what is measured is not exact to so many places")]
#![allow(dead_code, reason = "each bench uses a part of the harness")]

mod common;

use std::sync::Arc;

use common::filled::{Filled, Work};
use common::place::Postgres;
use common::process::{Other, peak_memory, role};
use common::users::{self, Log};
use common::{Settings, engine, instances, report};
use readside::{Engine, PostgresStore};

const TIMES: usize = 20;

fn main() {
    match role().as_deref() {
        Some([url, count, head]) => catch_up(url, count.parse().unwrap(), head.parse().unwrap()),
        _ => bench(&Settings::read()),
    }
}

fn bench(settings: &Settings) {
    let server = Postgres::find();
    let short = Log { instances: settings.size(100), users: users::USERS, versions: users::VERSIONS };
    let long = Log { versions: TIMES * users::VERSIONS, ..short };
    let (of_short, of_long) = (growth(&server, short), growth(&server, long));
    let question = "memory-of-a-long-log";
    println!("{question}: {of_long:.1} MiB over {} events, {of_short:.1} MiB over {}", long.events(), short.events());
    report::limit(question, of_long / of_short, 1.2, "times as much");
    report::limit("memory-of-catching-up", of_long, 64.0, "MiB");
}

/// By how many MiB the highest memory use grows while an engine catches up with the log.
fn growth(server: &Postgres, log: Log) -> f64 {
    let filled = Filled::new(server, log, log.commands());
    let head = log.users * log.versions;
    let mut other = Other::start(&[&filled.database.url, &log.instances.to_string(), &head.to_string()]);
    let grown: f64 = other.line().parse().unwrap();
    log.check(&filled.database, &|table| format!("{table}_1"));
    grown / 1024.0
}

/// What the other process does: it prints by how many KiB its highest memory use grew.
fn catch_up(url: &str, count: usize, head: i64) {
    let store = PostgresStore::connect(url).unwrap();
    let names: Vec<Arc<str>> = instances(count).into_iter().map(Arc::from).collect();
    let projection = Log::projection(1);
    let builder = Engine::builder(store.clone()).projection(projection.clone());
    let before = peak_memory();
    let engine = builder.start().unwrap();
    engine::until_at(&store, &projection, &names, head);
    engine::shut_down(&engine);
    println!("{}", peak_memory() - before);
}
