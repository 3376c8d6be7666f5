//! What each page is made from: the request, the stores that answer it, and the result.

use std::collections::BTreeMap;
use std::sync::Arc;
#[cfg(feature = "sqlite")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::html::Html;
#[cfg(feature = "sqlite")]
use crate::admin::{ExplainRequest, Explanation, explain_within};
#[cfg(feature = "sqlite")]
use crate::engine::Desk;
use crate::error::StoreError;
#[cfg(feature = "sqlite")]
use crate::error::net;
use crate::inspect::{Finding, InstanceLag, ProjectionStatus};
use crate::serve::board::{Board, Picture, Shown};
use crate::serve::http::query::Query;
use crate::serve::place::Place;
use crate::state::{ProjectionKey, SHADOW};
use crate::sync::Mutex;

/// Rows of a page.
pub(super) const ROWS: usize = 50;

/// How long the doctor's findings stay valid, because its examination is expensive.
const FOUND: Duration = Duration::from_secs(30);

/// For an explanation.
#[cfg(feature = "sqlite")]
const EXPLAIN: Duration = Duration::from_secs(10);

/// What all pages are made from.
pub(super) struct Sources {
    pub(super) place: Arc<Place>,
    pub(super) board: Arc<Board>,
    pub(super) payloads: bool,
    /// What was found last, and when.
    found: Mutex<Option<(Instant, SystemTime, Vec<Finding>)>>,
    behind: Mutex<Behind>,
    #[cfg(feature = "sqlite")]
    explains: AtomicBool,
}

/// The instances that lag most, by build, as found since the last picture was taken.
#[derive(Default)]
struct Behind {
    taken: Option<Instant>,
    of: BTreeMap<ProjectionKey, Vec<InstanceLag>>,
}

impl Sources {
    pub(super) fn new(place: Arc<Place>, board: Arc<Board>, payloads: bool) -> Self {
        Self {
            place,
            board,
            payloads,
            found: Mutex::default(),
            behind: Mutex::default(),
            #[cfg(feature = "sqlite")]
            explains: AtomicBool::new(false),
        }
    }

    /// The instances in which a build lags most. The query goes over all instances, so it runs once for each picture,
    /// whatever the number of readers.
    pub(super) fn most_behind(&self, picture: &Picture, build: &ProjectionKey) -> Result<Vec<InstanceLag>, StoreError> {
        let known = |behind: &Behind| behind.of.get(build).filter(|_| behind.taken == Some(picture.taken)).cloned();
        if let Some(found) = known(&self.behind.lock()) {
            return Ok(found);
        }
        let found = self.place.inspect().most_behind(build, ROWS)?;
        let mut behind = self.behind.lock();
        if behind.taken != Some(picture.taken) {
            *behind = Behind { taken: Some(picture.taken), of: BTreeMap::new() };
        }
        behind.of.insert(build.clone(), found.clone());
        Ok(found)
    }

    /// Answers one question at a time, within a deadline, because it reads all events of an instance.
    #[cfg(feature = "sqlite")]
    pub(super) fn explain(&self, desk: &Desk, question: &ExplainRequest) -> Result<Explanation, String> {
        if self.explains.swap(true, Ordering::AcqRel) {
            return Err("another explanation goes on; ask again when it is there".to_owned());
        }
        let explained = net::caught(|| explain_within(desk, question, EXPLAIN));
        self.explains.store(false, Ordering::Release);
        explained.unwrap_or_else(Err)
    }

    /// What the doctor finds, in one examination for all readers.
    pub(super) fn findings(&self) -> (SystemTime, Vec<Finding>) {
        let mut found = self.found.lock();
        if let Some((_, at, findings)) = found.as_ref().filter(|(looked, ..)| looked.elapsed() < FOUND) {
            return (*at, findings.clone());
        }
        let (at, findings) = (SystemTime::now(), (self.place.examine)());
        *found = Some((Instant::now(), at, findings.clone()));
        (at, findings)
    }
}

/// Why there is no such page.
pub(super) enum Missing {
    /// There is nothing with this name.
    Unknown(String),
    /// The address lacks a name that it needs.
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
pub(super) struct Made {
    pub(super) title: String,
    pub(super) json: serde_json::Value,
    pub(super) html: Html,
}

impl Made {
    pub(super) fn new<V: Serialize>(title: impl Into<String>, view: &V, write: impl FnOnce(&mut Html, &V)) -> Self {
        let mut html = Html::default();
        write(&mut html, view);
        Self { title: title.into(), json: serde_json::to_value(view).unwrap_or_default(), html }
    }
}

/// One request for a page.
pub(super) struct Asked<'a> {
    pub(super) pages: &'a Sources,
    pub(super) query: &'a Query,
    pub(super) shown: &'a Shown,
    /// The time by the database's clock.
    pub(super) now: SystemTime,
}

impl Asked<'_> {
    pub(super) fn picture(&self) -> Option<&Picture> {
        self.shown.picture.as_deref()
    }

    pub(super) fn place(&self) -> &Place {
        &self.pages.place
    }

    /// The build that the address names: `projection`, and `version` and `build` if there are several. Without a
    /// version, the build that readers see.
    pub(super) fn build(&self) -> Result<&ProjectionStatus, Missing> {
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
pub(super) fn key(projection: &ProjectionStatus) -> ProjectionKey {
    let name = match &projection.build {
        Some(mark) => format!("{}{SHADOW}{mark}", projection.name),
        None => projection.name.clone(),
    };
    ProjectionKey { name: name.into(), version: projection.version }
}
