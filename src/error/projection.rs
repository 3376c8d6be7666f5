//! Definitions, set-up and configuration.

use std::error::Error as StdError;
use std::fmt;

use super::{NameError, StoreError};
use crate::plain::{listed, plain};

/// A projection with an inconsistent definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// A projection without a name.
    #[error("a projection has no name")]
    NoProjection,
    /// A projection name used twice.
    #[error("two projections are named {name:?}")]
    DuplicateProjection {
        /// The name.
        name: String,
    },
    /// Versions count from 1.
    #[error("projection {projection:?} has version 0; versions count from 1")]
    NoVersion {
        /// The projection.
        projection: String,
    },
    /// A projection that reduces nothing.
    #[error("projection {projection:?} has no reducer")]
    NoReducer {
        /// The projection.
        projection: String,
    },
    /// Two reducers for one event type.
    #[error("projection {projection:?} has two reducers for {}", kind(aggregate_type, event_type))]
    DuplicateReducer {
        /// The projection.
        projection: String,
        /// The aggregate type.
        aggregate_type: String,
        /// The event type.
        event_type: String,
    },
    /// An upcast that would never run, or would not do what is meant.
    #[error("the upcast of {event_type:?} from revision {revision} of projection {projection:?} {what}")]
    Upcast {
        /// The projection.
        projection: String,
        /// The event type.
        event_type: String,
        /// The revision that it converts.
        revision: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// A name in it cannot be used.
    #[error("projection {projection:?} has a name that cannot be used")]
    Name {
        /// The projection.
        projection: String,
        /// Which name, and why.
        source: NameError,
    },
    /// Custom SQL that cannot be used.
    #[error("the SQL {sql:?} of projection {projection:?} {}", plain(what))]
    Sql {
        /// The projection.
        projection: String,
        /// The name of the SQL.
        sql: String,
        /// What is wrong.
        what: String,
    },
    /// A table with an inconsistent definition.
    #[error("table {table:?} of projection {projection:?} {}", plain(what))]
    Table {
        /// The projection.
        projection: String,
        /// The table.
        table: String,
        /// What is wrong.
        what: String,
    },
}

/// A set-up, or a check of it, that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Another object has the name already.
    #[error("projection {projection:?} needs the name {name:?}, which is taken by {}; rename one of them", plain(by))]
    NameTaken {
        /// The projection.
        projection: String,
        /// The name.
        name: String,
        /// The object that has the name.
        by: String,
    },
    /// The definition changed, but the version did not.
    #[error(
        "projection {projection:?} changed its event types or tables under the same version {version}; raise the version, so that it is rebuilt"
    )]
    DefinitionChanged {
        /// The projection.
        projection: String,
        /// Its version.
        version: u32,
    },
    /// A table is not as defined.
    #[error(
        "table {table:?} of projection {projection:?} is not as defined: {}; change it back, or raise the version so that it is rebuilt",
        plain(difference)
    )]
    TableDiffers {
        /// The projection.
        projection: String,
        /// The table.
        table: String,
        /// What differs.
        difference: String,
    },
    /// A table to which events were applied is gone. Set-up does not create it again, because it would be empty while
    /// the checkpoints say that events were applied.
    #[error(
        "table {table:?} of projection {projection:?} is gone, and events were applied to it; rename it back or restore \
         it, together with the checkpoints of its time, or raise the version, so that it is rebuilt. Nothing was made: \
         an empty table would lack all that was applied"
    )]
    TableGone {
        /// The projection.
        projection: String,
        /// The table.
        table: String,
    },
    /// A view does not read the table that is on record for it, so readers would see the rows of another one.
    #[error(
        "view {view:?} of projection {projection:?} does not read its table {table:?}; if that table is the right one, \
         DROP VIEW {view:?}, and the next set-up makes it again; if another table is the right one, give that one the name"
    )]
    ViewElsewhere {
        /// The projection.
        projection: String,
        /// The view.
        view: String,
        /// The table that the view should read.
        table: String,
    },
    /// An object of the service depends on the tables of a build that should be removed. Nothing was removed.
    #[error(
        "{} of projection {projection:?} is not removed, because that would remove what depends on its tables: \
         {}; drop that, or let it read the view that readers use, which follows each switch",
        plain(build),
        plain(dependents)
    )]
    Dependents {
        /// The projection.
        projection: String,
        /// The build.
        build: String,
        /// What depends on its tables.
        dependents: String,
    },
    /// The new tables cannot be given everything that people added to the tables that readers see. Readers stay where
    /// they are.
    #[error(
        "readers of projection {projection:?} stay where they are, because its new tables would lack: {}; fix what \
         each reason names, or move it by hand; or accept that by RebuildOptions::accept_loss (`readside rebuild \
         --accept-loss`)",
        listed(lost, "; ")
    )]
    WouldLose {
        /// The projection.
        projection: String,
        /// Each such thing, with the reason.
        lost: Vec<String>,
    },
    /// The definition has SQL of the service that the database refuses. It was tried before anything was changed.
    #[error(
        "{} of table {table:?} of projection {projection:?} has SQL that the database refuses; correct it in the \
         code (Dialects::each gives each database its own words). Nothing was changed",
        plain(what)
    )]
    Expression {
        /// The projection.
        projection: String,
        /// The table, by its plain name.
        table: String,
        /// The column, check or index, in words.
        what: String,
        /// What the database says.
        source: Box<StoreError>,
    },
    /// A table is missing and set-up is off.
    #[error("{} is missing; run setup(), or have the owner of the database run what setup_sql() prints", plain(what))]
    Missing {
        /// What is missing.
        what: String,
    },
    /// The schema of the tables is on record, and this role may not use it. Set-up does not use another schema, because
    /// then one read model would have rows in two.
    #[error(
        "the tables of projection {projection:?} are in schema {recorded:?}, {why}; this session would put them into \
         {}. GRANT USAGE ON SCHEMA {recorded:?} and the rights on its tables to this role, or connect as the role that \
         made them (a search_path does not matter then); to have them elsewhere, raise the version and name the schema \
         by Projection::schema", here.as_ref().map_or_else(|| "no schema".to_owned(), |here| format!("schema {here:?}"))
    )]
    SchemaOutOfReach {
        /// The projection.
        projection: String,
        /// The schema on record.
        recorded: String,
        /// What is wrong with it in this session.
        why: &'static str,
        /// The schema that unqualified names mean in this session, if there is one.
        here: Option<String>,
    },
    /// Sessions with different search paths have put tables of one read model into several schemas.
    #[error(
        "the tables of projection {projection:?} are in several schemas, {}: each may hold rows that the others lack. \
         Drop or rename those that are not wanted, start an engine, and have it rebuild the projection",
        listed(schemas, ", ")
    )]
    SchemasDisagree {
        /// The projection.
        projection: String,
        /// The schemas.
        schemas: Vec<String>,
    },
    /// A table is in another schema than the one on record.
    #[error(
        "table {table:?} of projection {projection:?} is on record in schema {recorded:?}, but it is in schema \
         {found:?}; move it back by ALTER TABLE {found:?}.{table:?} SET SCHEMA {recorded:?}, or rename the one that is \
         not meant"
    )]
    TableMoved {
        /// The projection.
        projection: String,
        /// The table.
        table: String,
        /// The schema on record.
        recorded: String,
        /// The schema in which a table of this name is.
        found: String,
    },
    /// The session has no schema for unqualified names.
    #[error(
        "projection {projection:?} names no schema, and the search_path of this session names none that exists; set the \
         search_path, or name the schema by Projection::schema"
    )]
    NoSchema {
        /// The projection.
        projection: String,
    },
    /// The database was set up by a newer version of this library.
    #[error("the database has schema {found}, and this version of readside knows those up to {known}; update readside")]
    NewerSchema {
        /// The schema found.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// A projection has an inconsistent definition.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All configuration values that are not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Each wrong value, with what is allowed.
    pub faults: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: {}", listed(&self.faults, "; "))
    }
}

impl StdError for ConfigError {}

/// A phrase for events of these types. An empty text means every type.
fn kind(aggregate_type: &str, event_type: &str) -> String {
    match (aggregate_type, event_type) {
        ("", _) => "all events that have no other".to_owned(),
        (_, "") => format!("all events of aggregate {aggregate_type:?} that have no other"),
        _ => format!("{event_type:?} of aggregate {aggregate_type:?}"),
    }
}
