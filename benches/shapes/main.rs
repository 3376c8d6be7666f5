//! How fast different kinds of writes catch up on PostgreSQL, each compared with the same work in hand-written SQL.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]
#![allow(clippy::cast_precision_loss, reason = "what is measured is not exact to so many places")]
#![allow(dead_code, reason = "each bench uses a part of the harness")]

#[path = "../common/mod.rs"]
mod common;

mod counters;
mod deletes;
mod inserts;
mod keyed;
mod orders;

use common::filled::{Filled, Floor, Work};
use common::place::{Database, Postgres};
use common::{Settings, instances, report};
use readside::NewEvent;

fn main() {
    let settings = Settings::read();
    let server = Postgres::find();
    let run = Run { settings: &settings, server: &server };
    run.run("catch-up-inserts", 100, inserts::Inserts, inserts::commands, inserts::floor, 0.8);
    run.run("catch-up-counters", 100, counters::Counters, counters::commands, counters::floor, 0.8);
    run.run("catch-up-deletes", 100, deletes::Deletes, deletes::commands, deletes::floor, 0.8);
    run.run("catch-up-several-statements", 50, orders::Orders, orders::commands, orders::floor, 0.8);
    run.run("catch-up-unique-and-foreign-key", 20, keyed::Keyed, keyed::commands, keyed::floor, 1.0);
}

/// Events in each instance.
const EVENTS: usize = 1_000;

struct Run<'r> {
    settings: &'r Settings,
    server: &'r Postgres,
}

impl Run<'_> {
    /// `work` gets the number of instances, `commands` the number of one instance.
    fn run<W: Work>(
        &self,
        question: &str,
        full: usize,
        work: impl FnOnce(usize) -> W,
        commands: fn(usize) -> Vec<NewEvent>,
        floor: fn(&Database) -> Floor,
        reach: f64,
    ) {
        if !self.settings.wants(question) {
            return;
        }
        let count = self.settings.size(full);
        let (filled, names) = (Filled::new(self.server, work(count), (0..count).flat_map(commands)), instances(count));
        let (ours, floor) = self.settings.compare(|| filled.ours(&[&names]), || filled.floor(&[&names], floor));
        report::speeds(question, "events", count * EVENTS, ours, floor, reach);
    }
}
