//! One event as one line of JSON.

use std::borrow::Cow;

use anyhow::Context;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::cli::format::exact_moment;
use crate::cli::output::Output;
use crate::event::Event;

/// Scripts rely on these fields and their order, and `readside push` reads them.
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
    /// The payload as it was given: no number is rounded, and the keys keep their order.
    payload: &'e RawValue,
    metadata: &'e RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    push_key: Option<&'e str>,
    /// The exact payload, if a line cannot hold it unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_text: Option<&'e str>,
}

/// Prints an event.
pub(in crate::cli) fn print(out: &mut Output, event: &Event) -> anyhow::Result<()> {
    shown(event, None, false, |line| out.object(line))
}

/// An event with its exact payload and its push key.
pub(in crate::cli) fn exact(event: &Event, push_key: Option<&str>) -> anyhow::Result<String> {
    shown(event, push_key, true, |line| Ok(serde_json::to_string(line)?))
}

fn shown<T>(
    event: &Event,
    push_key: Option<&str>,
    exact: bool,
    show: impl FnOnce(&EventLine<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (payload, metadata) = (one_line(event.payload_json()), one_line(event.metadata_json()));
    let is_changed = exact && matches!(payload, Cow::Owned(_));
    let json = |text| {
        let doing = || format!("reading event {} of instance {:?}", event.position(), event.instance());
        serde_json::from_str::<&RawValue>(text).with_context(doing)
    };
    show(&EventLine {
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
        push_key,
        payload_text: is_changed.then(|| event.payload_json()),
    })
}

/// A JSON text without line breaks. Line breaks can only stand between its parts, so a space can replace them.
fn one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() }
}
