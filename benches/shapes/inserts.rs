//! Every event makes its own row.

use readside::NewEvent;
use readside::prelude::*;
use serde::{Deserialize, Serialize};

use crate::EVENTS;
use crate::common::filled::{Floor, Work};
use crate::common::floor::{BATCH, Frame};
use crate::common::instance;
use crate::common::place::Database;

#[derive(Serialize, Deserialize)]
struct Made {
    name: String,
    size: i64,
}
impl Payload for Made {
    const AGGREGATE: &'static str = "thing";
    const TYPE: &'static str = "thing.made";
}

pub(crate) struct Inserts(pub(crate) usize);

impl Work for Inserts {
    const TABLES: &'static [&'static str] = &["things"];

    fn projection(version: u32) -> Projection {
        let things = Table::new("things").column(text("id")).column(text("name")).column(integer("size"));
        Projection::new("things", version)
            .table(things.primary_key(["id"]))
            .on(|e: &Event, p: Made| create([set("id", e.aggregate_id()), set("name", p.name), set("size", p.size)]))
    }

    fn check(&self, database: &Database, name: &dyn Fn(&str) -> String) {
        database.check(&name("things"), self.0 * EVENTS, "name = 'Name ' || id AND size = length(id)");
    }
}

pub(crate) fn commands(n: usize) -> Vec<NewEvent> {
    let command = |thing| {
        let id = format!("thing-{n:05}-{thing:04}");
        NewEvent::new(&instance(n), &id, &Made { name: format!("Name {id}"), size: i64::try_from(id.len()).unwrap() })
    };
    (0..EVENTS).map(command).collect()
}

pub(crate) fn floor(database: &Database) -> Floor {
    let mut frame = Frame::new(database, "aggregate_id, payload", BATCH);
    let insert = "INSERT INTO floor_things SELECT $1, * FROM unnest($2::text[], $3::text[], $4::int8[])";
    let insert = frame.client.prepare(insert).unwrap();
    Box::new(move |instances| {
        frame.catch_up(instances, |tx, instance, rows| {
            let ids: Vec<&str> = rows.iter().map(|row| row.get(1)).collect();
            let made = rows.iter().map(|row| serde_json::from_str::<Made>(row.get(2)).unwrap());
            let (names, sizes): (Vec<String>, Vec<i64>) = made.map(|made| (made.name, made.size)).unzip();
            tx.execute(&insert, &[&instance, &ids, &names, &sizes]).unwrap();
        });
    })
}
