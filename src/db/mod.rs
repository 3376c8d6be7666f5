//! What both databases share, written once: push, filter, heads, states, failures, set-up.
//!
//! Each database implements [`Backend`] (how to get a connection and run a transaction) and [`Conn`] (how to run SQL
//! with `$1`-style placeholders). Everything else here is SQL that both understand, or that [`Dialect`] renders.

mod announce;
mod ask;
#[cfg(feature = "cli")]
mod bench_cleanup;
mod builds;
mod census;
mod checkpoint;
mod clause;
mod command;
mod decide;
pub(crate) mod declared;
mod discarded;
mod execute;
mod failure;
mod filter;
mod fold;
mod inspect;
mod lag;
mod lease;
mod leave;
pub(crate) mod made;
pub(crate) mod member;
mod model;
pub(crate) mod objects;
mod operate;
mod overview;
mod pause;
mod place;
mod push;
mod reading;
mod relation;
mod replay;
mod retention;
pub(crate) mod row;
mod setup;
mod standstill;
mod state;
mod status;
mod store;
mod stream;
mod transaction;
#[cfg(feature = "cli")]
mod transfer;
mod views;
mod whole;

#[cfg(feature = "cli")]
pub(crate) use bench_cleanup::PREFIX as SCRATCH;
#[cfg(feature = "sqlite")]
pub(crate) use builds::column_types;
pub(crate) use push::{Append, Counter, Counters, INDEXING};
pub use reading::Reader;
pub(crate) use reading::{ENDED, EachRow, OwnQuery, READ_ENDED};
#[cfg(feature = "sqlite")]
pub(crate) use replay::{Scratch, leaving_nothing};
pub(crate) use row::EVENT_COLUMNS;
#[cfg(feature = "sqlite")]
pub(crate) use setup::store_id;
pub use store::DbStore;
pub use stream::EventStream;
#[cfg(feature = "cli")]
pub(crate) use transfer::{ImportError, Manifest, Part, Transfer};

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Holder, SetupError, StoreError, StoreErrorKind};
use crate::inspect::Finding;
use crate::projection::Projection;
use crate::query::{EventBatch, ReadRequest};
use crate::sql::{self, Dialect};
use crate::state::ProjectionKey;
use crate::store::Notifications;
use crate::value::{ColumnType, Value};

/// One row of a result, its values as the columns' types say.
pub(crate) type Row = Vec<Value>;

/// A connection, possibly inside a transaction.
///
/// Parameters are numbered `$1`, `$2` … on both databases. A `Value::TextArray` binds as `text[]`, or as the text of a
/// JSON array. The place of a NULL gives its type. After an error a transaction can only be rolled back, or continue
/// from a savepoint.
pub trait Conn {
    /// How this database spells things.
    fn dialect(&self) -> Dialect;

    /// Rows of a query.
    fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError>;

    /// Runs a statement, and returns the number of rows that it touched.
    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, StoreError>;

    /// Runs several statements without parameters.
    fn batch(&mut self, sql: &str) -> Result<(), StoreError>;

    /// Writes many rows in order, in the fastest way of this database, and returns the number of rows touched.
    fn bulk(&mut self, write: &Bulk) -> Result<u64, StoreError>;

    /// As [`bulk`](Self::bulk), for rows that can affect each other by unique keys, of which these are the secondary
    /// ones. It succeeds only if the rows written one after the other would succeed, and has the same outcome.
    fn bulk_in_order(&mut self, write: &Bulk, _uniques: &[&[String]]) -> Result<u64, StoreError> {
        self.bulk(write)
    }

    /// The events above cursors, see [`EventBatch`]; heads and events from one snapshot, or heads first.
    fn event_batches(&mut self, request: &ReadRequest) -> Result<EventBatches, StoreError>;

    /// A value read from a column of this type, as that type has it.
    fn typed(&self, value: Value, _kind: ColumnType) -> Value {
        value
    }

    /// Locks the counters of those instances that exist, in byte order, until the end of the transaction. A later
    /// statement reads nothing older than the locks.
    fn counters(&mut self, instances: &[Arc<str>]) -> Result<Counters, StoreError>;

    /// Sees to it that events can be looked for by their ids. Only an import does that, after it locked the counters.
    fn index_ids(&mut self) -> Result<(), StoreError>;

    /// Writes events, and moves their counters and heads.
    fn append(&mut self, append: &Append<'_>) -> Result<(), StoreError>;

    /// The schema on record for the tables of this build, whose code names no schema. `None` if the database has no
    /// schemas, or none is on record. Fails if the tables are not those that were made for the build.
    fn place(&mut self, _build: &ProjectionKey) -> Result<Option<Arc<str>>, StoreError> {
        Ok(None)
    }

    /// What this database knows of the objects that people add to tables.
    fn catalogue(&self) -> &'static dyn objects::Catalogue;

    /// The schema of the engine's own tables, if the database has schemas.
    fn home(&self) -> Option<&str>;

    /// The sessions that hold locks on these relations (quoted names), the longest first. A session that wants an
    /// exclusive lock waits for them, and all later sessions wait for that one. Empty where sessions do not wait like
    /// that.
    fn in_the_way(&mut self, _relations: &[String]) -> Result<Vec<Holder>, StoreError> {
        Ok(Vec::new())
    }

    /// The time on the database's clock, also while a transaction is open.
    fn now(&mut self) -> Result<SystemTime, StoreError>;
}

/// What one snapshot holds above cursors.
#[derive(Debug)]
pub struct EventBatches {
    pub(crate) slices: Vec<EventBatch>,
    /// The event store of that snapshot, unless it holds none of these instances.
    pub(crate) store: Option<uuid::Uuid>,
}

/// A row to write. It owns its values, or borrows them.
pub(crate) type BulkRow<'v> = Vec<Cow<'v, Value>>;

/// Rows that own their values.
pub(crate) fn owned(rows: Vec<Row>) -> Vec<BulkRow<'static>> {
    rows.into_iter().map(|row| row.into_iter().map(Cow::Owned).collect()).collect()
}

/// True if a bulk can write the value into a column of this type, on every database. Folding admits exactly these
/// values. A bulk can write any type of column, NULL into all of them, and decimals at the scale of their column.
pub(crate) fn takes(kind: ColumnType, value: &Value) -> bool {
    match (value, kind) {
        (Value::Null, _) => true,
        (Value::Decimal(number), ColumnType::Decimal { scale, .. }) => number.scale() == scale && value.fits(kind),
        _ => value.column_type() == Some(kind),
    }
}

/// Many rows for one table. Keys are unique within one bulk.
#[derive(Debug)]
pub struct Bulk<'n> {
    /// The table, quoted and ready for SQL.
    pub(crate) table: String,
    pub(crate) kind: BulkKind,
    /// Key columns, first in each row. For a plain insert it may be empty.
    pub(crate) keys: Vec<(&'n str, ColumnType)>,
    /// The other columns, after the keys in each row.
    pub(crate) columns: Vec<(&'n str, ColumnType)>,
    /// What happens to each of those columns if the row exists. If this is empty, they are set.
    pub(crate) how: Vec<How>,
    /// What an update demands in addition to the keys, as SQL; see [`Bulk::new_value`].
    pub(crate) only_if: Option<String>,
    pub(crate) rows: Vec<BulkRow<'n>>,
}

impl Bulk<'_> {
    /// The SQL for the new value of a column in an update. `at` is the column's place after the keys.
    pub(crate) fn new_value(dialect: Dialect, at: usize, name: &str) -> String {
        match dialect {
            Dialect::Postgres => format!("u.{}", sql::quote(name)),
            Dialect::Sqlite => format!("?{}", at + 1),
        }
    }

    /// The condition of an update, to follow its keys.
    pub(crate) fn demand(&self) -> String {
        self.only_if.as_ref().map(|demand| format!(" AND {demand}")).unwrap_or_default()
    }

    /// The assignments to the columns of an existing row; `new` gives the names of the new values.
    pub(crate) fn assigned(&self, existing: &str, new: impl Fn(usize, &str) -> String) -> Vec<String> {
        let assignment = |(at, (name, _)): (usize, &(&str, ColumnType))| {
            let (name, new) = (sql::quote(name), new(at, &sql::quote(name)));
            match self.how.get(at).copied().unwrap_or(How::Set) {
                How::Set => Some(format!("{name} = {new}")),
                How::Add => Some(format!("{name} = {existing}{name} + {new}")),
                How::Keep => None,
                How::Is(expression) => Some(format!("{name} = {expression}")),
            }
        };
        self.columns.iter().enumerate().filter_map(assignment).collect()
    }
}

/// What an insert does about an existing row.
pub(crate) fn on_conflict(write: &Bulk<'_>) -> String {
    let assigned = match write.kind {
        BulkKind::Upsert => write.assigned("t.", |_, name| format!("excluded.{name}")),
        _ => Vec::new(),
    };
    if assigned.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", assigned.join(", ")) }
}

/// The variants are in an order in which they can run one after the other: rows are changed before missing ones are
/// inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum BulkKind {
    /// Deletes the rows with these keys.
    #[default]
    Delete,
    /// As `Delete`, but an existing row is an error, which the caller reports from their number.
    Absent,
    /// Changes only rows whose key exists.
    Update,
    /// Inserts rows; a row whose key exists gets the new columns.
    Upsert,
    /// Inserts rows; a row whose key exists is an error.
    Insert,
    /// Inserts rows; a row whose key exists stays as it is.
    InsertMissing,
}

/// What a new value does to a column of an existing row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    Set,
    Add,
    Keep,
    /// The database computes it by this expression, whatever the row holds.
    Is(&'static str),
}

/// How a database gives out connections and runs transactions. Not for implementing outside.
pub trait Backend: std::fmt::Debug + Send + Sync + 'static {
    /// Runs reads on their own connection. Each statement sees what was committed before it.
    #[doc(hidden)]
    fn read<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E>;

    /// Hands out the rows of a service's own query, in a transaction that only reads and has a deadline.
    #[doc(hidden)]
    fn read_own(
        &self,
        query: &OwnQuery<'_>,
        each: &mut dyn FnMut(&[String], Vec<Value>) -> bool,
    ) -> Result<(), StoreError>;

    /// Runs `work` in one write transaction: commits on `Ok`, and rolls back on `Err` and on panic. A commit with an
    /// unknown outcome is `StoreErrorKind::CommitUnknown`.
    #[doc(hidden)]
    fn write<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E>;

    /// As [`write`](Self::write), but waits for others no longer than this in all, if this is less than usual.
    #[doc(hidden)]
    fn write_within<T, E: From<StoreError>>(
        &self,
        doing: &str,
        _patience: std::time::Duration,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write(doing, work)
    }

    /// Runs `work`, which has to end with an error, in a place where it leaves nothing and blocks nobody, if there is
    /// one. Otherwise as [`write`](Self::write).
    #[doc(hidden)]
    fn write_nowhere<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write(doing, work)
    }

    /// As [`write`](Self::write), but if there are several connections, it waits for none that anything else uses.
    #[doc(hidden)]
    fn write_reserved<T, E: From<StoreError>>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut dyn Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write(doing, work)
    }

    /// Who holds the counters of these instances, if the database can tell, and for how long.
    #[doc(hidden)]
    fn holder(&self, instances: &[String]) -> Option<Holder>;

    /// How this database spells things.
    #[doc(hidden)]
    fn dialect(&self) -> Dialect;

    /// See [`Conn::catalogue`].
    #[doc(hidden)]
    fn catalogue(&self) -> &'static dyn objects::Catalogue;

    /// True when only one write transaction can be open at a time.
    #[doc(hidden)]
    fn has_one_writer(&self) -> bool;

    /// How long a push waits for the counters of its instances.
    #[doc(hidden)]
    fn patience(&self) -> std::time::Duration;

    /// See [`LeaseStore::hold_within`](crate::store::LeaseStore::hold_within).
    #[doc(hidden)]
    fn hold_within(&self, _lease: std::time::Duration) {}

    /// See [`LeaseStore::call_itself`](crate::store::LeaseStore::call_itself).
    fn call_itself(&self, _name: &str) {}

    /// How many connections can be used at the same time, if that is bounded.
    #[doc(hidden)]
    fn connections(&self) -> Option<usize>;

    /// What distinguishes this database from every other present one, even from its copies.
    #[doc(hidden)]
    fn location(&self) -> Result<String, StoreError>;

    /// Rises whenever a connection is lost, or is dropped because of an answer of the server. What was read before may
    /// come from another server, or from another history of the same one.
    #[doc(hidden)]
    fn generation(&self) -> u64 {
        0
    }

    /// True if other processes hear of a push only when they are told.
    #[doc(hidden)]
    fn has_to_tell(&self) -> bool {
        false
    }

    /// Tells other processes of pushes. A listener of the same store ignores it, because it gets pushes inside the
    /// process.
    #[doc(hidden)]
    fn tell(&self, _news: &Notifications) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes the traces of erased or removed data from the files of the database, as far as that is possible while it
    /// is in use. Returns what may remain, and what to do about it.
    #[doc(hidden)]
    fn scrub(&self) -> Result<Option<String>, StoreError>;

    /// Looks at the database itself, see [`Inspect::examine`](crate::inspect::Inspect::examine).
    #[doc(hidden)]
    fn examine(&self, _patience: std::time::Duration) -> Vec<Finding> {
        Vec::new()
    }

    /// The statements that let a role run projections, see [`DbStore::grant_sql`].
    #[doc(hidden)]
    fn grants(&self, role: &str, _projections: &[&Projection]) -> Result<String, SetupError> {
        let why = "this database has no roles; let the user of the service write its file and the folder of that";
        Err(StoreError::new(format!("writing what role {role:?} needs"), StoreErrorKind::Unsupported, why).into())
    }

    /// The migrations of the engine's own tables, in order, from version 1. Each may hold several statements.
    #[doc(hidden)]
    fn migrations(&self) -> &'static [&'static str];

    /// Copies the database into a file. Between two steps `goes_on` gets how much is done, and how much there is in
    /// all.
    #[doc(hidden)]
    fn back_up(&self, to: &std::path::Path, goes_on: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, StoreError>;

    /// A script of the engine in the form in which this database has to run it.
    #[doc(hidden)]
    fn at_home(&self, script: String) -> String;
}
