//! Instances by name, and a single one: its head, how far each projection is in it, its last events.

use std::fmt::Display;

use serde::Serialize;

use super::asked::{Asked, Made, Missing, ROWS};
use super::html::Html;
use super::overview::coded;
use super::table::{cell, list};
use super::words::{ago, machine, moment, positions};
use crate::error::chain;
use crate::event::Event;
use crate::inspect::{InstanceCheckpoint, InstanceHead};
use crate::query::{Query as EventQuery, SubQuery};
use crate::serve::http::query::address;

/// The most events that are shown of an instance.
const EVENTS: usize = 20;

/// The most bytes of payloads that are read for them.
const EVENT_BYTES: usize = 1 << 20;

/// The most characters of a payload that are shown.
const PAYLOAD: usize = 4_000;

/// The name of an instance. The system instance has an empty name.
pub(super) fn shown(instance: &str) -> impl Display {
    if instance.is_empty() { "the system instance".to_owned() } else { instance.to_owned() }
}

/// A form that finds instances by the beginning of their names.
pub(super) fn search(html: &mut Html, prefix: &str) {
    html.within("form", &[("method", "get"), ("action", "/instances"), ("role", "search")], |html| {
        html.within("label", &[], |html| {
            html.text("Name begins with");
            html.open("input", &[("name", "prefix"), ("value", prefix), ("autocomplete", "off")]);
        });
        html.raw("<button>Find</button>");
    });
}

#[derive(Serialize)]
struct ListView {
    prefix: String,
    instances: Vec<InstanceHead>,
    /// The address of the next page.
    next: Option<String>,
}

pub(super) fn list_of(asked: &Asked<'_>) -> Result<Made, Missing> {
    let prefix = asked.query.get("prefix").unwrap_or_default();
    let Some(events) = heads(asked, prefix)? else {
        let why = "the events come from a source of the service's own, which does not list its instances";
        return Err(Missing::Unknown(format!("list of instances: {why}")));
    };
    let mut instances = events;
    let has_more = instances.len() > ROWS;
    instances.truncate(ROWS);
    let next = instances.last().filter(|_| has_more);
    let next = next.map(|last| address("/instances", &[("prefix", prefix), ("after", &last.instance)]));
    let view = ListView { prefix: prefix.to_owned(), instances, next };
    Ok(Made::new("Instances", &view, |html, view| write_list(html, view, asked)))
}

/// Heads of the log, wherever it is. `None` if it cannot be asked.
fn heads(asked: &Asked<'_>, prefix: &str) -> Result<Option<Vec<InstanceHead>>, Missing> {
    let place = asked.place();
    let after = asked.query.get("after");
    let Some(log) = place.log() else { return Ok(None) };
    Ok(Some(log.instance_heads(prefix, after, ROWS + 1)?))
}

fn write_list(html: &mut Html, view: &ListView, asked: &Asked<'_>) {
    html.within("section", &[("id", "instances")], |html| {
        html.element("h1", &[], "Instances");
        search(html, &view.prefix);
        if view.instances.is_empty() {
            html.element("p", &[], "No instance has such a name.");
            return;
        }
        list(html, &["Instance", "#Head", "Last event"], |html| {
            for one in &view.instances {
                html.within("tr", &[], |html| {
                    cell(html, "first", "Instance", |html| {
                        html.link(&address("/instance", &[("instance", &one.instance)]), shown(&one.instance));
                        if one.closed {
                            html.text(" (removed)");
                        }
                    });
                    cell(html, "n", "Head", |html| _ = html.text(positions(one.head)));
                    cell(html, "", "Last event", |html| {
                        _ = html.text(one.head_at.map_or("–".to_owned(), |at| ago(at, asked.now)));
                    });
                });
            }
        });
        if let Some(next) = &view.next {
            html.within("p", &[("class", "more")], |html| _ = html.link(next, "Next page"));
        }
    });
}

#[derive(Serialize)]
struct Shown {
    position: i64,
    event_type: String,
    aggregate_type: String,
    aggregate_id: String,
    version: i64,
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    created_at: std::time::SystemTime,
    /// Only if the request asks for it.
    payload: Option<String>,
}

#[derive(Serialize)]
struct OneView {
    instance: String,
    head: Option<InstanceHead>,
    checkpoints: Vec<InstanceCheckpoint>,
    /// The events, the last one first.
    events: Vec<Shown>,
    /// Why there are no events.
    no_events: Option<String>,
}

pub(super) fn one(asked: &Asked<'_>) -> Result<Made, Missing> {
    // The name of the system instance is empty.
    let instance = asked.query.get("instance").ok_or(Missing::Unnamed("instance"))?;
    let place = asked.place();
    let head = match place.log() {
        Some(log) => log.instance_heads(instance, None, 1)?.into_iter().find(|head| head.instance == instance),
        None => None,
    };
    let mut checkpoints = place.inspect().checkpoints(instance)?;
    checkpoints.sort_by_key(|one| (!one.held, std::cmp::Reverse(one.head.unwrap_or(0).saturating_sub(one.position))));
    if head.is_none() && checkpoints.iter().all(|one| one.position == 0) {
        return Err(Missing::Unknown(format!("instance {instance:?}")));
    }
    let (events, no_events) = match &place.events {
        None => (Vec::new(), Some("the events come from a source of the service's own".to_owned())),
        Some(store) => {
            let query = EventQuery::new().or(SubQuery::new().instance(instance)).descending();
            match store.filter(&query.limit(EVENTS).max_bytes(EVENT_BYTES)) {
                Ok(events) => (events, None),
                Err(error) => (Vec::new(), Some(chain(&error))),
            }
        }
    };
    let payloads = asked.pages.payloads;
    let events = events.iter().map(|event| of_event(event, payloads)).collect();
    let view = OneView { instance: instance.to_owned(), head, checkpoints, events, no_events };
    Ok(Made::new(format!("Instance {}", shown(instance)), &view, |html, view| write_one(html, view, asked)))
}

fn of_event(event: &Event, payloads: bool) -> Shown {
    let payload = event.payload_json();
    let cut = payload.char_indices().nth(PAYLOAD).map(|(at, _)| format!("{}…", payload.get(..at).unwrap_or_default()));
    Shown {
        position: event.position(),
        event_type: event.event_type().to_owned(),
        aggregate_type: event.aggregate_type().to_owned(),
        aggregate_id: event.aggregate_id().to_owned(),
        version: event.version(),
        created_at: event.created_at(),
        payload: payloads.then(|| cut.unwrap_or_else(|| payload.to_owned())),
    }
}

fn write_one(html: &mut Html, view: &OneView, asked: &Asked<'_>) {
    html.within("section", &[("id", "head")], |html| {
        html.element("h1", &[], format!("Instance {}", shown(&view.instance)));
        html.within("p", &[], |html| match &view.head {
            Some(head) => {
                html.text(format!("Its head is {}", positions(head.head)));
                if let Some(at) = head.head_at {
                    html.text(format!(", stored {} ({})", moment(at), ago(at, asked.now)));
                }
                html.text(if head.closed { ". It was removed and refuses pushes." } else { "." });
            }
            None => _ = html.text("Its log is elsewhere, so that its head is not known here."),
        });
    });
    html.within("section", &[("id", "checkpoints")], |html| {
        html.element("h2", &[], "Where projections stand");
        list(html, &["Projection", "#Position", "#Behind", "Last moved", "Failures"], |html| {
            for one in &view.checkpoints {
                html.within("tr", &[], |html| checkpoint(html, one, asked));
            }
        });
        html.within("p", &[("class", "faint")], |html| {
            coded(html, "`readside explain PROJECTION INSTANCE KEY…` tells which events made a row.");
            if cfg!(feature = "sqlite") && asked.place().engine.is_some() {
                html.text(" So does this page: ");
                let live = view.checkpoints.iter().filter(|one| one.build.is_none());
                for (at, one) in live.enumerate() {
                    html.text(if at == 0 { "" } else { ", " });
                    let pairs = [("projection", one.projection.as_str()), ("instance", view.instance.as_str())];
                    html.link(&address("/explain", &pairs), &one.projection);
                }
            }
        });
    });
    html.within("section", &[("id", "events")], |html| {
        html.element("h2", &[], "Last events");
        if let Some(why) = &view.no_events {
            html.element("p", &[("class", "faint")], why);
            return;
        }
        list(html, &["#Position", "Type", "Aggregate", "Stored"], |html| {
            for event in &view.events {
                html.within("tr", &[], |html| {
                    cell(html, "n", "Position", |html| _ = html.text(positions(event.position)));
                    cell(html, "", "Type", |html| {
                        html.text(&event.event_type);
                        if let Some(payload) = &event.payload {
                            html.element("pre", &[], payload);
                        }
                    });
                    cell(html, "", "Aggregate", |html| {
                        html.text(format!(
                            "{} {}, version {}",
                            event.aggregate_type, event.aggregate_id, event.version
                        ));
                    });
                    cell(html, "", "Stored", |html| {
                        _ = html.element("time", &[("datetime", &machine(event.created_at))], moment(event.created_at));
                    });
                });
            }
        });
        if !asked.pages.payloads {
            html.element(
                "p",
                &[("class", "faint")],
                "Payloads are not shown unless the page is served with --show-payloads.",
            );
        }
    });
}

fn checkpoint(html: &mut Html, one: &InstanceCheckpoint, asked: &Asked<'_>) {
    cell(html, "first", "Projection", |html| {
        let version = one.version.to_string();
        let mut pairs = vec![("projection", one.projection.as_str()), ("version", version.as_str())];
        pairs.extend(one.build.as_deref().map(|build| ("build", build)));
        html.link(&address("/projection", &pairs), &one.projection);
        let build = one.build.as_deref().map_or(String::new(), |build| format!(", build {build}"));
        html.element("small", &[], format!("version {version}{build}"));
    });
    cell(html, "n", "Position", |html| _ = html.text(positions(one.position)));
    cell(html, "n", "Behind", |html| {
        let behind = one.head.map(|head| head.saturating_sub(one.position));
        let unknown = if asked.place().has_two_databases { "not known" } else { "0" };
        _ = html.text(behind.map_or(unknown.to_owned(), positions));
    });
    cell(html, "", "Last moved", |html| _ = html.text(one.moved_at.map_or("–".to_owned(), |at| ago(at, asked.now))));
    cell(html, if one.held { "" } else { "none" }, "Failures", |html| {
        if one.held {
            let instance = asked.query.get("instance").unwrap_or_default();
            html.link(&address("/failures", &[("projection", &one.projection), ("instance", instance)]), "some");
        }
    });
}

/// The payload of one event, if the log can be asked for it.
pub(super) fn payload(asked: &Asked<'_>, instance: &str, position: i64) -> Result<Option<String>, Missing> {
    let Some(store) = &asked.place().events else { return Ok(None) };
    let one = SubQuery::new().instance(instance).after(position.saturating_sub(1)).before(position.saturating_add(1));
    let found = store.filter(&EventQuery::new().or(one).limit(1))?;
    Ok(found.first().and_then(|event| of_event(event, true).payload))
}
