//! The pages. Each is made twice of the same facts: as HTML, and, under the same address with `.json` behind the name, as JSON.

mod activity;
mod chart;
mod database;
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
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::board::{Board, Picture, Shown};
use super::http::query::Query;
use super::http::reply::{Kind, Reply};
use super::options::ServeOptions;
use super::place::Place;
use crate::error::{StoreError, chain};
use crate::inspect::{Finding, ProjectionStatus};
use crate::state::{ProjectionKey, SHADOW};
use crate::sync::Mutex;
use frame::Frame;
use html::Html;

/// Rows of a page.
const ROWS: usize = 50;

/// For how long what the doctor found is shown: it looks at much.
const FOUND: Duration = Duration::from_secs(30);

/// What all pages are made of.
pub(crate) struct Pages {
    place: Arc<Place>,
    board: Arc<Board>,
    payloads: bool,
    frame: Frame,
    /// What was found last, and when.
    found: Mutex<Option<(Instant, SystemTime, Vec<Finding>)>>,
}

/// Why there is no such page.
enum Missing {
    /// There is nothing of this name.
    Unknown(String),
    /// The address does not name what it has to.
    Unnamed(&'static str),
    /// The database does not answer.
    Store(StoreError),
}

impl From<StoreError> for Missing {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A page, once as JSON and once as HTML.
struct Made {
    title: String,
    json: serde_json::Value,
    html: Html,
}

impl Made {
    fn new<V: Serialize>(title: impl Into<String>, view: &V, write: impl FnOnce(&mut Html, &V)) -> Self {
        let mut html = Html::default();
        write(&mut html, view);
        Self { title: title.into(), json: serde_json::to_value(view).unwrap_or_default(), html }
    }
}

/// One request for a page.
struct Asked<'a> {
    pages: &'a Pages,
    query: &'a Query,
    shown: &'a Shown,
    /// By the database's clock.
    now: SystemTime,
}

impl Asked<'_> {
    fn picture(&self) -> Option<&Picture> {
        self.shown.picture.as_deref()
    }

    fn place(&self) -> &Place {
        &self.pages.place
    }

    /// The build that the address names: `projection`, and `version` and `build` where there are several. Without a version the
    /// one that readers see is meant.
    fn build(&self) -> Result<&ProjectionStatus, Missing> {
        let name = self.query.filled("projection").ok_or(Missing::Unnamed("projection"))?;
        let version = self.query.filled("version").and_then(|version| version.parse::<u32>().ok());
        let mark = self.query.filled("build");
        let all = self.picture().map_or(&[][..], |picture| &picture.status.projections);
        let of_name = || all.iter().filter(|one| one.name == name);
        let found = match version {
            Some(version) => of_name().find(|one| one.version == version && one.build.as_deref() == mark),
            None => of_name().find(|one| one.is_live()).or_else(|| of_name().next()),
        };
        found.ok_or_else(|| Missing::Unknown(format!("projection {name:?}")))
    }
}

/// The key of the states of a build.
fn key(projection: &ProjectionStatus) -> ProjectionKey {
    let name = match &projection.build {
        Some(mark) => format!("{}{SHADOW}{mark}", projection.name),
        None => projection.name.clone(),
    };
    ProjectionKey { name: name.into(), version: projection.version }
}

type Page = fn(&Asked<'_>) -> Result<Made, Missing>;

/// The pages by their paths, and what leads to them.
const PAGES: [(&str, &str, Page); 9] = [
    ("/", "Overview", overview::page),
    ("/failures", "Failures", failures::groups),
    ("/instances", "Instances", instances::list_of),
    ("/activity", "Activity", activity::page),
    ("/lineage", "Lineage", lineage::page),
    ("/database", "Database", database::page),
    ("/projection", "", projection::page),
    ("/failure", "", failures::one),
    ("/instance", "", instances::one),
];

impl Pages {
    pub(crate) fn new(place: Arc<Place>, board: Arc<Board>, options: &ServeOptions) -> Self {
        let frame = Frame::new(options.every);
        Self { place, board, payloads: options.payloads, frame, found: Mutex::new(None) }
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
        // Times are the database's, and so is the clock by which they are told to be past.
        let by_database = |picture: &Arc<Picture>| picture.status.at.checked_add(picture.taken.elapsed());
        let now = shown.picture.as_ref().and_then(by_database).unwrap_or_else(SystemTime::now);
        let asked = Asked { pages: self, query, shown, now };
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
            "age_seconds": age,
            "database_error": trouble.map(|trouble| &trouble.error),
            "database_error_since": trouble.map(|trouble| words::machine(trouble.since)),
            "page": made.json,
        });
        Reply::new(status, Kind::Json, format!("{body}\n"))
    }

    /// What the doctor finds, looked at once for all who ask.
    fn findings(&self) -> (SystemTime, Vec<Finding>) {
        let mut found = self.found.lock();
        if let Some((_, at, findings)) = found.as_ref().filter(|(looked, ..)| looked.elapsed() < FOUND) {
            return (*at, findings.clone());
        }
        let (at, findings) = (SystemTime::now(), (self.place.examine)());
        *found = Some((Instant::now(), at, findings.clone()));
        (at, findings)
    }
}

/// A page that says why there is none.
fn told(missing: &Missing, shown: &Shown) -> (u16, Made) {
    let (status, title, why) = match missing {
        // Before the first look nobody knows what there is.
        Missing::Unknown(_) if shown.picture.is_none() => {
            (503, "Not known yet", "nothing is known yet: the database has not answered".to_owned())
        }
        Missing::Unknown(what) => (404, "Not there", format!("there is no {what}; it may be gone since")),
        Missing::Unnamed(what) => (400, "Not named", format!("the address has to name a {what}, as ?{what}=…")),
        Missing::Store(error) => (503, "The database does not answer", chain(error)),
    };
    let made = Made::new(title, &serde_json::json!({ "error": why }), |html, _| {
        html.element("h1", &[], title);
        html.element("div", &[("class", "notice bad"), ("role", "alert")], &why);
    });
    (status, made)
}
