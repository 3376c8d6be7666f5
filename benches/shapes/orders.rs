//! Every event needs several statements: they write an order, its two lines, and the totals of its customer.

use std::collections::HashMap;

use readside::NewEvent;
use readside::prelude::*;
use serde::{Deserialize, Serialize};

use crate::EVENTS;
use crate::common::filled::{Floor, Work};
use crate::common::floor::{BATCH, Frame};
use crate::common::instance;
use crate::common::place::Database;

const CUSTOMERS: usize = 20;
const LINES: usize = 2;

#[derive(Serialize, Deserialize)]
struct Placed {
    customer: String,
    lines: Vec<Line>,
}
impl Payload for Placed {
    const AGGREGATE: &'static str = "order";
    const TYPE: &'static str = "order.placed";
}

#[derive(Serialize, Deserialize)]
struct Line {
    article: String,
    pieces: i64,
}

pub(crate) struct Orders(pub(crate) usize);

impl Work for Orders {
    const TABLES: &'static [&'static str] = &["orders", "orders_lines", "orders_sums"];

    fn projection(version: u32) -> Projection {
        let lines = Table::suffix("lines").column(text("id")).column(integer("line")).column(text("article"));
        let sums = Table::suffix("sums").column(text("customer")).column(integer("orders")).column(integer("pieces"));
        Projection::new("orders", version)
            .table(Table::new("orders").column(text("id")).column(text("customer")).primary_key(["id"]))
            .table(lines.column(integer("pieces")).primary_key(["id", "line"]))
            .table(sums.primary_key(["customer"]))
            .on(|e: &Event, p: Placed| {
                let pieces: i64 = p.lines.iter().map(|line| line.pieces).sum();
                let line = |(number, line): (i64, Line)| {
                    let plain = [set("id", e.aggregate_id()), set("line", number), set("article", line.article)];
                    in_table("lines", create(plain.into_iter().chain([set("pieces", line.pieces)])))
                };
                let lines = (1..).zip(p.lines).map(line);
                let sums = [set("customer", p.customer.as_str()), increment("orders", 1), increment("pieces", pieces)];
                let order = create([set("id", e.aggregate_id()), set("customer", p.customer)]);
                multi([order].into_iter().chain(lines).chain([in_table("sums", upsert(["customer"], sums))]))
            })
    }

    fn check(&self, database: &Database, name: &dyn Fn(&str) -> String) {
        database.check(&name("orders"), self.0 * EVENTS, "customer ~ '^customer-[0-9]+$'");
        let line = "article = 'article-' || line AND pieces = line";
        database.check(&name("orders_lines"), self.0 * EVENTS * LINES, line);
        let orders = EVENTS / CUSTOMERS;
        let sums = format!("orders = {orders} AND pieces = {}", 3 * orders);
        database.check(&name("orders_sums"), self.0 * CUSTOMERS, &sums);
    }
}

pub(crate) fn commands(n: usize) -> Vec<NewEvent> {
    let line = |pieces| Line { article: format!("article-{pieces}"), pieces };
    let command = |order| {
        let placed = Placed { customer: format!("customer-{}", order % CUSTOMERS), lines: (1..=2).map(line).collect() };
        NewEvent::new(&instance(n), &format!("order-{n:05}-{order:04}"), &placed)
    };
    (0..EVENTS).map(command).collect()
}

pub(crate) fn floor(database: &Database) -> Floor {
    let mut frame = Frame::new(database, "aggregate_id, payload", BATCH);
    let orders = "INSERT INTO floor_orders SELECT $1, * FROM unnest($2::text[], $3::text[])";
    let lines =
        "INSERT INTO floor_orders_lines SELECT $1, * FROM unnest($2::text[], $3::int8[], $4::text[], $5::int8[])";
    let sums = "INSERT INTO floor_orders_sums AS s SELECT $1, * FROM unnest($2::text[], $3::int8[], $4::int8[]) \
                ON CONFLICT (instance_id, customer) DO UPDATE \
                SET orders = s.orders + excluded.orders, pieces = s.pieces + excluded.pieces";
    let [orders, lines, sums] = [orders, lines, sums].map(|sql| frame.client.prepare(sql).unwrap());
    Box::new(move |instances| {
        frame.catch_up(instances, |tx, instance, rows| {
            let mut of_line: (Vec<&str>, Vec<i64>, Vec<String>, Vec<i64>) = Default::default();
            let (mut ids, mut customers): (Vec<&str>, Vec<String>) = Default::default();
            let mut of_customer: HashMap<String, (i64, i64)> = HashMap::new();
            for row in rows {
                let (id, placed): (&str, Placed) = (row.get(1), serde_json::from_str(row.get(2)).unwrap());
                let sum = of_customer.entry(placed.customer.clone()).or_default();
                sum.0 += 1;
                for (number, line) in (1..).zip(placed.lines) {
                    sum.1 += line.pieces;
                    of_line.0.push(id);
                    of_line.1.push(number);
                    of_line.2.push(line.article);
                    of_line.3.push(line.pieces);
                }
                ids.push(id);
                customers.push(placed.customer);
            }
            let (names, of_customer): (Vec<String>, Vec<(i64, i64)>) = of_customer.into_iter().unzip();
            let (counts, pieces): (Vec<i64>, Vec<i64>) = of_customer.into_iter().unzip();
            tx.execute(&orders, &[&instance, &ids, &customers]).unwrap();
            tx.execute(&lines, &[&instance, &of_line.0, &of_line.1, &of_line.2, &of_line.3]).unwrap();
            tx.execute(&sums, &[&instance, &names, &counts, &pieces]).unwrap();
        });
    })
}
