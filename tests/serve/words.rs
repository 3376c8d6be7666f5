//! The words that need no help, or a person's word: the page says what the run-book says, and a shell takes its commands.

use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use readside::EventStore;
use readside::failure::By;
use readside::prelude::*;
use readside::store::{LeaseStore, ProjectionStore};
use uuid::Uuid;

use crate::common::{LONG, eventually};
use crate::{Client, Place, config, count, counts, serve, start};

/// What the run-book says under a word.
fn said(word: &str) -> String {
    let book = include_str!("../../docs/run-book.md");
    let after = book.split_once(&format!("\n### {word}\n")).unwrap_or_else(|| panic!("{word} is missing")).1;
    after.split("\n#").next().unwrap().to_owned()
}

/// What stands in the section of the page that names the verdict, as a person reads it.
fn shown(page: &str, section: &str) -> String {
    let after = page.split_once(&format!("<section id=\"{section}\"")).unwrap().1;
    after.split_once("</section>").unwrap().0.to_owned()
}

/// The commands that the page tells to run, as they are printed.
fn commands(shown: &str) -> Vec<String> {
    let parts = shown.split("<code").skip(1).map(|after| after.split_once('>').unwrap().1);
    let parts = parts.map(|after| after.split_once("</code>").unwrap().0.replace("<span>", "").replace("</span>", ""));
    let plain = |text: &str| {
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
            .iter()
            .fold(text.to_owned(), |text, (escaped, letter)| text.replace(escaped, letter))
    };
    parts.map(|part| plain(&part)).collect()
}

/// Runs a command as a person does who copies it from the page.
fn run(place: &impl Place, command: &str) -> String {
    let program = assert_cmd::cargo::cargo_bin!("readside");
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let ran = Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .env("READSIDE_DATABASE_URL", place.address())
        .env("USER", "ada")
        .env_remove("READSIDE_EVENTS_URL")
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{command}: {told}{}", String::from_utf8_lossy(&ran.stderr));
    told
}

/// Waits until both pages show this word, and returns the commands that they tell. Both tell the same ones.
fn told(client: Client, word: &str) -> Vec<String> {
    eventually(word, || client.get("/index.json").page()["whole"]["verdict"] == word);
    let whole = shown(&client.get("/").body, "whole");
    let facts = shown(&client.get("/projection?projection=counts").body, "facts");
    let (all, of_one) = (commands(&whole), commands(&facts));
    assert!(all.iter().all(|one| of_one.contains(one)), "{all:?}, and {of_one:?}");
    for command in &all {
        // Such as `readside resume`.
        let named: Vec<&str> = command.split(' ').take(2).collect();
        assert!(said(word).contains(&named.join(" ")), "the run-book does not name {command} under {word}");
    }
    all
}

// Contract: S3
both!(what_is_paused_goes_on_by_the_command_on_the_page);
fn what_is_paused_goes_on_by_the_command_on_the_page<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1)]);
    let (odd, by) = ("it's \"odd\" & $HOME", By::new("ada", "the import goes on"));
    engine.push(&[count("a", "x"), count(odd, "x")]).unwrap();
    let (_server, client) = serve(&engine);
    let is_idle = || client.get("/index.json").page()["whole"]["verdict"] == "idle";
    eventually("the first run", is_idle);
    for instance in [None, Some(odd)] {
        engine.admin().pause("counts", instance, &by).unwrap();
        engine.push(&[count(odd, "y")]).unwrap();
        let told = told(client, "paused");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("readside commands ") && told[1].starts_with("readside resume "), "{told:?}");
        let found = run(place, &told[0]);
        assert!(found.contains("the import goes on") && found.contains("pause"), "{found}");
        run(place, &told[1]);
        eventually("that it goes on", is_idle);
    }
}

// Contract: S3
both!(what_is_built_needs_nobody);
fn what_is_built_needs_nobody<P: Place>(place: &P) {
    let (store, other, key) = (place.open(), Uuid::from_u128(7), counts("counts", 1).key());
    ProjectionStore::setup(&store, &[&counts("counts", 1)]).unwrap();
    // Another process leads the first run, and does not come to its end.
    assert!(store.lead(&key, other, LONG).unwrap());
    store.push(&[count("a", "x")]).unwrap();
    let engine = start(place.open(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    let told = told(client, "building");
    assert_eq!(told, ["readside builds list"]);
    assert!(run(place, &told[0]).contains("counts"));
    assert!(said("building").contains("Do nothing") && shown(&client.get("/").body, "whole").contains("wait; "));
}

// Contract: S3
both!(what_moves_needs_nobody);
fn what_moves_needs_nobody<P: Place>(place: &P) {
    let (pass, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let wait = move |gate: &Mutex<Receiver<()>>| _ = gate.lock().unwrap().recv();
    let table = Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]);
    let projection = Projection::new("counts", 1).table(table).on_raw("thing", "thing.counted", move |event| {
        if event.aggregate_id() == "slow" {
            wait(&gate);
        }
        upsert(["thing"], [set("thing", event.aggregate_id()), increment("n", 1)])
    });
    let engine = readside::Engine::builder(place.open()).config(config()).projection(projection).start().unwrap();
    let pushed = engine.push(&[count("a", "x")]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let (_server, client) = serve(&engine);
    eventually("the first run", || client.get("/index.json").page()["whole"]["verdict"] == "idle");
    engine.push(&[count("a", "slow")]).unwrap();
    assert_eq!(told(client, "moving"), [""; 0]);
    let whole = shown(&client.get("/").body, "whole");
    assert!(whole.contains("1 position") && !whole.contains("What to do"), "{whole}");
    assert!(said("moving").contains("catches up. Do nothing."));
    drop(pass);
    eventually("the end", || client.get("/index.json").page()["whole"]["verdict"] == "idle");
    engine.shutdown(LONG).unwrap();
}
