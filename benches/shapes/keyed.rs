//! Tables with a second unique index and a foreign key. Their statements have to run one by one.

use readside::NewEvent;
use readside::prelude::*;
use serde::{Deserialize, Serialize};

use crate::EVENTS;
use crate::common::filled::{Floor, Work};
use crate::common::floor::{BATCH, Frame};
use crate::common::instance;
use crate::common::place::Database;
use crate::common::random::Random;
use crate::common::users::{Changed, turns};

/// The number of events of a user. The first adds the user. At even versions the user changes, and at odd ones it
/// gets a phone.
const VERSIONS: usize = 10;

#[derive(Serialize, Deserialize)]
struct PhoneAdded {
    phone: String,
}
impl Payload for PhoneAdded {
    const AGGREGATE: &'static str = "user";
    const TYPE: &'static str = "user.phone_added";
}

#[derive(Serialize, Deserialize)]
struct Joined {
    email: String,
}
impl Payload for Joined {
    const AGGREGATE: &'static str = "user";
    const TYPE: &'static str = "user.joined";
}

pub(crate) struct Keyed(pub(crate) usize);

impl Work for Keyed {
    const TABLES: &'static [&'static str] = &["contacts", "contacts_phones"];

    fn projection(version: u32) -> Projection {
        let contacts = Table::new("contacts").column(text("id")).column(text("email")).column(integer("sequence"));
        let phones = Table::suffix("phones").column(text("id")).column(text("phone")).primary_key(["id", "phone"]);
        Projection::new("contacts", version)
            .table(contacts.primary_key(["id"]).unique(["email"]))
            .table(phones.references_primary(["id"]))
            .on(|e: &Event, p: Joined| {
                create([set("id", e.aggregate_id()), set("email", p.email), set("sequence", e.version())])
            })
            .on(|e: &Event, p: Changed| {
                update([set("email", p.email), set("sequence", e.version())], [eq("id", e.aggregate_id())])
            })
            .on(|e: &Event, p: PhoneAdded| {
                in_table("phones", create([set("id", e.aggregate_id()), set("phone", p.phone)]))
            })
    }

    fn check(&self, database: &Database, name: &dyn Fn(&str) -> String) {
        let users = self.0 * EVENTS / VERSIONS;
        database.check(&name("contacts"), users, "sequence = 10 AND email = 'v10.' || id");
        database.check(&name("contacts_phones"), users * (VERSIONS / 2 - 1), "phone ~ '^phone-[3579]$'");
    }
}

pub(crate) fn commands(n: usize) -> Vec<NewEvent> {
    let turns = turns(&mut Random::new(n as u64), EVENTS / VERSIONS, VERSIONS);
    turns.into_iter().map(|(user, version)| command(n, user, version)).collect()
}

fn command(n: usize, user: usize, version: usize) -> NewEvent {
    let (instance, id) = (instance(n), format!("user-{n:05}-{user:02}"));
    let email = format!("v{version}.{id}");
    if version == 1 {
        NewEvent::new(&instance, &id, &Joined { email })
    } else if version.is_multiple_of(2) {
        NewEvent::new(&instance, &id, &Changed { email })
    } else {
        NewEvent::new(&instance, &id, &PhoneAdded { phone: format!("phone-{version}") })
    }
}

/// Runs prepared statements one by one, in transactions of 1,000 events.
pub(crate) fn floor(database: &Database) -> Floor {
    let mut frame = Frame::new(database, "aggregate_id, version, event_type, payload", BATCH);
    let key = "FOREIGN KEY (instance_id, id) REFERENCES floor_contacts (instance_id, id) ON DELETE CASCADE";
    frame.client.batch_execute(&format!("ALTER TABLE floor_contacts_phones ADD {key}")).unwrap();
    let insert = "INSERT INTO floor_contacts VALUES ($1, $2, $3, $4)";
    let update = "UPDATE floor_contacts SET email = $3, sequence = $4 WHERE instance_id = $1 AND id = $2";
    let phone = "INSERT INTO floor_contacts_phones VALUES ($1, $2, $3)";
    let [insert, update, phone] = [insert, update, phone].map(|sql| frame.client.prepare(sql).unwrap());
    Box::new(move |instances| {
        frame.catch_up(instances, |tx, instance, rows| {
            for row in rows {
                let (id, version, payload): (&str, i64, &str) = (row.get(1), row.get(2), row.get(4));
                match row.get(3) {
                    PhoneAdded::TYPE => {
                        let added: PhoneAdded = serde_json::from_str(payload).unwrap();
                        tx.execute(&phone, &[&instance, &id, &added.phone]).unwrap();
                    }
                    kind => {
                        let changed: Changed = serde_json::from_str(payload).unwrap();
                        let statement = if kind == Joined::TYPE { &insert } else { &update };
                        tx.execute(statement, &[&instance, &id, &changed.email, &version]).unwrap();
                    }
                }
            }
        });
    })
}
