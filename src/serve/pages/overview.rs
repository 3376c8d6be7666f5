//! Everything at a glance: one word for the whole with its reason, then each projection.

use serde::Serialize;

use super::asked::{Asked, Made, Missing};
use super::chart::spark;
use super::frame::lost;
use super::html::Html;
use super::table::cell;
use super::words::{ago, count, positions, seconds, several, speed as spoken_speed};
use crate::inspect::{MemberStatus, ProjectionStatus};
use crate::remedy::{Command, Part, Remedy};
use crate::serve::health::{Whole, remedy, whole};
use crate::serve::http::query::address;
use crate::serve::series::{Point, Speed, id, speed, thinned};
use crate::standing::Verdict;

/// The most builds that are listed.
const MOST: usize = 300;

/// The most points of all their lines together.
const POINTS: usize = 10_000;

#[derive(Serialize)]
struct Row<'p> {
    #[serde(flatten)]
    status: &'p ProjectionStatus,
    #[serde(flatten)]
    speed: Measured,
    remedy: Option<Remedy>,
    /// The last hour, the oldest first. Where there are many builds, these are some points of it.
    hour: Vec<Point>,
}

/// The speed under separate names, apart from the numbers that a look compares with an earlier one.
#[derive(Serialize)]
struct Measured {
    speed: Speed,
}

#[derive(Serialize)]
struct View<'p> {
    whole: Option<Whole>,
    projections: Vec<Row<'p>>,
    /// The number of builds that are not listed.
    more: usize,
    members: &'p [MemberStatus],
}

/// Sorts the gravest first, then those that lag most.
fn order(a: &ProjectionStatus, b: &ProjectionStatus) -> std::cmp::Ordering {
    let rank = |one: &ProjectionStatus| (one.verdict > Verdict::Moving, one.verdict, one.is_live());
    rank(b).cmp(&rank(a)).then_with(|| (&a.name, a.version, &a.build).cmp(&(&b.name, b.version, &b.build)))
}

#[expect(clippy::unnecessary_wraps, reason = "as all pages")]
pub(super) fn page(asked: &Asked<'_>) -> Result<Made, Missing> {
    let picture = asked.picture();
    let mut all: Vec<&ProjectionStatus> =
        picture.map_or_else(Vec::new, |picture| picture.status.projections.iter().collect());
    all.sort_by(|a, b| order(a, b));
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    let series = asked.pages.board.series.lock();
    let row = |status: &&ProjectionStatus| {
        let hour = series.of(&id(status));
        ((*status).clone(), hour)
    };
    let rows: Vec<(ProjectionStatus, Vec<Point>)> = all.iter().map(row).collect();
    drop(series);
    let most = POINTS / rows.len().max(1);
    let rows = rows.iter().map(|(status, hour)| Row {
        status,
        speed: Measured { speed: speed(hour) },
        remedy: remedy(status),
        hour: thinned(hour, most),
    });
    let view = View {
        whole: picture.map(|picture| whole(&picture.status)),
        projections: rows.collect(),
        more,
        members: picture.map_or(&[], |picture| &picture.status.members),
    };
    let title = view.whole.as_ref().map_or("Overview".to_owned(), |whole| format!("{} · Overview", whole.verdict));
    Ok(Made::new(title, &view, |html, view| write(html, view, asked)))
}

/// The colour of a verdict. A word next to it always says the same.
pub(super) fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Idle | Verdict::Moving => "good",
        Verdict::Building => "info",
        Verdict::Behind | Verdict::Failing => "warn",
        Verdict::Stuck => "bad",
        _ => "still",
    }
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Idle => "✓",
        Verdict::Moving => "▸",
        Verdict::Building => "◔",
        Verdict::Behind => "◂",
        Verdict::Failing => "▲",
        Verdict::Stuck => "■",
        _ => "❙❙",
    }
}

pub(super) fn badge(html: &mut Html, verdict: Verdict) {
    html.within("span", &[("class", &format!("badge {}", colour(verdict)))], |html| {
        html.element("span", &[("aria-hidden", "true")], format!("{} ", sign(verdict))).text(verdict);
    });
}

/// The address of a build's page.
pub(super) fn of_build(projection: &ProjectionStatus) -> String {
    let version = projection.version.to_string();
    let mut pairs = vec![("projection", projection.name.as_str()), ("version", version.as_str())];
    pairs.extend(projection.build.as_deref().map(|build| ("build", build)));
    address("/projection", &pairs)
}

fn write(html: &mut Html, view: &View<'_>, asked: &Asked<'_>) {
    html.within("section", &[("id", "whole")], |html| {
        lost(html, asked);
        if let Some(found) = &view.whole {
            verdict(html, found, asked);
        } else if asked.shown.trouble.is_none() {
            html.element("div", &[("class", "notice")], "The first look at the database is not over yet.");
        }
    });
    html.within("section", &[("id", "list"), ("aria-label", "Projections")], |html| {
        if !view.projections.is_empty() {
            table(html, &view.projections);
        }
        if view.more > 0 {
            html.element(
                "p",
                &[("class", "faint")],
                format!("and {} that get on no worse", several(view.more as u64, "build")),
            );
        }
    });
    html.within("section", &[("id", "engines"), ("aria-label", "Engines")], |html| engines(html, view.members, asked));
}

fn verdict(html: &mut Html, found: &Whole, asked: &Asked<'_>) {
    html.within("div", &[("class", &format!("card whole {}", colour(found.verdict)))], |html| {
        html.within("div", &[("class", "word")], |html| {
            html.element("span", &[("aria-hidden", "true")], format!("{} ", sign(found.verdict))).text(found.verdict);
        });
        let name = found.projection.as_deref().map(|name| format!("{name} v{}", found.version.unwrap_or_default()));
        html.within("p", &[], |html| {
            match (&name, &found.reason) {
                (Some(name), Some(reason)) => html.element("strong", &[], name).text(": ").text(reason),
                (Some(name), None) => html.element("strong", &[], name).text(format!(" is {}", found.verdict)),
                (None, Some(reason)) => html.text(reason),
                (None, None) => html.text(calm(found.verdict)),
            };
            if let Some(since) = found.since {
                html.text(format!(", since {} ({})", super::words::moment(since), ago(since, asked.now)));
            }
        });
        if let Some(remedy) = &found.remedy {
            html.within("p", &[], |html| help(html, remedy));
        }
    });
}

/// What to say if there is nothing to do.
fn calm(verdict: Verdict) -> &'static str {
    if verdict == Verdict::Idle {
        "All that was pushed is in the read models."
    } else {
        "Events come, and are handled."
    }
}

/// A remedy, with the commands marked as code.
pub(super) fn help(html: &mut Html, remedy: &Remedy) {
    html.text("What to do: ");
    for part in &remedy.0 {
        match part {
            Part::Words(words) => html.text(words),
            Part::Command(command) => run(html, command),
        };
    }
}

/// A command. A line ends between its words, not at a hyphen.
pub(super) fn run<'h>(html: &'h mut Html, command: &Command) -> &'h mut Html {
    html.within("code", &[("class", "command")], |html| {
        for (at, word) in command.words().iter().enumerate() {
            html.text(if at == 0 { "" } else { " " }).element("span", &[], word);
        }
    })
}

/// A text whose parts in backticks become code.
pub(super) fn coded(html: &mut Html, text: &str) {
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            html.element("code", &[], part);
        } else {
            html.text(part);
        }
    }
}

/// What failed, of what is not zero.
pub(super) fn failed(projection: &ProjectionStatus) -> String {
    let ProjectionStatus { stopped, failing, parked, behind, skipped, .. } = projection;
    let all =
        [("stopped", stopped), ("failing", failing), ("parked", parked), ("behind", behind), ("skipped", skipped)];
    let some =
        all.iter().filter(|(_, number)| **number > 0).map(|(word, number)| format!("{} {word}", count(**number)));
    some.collect::<Vec<_>>().join(", ")
}

fn table(html: &mut Html, rows: &[Row<'_>]) {
    html.within("div", &[("class", "list")], |html| {
        html.within("table", &[], |html| {
            html.raw(
                "<thead><tr><th scope=\"col\">Projection<th scope=\"col\">State<th scope=\"col\" class=\"n\">Behind",
            );
            html.raw("<th scope=\"col\">Last hour<th scope=\"col\" class=\"n\">Speed<th scope=\"col\">Failed events");
            html.raw("<th scope=\"col\" class=\"n\">Engines</thead><tbody>");
            for row in rows {
                html.within("tr", &[], |html| write_row(html, row));
            }
            html.raw("</tbody>");
        });
    });
}

fn write_row(html: &mut Html, row: &Row<'_>) {
    let projection = row.status;
    cell(html, "first", "Projection", |html| {
        html.link(&of_build(projection), &projection.name);
        let build = projection.build.as_deref().map_or(String::new(), |build| format!(", build {build}"));
        let phase = if projection.is_live() { String::new() } else { format!(", {}", projection.phase) };
        html.element("small", &[], format!("version {}{build}{phase}", projection.version));
    });
    cell(html, "", "State", |html| {
        html.within("span", &[], |html| {
            badge(html, projection.verdict);
            if let Some(reason) = projection.reason.as_ref().filter(|_| projection.verdict > Verdict::Moving) {
                html.element("small", &[], crate::error::net::bounded(reason));
            }
        });
    });
    cell(html, "n", "Behind", |html| lag(html, projection, row.speed.speed));
    let drawn = if projection.events_elsewhere { "none" } else { "" };
    cell(html, drawn, "Last hour", |html| {
        if !projection.events_elsewhere {
            spark(html, &row.hour);
        }
    });
    cell(html, "n", "Speed", |html| pace(html, projection, row.speed.speed));
    let (failed, class) = (failed(projection), if projection.failed() == 0 { "none" } else { "" });
    cell(html, class, "Failed events", |html| {
        if !failed.is_empty() {
            html.link(&address("/failures", &[("projection", &projection.name)]), failed);
        }
    });
    cell(html, "n", "Engines", |html| {
        html.text(count(projection.members));
    });
}

/// How far it is behind, in events and in time, and whether that grows.
pub(super) fn lag(html: &mut Html, projection: &ProjectionStatus, speed: Speed) {
    if projection.events_elsewhere {
        html.text("not known").element("small", &[], "the events are elsewhere");
        return;
    }
    if projection.lag_events == 0 {
        html.text("0");
        return;
    }
    html.within("span", &[], |html| {
        let trend = match speed.lag_change {
            Some(change) if change > 0 => " ↑",
            Some(change) if change < 0 => " ↓",
            _ => "",
        };
        html.text(positions(projection.lag_events)).text(trend);
        let grows = match trend {
            " ↑" => ", growing",
            " ↓" => ", shrinking",
            _ => "",
        };
        let age = projection.lag_age.map_or(String::new(), crate::clock::spoken);
        html.element("small", &[], format!("{age}{grows}"));
        html.element("small", &[], format!("in {}", several(projection.lagging_instances, "instance")));
    });
}

/// How fast it is. What does not move by itself, or may not, has no end to tell.
pub(super) fn pace(html: &mut Html, projection: &ProjectionStatus, speed: Speed) {
    html.within("span", &[], |html| {
        html.text(speed.per_second.map_or("–".to_owned(), spoken_speed));
        let goes_on = !matches!(projection.verdict, Verdict::Stuck | Verdict::Paused);
        if let Some(left) = speed.seconds_left.filter(|_| goes_on) {
            html.element("small", &[], format!("done in about {}", seconds(left)));
        }
    });
}

fn engines(html: &mut Html, members: &[MemberStatus], asked: &Asked<'_>) {
    let Some(picture) = asked.picture() else { return };
    let (alive, dead): (Vec<_>, Vec<_>) = members.iter().partition(|member| member.alive);
    if alive.is_empty() {
        html.within("div", &[("class", "notice")], |html| {
            html.text("No engine is alive: nothing keeps these projections up to date.");
            if let Some(last) = dead.iter().max_by_key(|member| member.alive_until) {
                html.text(format!(" The last one was {:?}, {}.", last.name, ago(last.alive_until, picture.status.at)));
            }
        });
        return;
    }
    html.element("h2", &[], format!("{} alive", several(alive.len() as u64, "engine")));
    html.within("div", &[("class", "list")], |html| {
        html.within("table", &[], |html| {
            html.raw("<thead><tr><th scope=\"col\">Engine<th scope=\"col\" class=\"n\">Leases<th scope=\"col\">Runs</thead><tbody>");
            for member in alive.iter().take(MOST) {
                html.within("tr", &[], |html| {
                    cell(html, "first", "Engine", |html| {
                        html.text(&member.name).element("small", &[("class", "mono")], member.process);
                    });
                    cell(html, "n", "Leases", |html| _ = html.text(count(member.leases)));
                    cell(html, "", "Runs", |html| {
                        let runs = member.projections.iter().take(8).map(|(name, version)| format!("{name} v{version}"));
                        let more = member.projections.len().saturating_sub(8);
                        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                        html.text(runs.collect::<Vec<_>>().join(", ")).text(more);
                    });
                });
            }
            html.raw("</tbody>");
        });
    });
}
