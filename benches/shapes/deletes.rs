//! Users that come and go: of the ten events of each user, two delete its row. At the end, half of the users are
//! gone.

use std::collections::HashMap;

use readside::NewEvent;
use readside::postgres_driver::{Row, Statement, Transaction};
use readside::prelude::*;
use serde::{Deserialize, Serialize};

use crate::EVENTS;
use crate::common::filled::{Floor, Work};
use crate::common::floor::{BATCH, Frame};
use crate::common::instance;
use crate::common::place::Database;
use crate::common::random::Random;
use crate::common::users::{Added, Any, Changed, turns};

/// The events of a user who stays, and of one who leaves: `a` added, `c` changed, `r` removed.
const STAYS: &str = "acracraccc";
const GOES: &str = "acccracccr";

#[derive(Serialize, Deserialize)]
struct Removed {}
impl Payload for Removed {
    const AGGREGATE: &'static str = "user";
    const TYPE: &'static str = "user.removed";
}

pub(crate) struct Deletes(pub(crate) usize);

impl Work for Deletes {
    const TABLES: &'static [&'static str] = &["members"];

    fn projection(version: u32) -> Projection {
        let members = Table::new("members").column(text("id")).column(text("name")).column(text("email"));
        Projection::new("members", version)
            .table(members.column(integer("sequence")).primary_key(["id"]))
            .on(|e: &Event, p: Added| {
                let plain = [set("id", e.aggregate_id()), set("name", p.name), set("email", p.email)];
                create(plain.into_iter().chain([set("sequence", e.version())]))
            })
            .on(|e: &Event, p: Changed| {
                update([set("email", p.email), set("sequence", e.version())], [eq("id", e.aggregate_id())])
            })
            .on(|e: &Event, _: Removed| delete([eq("id", e.aggregate_id())]))
    }

    fn check(&self, database: &Database, name: &dyn Fn(&str) -> String) {
        let condition = "sequence = 10 AND email = 'v10.' || id AND name = 'Name ' || id AND id LIKE '%-stays'";
        database.check(&name("members"), self.0 * EVENTS / STAYS.len() / 2, condition);
    }
}

pub(crate) fn commands(n: usize) -> Vec<NewEvent> {
    let turns = turns(&mut Random::new(n as u64), EVENTS / STAYS.len(), STAYS.len());
    turns.into_iter().map(|(user, version)| command(n, user, version)).collect()
}

fn command(n: usize, user: usize, version: usize) -> NewEvent {
    let (what, end) = if user.is_multiple_of(2) { (STAYS, "stays") } else { (GOES, "goes") };
    let (instance, id) = (instance(n), format!("user-{n:05}-{user:02}-{end}"));
    let email = format!("v{version}.{id}");
    match what.as_bytes()[version - 1] {
        b'a' => NewEvent::new(&instance, &id, &Added { name: format!("Name {id}"), email }),
        b'c' => NewEvent::new(&instance, &id, &Changed { email }),
        _ => NewEvent::new(&instance, &id, &Removed {}),
    }
}

/// The net effect of a batch on a user: whether the batch found no row, and the row after it.
#[derive(Default)]
struct Net {
    is_new: bool,
    row: Option<(Option<String>, String, i64)>,
}

struct Statements {
    put: Statement,
    update: Statement,
    delete: Statement,
}

pub(crate) fn floor(database: &Database) -> Floor {
    let mut frame = Frame::new(database, "aggregate_id, version, event_type, payload", BATCH);
    let put = "INSERT INTO floor_members SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::int8[]) \
               ON CONFLICT (instance_id, id) DO UPDATE \
               SET name = excluded.name, email = excluded.email, sequence = excluded.sequence";
    let update = "UPDATE floor_members m SET email = v.email, sequence = v.sequence \
                  FROM unnest($2::text[], $3::text[], $4::int8[]) v (id, email, sequence) \
                  WHERE m.instance_id = $1 AND m.id = v.id";
    let delete = "DELETE FROM floor_members WHERE instance_id = $1 AND id = ANY ($2)";
    let [put, update, delete] = [put, update, delete].map(|sql| frame.client.prepare(sql).unwrap());
    let statements = Statements { put, update, delete };
    Box::new(move |instances| {
        frame.catch_up(instances, |tx, instance, rows| write(tx, instance, net(rows), &statements));
    })
}

fn net(rows: &[Row]) -> HashMap<&str, Net> {
    let mut users: HashMap<&str, Net> = HashMap::with_capacity(rows.len());
    for row in rows {
        let (version, kind): (i64, &str) = (row.get(2), row.get(3));
        let is_added = kind == Added::TYPE;
        let user = users.entry(row.get(1)).or_insert_with(|| Net { is_new: is_added, row: None });
        if kind == Removed::TYPE {
            user.row = None;
        } else {
            let payload: Any = serde_json::from_str(row.get(4)).unwrap();
            let name = payload.name.or_else(|| user.row.take().and_then(|row| row.0));
            user.row = Some((name, payload.email, version));
        }
    }
    users
}

fn write(tx: &mut Transaction<'_>, instance: &str, users: HashMap<&str, Net>, statements: &Statements) {
    let mut put: (Vec<&str>, Vec<String>, Vec<String>, Vec<i64>) = Default::default();
    let mut changed: (Vec<&str>, Vec<String>, Vec<i64>) = Default::default();
    let mut gone: Vec<&str> = Vec::new();
    for (id, net) in users {
        match net.row {
            Some((Some(name), email, sequence)) => {
                put.0.push(id);
                put.1.push(name);
                put.2.push(email);
                put.3.push(sequence);
            }
            Some((None, email, sequence)) => {
                changed.0.push(id);
                changed.1.push(email);
                changed.2.push(sequence);
            }
            None if net.is_new => {}
            None => gone.push(id),
        }
    }
    if !put.0.is_empty() {
        tx.execute(&statements.put, &[&instance, &put.0, &put.1, &put.2, &put.3]).unwrap();
    }
    if !changed.0.is_empty() {
        tx.execute(&statements.update, &[&instance, &changed.0, &changed.1, &changed.2]).unwrap();
    }
    if !gone.is_empty() {
        tx.execute(&statements.delete, &[&instance, &gone]).unwrap();
    }
}
