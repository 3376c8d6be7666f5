//! Which events feed which tables, as projections declare it and as this process has seen it.

use serde::Serialize;

use super::asked::{Asked, Made, Missing};
use super::html::Html;
use super::table::{cell, list};
use super::words::several;
use crate::engine::{Seen, Sighting};
use crate::inspect::Lineage;
use crate::serve::http::query::address;
use crate::state::ProjectionKey;

/// The most projections that are listed.
const MOST: usize = 300;

/// The most event types of a projection that are shown as seen.
const SEEN: usize = 100;

/// The events of one type that this process has applied.
#[derive(Serialize)]
struct Came {
    aggregate_type: String,
    event_type: String,
    events: u64,
    /// The tables that their statements changed.
    tables: Vec<String>,
    /// Names of the projection's own SQL that they ran.
    sql: Vec<String>,
}

/// What this process has seen since it was started.
#[derive(Serialize)]
struct Sighted {
    events: Vec<Came>,
    /// True if there were more types than are listed here.
    more: bool,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    declared: Lineage,
    /// Absent if no engine of this process runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Sighted>,
}

#[derive(Serialize)]
struct View {
    /// The event type that the reader looks for.
    event_type: Option<String>,
    lineage: Vec<Row>,
    /// The number of projections that are not listed.
    more: usize,
}

pub(super) fn page(asked: &Asked<'_>) -> Result<Made, Missing> {
    let wanted = asked.query.filled("type").map(str::to_owned);
    let seen = asked.place().seen().unwrap_or_default();
    let row = |declared: Lineage| {
        let is_of =
            |(key, _): &&(ProjectionKey, Seen)| *key.name == *declared.projection && key.version == declared.version;
        let seen = seen.iter().find(is_of).map(|(_, seen)| sighted(seen));
        Row { declared, seen }
    };
    let mut lineage: Vec<Row> = asked.place().inspect().lineage()?.into_iter().map(row).collect();
    if let Some(wanted) = &wanted {
        lineage.retain(|one| one.has(wanted));
    }
    let more = lineage.len().saturating_sub(MOST);
    lineage.truncate(MOST);
    Ok(Made::new("Lineage", &View { event_type: wanted, lineage, more }, write))
}

impl Row {
    /// True when it declares this aggregate type or event type, or has seen it.
    fn has(&self, wanted: &str) -> bool {
        let declares = |(of, types): &(String, Vec<String>)| of == wanted || types.iter().any(|name| name == wanted);
        let came = |one: &Came| one.aggregate_type == wanted || one.event_type == wanted;
        self.declared.events.iter().any(declares) || self.seen.iter().flat_map(|seen| &seen.events).any(came)
    }
}

/// The seen events, the most frequent first.
fn sighted(seen: &Seen) -> Sighted {
    let came = |(aggregate, kind, one): (&str, &str, &Sighting)| Came {
        aggregate_type: aggregate.to_owned(),
        event_type: kind.to_owned(),
        events: one.events,
        tables: one.tables.iter().cloned().collect(),
        sql: one.sql.iter().cloned().collect(),
    };
    let mut events: Vec<Came> = seen.all().map(came).collect();
    events.sort_by(|a, b| {
        b.events
            .cmp(&a.events)
            .then_with(|| (&a.aggregate_type, &a.event_type).cmp(&(&b.aggregate_type, &b.event_type)))
    });
    let more = seen.more || events.len() > SEEN;
    events.truncate(SEEN);
    Sighted { events, more }
}

fn write(html: &mut Html, view: &View) {
    html.within("section", &[("id", "lineage")], |html| {
        html.element("h1", &[], "Lineage");
        html.element("p", &[("class", "faint")], "Which events feed which tables: as the projections declare it, and as this process has seen it since its start.");
        html.within("form", &[("method", "get"), ("action", "/lineage")], |html| {
            html.within("label", &[], |html| {
                html.text("Event type, or aggregate type");
                html.open("input", &[("name", "type"), ("value", view.event_type.as_deref().unwrap_or_default())]);
            });
            html.raw("<button>Show</button>");
        });
        if view.lineage.is_empty() {
            html.element("p", &[], "No projection declares such events.");
            return;
        }
        list(html, &["Projection", "Events", "Tables and columns", "Seen"], |html| {
            for one in &view.lineage {
                html.within("tr", &[], |html| {
                    cell(html, "first", "Projection", |html| {
                        let one = &one.declared;
                        let version = one.version.to_string();
                        let pairs = [("projection", one.projection.as_str()), ("version", version.as_str())];
                        html.link(&address("/projection", &pairs), &one.projection);
                        let live = if one.live { ", readers see it" } else { "" };
                        html.element("small", &[], format!("version {version}{live}"));
                    });
                    cell(html, "long", "Events", |html| events(html, &one.declared));
                    cell(html, "long", "Tables and columns", |html| tables(html, &one.declared));
                    let class = if one.seen.is_some() { "long" } else { "none" };
                    cell(html, class, "Seen", |html| came(html, one.seen.as_ref()));
                });
            }
        });
        if view.more > 0 {
            html.element("p", &[("class", "faint")], format!("and {} more", view.more));
        }
    });
}

fn events(html: &mut Html, one: &Lineage) {
    for (aggregate, types) in &one.events {
        html.within("div", &[], |html| {
            html.element("strong", &[], aggregate).text(" ");
            for (at, name) in types.iter().enumerate() {
                html.text(if at == 0 { "" } else { ", " });
                html.link(&address("/lineage", &[("type", name)]), name);
            }
        });
    }
}

fn tables(html: &mut Html, one: &Lineage) {
    for table in &one.tables {
        html.within("div", &[], |html| {
            html.element("strong", &[("class", "mono")], &table.name);
            let columns = table.columns.iter().map(|(name, kind)| format!("{name} {kind}"));
            html.element("small", &[], columns.collect::<Vec<_>>().join(", "));
        });
    }
}

fn came(html: &mut Html, seen: Option<&Sighted>) {
    let Some(seen) = seen else { return };
    if seen.events.is_empty() {
        html.element("span", &[("class", "faint")], "none since this process was started");
    }
    for one in &seen.events {
        html.within("div", &[], |html| {
            html.text(&one.aggregate_type).text(" ");
            html.link(&address("/lineage", &[("type", &one.event_type)]), &one.event_type);
            let touched = one.tables.iter().cloned().chain(one.sql.iter().map(|name| format!("SQL {name:?}")));
            let touched = touched.collect::<Vec<_>>().join(", ");
            let touched = if touched.is_empty() { "no table".to_owned() } else { touched };
            html.element("small", &[], format!("{}, into {touched}", several(one.events, "event")));
        });
    }
    if seen.more {
        html.element("small", &[], "and other types");
    }
}
