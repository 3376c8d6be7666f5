//! The work of the benches: a projection of users over events of several instances, and its floor in hand-written SQL.

#[cfg(all(feature = "postgres", unix))]
pub(crate) mod postgres;

use std::sync::Arc;

use readside::{
    Command, Event, EventStore, HandlerConfig, Payload, Projection, ProjectionHandler, ProjectionStore, Table, Value,
    create, eq, integer, set, text, update,
};
use serde::{Deserialize, Serialize};

pub(crate) const INSTANCES: usize = 20;
pub(crate) const USERS: usize = 100;
pub(crate) const VERSIONS: usize = 10;
pub(crate) const EVENTS: usize = INSTANCES * USERS * VERSIONS;

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

/// The projection; each version has tables and states of its own, so that each run catches up from nothing.
pub(crate) fn users(version: u32) -> Projection {
    let table = Table::new("users")
        .column(text("id"))
        .column(text("name"))
        .column(text("email"))
        .column(integer("sequence"))
        .primary_key(["id"]);
    Projection::new("users", version)
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

pub(crate) fn instance(n: usize) -> String {
    format!("inst-{n:03}")
}

pub(crate) fn command(instance: &str, user: usize, version: usize) -> Command {
    let id = format!("user-{user:02}");
    let email = format!("v{version}.{id}@example.com");
    if version == 1 {
        Command::new(instance, &id, &Added { name: format!("Name {id}"), email })
    } else {
        Command::new(instance, &id, &Changed { email })
    }
}

/// Fills the log: the users of an instance take turns.
pub(crate) fn fill(store: &dyn EventStore) {
    for n in 0..INSTANCES {
        let name = instance(n);
        for version in 1..=VERSIONS {
            let commands: Vec<Command> = (0..USERS).map(|user| command(&name, user, version)).collect();
            store.push(&commands).expect("the log is filled");
        }
    }
}

/// One catch-up of all instances from nothing, on one worker, in batches of ten instances.
pub(crate) fn catch_up<S: EventStore + ProjectionStore + Clone + 'static>(store: &S, handler: &ProjectionHandler) {
    let names: Vec<String> = (0..INSTANCES).map(instance).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for batch in names.chunks(10) {
        handler.trigger(batch).expect("the pass succeeds");
    }
    let _ = store;
}

pub(crate) fn handler<S: EventStore + ProjectionStore + Clone + 'static>(store: &S, version: u32) -> ProjectionHandler {
    let config = HandlerConfig { bulk_limit: 1000, ..HandlerConfig::default() };
    let (source, models) = (Arc::new(store.clone()), Arc::new(store.clone()));
    let handler = ProjectionHandler::new(source, models, users(version), config).expect("the handler is right");
    handler.setup().expect("set-up");
    handler
}

/// Every user has the last e-mail and sequence.
pub(crate) fn verify(rows: &[Vec<(String, Value)>]) {
    assert_eq!(rows.len(), INSTANCES * USERS);
    for row in rows {
        let value = |name: &str| row.iter().find(|(column, _)| column == name).map(|(_, value)| value.clone());
        assert_eq!(value("sequence"), Some(Value::from(10)));
        assert!(matches!(value("email"), Some(Value::Text(text)) if text.starts_with("v10.")));
    }
}
