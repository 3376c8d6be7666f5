//! One build of a projection: what stops it, its last hour, where it lags, which processes work on it, and which other
//! builds there are.

use std::time::Duration;

use serde::Serialize;

use super::asked::{Asked, Made, Missing, ROWS, key};
use super::chart::hour;
use super::html::Html;
use super::overview::{badge, failed, help, lag, of_build, pace};
use super::table::cell;
use super::words::{ago, count, moment, positions, seconds, several};
use crate::builds::{BuildProgress, Phase};
use crate::clock::spoken;
use crate::error::chain;
use crate::inspect::{ActiveLease, InstanceLag, LeaseQuery, ProjectionStatus};
use crate::remedy::Remedy;
use crate::serve::health::remedy;
use crate::serve::http::query::address;
use crate::serve::series::{Mark, Point, Speed, id, speed};
use crate::standstill::Standstill;

/// The most reasons and pauses that are listed.
const SHOWN: usize = 20;

/// What a query for a part of the page found, or why it failed. The page shows its other parts in any case.
#[derive(Serialize)]
#[serde(untagged)]
enum Part<T> {
    Found(T),
    Failed { error: String },
}

impl<T> From<Result<T, crate::error::StoreError>> for Part<T> {
    fn from(found: Result<T, crate::error::StoreError>) -> Self {
        found.map_or_else(|error| Self::Failed { error: chain(&error) }, Self::Found)
    }
}

impl<T> Part<T> {
    fn write(&self, html: &mut Html, found: impl FnOnce(&mut Html, &T)) {
        match self {
            Self::Found(one) => found(html, one),
            Self::Failed { error } => _ = html.element("div", &[("class", "notice bad")], error),
        }
    }
}

#[derive(Serialize)]
struct View<'p> {
    status: &'p ProjectionStatus,
    speed: Speed,
    remedy: Option<Remedy>,
    hour: Vec<Point>,
    marks: Vec<Mark>,
    /// The progress of a running rebuild.
    progress: Option<BuildProgress>,
    /// How this process spent its time since it started, in seconds, by step.
    spent: Option<Spent>,
    /// The other builds of the projection.
    builds: Vec<Sibling>,
    most_behind: Part<Vec<InstanceLag>>,
    leases: Part<Vec<ActiveLease>>,
}

#[derive(Serialize)]
struct Sibling {
    version: u32,
    build: Option<String>,
    phase: Phase,
    verdict: crate::standing::Verdict,
    trouble: Option<String>,
    /// How much of it is filled, from 0 to 1.
    filled: Option<f64>,
    #[serde(skip)]
    address: String,
}

#[derive(Serialize, Clone, Copy)]
struct Spent {
    reading: f64,
    reducing: f64,
    writing: f64,
}

#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn filled(projection: &ProjectionStatus) -> Option<f64> {
    let all = projection.handled.saturating_add(projection.lag_events);
    (!projection.events_elsewhere && all > 0).then(|| projection.handled as f64 / all as f64)
}

pub(super) fn page(asked: &Asked<'_>) -> Result<Made, Missing> {
    let status = asked.build()?;
    let picture = asked.picture().ok_or(Missing::Unnamed("projection"))?;
    let series = asked.pages.board.series.lock();
    let (hour, marks) = (series.of(&id(status)), series.marks(&status.name));
    drop(series);
    let key = key(status);
    let of_name = |asked: &&crate::command::CommandRecord| asked.projection == status.name;
    let progress = picture.commands.iter().filter(of_name).find_map(|asked| asked.progress.clone());
    let readings = asked.place().readings();
    let spent =
        readings.iter().flat_map(|readings| &readings.builds).find(|build| build.key == key).map(|build| Spent {
            reading: build.measured.reading.as_secs_f64(),
            reducing: build.measured.reducing.as_secs_f64(),
            writing: build.measured.writing.as_secs_f64(),
        });
    let others = picture.status.projections.iter().filter(|other| other.name == status.name && id(other) != id(status));
    let most_behind = if status.lagging_instances > 0 && !asked.place().has_two_databases {
        asked.pages.most_behind(picture, &key).into()
    } else {
        Part::Found(Vec::new())
    };
    let leases = if status.leases > 0 {
        asked.place().inspect().active_leases(&LeaseQuery::all().projection(&status.name).limit(ROWS)).into()
    } else {
        Part::Found(Vec::new())
    };
    let view = View {
        speed: speed(&hour),
        remedy: remedy(status),
        hour,
        marks,
        progress: progress.and_then(|told| serde_json::from_value(told).ok()),
        spent,
        builds: others
            .map(|other| Sibling {
                version: other.version,
                build: other.build.clone(),
                phase: other.phase,
                verdict: other.verdict,
                trouble: other.trouble.clone(),
                filled: filled(other),
                address: of_build(other),
            })
            .collect(),
        most_behind,
        leases,
        status,
    };
    Ok(Made::new(format!("{} · {}", status.verdict, status.name), &view, |html, view| write(html, view, asked)))
}

fn write(html: &mut Html, view: &View<'_>, asked: &Asked<'_>) {
    let projection = view.status;
    html.within("section", &[("id", "facts")], |html| {
        html.within("h1", &[], |html| {
            html.text(&projection.name);
            let build = projection.build.as_deref().map_or(String::new(), |build| format!(", build {build}"));
            html.element(
                "span",
                &[("class", "faint")],
                format!(" version {}{build}, {} ", projection.version, projection.phase),
            );
            badge(html, projection.verdict);
        });
        why(html, view, asked);
        facts(html, view, asked);
    });
    html.within("section", &[("id", "hour")], |html| {
        html.element("h2", &[], "Last hour");
        if projection.events_elsewhere {
            html.element(
                "p",
                &[("class", "faint")],
                "The events are elsewhere, so that the head of the log is not known here.",
            );
        } else {
            hour(html, &view.hour, &view.marks);
        }
    });
    html.within("section", &[("id", "builds")], |html| builds(html, view));
    html.within("section", &[("id", "time")], |html| time(html, view));
    html.within("section", &[("id", "behind")], |html| behind(html, view, asked));
    html.within("section", &[("id", "leases")], |html| leases(html, view));
    html.within("section", &[("id", "find")], |html| {
        html.element("h2", &[], "Find an instance");
        super::instances::search(html, "");
    });
}

fn why(html: &mut Html, view: &View<'_>, asked: &Asked<'_>) {
    let projection = view.status;
    let grave: Vec<&Standstill> = projection.standstills.iter().take(SHOWN).collect();
    if projection.reason.is_none() && grave.is_empty() && projection.trouble.is_none() {
        return;
    }
    html.within("div", &[("class", &format!("card whole {}", super::overview::colour(projection.verdict)))], |html| {
        if let Some(reason) = &projection.reason {
            html.element("strong", &[], reason);
            if let Some(since) = projection.since {
                html.text(format!(", since {} ({})", moment(since), ago(since, asked.now)));
            }
        }
        if let Some(remedy) = &view.remedy {
            html.within("p", &[], |html| help(html, remedy));
        }
        if let Some(trouble) = &projection.trouble {
            html.element("p", &[], trouble);
        }
        if grave.len() > 1 {
            html.within("details", &[("id", "reasons")], |html| {
                let all = projection.standstills.len();
                html.element("summary", &[], format!("All that stands in the way: {}", several(all as u64, "reason")));
                html.within("ul", &[], |html| {
                    for one in grave {
                        html.within("li", &[], |html| {
                            html.text(one).raw("<br>");
                            help(html, &projection.remedy(one));
                        });
                    }
                });
            });
        }
    });
}

fn fact(html: &mut Html, name: &'static str, class: &str, add: impl FnOnce(&mut Html)) {
    html.within("div", &[], |html| {
        html.element("dt", &[], name).within("dd", &[("class", class)], add);
    });
}

fn facts(html: &mut Html, view: &View<'_>, asked: &Asked<'_>) {
    let projection = view.status;
    html.within("div", &[("class", "card")], |html| {
        html.within("dl", &[("class", "facts")], |html| {
            fact(html, "Behind", "big", |html| lag(html, projection, view.speed));
            fact(html, "Speed", "big", |html| pace(html, projection, view.speed));
            fact(html, "Instances", "big", |html| {
                let known = !projection.events_elsewhere;
                html.text(if known { count(projection.instances) } else { "not known".to_owned() });
            });
            fact(html, "Failed events", "big", |html| {
                let failed = failed(projection);
                if failed.is_empty() {
                    html.text("none");
                } else {
                    html.link(&address("/failures", &[("projection", &projection.name)]), failed);
                }
            });
            fact(html, "Updates that met no row", "", |html| {
                _ = html.text(projection.missed.map_or("not known".to_owned(), count));
            });
            fact(html, "Last moved", "", |html| {
                _ = html.text(projection.moved_at.map_or("not on record".to_owned(), |at| ago(at, asked.now)));
            });
            fact(html, "Engines that run it", "", |html| _ = html.text(count(projection.members)));
            fact(html, "Leases", "", |html| {
                _ = match projection.leases {
                    0 => html.text("none"),
                    leases => html.text(format!("{}, by {}", count(leases), several(projection.owners, "engine"))),
                };
            });
            fact(html, "First run", "", |html| {
                _ = html.text(if projection.succeeded { "is over" } else { "goes on" });
            });
        });
        pauses(html, projection);
    });
}

fn pauses(html: &mut Html, projection: &ProjectionStatus) {
    if projection.pauses.is_empty() {
        return;
    }
    html.within("ul", &[], |html| {
        for pause in projection.pauses.iter().take(SHOWN) {
            html.within("li", &[], |html| {
                match &pause.instance {
                    Some(instance) => {
                        html.text("Paused in ").link(&address("/instance", &[("instance", instance)]), instance)
                    }
                    None => html.text("Paused as a whole"),
                };
                if let Some(since) = pause.since {
                    html.text(format!(" since {}", moment(since)));
                }
                if let Some(by) = &pause.by {
                    html.text(format!(" by {}: {}", by.who, by.why));
                }
            });
        }
    });
    if projection.pauses.len() > SHOWN {
        html.element("p", &[("class", "faint")], format!("and {} more", projection.pauses.len() - SHOWN));
    }
}

fn builds(html: &mut Html, view: &View<'_>) {
    if view.builds.is_empty() && view.progress.is_none() {
        return;
    }
    html.element("h2", &[], "Builds");
    if let Some(progress) = &view.progress {
        html.within("div", &[("class", "card")], |html| rebuild(html, progress));
    }
    html.within("ul", &[], |html| {
        for other in &view.builds {
            html.within("li", &[], |html| {
                let build = other.build.as_deref().map_or(String::new(), |build| format!(", build {build}"));
                html.link(&other.address, format!("version {}{build}", other.version));
                html.text(format!(", {} ", other.phase));
                badge(html, other.verdict);
                if let Some(filled) = other.filled.filter(|_| !matches!(other.phase, Phase::Kept | Phase::Live)) {
                    html.text(format!(" {:.1} % filled", filled * 100.0));
                }
                if let Some(trouble) = &other.trouble {
                    html.raw("<br>").text(trouble);
                }
            });
        }
    });
}

fn rebuild(html: &mut Html, progress: &BuildProgress) {
    html.element("strong", &[], format!("Rebuilding: {} ", progress.step));
    let (done, total) = (progress.done.to_string(), progress.total.max(1).to_string());
    let label = [("value", done.as_str()), ("max", total.as_str()), ("aria-label", "progress of the rebuild")];
    html.element("progress", &label, "");
    html.element("p", &[], format!("{} of {} positions", positions(progress.done), positions(progress.total)));
    let speed = progress.per_second.map_or(String::new(), |speed| format!("{} a second", super::words::speed(speed)));
    let left = progress.seconds_left.map_or(String::new(), |left| format!(", done in about {}", seconds(left)));
    if !speed.is_empty() {
        html.element("p", &[], format!("{}{left}", speed.replace("/s a second", " a second")));
    }
    if let Some(waits) = &progress.waits_for {
        html.element("p", &[], format!("It waits for {waits}."));
    }
    if let Some(found) = &progress.comparison {
        let differ: u64 = found.tables.iter().map(|table| table.added + table.gone + table.changed).sum();
        let words = if found.is_same() {
            format!("Compared in {}: old and new are the same.", several(found.instances, "instance"))
        } else {
            let rows = several(differ, "row");
            format!(
                "Compared in {}: {rows} differ, {} left out.",
                several(found.instances, "instance"),
                count(found.left_out)
            )
        };
        html.element("p", &[], words);
    }
}

/// Shows where the time goes, so that "behind" comes with a cause.
fn time(html: &mut Html, view: &View<'_>) {
    let Some(spent) = view.spent.filter(|spent| spent.reading + spent.reducing + spent.writing > 0.0) else { return };
    html.element("h2", &[], "Where this process spends its time");
    let all = spent.reading + spent.reducing + spent.writing;
    let steps = [("reading", spent.reading), ("reducing", spent.reducing), ("writing", spent.writing)];
    let words: Vec<String> =
        steps.iter().map(|(step, time)| format!("{step} {:.0} % ({})", time / all * 100.0, seconds(*time))).collect();
    let label = words.join(", ");
    let attributes = [
        ("class", "split"),
        ("viewBox", "0 0 100 1"),
        ("preserveAspectRatio", "none"),
        ("role", "img"),
        ("aria-label", &*label),
    ];
    html.within("svg", &attributes, |html| {
        let mut x = 0.0;
        for (step, time) in steps {
            let width = time / all * 100.0;
            let (from, wide) = (format!("{x:.2}"), format!("{width:.2}"));
            let part = [("class", step), ("x", from.as_str()), ("y", "0"), ("width", wide.as_str()), ("height", "1")];
            html.within("rect", &part, |_| {});
            x += width;
        }
    });
    html.within("p", &[("class", "legend")], |html| {
        for ((step, _), words) in steps.iter().zip(words) {
            html.within("span", &[("class", "item")], |html| {
                html.element("span", &[("class", &format!("key {step}"))], "").text(format!(" {words}"));
            });
            html.text(" ");
        }
    });
}

fn behind(html: &mut Html, view: &View<'_>, asked: &Asked<'_>) {
    if view.status.lagging_instances == 0 || view.status.events_elsewhere {
        return;
    }
    html.element("h2", &[], "Instances that lag most");
    view.most_behind.write(html, |html, found| {
        if found.is_empty() {
            html.element("p", &[("class", "faint")], "None any more.");
            return;
        }
        html.within("div", &[("class", "list")], |html| {
            html.within("table", &[], |html| {
                html.raw("<thead><tr><th scope=\"col\">Instance<th scope=\"col\" class=\"n\">Behind");
                html.raw("<th scope=\"col\" class=\"n\">Position<th scope=\"col\" class=\"n\">Head<th scope=\"col\">Last moved</thead><tbody>");
                for one in found {
                    html.within("tr", &[], |html| {
                        cell(html, "first", "Instance", |html| {
                            _ = html.link(&address("/instance", &[("instance", &one.instance)]), super::instances::shown(&one.instance));
                        });
                        cell(html, "n", "Behind", |html| _ = html.text(positions(one.lag)));
                        cell(html, "n", "Position", |html| _ = html.text(positions(one.position)));
                        cell(html, "n", "Head", |html| _ = html.text(positions(one.head)));
                        cell(html, "", "Last moved", |html| {
                            _ = html.text(one.moved_at.map_or("not on record".to_owned(), |at| ago(at, asked.now)));
                        });
                    });
                }
                html.raw("</tbody>");
            });
        });
        let more = view.status.lagging_instances.saturating_sub(found.len() as u64);
        if more > 0 && found.len() == ROWS {
            html.element("p", &[("class", "faint")], format!("and {}", several(more, "more instance")));
        }
    });
}

fn leases(html: &mut Html, view: &View<'_>) {
    if view.status.leases == 0 {
        return;
    }
    html.element("h2", &[], "Leases");
    view.leases.write(html, |html, found| {
        html.within("div", &[("class", "list")], |html| {
            html.within("table", &[], |html| {
                html.raw("<thead><tr><th scope=\"col\">Instance<th scope=\"col\">Held by<th scope=\"col\">Ends");
                html.raw("<th scope=\"col\">Tries</thead><tbody>");
                for lease in found {
                    html.within("tr", &[], |html| {
                        cell(html, "first", "Instance", |html| {
                            _ = html.link(
                                &address("/instance", &[("instance", &lease.instance)]),
                                super::instances::shown(&lease.instance),
                            );
                        });
                        cell(html, "", "Held by", |html| {
                            html.text(lease.name.clone().unwrap_or_else(|| lease.process.to_string()));
                            if !lease.alive {
                                html.text(" (dead)");
                            }
                        });
                        cell(html, "", "Ends", |html| {
                            _ = html.text(
                                lease
                                    .time_left
                                    .map_or("is over".to_owned(), |left: Duration| format!("in {}", spoken(left))),
                            );
                        });
                        let class = if lease.trying.is_none() { "none" } else { "" };
                        cell(html, class, "Tries", |html| {
                            _ = html.text(lease.trying.map_or(String::new(), |at| format!("event {}", positions(at))));
                        });
                    });
                }
                html.raw("</tbody>");
            });
        });
    });
}
