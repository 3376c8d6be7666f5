//! What more projections over the same log cost on PostgreSQL: ten projections on one engine, compared with one
//! projection on the same engine.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]
#![allow(clippy::cast_precision_loss, reason = "what is measured is not exact to so many places")]
#![allow(dead_code, reason = "each bench uses a part of the harness")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::filled::Filled;
use common::place::Postgres;
use common::users::{self, Log};
use common::{Settings, engine, fresh, report, timed};
use readside::store::ProjectionStore;
use readside::{Engine, EngineBuilder, Projection};

const TEN: usize = 10;

fn main() {
    let settings = Settings::read();
    let log = Log { instances: settings.size(100), users: users::USERS, versions: users::VERSIONS };
    let server = Postgres::find();
    let filled = Filled::new(&server, log, log.commands());
    let (ten, one) = settings.compare(|| time(&filled, TEN), || time(&filled, 1));
    let question = "ten-projections-of-one-log";
    let speed = |count, time| report::speed("events", count * log.events(), time);
    println!("{question}: ten projections {}; one {}", speed(TEN, ten), speed(1, one));
    report::ratio(question, 6.0 * one.as_secs_f64() / ten.as_secs_f64(), 1.0);
}

/// The time until new projections have reached all heads, from the start of an engine with default settings.
fn time(filled: &Filled<Log>, count: usize) -> Duration {
    let version = fresh();
    let projections: Vec<Projection> = (0..count).map(|n| users::projection(&format!("users{n}"), version)).collect();
    ProjectionStore::setup(&filled.store, &projections.iter().collect::<Vec<_>>()).unwrap();
    let instances: Vec<Arc<str>> = filled.work.names().into_iter().map(Arc::from).collect();
    let head = i64::try_from(filled.work.users * filled.work.versions).unwrap();
    let builder = projections.iter().cloned().fold(Engine::builder(filled.store.clone()), EngineBuilder::projection);
    filled.database.settle();
    let mut running = None;
    let time = timed(|| {
        running = Some(builder.start().unwrap());
        for projection in &projections {
            engine::until_at(&filled.store, projection, &instances, head);
        }
    });
    engine::shut_down(&running.unwrap());
    for projection in &projections {
        let table = format!("{}_{version}", projection.name());
        filled.database.check(&table, filled.work.instances * filled.work.users, &filled.work.condition());
    }
    time
}
