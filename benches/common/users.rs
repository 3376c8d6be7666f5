//! The work of most benches, and its floor on PostgreSQL. Users are added once and change their e-mail nine times.
//! Each event has its version in its aggregate.

use std::collections::HashMap;

use readside::NewEvent;
use readside::postgres_driver::{Row, Statement, Transaction};
use readside::prelude::*;
use serde::{Deserialize, Serialize};

use super::filled::{Floor, Work};
use super::floor::{self, Frame};
use super::place::Database;
use super::random::Random;
use super::{instance, instances};

pub(crate) const USERS: usize = 100;
pub(crate) const VERSIONS: usize = 10;

#[derive(Serialize, Deserialize)]
pub(crate) struct Added {
    pub(crate) name: String,
    pub(crate) email: String,
}
impl Payload for Added {
    const AGGREGATE: &'static str = "user";
    const TYPE: &'static str = "user.added";
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) email: String,
}
impl Payload for Changed {
    const AGGREGATE: &'static str = "user";
    const TYPE: &'static str = "user.changed";
}

/// The sizes of a log: instances, users in each instance, and events of each user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    pub(crate) instances: usize,
    pub(crate) users: usize,
    pub(crate) versions: usize,
}

impl Log {
    pub(crate) fn events(self) -> usize {
        self.instances * self.users * self.versions
    }

    pub(crate) fn names(self) -> Vec<String> {
        instances(self.instances)
    }

    /// The events in random order. The events of each user keep their order.
    pub(crate) fn commands(self) -> impl Iterator<Item = NewEvent> {
        let mut random = Random::new(1);
        (0..self.instances).flat_map(move |n| {
            let turns = turns(&mut random, self.users, self.versions);
            turns.into_iter().map(move |(user, version)| command(n, user, version))
        })
    }

    pub(crate) fn condition(self) -> String {
        let last = self.versions;
        format!("sequence = {last} AND email = 'v{last}.' || id || '@example.com' AND name = 'Name ' || id")
    }
}

impl Work for Log {
    const TABLES: &'static [&'static str] = &["users"];

    fn projection(version: u32) -> Projection {
        projection("users", version)
    }

    fn check(&self, database: &Database, name: &dyn Fn(&str) -> String) {
        database.check(&name("users"), self.instances * self.users, &self.condition());
    }
}

/// Which user has which of its events next: in random order, but with each user's events in order.
pub(crate) fn turns(random: &mut Random, users: usize, versions: usize) -> Vec<(usize, usize)> {
    let mut slots: Vec<usize> = (0..users * versions).map(|slot| slot / versions).collect();
    for last in (1..slots.len()).rev() {
        slots.swap(last, random.below(last + 1));
    }
    let mut seen = vec![0; users];
    let next = |user: usize| {
        seen[user] += 1;
        (user, seen[user])
    };
    slots.into_iter().map(next).collect()
}

fn command(n: usize, user: usize, version: usize) -> NewEvent {
    let id = format!("user-{n:05}-{user:02}");
    let email = format!("v{version}.{id}@example.com");
    if version == 1 {
        NewEvent::new(&instance(n), &id, &Added { name: format!("Name {id}"), email })
    } else {
        NewEvent::new(&instance(n), &id, &Changed { email })
    }
}

/// The projection `users`, or the same projection under another name.
pub(crate) fn projection(name: &str, version: u32) -> Projection {
    let table = Table::new(name)
        .column(text("id"))
        .column(text("name"))
        .column(text("email"))
        .column(integer("sequence"))
        .primary_key(["id"]);
    Projection::new(name, version)
        .table(table)
        .on(|e: &Event, p: Added| {
            create([
                set("id", e.aggregate_id()),
                set("name", p.name),
                set("email", p.email),
                set("sequence", e.version()),
            ])
        })
        .on(|e: &Event, p: Changed| {
            update([set("email", p.email), set("sequence", e.version())], [eq("id", e.aggregate_id())])
        })
}

/// The payload of either event.
#[derive(Deserialize)]
pub(crate) struct Any {
    pub(crate) name: Option<String>,
    pub(crate) email: String,
}

/// The floor: it writes the last state of each user in a batch. New users take one statement, and changed users
/// another.
pub(crate) fn floor(database: &Database) -> Floor {
    let mut frame = Frame::new(database, "aggregate_id, version, payload", floor::BATCH);
    let insert = "INSERT INTO floor_users SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::int8[])";
    let update = "UPDATE floor_users u SET email = v.email, sequence = v.sequence \
                  FROM unnest($2::text[], $3::text[], $4::int8[]) v (id, email, sequence) \
                  WHERE u.instance_id = $1 AND u.id = v.id";
    let [insert, update] = [insert, update].map(|sql| frame.client.prepare(sql).unwrap());
    Box::new(move |instances| {
        frame.catch_up(instances, |tx, instance, rows| write(tx, instance, rows, &insert, &update));
    })
}

fn write(tx: &mut Transaction<'_>, instance: &str, rows: &[Row], insert: &Statement, update: &Statement) {
    let mut last: HashMap<&str, (Option<String>, String, i64)> = HashMap::with_capacity(rows.len());
    for row in rows {
        let payload: Any = serde_json::from_str(row.get(3)).unwrap();
        let user = last.entry(row.get(1)).or_default();
        user.0 = payload.name.or(user.0.take());
        user.1 = payload.email;
        user.2 = row.get(2);
    }
    let mut new: (Vec<&str>, Vec<String>, Vec<String>, Vec<i64>) = Default::default();
    let mut old: (Vec<&str>, Vec<String>, Vec<i64>) = Default::default();
    for (id, (name, email, sequence)) in last {
        if let Some(name) = name {
            new.0.push(id);
            new.1.push(name);
            new.2.push(email);
            new.3.push(sequence);
        } else {
            old.0.push(id);
            old.1.push(email);
            old.2.push(sequence);
        }
    }
    if !new.0.is_empty() {
        tx.execute(insert, &[&instance, &new.0, &new.1, &new.2, &new.3]).unwrap();
    }
    if !old.0.is_empty() {
        tx.execute(update, &[&instance, &old.0, &old.1, &old.2]).unwrap();
    }
}
