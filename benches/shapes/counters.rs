//! Every event adds to one of few rows.

use std::collections::HashMap;

use readside::NewEvent;
use readside::prelude::*;
use serde::{Deserialize, Serialize};

use crate::EVENTS;
use crate::common::filled::{Floor, Work};
use crate::common::floor::{BATCH, Frame};
use crate::common::instance;
use crate::common::place::Database;

const PAGES: usize = 5;

#[derive(Serialize, Deserialize)]
struct Hit {
    by: i64,
}
impl Payload for Hit {
    const AGGREGATE: &'static str = "page";
    const TYPE: &'static str = "page.hit";
}

/// By how much the nth event adds to its page.
fn by(n: usize) -> i64 {
    i64::try_from(1 + n % 3).unwrap()
}

pub(crate) struct Counters(pub(crate) usize);

impl Work for Counters {
    const TABLES: &'static [&'static str] = &["pages"];

    fn projection(version: u32) -> Projection {
        let pages = Table::new("pages").column(text("id")).column(integer("hits")).primary_key(["id"]);
        Projection::new("pages", version)
            .table(pages)
            .on(|e: &Event, p: Hit| upsert(["id"], [set("id", e.aggregate_id()), increment("hits", p.by)]))
    }

    fn check(&self, database: &Database, name: &dyn Fn(&str) -> String) {
        let sums = (0..PAGES).map(|page| (0..EVENTS).skip(page).step_by(PAGES).map(by).sum::<i64>());
        let sums: Vec<String> = sums.enumerate().map(|(page, sum)| format!("('page-{page}', {sum})")).collect();
        let condition = format!("(id, hits) IN ({})", sums.join(", "));
        database.check(&name("pages"), self.0 * PAGES, &condition);
    }
}

pub(crate) fn commands(n: usize) -> Vec<NewEvent> {
    let command = |hit| NewEvent::new(&instance(n), &format!("page-{}", hit % PAGES), &Hit { by: by(hit) });
    (0..EVENTS).map(command).collect()
}

pub(crate) fn floor(database: &Database) -> Floor {
    let mut frame = Frame::new(database, "aggregate_id, payload", BATCH);
    let add = "INSERT INTO floor_pages AS p SELECT $1, * FROM unnest($2::text[], $3::int8[]) \
               ON CONFLICT (instance_id, id) DO UPDATE SET hits = p.hits + excluded.hits";
    let add = frame.client.prepare(add).unwrap();
    Box::new(move |instances| {
        frame.catch_up(instances, |tx, instance, rows| {
            let mut sums: HashMap<&str, i64> = HashMap::new();
            for row in rows {
                *sums.entry(row.get(1)).or_default() += serde_json::from_str::<Hit>(row.get(2)).unwrap().by;
            }
            let (ids, sums): (Vec<&str>, Vec<i64>) = sums.into_iter().unzip();
            tx.execute(&add, &[&instance, &ids, &sums]).unwrap();
        });
    })
}
