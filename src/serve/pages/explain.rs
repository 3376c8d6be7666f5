//! Shows which events made a row: it applies the events of the instance again, in temporary tables.
//!
//! That needs the code of the projection, so only a page inside a service can do it. It answers one question at a time,
//! within a deadline, because an explanation reads all events of an instance.

use serde::Serialize;

use super::asked::{Asked, Made, Missing};
use super::html::Html;
use super::table::{cell, list};
use super::words::{machine, moment, positions, several};
use crate::admin::{ExplainRequest, Explanation};
use crate::builds::JsonRow;
use crate::engine::Desk;
use crate::remedy::Command;
use crate::serve::http::query::address;
use crate::table::Table;

#[derive(Serialize)]
struct KeyOf {
    table: String,
    /// The columns of the primary key, in its order.
    columns: Vec<String>,
}

#[derive(Serialize)]
struct View {
    projection: String,
    instance: String,
    /// The tables that a reader can ask about.
    tables: Vec<KeyOf>,
    /// `None` while no row is named.
    explanation: Option<Explanation>,
    /// Why there is no explanation, although the request asked for one.
    refused: Option<String>,
}

const NO_CODE: &str = "the page has to be that of a service whose engine runs this projection: its code makes the rows; \
                       ask such an engine by";
const NO_ROWS: &str =
    "rows are made of payloads, and those are not shown unless the page is served with --show-payloads";

pub(super) fn page(asked: &Asked<'_>) -> Result<Made, Missing> {
    let name = asked.query.filled("projection").ok_or(Missing::Unnamed("projection"))?;
    let instance = asked.query.get("instance").ok_or(Missing::Unnamed("instance"))?;
    let desk = asked.place().desk(name);
    let key_of = |table: &Table| KeyOf { table: table.name.clone(), columns: table.primary_key.clone() };
    let tables = desk.iter().flat_map(|desk| desk.projection.tables().iter().map(key_of)).collect();
    let key: Vec<String> = asked.query.all("key").map(str::to_owned).collect();
    let (explanation, refused) = match &desk {
        _ if !asked.pages.payloads => (None, Some(NO_ROWS.to_owned())),
        None => (None, Some(format!("{NO_CODE} `{}`", command(name, instance, &key, asked.query.filled("table"))))),
        Some(_) if key.is_empty() => (None, None),
        Some(desk) => match explain(asked, desk, instance, key) {
            Ok(found) => (Some(found), None),
            Err(why) => (None, Some(why)),
        },
    };
    let view = View { projection: name.to_owned(), instance: instance.to_owned(), tables, explanation, refused };
    Ok(Made::new(format!("Explain · {name}"), &view, write))
}

/// The command that asks the same. Where no row is named, it has a place for the key.
fn command(projection: &str, instance: &str, key: &[String], table: Option<&str>) -> Command {
    let command = Command::new("explain").arg(projection).arg(instance);
    let command = key.iter().fold(command, |command, value| command.arg(value));
    let command = if key.is_empty() { command.arg("KEY") } else { command };
    table.into_iter().fold(command, |command, table| command.option("--table", table))
}

fn explain(asked: &Asked<'_>, desk: &Desk, instance: &str, key: Vec<String>) -> Result<Explanation, String> {
    let table = asked.query.filled("table").map(str::to_owned);
    let question = ExplainRequest { instance: instance.to_owned(), table, key, at: None };
    asked.pages.explain(desk, &question)
}

fn write(html: &mut Html, view: &View) {
    html.within("section", &[("id", "explain")], |html| {
        html.within("h1", &[], |html| {
            html.text("Which events made a row of ");
            html.link(&address("/projection", &[("projection", &view.projection)]), &view.projection);
            html.text(" in ");
            let shown = super::instances::shown(&view.instance);
            html.link(&address("/instance", &[("instance", &view.instance)]), shown);
        });
        if let Some(refused) = &view.refused {
            html.within("div", &[("class", "notice"), ("role", "alert")], |html| super::overview::coded(html, refused));
        }
        for table in &view.tables {
            form(html, view, table);
        }
    });
    if let Some(found) = &view.explanation {
        html.within("section", &[("id", "steps")], |html| explained(html, found));
    }
}

fn form(html: &mut Html, view: &View, key: &KeyOf) {
    html.within("form", &[("method", "get"), ("action", "/explain")], |html| {
        for (name, value) in [("projection", &view.projection), ("instance", &view.instance), ("table", &key.table)] {
            html.open("input", &[("type", "hidden"), ("name", name), ("value", value)]);
        }
        html.element("strong", &[("class", "mono")], &key.table);
        for column in &key.columns {
            html.within("label", &[], |html| {
                html.text(column);
                html.open("input", &[("name", "key"), ("autocomplete", "off"), ("required", "required")]);
            });
        }
        html.raw("<button>Explain</button>");
    });
}

fn row_text(row: Option<&JsonRow>) -> String {
    row.map_or("there is no such row".to_owned(), |row| serde_json::Value::Object(row.clone()).to_string())
}

fn explained(html: &mut Html, found: &Explanation) {
    let key = serde_json::Value::Object(found.key.clone());
    html.element("h2", &[], format!("{} {key}", found.table));
    html.element(
        "p",
        &[("class", "faint")],
        format!(
            "As of event {}, by {} that were applied again.",
            positions(found.position),
            several(found.events, "event")
        ),
    );
    if found.differs {
        html.within("div", &[("class", "notice bad")], |html| {
            html.text("The read model has another row: ").text(row_text(found.found.as_ref()));
        });
    }
    html.element("pre", &[("tabindex", "0"), ("aria-label", "the row")], row_text(found.row.as_ref()));
    if !found.held.is_empty() {
        let held = several(found.held.len() as u64, "failed event");
        let were = if found.held.len() == 1 { "was" } else { "were" };
        html.element("p", &[], format!("{held} of the instance {were} not applied."));
    }
    if found.left_out > 0 {
        html.element("p", &[], format!("{} are not told.", several(found.left_out, "earlier change")));
    }
    list(html, &["#Event", "Type", "Stored", "What it did", "The row then"], |html| {
        for step in &found.steps {
            html.within("tr", &[], |html| {
                cell(html, "n first", "Event", |html| _ = html.text(positions(step.position)));
                cell(html, "kind", "Type", |html| {
                    html.text(&step.event_type).element(
                        "small",
                        &[],
                        format!("{} {}", step.aggregate.0, step.aggregate.1),
                    );
                });
                cell(html, "", "Stored", |html| {
                    _ = html.element("time", &[("datetime", &machine(step.created_at))], moment(step.created_at));
                });
                cell(html, "long", "What it did", |html| _ = html.text(&step.statement));
                cell(html, "long", "The row then", |html| _ = html.text(row_text(step.row.as_ref())));
            });
        }
    });
}
