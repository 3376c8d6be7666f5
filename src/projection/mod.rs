//! A projection: a name, a version, the tables that it keeps, and the reducers that turn its events into statements.
//!
//! `check` finds inconsistent definitions before any SQL runs; `reduce` is what a pass calls.

mod check;
mod definition;
mod reduce;

pub(crate) use definition::brings_the_same;
pub(crate) use reduce::{apart, is_reducing};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::PayloadError;
use crate::event::{Event, Payload};
use crate::query::EventFilter;
use crate::state::{ProjectionKey, SHADOW};
use crate::statement::{Dialects, OwnSql, Reduced};
use crate::table::Table;

type Reducer = Arc<dyn Fn(&Event) -> Reduced + Send + Sync>;
type Upcaster = Arc<dyn Fn(&Event) -> Result<Event, PayloadError> + Send + Sync>;

/// A read model: which events it handles and which tables it keeps. Cloning is cheap.
///
/// A reducer is a pure function of its event: no clock, no database, no state. Raise the version when what the
/// reducers write, the events they handle or the tables change; the engine then rebuilds the read model next to the
/// old one.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Added { name: String }
/// impl Payload for Added { const AGGREGATE: &str = "user"; const TYPE: &str = "user.added"; }
///
/// #[derive(Serialize, Deserialize)]
/// struct Renamed { name: String }
/// impl Payload for Renamed { const AGGREGATE: &str = "user"; const TYPE: &str = "user.renamed"; }
///
/// let users = Projection::new("users", 1)
///     .table(Table::new("users").column(text("id")).column(text("name")).primary_key(["id"]))
///     .on(|e, p: Added| create([set("id", e.aggregate_id()), set("name", p.name)]))
///     .on(|e, p: Renamed| update([set("name", p.name)], [eq("id", e.aggregate_id())]));
/// users.check()?;
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Projection {
    inner: Arc<Definition>,
    /// The schema of its tables, if the projection names none and the store has reported one.
    place: Option<Arc<str>>,
}

#[derive(Clone)]
struct Definition {
    name: Arc<str>,
    version: u32,
    /// Set for a shadow build.
    mark: Option<&'static str>,
    schema: Option<String>,
    /// The tables. Suffixes are resolved, except one that comes first or is empty; `check` reports those.
    tables: Vec<Table>,
    /// By aggregate type, then by event type. Reducers for all types are under [`EventFilter::EVERY`].
    reducers: BTreeMap<String, BTreeMap<String, Reducer>>,
    duplicates: Vec<(String, String)>,
    /// Which of the two types a reducer names by an empty text, if one does.
    unnamed: Option<&'static str>,
    /// By event type, then by the revision that the upcast converts.
    upcasts: BTreeMap<String, BTreeMap<u32, Upcaster>>,
    /// The reducer for events whose payload was erased.
    redacted: Option<Reducer>,
    duplicate_upcasts: Vec<(String, u32)>,
    /// Custom SQL, by name.
    own_sql: BTreeMap<String, OwnSql>,
    duplicate_sql: Vec<String>,
}

impl Projection {
    /// A projection without tables and reducers. Versions count from 1. Raise the version when the tables or the
    /// reducers change: the new version gets its own tables, which are filled from the log.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Projection::new("users", 1)
    ///     .table(Table::new("users").column(text("id")).column(text("name")).primary_key(["id"]))
    ///     .on_raw("user", "user.removed", |e| delete([eq("id", e.aggregate_id())]));
    /// users.check()?;
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn new(name: &str, version: u32) -> Self {
        Self {
            inner: Arc::new(Definition {
                name: name.into(),
                version,
                mark: None,
                schema: None,
                tables: Vec::new(),
                reducers: BTreeMap::new(),
                duplicates: Vec::new(),
                unnamed: None,
                upcasts: BTreeMap::new(),
                redacted: None,
                duplicate_upcasts: Vec::new(),
                own_sql: BTreeMap::new(),
                duplicate_sql: Vec::new(),
            }),
            place: None,
        }
    }

    fn change(mut self, change: impl FnOnce(&mut Definition)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }

    /// Puts the tables into this schema (SQLite: before their names). By default they go into the schema of the session
    /// that makes them first. That schema is then on record, and the tables stay there, whatever the search path of
    /// other sessions is. You may name the schema on record later without raising the version.
    pub fn schema(self, name: &str) -> Self {
        self.change(|definition| definition.schema = Some(name.to_owned()))
    }

    /// Adds a table. The first one is the primary table: statements use it unless they name another.
    pub fn table(self, table: Table) -> Self {
        self.change(|definition| {
            definition.tables.push(table);
            definition.resolve_names();
        })
    }

    /// Adds the reducer for the events whose payload is a `P`; `P` names their types. An event whose payload does not
    /// fit `P` fails.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize)]
    /// struct Renamed { name: String }
    /// impl Payload for Renamed { const AGGREGATE: &str = "user"; const TYPE: &str = "user.renamed"; }
    /// let users = Projection::new("users", 1)
    ///     .table(Table::new("users").column(text("id")).column(text("name")).primary_key(["id"]))
    ///     .on(|e, p: Renamed| update([set("name", p.name)], [eq("id", e.aggregate_id())]));
    /// users.check()?;
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn on<P: Payload>(self, reducer: impl Fn(&Event, P) -> Reduced + Send + Sync + 'static) -> Self {
        self.on_raw(P::AGGREGATE, P::TYPE, move |event| reducer(event, event.payload()?))
    }

    /// Adds the reducer for events without a Rust type, or for a type that several payloads share.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Projection::new("users", 1)
    ///     .table(Table::new("users").column(text("id")).column(text("name")).primary_key(["id"]))
    ///     .on_raw("user", "user.renamed", |e| {
    ///         let payload: serde_json::Value = e.payload()?;
    ///         update([set("name", payload["name"].as_str())], [eq("id", e.aggregate_id())])
    ///     });
    /// users.check()?;
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn on_raw(
        self,
        aggregate_type: &str,
        event_type: &str,
        reducer: impl Fn(&Event) -> Reduced + Send + Sync + 'static,
    ) -> Self {
        let empty = [("aggregate type", aggregate_type), ("event type", event_type)];
        let unnamed = empty.into_iter().find_map(|(what, name)| name.is_empty().then_some(what));
        self.add((aggregate_type, event_type), unnamed, Arc::new(reducer))
    }

    /// `unnamed` says which name is missing, if one is.
    fn add(self, (aggregate_type, event_type): (&str, &str), unnamed: Option<&'static str>, reducer: Reducer) -> Self {
        self.change(|definition| {
            let (aggregate_type, event_type) = (aggregate_type.to_owned(), event_type.to_owned());
            definition.unnamed = definition.unnamed.or(unnamed);
            let reducers = definition.reducers.entry(aggregate_type.clone()).or_default();
            if reducers.insert(event_type.clone(), reducer).is_some() {
                definition.duplicates.push((aggregate_type, event_type));
            }
        })
    }

    /// Adds a reducer for all events of aggregates of this type that have no specific reducer here, including types
    /// that do not exist yet. So you need not raise the version when the service gets new event types.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// // What happened to each user, one row for each event.
    /// let history = Projection::new("history", 1)
    ///     .table(Table::new("history").column(text("user")).column(integer("at")).column(text("what")).primary_key(["at"]))
    ///     .on_aggregate("user", |e| {
    ///         create([set("user", e.aggregate_id()), set("at", e.position()), set("what", e.event_type())])
    ///     });
    /// history.check()?;
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn on_aggregate(
        self,
        aggregate_type: &str,
        reducer: impl Fn(&Event) -> Reduced + Send + Sync + 'static,
    ) -> Self {
        let unnamed = aggregate_type.is_empty().then_some("aggregate type");
        self.add((aggregate_type, EventFilter::EVERY), unnamed, Arc::new(reducer))
    }

    /// Adds a reducer for all events that have no other reducer here, neither a specific one nor one added by
    /// [`on_aggregate`](Self::on_aggregate).
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// // An audit trail: who did what.
    /// let audit = Projection::new("audit", 1)
    ///     .table(Table::new("audit").column(integer("at")).column(text("who")).column(text("what")).primary_key(["at"]))
    ///     .on_any(|e| create([set("at", e.position()), set("who", e.creator()), set("what", e.event_type())]));
    /// audit.check()?;
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn on_any(self, reducer: impl Fn(&Event) -> Reduced + Send + Sync + 'static) -> Self {
        self.add((EventFilter::EVERY, EventFilter::EVERY), None, Arc::new(reducer))
    }

    /// Sets the reducer for events whose payload was erased ([`DbStore::redact`](crate::DbStore::redact)), of all types
    /// that this projection handles. No other reducer and no upcast gets these events. By default the projection
    /// ignores them, so a rebuilt read model looks as if they had not happened.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize)]
    /// struct Added { name: String }
    /// impl Payload for Added { const AGGREGATE: &str = "user"; const TYPE: &str = "user.added"; }
    /// let users = Projection::new("users", 1)
    ///     .on(|e, p: Added| create([set("id", e.aggregate_id()), set("name", p.name)]))
    ///     .on_raw("user", "user.closed", |e| delete([eq("id", e.aggregate_id())]))
    ///     .on_redacted(|e| match e.event_type() {
    ///         "user.closed" => delete([eq("id", e.aggregate_id())]),
    ///         _ => noop(),
    ///     });
    /// let erased = Event::new("main", "user", "u1", "user.added").redacted();
    /// assert_eq!(users.reduce(&erased), Ok(Statement::Noop));
    /// ```
    pub fn on_redacted(self, reducer: impl Fn(&Event) -> Reduced + Send + Sync + 'static) -> Self {
        self.change(|definition| definition.redacted = Some(Arc::new(reducer)))
    }

    /// Declares custom SQL for what the builders cannot express. Reducers use it by name
    /// ([`exec`](crate::statement::exec)).
    ///
    /// A text names the tables of this projection in braces: `{users}`, by name or suffix, becomes the quoted name of
    /// the table that is being written, in whichever version or build. `{users.name}` is a column of it; you need that
    /// form only for a column with the same name as a table. Braces in quotes or comments stay as they are. `$1` is the
    /// instance, and a text that names a table has to use it. `$2` and the following are the values.
    ///
    /// [`check`](Self::check), and so every set-up, refuses these: the plain name of a table in a text, a table that
    /// the projection does not have, other placeholders, gaps in their numbers, more than one statement, and a missing
    /// text for the database in use.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let ranks = Projection::new("ranks", 1)
    ///     .table(Table::new("ranks").column(text("id")).column(integer("n")).primary_key(["id"]))
    ///     .sql("cap", Dialects::each(
    ///         "UPDATE {ranks} SET n = least(n, $2) WHERE instance_id = $1",
    ///         "UPDATE {ranks} SET n = min(n, $2) WHERE instance_id = $1",
    ///     ))
    ///     .on_raw("rank", "rank.capped", |_| exec("cap", [100]));
    /// ranks.check()?;
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn sql(self, name: &str, texts: impl Into<Dialects>) -> Self {
        let own = OwnSql::new(texts.into());
        self.change(|definition| {
            if definition.own_sql.insert(name.to_owned(), own).is_some() {
                definition.duplicate_sql.push(name.to_owned());
            }
        })
    }

    /// Converts payloads of an old revision to the next one before the reducer gets them. Upcasts form a chain, from 1
    /// to 2, from 2 to 3, until there is no further one.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// use serde::{Deserialize, Serialize};
    /// #[derive(Deserialize)]
    /// struct AddedV1 { first: String, last: String }
    /// #[derive(Serialize, Deserialize)]
    /// struct Added { name: String }
    /// impl Payload for Added {
    ///     const AGGREGATE: &str = "user";
    ///     const TYPE: &str = "user.added";
    ///     const REVISION: u32 = 2;
    /// }
    /// let users = Projection::new("users", 1)
    ///     .upcast(Added::TYPE, 1, |old: AddedV1| Added { name: format!("{} {}", old.first, old.last) })
    ///     .on(|e, p: Added| create([set("id", e.aggregate_id()), set("name", p.name)]));
    /// # let _ = users;
    /// ```
    pub fn upcast<Old: DeserializeOwned, New: Serialize>(
        self,
        event_type: &str,
        from_revision: u32,
        upcast: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> Self {
        let upcaster: Upcaster = Arc::new(move |event| reduce::upcast(event, &upcast));
        self.change(|definition| {
            let upcasts = definition.upcasts.entry(event_type.to_owned()).or_default();
            if upcasts.insert(from_revision, upcaster).is_some() {
                definition.duplicate_upcasts.push((event_type.to_owned(), from_revision));
            }
        })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The version, from 1.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.inner.version
    }

    /// Name and version. The states are kept under this key.
    #[must_use]
    pub fn key(&self) -> ProjectionKey {
        let name = match self.inner.mark {
            None => Arc::clone(&self.inner.name),
            Some(mark) => format!("{}{SHADOW}{mark}", self.inner.name).into(),
        };
        ProjectionKey { name, version: self.inner.version }
    }

    /// The same projection as a shadow build, which has separate states and tables.
    pub(crate) fn shadow(&self, mark: &'static str) -> Self {
        self.clone().change(|definition| definition.mark = Some(mark))
    }

    /// The same projection under its plain name.
    pub(crate) fn plain(&self) -> Self {
        self.clone().change(|definition| definition.mark = None)
    }

    /// True for a shadow build.
    pub(crate) fn is_shadow(&self) -> bool {
        self.inner.mark.is_some()
    }

    /// The schema of the tables, if one was named.
    #[must_use]
    pub fn schema_name(&self) -> Option<&str> {
        self.inner.schema.as_deref()
    }

    /// The same projection with its tables in this schema, unless it names one itself.
    pub(crate) fn placed(&self, schema: Option<Arc<str>>) -> Self {
        Self { inner: Arc::clone(&self.inner), place: schema }
    }

    /// The schema that a store has reported for its tables. `None` when it names one itself.
    pub(crate) fn told_place(&self) -> Option<&Arc<str>> {
        self.place.as_ref().filter(|_| self.inner.schema.is_none())
    }

    /// The schema of its tables: the one that it names, or the one that the store has reported.
    pub(crate) fn place(&self) -> Option<&str> {
        self.inner.schema.as_deref().or(self.place.as_deref())
    }

    /// The same projection without the schema that it names.
    pub(crate) fn without_schema(&self) -> Self {
        self.clone().change(|definition| definition.schema = None)
    }

    /// The tables under their full plain names, the primary one first.
    pub fn tables(&self) -> &[Table] {
        &self.inner.tables
    }

    /// The custom SQL that is declared under this name.
    pub(crate) fn own_sql(&self, name: &str) -> Option<&OwnSql> {
        self.inner.own_sql.get(name)
    }

    /// True when it declares custom SQL.
    pub(crate) fn has_own_sql(&self) -> bool {
        !self.inner.own_sql.is_empty()
    }

    /// The events that it handles.
    #[must_use]
    pub fn wanted(&self) -> EventFilter {
        let mut event_types: Vec<String> = self.inner.reducers.values().flat_map(BTreeMap::keys).cloned().collect();
        event_types.sort_unstable();
        event_types.dedup();
        EventFilter { aggregate_types: self.inner.reducers.keys().cloned().collect(), event_types }
    }
}

impl Definition {
    /// Gives tables with suffixes, and foreign keys that name a suffix, the full plain name.
    fn resolve_names(&mut self) {
        let Some((primary, others)) = self.tables.split_first_mut() else {
            return;
        };
        for table in others.iter_mut().filter(|table| table.is_suffix && !table.name.is_empty()) {
            table.name = format!("{}_{}", primary.name, table.name);
            table.is_suffix = false;
        }
        let prefix = format!("{}_", primary.name);
        let names: Vec<String> = self.tables.iter().map(|table| table.name.clone()).collect();
        for key in self.tables.iter_mut().flat_map(|table| &mut table.foreign_keys) {
            let Some(name) = &key.table else { continue };
            let full = format!("{prefix}{name}");
            if !names.contains(name) && names.contains(&full) {
                key.table = Some(full);
            }
        }
    }
}

/// Leaves the reducers out.
impl fmt::Debug for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projection")
            .field("name", &self.inner.name)
            .field("version", &self.inner.version)
            .field("schema", &self.inner.schema)
            .field("tables", &self.inner.tables)
            .field("wanted", &self.wanted())
            .finish_non_exhaustive()
    }
}
