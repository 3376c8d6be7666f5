//! Any text at any revision through a chain of upcasts: the newest form reaches the reducer, or the event fails with a
//! text that any database can record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use readside::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct V1 {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct V2 {
    first: String,
    last: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct V3 {
    names: Vec<String>,
    count: usize,
}

fn projection() -> Projection {
    Projection::new("names", 1)
        .table(
            Table::new("names").column(text("id")).column(text("names")).column(integer("count")).primary_key(["id"]),
        )
        .upcast("named", 1, |old: V1| {
            let mut parts = old.name.splitn(2, ' ').map(str::to_owned);
            V2 { first: parts.next().unwrap_or_default(), last: parts.next() }
        })
        .upcast("named", 2, |old: V2| {
            let names: Vec<String> = std::iter::once(old.first).chain(old.last).collect();
            V3 { count: names.len(), names }
        })
        .upcast("named", u32::MAX, |old: V3| old)
        .on_raw("user", "named", |event| {
            let V3 { names, count } = event.payload()?;
            let count = i64::try_from(count)?;
            create([set("id", event.aggregate_id()), set("names", names.join(" ")), set("count", count)])
        })
}

fuzz_target!(|input: (u32, &str, &str)| {
    let (revision, id, json) = input;
    for revision in [revision, revision % 4] {
        let event = Event::new("i", "user", id, "named").with_revision(revision).with_payload(json);
        match projection().reduce(&event) {
            Ok(Statement::Create { values, .. }) => assert_eq!(values.len(), 3),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => {
                assert!(!failure.error.is_empty() && failure.error.len() <= 4003 && !failure.error.contains('\0'));
            }
        }
    }
});
