//! Who did what, when, and why.

use serde::Serialize;
use uuid::Uuid;

use super::asked::{Asked, Made, Missing, ROWS};
use super::html::Html;
use super::table::{cell, list};
use super::words::{ago, machine, moment, positions};
use crate::inspect::{Activity, ActivityKind};
use crate::serve::http::query::address;

#[derive(Serialize)]
struct View {
    activity: Vec<Activity>,
    /// The address of the page with earlier entries.
    earlier: Option<String>,
}

pub(super) fn page(asked: &Asked<'_>) -> Result<Made, Missing> {
    let before = asked.query.filled("before").and_then(|before| Uuid::parse_str(before).ok());
    let mut activity = asked.place().inspect().activity(before, ROWS + 1)?;
    let has_more = activity.len() > ROWS;
    activity.truncate(ROWS);
    let last = activity.last().filter(|_| has_more);
    let earlier = last.map(|last| address("/activity", &[("before", &last.id.to_string())]));
    Ok(Made::new("Activity", &View { activity, earlier }, |html, view| write(html, view, asked)))
}

fn write(html: &mut Html, view: &View, asked: &Asked<'_>) {
    html.within("section", &[("id", "activity")], |html| {
        html.element("h1", &[], "Activity");
        if view.activity.is_empty() {
            html.element("p", &[("class", "faint")], "Nobody has done or asked for anything.");
            return;
        }
        list(html, &["When", "What", "About", "By", "Why", "State"], |html| {
            for one in &view.activity {
                html.within("tr", &[], |html| {
                    cell(html, "first", "When", |html| {
                        html.element("time", &[("datetime", &machine(one.at))], moment(one.at));
                        html.element("small", &[], ago(one.at, asked.now));
                    });
                    cell(html, "nowrap", "What", |html| _ = html.text(&one.what));
                    cell(html, "", "About", |html| about(html, one));
                    cell(html, "", "By", |html| _ = html.text(&one.by.who));
                    cell(html, if one.by.why.is_empty() { "none" } else { "long" }, "Why", |html| {
                        _ = html.text(&one.by.why);
                    });
                    cell(html, "", "State", |html| state(html, &one.state));
                });
            }
        });
        if let Some(earlier) = &view.earlier {
            html.within("p", &[("class", "more")], |html| _ = html.link(earlier, "Earlier"));
        }
    });
}

fn state(html: &mut Html, state: &str) {
    let (colour, words) = match state {
        "done" => ("good", "done"),
        "failed" => ("bad", "failed"),
        "taken" => ("info", "goes on"),
        "asked" => ("warn", "not begun"),
        other => ("", other),
    };
    html.element("span", &[("class", &format!("badge {colour}"))], words);
}

fn about(html: &mut Html, one: &Activity) {
    if let Some(projection) = &one.projection {
        html.link(&address("/projection", &[("projection", projection)]), projection);
    }
    if let Some(instance) = &one.instance {
        html.text(if one.projection.is_some() { " in " } else { "instance " });
        html.link(&address("/instance", &[("instance", instance)]), super::instances::shown(instance));
    }
    if let Some(position) = one.position {
        html.text(format!(", event {}", positions(position)));
    }
    if one.kind == ActivityKind::Operation && one.instance.is_none() {
        html.text("all instances");
    }
}
