//! The first program of the README: one event becomes one row. You can run it as often as you like.

use std::process::ExitCode;
use std::time::Duration;

use readside::error::{PushError, chain};
use readside::prelude::*;
use readside::{Engine, Expected, NewEvent, SqliteStore};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Added {
    name: String,
}
impl Payload for Added {
    const AGGREGATE: &str = "user";
    const TYPE: &str = "user.added";
}

#[derive(Serialize, Deserialize)]
struct Renamed {
    name: String,
}
impl Payload for Renamed {
    const AGGREGATE: &str = "user";
    const TYPE: &str = "user.renamed";
}

fn users() -> Projection {
    Projection::new("users", 1)
        .table(Table::new("users").column(text("id")).column(text("name")).primary_key(["id"]))
        .on(|e, p: Added| create([set("id", e.aggregate_id()), set("name", p.name)]))
        .on(|e, p: Renamed| update([set("name", p.name)], [eq("id", e.aggregate_id())]))
}

fn run() -> Result<(), readside::Error> {
    let store = SqliteStore::open("first.db")?;
    let engine = Engine::builder(store.clone()).projection(users()).start()?;

    let ada = NewEvent::new("acme", "u1", &Added { name: "Ada".into() }).expect(Expected::New);
    match engine.push(&[ada]) {
        Ok(pushed) => engine.await_pushed("users", &pushed, Duration::from_secs(5))?,
        Err(PushError::Conflict { .. }) => println!("Ada is there already"),
        Err(error) => return Err(error.into()),
    }
    let names = "SELECT name FROM users WHERE instance_id = $instance";
    for name in store.query_as::<String>("acme", names, &[])? {
        println!("{name}");
    }
    Ok(engine.shutdown(Duration::from_secs(5))?)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", chain(&error)); // what was being done, then each cause
            ExitCode::FAILURE
        }
    }
}
