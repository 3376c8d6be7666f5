//! One event as one line of JSON.

use std::borrow::Cow;

use anyhow::Context;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::cli::format::exact_moment;
use crate::cli::output::Output;
use crate::event::Event;

/// The fields and their order are what scripts rely on, and what `readside push` reads.
#[derive(Serialize)]
struct EventLine<'e> {
    id: Uuid,
    instance: &'e str,
    position: i64,
    aggregate_type: &'e str,
    aggregate_id: &'e str,
    version: i64,
    #[serde(rename = "type")]
    event_type: &'e str,
    revision: u32,
    created_at: String,
    creator: &'e str,
    owner: &'e str,
    /// As it was given: no number is rounded, no key moved.
    payload: &'e RawValue,
    metadata: &'e RawValue,
}

/// Prints an event.
pub(in crate::cli) fn print(out: &mut Output, event: &Event) -> anyhow::Result<()> {
    let (payload, metadata) = (one_line(event.payload_json()), one_line(event.metadata_json()));
    let json = |text| {
        let doing = || format!("reading event {} of instance {:?}", event.position(), event.instance());
        serde_json::from_str::<&RawValue>(text).with_context(doing)
    };
    out.object(&EventLine {
        id: event.id(),
        instance: event.instance(),
        position: event.position(),
        aggregate_type: event.aggregate_type(),
        aggregate_id: event.aggregate_id(),
        version: event.version(),
        event_type: event.event_type(),
        revision: event.revision(),
        created_at: exact_moment(event.created_at()),
        creator: event.creator(),
        owner: event.owner(),
        payload: json(&payload)?,
        metadata: json(&metadata)?,
    })
}

/// A JSON text without line breaks, which can only stand between its parts.
fn one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() }
}
