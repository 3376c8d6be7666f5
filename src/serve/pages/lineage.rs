//! Which events feed which tables.

use serde::Serialize;

use super::asked::{Asked, Made, Missing};
use super::html::Html;
use super::table::{cell, list};
use crate::inspect::Lineage;
use crate::serve::http::query::address;

/// Projections that are listed.
const MOST: usize = 300;

#[derive(Serialize)]
struct View {
    /// The event type that is looked for.
    event_type: Option<String>,
    lineage: Vec<Lineage>,
    /// Projections that are not listed.
    more: usize,
}

pub(super) fn page(asked: &Asked<'_>) -> Result<Made, Missing> {
    let wanted = asked.query.filled("type").map(str::to_owned);
    let mut lineage = asked.place().inspect().lineage()?;
    if let Some(wanted) = &wanted {
        lineage.retain(|one| one.events.iter().any(|(of, types)| of == wanted || types.contains(wanted)));
    }
    let more = lineage.len().saturating_sub(MOST);
    lineage.truncate(MOST);
    Ok(Made::new("Lineage", &View { event_type: wanted, lineage, more }, write))
}

fn write(html: &mut Html, view: &View) {
    html.within("section", &[("id", "lineage")], |html| {
        html.element("h1", &[], "Lineage");
        html.element("p", &[("class", "faint")], "Which events feed which tables, as the projections declare it.");
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
        list(html, &["Projection", "Events", "Tables and columns"], |html| {
            for one in &view.lineage {
                html.within("tr", &[], |html| {
                    cell(html, "first", "Projection", |html| {
                        let version = one.version.to_string();
                        let pairs = [("projection", one.projection.as_str()), ("version", version.as_str())];
                        html.link(&address("/projection", &pairs), &one.projection);
                        let live = if one.live { ", readers see it" } else { "" };
                        html.element("small", &[], format!("version {version}{live}"));
                    });
                    cell(html, "long", "Events", |html| events(html, one));
                    cell(html, "long", "Tables and columns", |html| tables(html, one));
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
