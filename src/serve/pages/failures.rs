//! Failed events: in groups by cause and type, as a list, and a single one with everything known about it.

use serde::Serialize;

use super::asked::{Asked, Made, Missing, ROWS, key};
use super::html::Html;
use super::overview::run;
use super::table::{cell, list};
use super::words::{ago, count, machine, moment, positions, several};
use crate::failure::{FailedEvent, FailureClass, FailureQuery, FailureStatus};
use crate::inspect::{FailureGroup, FailureGroups};
use crate::remedy::Command;
use crate::serve::http::query::address;

/// The most records that are grouped and counted.
const COUNTED: usize = 10_000;

#[derive(Serialize)]
struct Failed {
    instance: String,
    position: i64,
    aggregate_type: String,
    aggregate_id: String,
    event_type: String,
    state: &'static str,
    class: FailureClass,
    attempts: u32,
    error: String,
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    first_at: std::time::SystemTime,
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    last_at: std::time::SystemTime,
    retry_in_seconds: Option<f64>,
}

impl Failed {
    fn of(found: FailedEvent) -> Self {
        let FailedEvent { attempt, first_at, last_at } = found;
        Self {
            instance: attempt.instance.to_string(),
            position: attempt.position,
            aggregate_type: attempt.aggregate_type.to_string(),
            aggregate_id: attempt.aggregate_id.to_string(),
            event_type: attempt.event_type.to_string(),
            state: attempt.state.as_str(),
            class: attempt.class,
            attempts: attempt.attempts,
            error: attempt.error,
            first_at,
            last_at,
            retry_in_seconds: (attempt.state == FailureStatus::Failing).then_some(attempt.retry_in.as_secs_f64()),
        }
    }
}

#[derive(Serialize)]
struct View {
    projection: Option<String>,
    groups: FailureGroups,
    /// The failures one by one, if a projection is named.
    failures: Vec<Failed>,
    /// The address of the next page.
    next: Option<String>,
    /// Only failures of this event type, class and instance.
    event_type: Option<String>,
    class: Option<FailureClass>,
    instance: Option<String>,
}

/// Shows groups of all projections, or of one projection together with its single failures.
pub(super) fn groups(asked: &Asked<'_>) -> Result<Made, Missing> {
    let status = asked.query.filled("projection").map(|_| asked.build()).transpose()?;
    let of = status.map(key);
    let event_type = asked.query.filled("type").map(str::to_owned);
    let class = asked.query.filled("class").and_then(FailureClass::parse);
    let instance = asked.query.filled("instance").map(str::to_owned);
    let groups = asked.place().inspect().failure_groups(of.as_ref(), COUNTED)?;
    let (mut failures, mut next) = (Vec::new(), None);
    if let (Some(status), Some(of)) = (status, &of) {
        let mut query = FailureQuery::all().limit(ROWS + 1).states([
            FailureStatus::Stopped,
            FailureStatus::Failing,
            FailureStatus::Parked,
            FailureStatus::Skipped,
        ]);
        if let Some(event_type) = &event_type {
            query = query.event_type(event_type);
        }
        if let Some(class) = class {
            query = query.class(class);
        }
        if let Some(instance) = &instance {
            query = query.instance(instance);
        }
        let after = asked.query.get("after").zip(asked.query.get("position").and_then(|at| at.parse().ok()));
        if let Some((instance, position)) = after {
            query = query.after_place(instance, position);
        }
        let mut found = asked.place().models.failed_events(of, &query)?;
        let has_more = found.len() > ROWS;
        found.truncate(ROWS);
        failures = found.into_iter().map(Failed::of).collect();
        let last = failures.last().filter(|_| has_more);
        next = last.map(|last| {
            let (version, position) = (status.version.to_string(), last.position.to_string());
            let mut pairs = vec![("projection", status.name.as_str()), ("version", version.as_str())];
            pairs.extend(status.build.as_deref().map(|build| ("build", build)));
            pairs.extend(event_type.as_deref().map(|name| ("type", name)));
            pairs.extend(class.map(|class| ("class", class.as_str())));
            pairs.extend(instance.as_deref().map(|name| ("instance", name)));
            pairs.extend([("after", last.instance.as_str()), ("position", position.as_str())]);
            address("/failures", &pairs)
        });
    }
    let projection = status.map(|status| status.name.clone());
    let view = View { projection, groups, failures, next, event_type, class, instance };
    Ok(Made::new("Failures", &view, |html, view| write(html, view, asked)))
}

fn write(html: &mut Html, view: &View, asked: &Asked<'_>) {
    html.within("section", &[("id", "groups")], |html| {
        html.within("h1", &[], |html| {
            html.text("Failures");
            if let Some(projection) = &view.projection {
                html.text(" of ").link(&address("/projection", &[("projection", projection)]), projection);
            }
        });
        if view.groups.groups.is_empty() {
            html.element("p", &[], "No event is on record as failed.");
            return;
        }
        let plus = if view.groups.complete { "" } else { "+" };
        let counted = view.groups.counted.min(COUNTED as u64);
        html.element(
            "p",
            &[("class", "faint")],
            format!("{}{plus} events, without those that only wait behind others.", count(counted)),
        );
        list(html, &["Event type", "Cause", "State", "#Events", "#Instances", "First and last", "Example"], |html| {
            for group in &view.groups.groups {
                html.within("tr", &[], |html| write_group(html, group, asked));
            }
        });
    });
    if view.projection.is_none() {
        return;
    }
    html.within("section", &[("id", "failures")], |html| one_by_one(html, view, asked));
}

fn write_group(html: &mut Html, group: &FailureGroup, asked: &Asked<'_>) {
    let version = group.version.to_string();
    cell(html, "first", "Event type", |html| {
        let mut pairs = vec![("projection", group.projection.as_str()), ("version", version.as_str())];
        pairs.extend(group.build.as_deref().map(|build| ("build", build)));
        pairs.extend([("type", group.event_type.as_str()), ("class", group.class.as_str())]);
        html.link(&address("/failures", &pairs), &group.event_type);
        html.element("small", &[], format!("{} v{version}", group.projection));
    });
    cell(html, "", "Cause", |html| _ = html.text(group.class));
    cell(html, "", "State", |html| state(html, group.state.as_str()));
    cell(html, "n", "Events", |html| _ = html.text(count(group.events)));
    cell(html, "n", "Instances", |html| _ = html.text(count(group.instances)));
    cell(html, "", "First and last", |html| {
        html.within("span", &[], |html| {
            html.text(ago(group.first_at, asked.now));
            html.element("small", &[], format!("last {}", ago(group.last_at, asked.now)));
        });
    });
    cell(html, "long", "Example", |html| _ = html.text(&group.example));
}

fn state(html: &mut Html, state: &str) {
    let colour = match state {
        "stopped" => "bad",
        "failing" | "parked" => "warn",
        _ => "",
    };
    html.element("span", &[("class", &format!("badge {colour}"))], state);
}

fn one_by_one(html: &mut Html, view: &View, asked: &Asked<'_>) {
    let mut only = Vec::new();
    only.extend(view.event_type.as_ref().map(|name| format!("of type {name}")));
    only.extend(view.class.map(|class| format!("by {class}")));
    only.extend(view.instance.as_ref().map(|name| format!("in instance {name}")));
    html.element("h2", &[], format!("One by one {}", only.join(", ")));
    if view.failures.is_empty() {
        html.element("p", &[], "There are none.");
        return;
    }
    list(html, &["Event", "Instance", "State", "#Attempts", "Last", "Error"], |html| {
        for one in &view.failures {
            html.within("tr", &[], |html| {
                cell(html, "first", "Event", |html| {
                    let position = one.position.to_string();
                    let mut pairs = vec![("projection", view.projection.as_deref().unwrap_or_default())];
                    pairs.extend(asked.query.filled("version").map(|version| ("version", version)));
                    pairs.extend(asked.query.filled("build").map(|build| ("build", build)));
                    pairs.extend([("instance", one.instance.as_str()), ("position", position.as_str())]);
                    html.link(
                        &address("/failure", &pairs),
                        format!("{} at {}", one.event_type, positions(one.position)),
                    );
                });
                cell(html, "", "Instance", |html| {
                    _ = html.link(
                        &address("/instance", &[("instance", &one.instance)]),
                        super::instances::shown(&one.instance),
                    );
                });
                cell(html, "", "State", |html| state(html, one.state));
                cell(html, "n", "Attempts", |html| _ = html.text(count(one.attempts.into())));
                cell(html, "", "Last", |html| _ = html.text(ago(one.last_at, asked.now)));
                cell(html, "long", "Error", |html| _ = html.text(&one.error));
            });
        }
    });
    if let Some(next) = &view.next {
        html.within("p", &[("class", "more")], |html| _ = html.link(next, "Next page"));
    }
}

#[derive(Serialize)]
struct OneView {
    projection: String,
    version: u32,
    #[serde(skip)]
    is_live: bool,
    failure: Failed,
    /// Events of the same aggregate that wait for it, and whether there are more.
    behind: Vec<i64>,
    more_behind: bool,
    /// Only if the request asks for it.
    payload: Option<String>,
}

/// Shows one failure.
pub(super) fn one(asked: &Asked<'_>) -> Result<Made, Missing> {
    let status = asked.build()?;
    let of = key(status);
    let instance = asked.query.get("instance").ok_or(Missing::Unnamed("instance"))?;
    let position = asked.query.get("position").and_then(|at| at.parse::<i64>().ok());
    let position = position.ok_or(Missing::Unnamed("position"))?;
    let models = &asked.place().models;
    let query = FailureQuery::all().states(FailureStatus::ALL).instance(instance).positions(position, position);
    let found = models.failed_events(&of, &query.limit(1))?.into_iter().next();
    let unknown = || Missing::Unknown(format!("failure of event {position} in instance {instance:?}"));
    let failure = Failed::of(found.ok_or_else(unknown)?);
    let query = FailureQuery::all().aggregate(&failure.aggregate_type, &failure.aggregate_id).instance(instance);
    let query = query.states([FailureStatus::Behind]).limit(ROWS + 1);
    let mut behind: Vec<i64> = models.failed_events(&of, &query)?.iter().map(|one| one.attempt.position).collect();
    let more_behind = behind.len() > ROWS;
    behind.truncate(ROWS);
    let payload = if asked.pages.payloads { super::instances::payload(asked, instance, position)? } else { None };
    let (projection, version, is_live) = (status.name.clone(), status.version, status.is_live());
    let view = OneView { projection, version, is_live, failure, behind, more_behind, payload };
    Ok(Made::new(format!("Failure of {}", status.name), &view, |html, view| write_one(html, view, asked)))
}

fn fact(html: &mut Html, name: &'static str, add: impl FnOnce(&mut Html)) {
    html.within("div", &[], |html| {
        html.element("dt", &[], name).within("dd", &[], add);
    });
}

fn write_one(html: &mut Html, view: &OneView, asked: &Asked<'_>) {
    let one = &view.failure;
    html.within("section", &[("id", "failure")], |html| {
        html.within("h1", &[], |html| {
            html.text(format!("{} at {} ", one.event_type, positions(one.position)));
            state(html, one.state);
        });
        html.element("pre", &[("tabindex", "0"), ("aria-label", "the text of the error")], &one.error);
        html.within("div", &[("class", "card")], |html| {
            html.within("dl", &[("class", "facts")], |html| {
                fact(html, "Projection", |html| {
                    let version = view.version.to_string();
                    let pairs = [("projection", view.projection.as_str()), ("version", version.as_str())];
                    _ = html.link(&address("/projection", &pairs), format!("{} v{version}", view.projection));
                });
                fact(html, "Instance", |html| {
                    _ = html.link(
                        &address("/instance", &[("instance", &one.instance)]),
                        super::instances::shown(&one.instance),
                    );
                });
                fact(html, "Aggregate", |html| _ = html.text(format!("{} {}", one.aggregate_type, one.aggregate_id)));
                fact(html, "Cause", |html| _ = html.text(one.class));
                fact(html, "Attempts", |html| _ = html.text(count(one.attempts.into())));
                for (name, at) in [("First", one.first_at), ("Last", one.last_at)] {
                    fact(html, name, |html| {
                        html.element("time", &[("datetime", &machine(at))], moment(at));
                        html.text(format!(" ({})", ago(at, asked.now)));
                    });
                }
                if let Some(left) = one.retry_in_seconds {
                    fact(html, "Next attempt", |html| {
                        _ = html.text(if left > 0.0 {
                            format!("in {}", super::words::seconds(left))
                        } else {
                            "is due".into()
                        });
                    });
                }
            });
        });
        if let Some(payload) = &view.payload {
            html.element("h2", &[], "Payload").element("pre", &[], payload);
        }
        if !view.behind.is_empty() {
            let plus = if view.more_behind { "+" } else { "" };
            html.element("h2", &[], format!("{}{plus} behind it", several(view.behind.len() as u64, "event")));
            let list: Vec<String> = view.behind.iter().map(|at| positions(*at)).collect();
            html.element("p", &[], format!("Of the same aggregate, at {}.", list.join("; ")));
        }
        html.element("h2", &[], "What to do");
        let about = |name, why| {
            let position = one.position.to_string();
            let command = Command::new(name).arg(&view.projection).arg(&one.instance).arg(&position);
            let version = view.version.to_string();
            let command = if view.is_live { command } else { command.option("--projection-version", &version) };
            command.option("--why", why)
        };
        html.within("p", &[], |html| {
            html.text("Once the reducer is fixed: ");
            run(html, &about("failed retry", "the reducer is fixed"));
        });
        html.within("p", &[], |html| {
            run(html.text("To give it up: "), &about("failed discard", "it is wrong and stays so"));
        });
    });
}
