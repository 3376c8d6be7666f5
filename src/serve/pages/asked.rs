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
use crate::inspect::{InstanceLag, ProjectionStatus};
use crate::serve::board::{Board, Picture, Shown};
use crate::serve::doctor::Clinic;
use crate::serve::http::query::Query;
use crate::serve::place::Place;
use crate::state::{ProjectionKey, SHADOW};
use crate::sync::Mutex;

/// Rows of a page.
pub(super) const ROWS: usize = 50;

/// For an explanation.
#[cfg(feature = "sqlite")]
const EXPLAIN: Duration = Duration::from_secs(10);

/// What all pages are made from.
pub(super) struct Sources {
    pub(super) place: Arc<Place>,
    pub(super) board: Arc<Board>,
    pub(super) payloads: bool,
    pub(super) clinic: Arc<Clinic>,
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
    pub(super) fn new(place: Arc<Place>, board: Arc<Board>, clinic: Arc<Clinic>, payloads: bool) -> Self {
        Self {
            place,
            board,
            clinic,
            payloads,
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
}

/// Why there is no such page.
pub(super) enum Missing {
    /// There is nothing with this name.
    Unknown(String),
    /// The address lacks a name that it needs.
    Unnamed(&'static str),
    /// The database does not answer.
    Store(StoreError),
    /// The first examination of the database goes on, for so long so far.
    Examined(Duration),
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

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::prelude::{Projection, Table, create, set, text};
    use crate::{Engine, EventStore, NewEvent, SqliteStore};

    // Contract: S1: an explanation reads all events of an instance, so it is one at a time, and not for long.
    #[test]
    fn explanations_come_one_at_a_time_and_have_a_deadline() {
        let table = Table::new("p").column(text("thing")).primary_key(["thing"]);
        let projection =
            Projection::new("p", 1).table(table).on_raw("thing", "made", |e| create([set("thing", e.aggregate_id())]));
        let store = SqliteStore::in_memory().unwrap();
        let engine = Engine::builder(store.clone()).projection(projection).start().unwrap();
        let pushed = store.push(&[NewEvent::raw("a", "thing", "x", "made")]).unwrap();
        engine.await_pushed("p", &pushed, Duration::from_mins(1)).unwrap();
        let place = Arc::new(engine.place());
        let desk = place.desk("p").unwrap();
        let sources = Sources::new(place, Arc::new(Board::new()), Arc::default(), true);
        let asked = |table: &str| {
            let (instance, table, key) = ("a".to_owned(), Some(table.to_owned()), vec!["x".to_owned()]);
            ExplainRequest { instance, table, key, at: None }
        };
        let question = asked("p");

        sources.explains.store(true, Ordering::Release);
        let refused = sources.explain(&desk, &question).unwrap_err();
        assert!(refused.contains("another explanation goes on"), "{refused}");
        sources.explains.store(false, Ordering::Release);
        // One that fails makes room as well.
        let late = explain_within(&desk, &question, Duration::ZERO).unwrap_err();
        assert!(late.contains("it has not come to its end in"), "{late}");
        assert!(sources.explain(&desk, &asked("none")).is_err());
        assert_eq!(sources.explain(&desk, &question).unwrap().events, 1);
    }
}
