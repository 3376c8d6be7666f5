//! The pages. Each is made twice from the same facts: as HTML, and as JSON under the same address with `.json` after
//! the name.

mod activity;
mod asked;
mod chart;
mod database;
#[cfg(feature = "sqlite")]
mod explain;
mod failures;
mod frame;
mod html;
mod instances;
mod lineage;
mod overview;
mod projection;
mod sha256;
mod table;
mod words;

use std::sync::Arc;
use std::time::SystemTime;

use super::board::{Board, Picture, Shown};
use super::doctor::Clinic;
use super::http::query::Query;
use super::http::reply::{Kind, Reply};
use super::options::ServeOptions;
use super::place::Place;
use crate::clock::spoken;
use crate::error::chain;
use asked::{Asked, Made, Missing, Sources};
use frame::{Frame, Way};

type Page = fn(&Asked<'_>) -> Result<Made, Missing>;

/// The pages with their paths and titles.
const PAGES: &[(&str, &str, Page)] = &[
    ("/", "Overview", overview::page),
    ("/failures", "Failures", failures::groups),
    ("/instances", "Instances", instances::list_of),
    ("/activity", "Activity", activity::page),
    ("/lineage", "Lineage", lineage::page),
    ("/database", "Database", database::page),
    ("/projection", "", projection::page),
    ("/failure", "", failures::one),
    ("/instance", "", instances::one),
    #[cfg(feature = "sqlite")]
    ("/explain", "", explain::page),
];

/// All pages.
pub(crate) struct Pages {
    sources: Sources,
    frame: Frame,
}

impl Pages {
    pub(crate) fn new(place: Arc<Place>, board: Arc<Board>, clinic: Arc<Clinic>, options: &ServeOptions) -> Self {
        let ways: Vec<Way> = PAGES.iter().map(|(path, title, _)| (*path, *title)).collect();
        let ways = ways.into_iter().filter(|(_, title)| !title.is_empty()).collect();
        let sources = Sources::new(place, board, clinic, options.payloads);
        Self { sources, frame: Frame::new(options.every, ways) }
    }

    pub(crate) fn answer(&self, path: &str, query: &Query, shown: &Shown) -> Reply {
        let (name, as_json) = match path.strip_suffix(".json") {
            Some("/index") => ("/", true),
            Some(name) => (name, true),
            None => (path, false),
        };
        let Some((_, _, page)) = PAGES.iter().find(|(of, ..)| *of == name) else {
            return Reply::new(404, Kind::Text, "there is no such page; / leads to all of them\n".to_owned());
        };
        // Times on the page come from the database's clock, so this compares them with the database's present time.
        let by_database = |picture: &Arc<Picture>| picture.status.at.checked_add(picture.taken.elapsed());
        let now = shown.picture.as_ref().and_then(by_database).unwrap_or_else(SystemTime::now);
        let asked = Asked { pages: &self.sources, query, shown, now };
        let (status, made) = match page(&asked) {
            Ok(made) => (200, made),
            Err(missing) => told(&missing, shown),
        };
        if as_json { Self::json(status, &made, shown) } else { self.frame.reply(status, name, query, &made, &asked) }
    }

    fn json(status: u16, made: &Made, shown: &Shown) -> Reply {
        let picture = shown.picture.as_deref();
        let age = picture.map(|picture| (picture.taken.elapsed().as_secs_f64() * 1000.0).round() / 1000.0);
        let trouble = shown.trouble.as_ref();
        let body = serde_json::json!({
            "as_of": picture.map(|picture| words::machine(picture.status.at)),
            "counted_from": picture.map(|picture| words::machine(picture.status.counted_from)),
            "age_seconds": age,
            "database_error": trouble.map(|trouble| &trouble.error),
            "database_error_since": trouble.map(|trouble| words::machine(trouble.since)),
            "page": made.json,
        });
        Reply::new(status, Kind::Json, format!("{body}\n"))
    }
}

/// What a page says before the first look is over.
fn not_yet(shown: &Shown) -> String {
    if shown.trouble.is_some() {
        return "nothing is known yet: the database has not answered".to_owned();
    }
    let time = spoken(shown.looking);
    format!("the first look at the database goes on, for {time} so far; this page shows what it finds once it is over")
}

/// A page that says why there is none.
fn told(missing: &Missing, shown: &Shown) -> (u16, Made) {
    let (status, title, why) = match missing {
        // Before the first look nobody knows what there is.
        Missing::Unknown(_) if shown.picture.is_none() => (503, "Not known yet", not_yet(shown)),
        Missing::Unknown(what) => (404, "Not there", format!("there is no {what}; it may be gone since")),
        Missing::Unnamed(what) => (400, "Not named", format!("the address has to name a {what}, as ?{what}=…")),
        Missing::Examined(time) => (
            503,
            "Being examined",
            format!(
                "the database is examined, for {} so far; this page shows what is found once that is over",
                spoken(*time)
            ),
        ),
        Missing::Store(error) => (503, "The database does not answer", chain(error)),
    };
    let made = Made::new(title, &serde_json::json!({ "error": why }), |html, _| {
        html.element("h1", &[], title);
        html.element("div", &[("class", "notice bad"), ("role", "alert")], &why);
    });
    (status, made)
}

#[cfg(feature = "sqlite")]
#[cfg(test)]
mod tests;
