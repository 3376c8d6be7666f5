//! Any text as a payload: decoding gives a value or an error, and an error of a wrong payload keeps its text to itself.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use readside::{Event, EventStore, NewEvent, SqliteStore};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Flat {
    name: String,
    count: Option<i64>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tree {
    Leaf { value: f64 },
    Node { children: Vec<Tree> },
}

fn decode<T: DeserializeOwned + Serialize>(event: &Event) {
    match event.payload::<T>() {
        Ok(value) => drop(serde_json::to_string(&value)),
        Err(error) => assert!(error.to_string().contains("no ")),
    }
}

/// What the store takes, it gives back unchanged.
fn round_trip(json: &str) {
    thread_local! {
        static STORE: SqliteStore = {
            let store = SqliteStore::in_memory().expect("a store");
            store.setup().expect("its tables");
            store
        };
    }
    STORE.with(|store| {
        if let Ok(events) = store.push(&[NewEvent::raw("fuzz", "a", "1", "e").payload_json(json)]) {
            let query = readside::query::Query::new().descending().limit(1);
            let stored = store.filter(&query).expect("events are read");
            assert_eq!(stored[0].payload_json(), json);
            assert_eq!(events[0].position(), stored[0].position());
            serde_json::from_str::<&serde_json::value::RawValue>(json).expect("only JSON is taken");
        }
    });
}

fuzz_target!(|text: &str| {
    let event = Event::new("i", "a", "1", "e").with_payload(text).with_metadata(text);
    decode::<Flat>(&event);
    decode::<Tree>(&event);
    decode::<BTreeMap<String, serde_json::Value>>(&event);
    decode::<(u8, char, Option<Box<str>>)>(&event);
    decode::<serde_json::Value>(&event);
    let _ = event.metadata("name");
    round_trip(text);
});
