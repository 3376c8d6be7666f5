//! Opens the database that the arguments name, and refuses one that is not a readside database.

use std::path::Path;

use anyhow::{bail, ensure};

use crate::admin::Admin;
#[cfg(feature = "sqlite")]
use crate::conninfo::shown;
use crate::conninfo::{Look, look};
use crate::db::{Backend, DbStore, Transfer};
use crate::engine::{Engine, EngineBuilder};
use crate::error::{PushError, RetentionError, SetupError, StoreError};
use crate::event::NewEvent;
use crate::failure::By;
use crate::inspect::{Inspect, SchemaVersion};
use crate::projection::Projection;
use crate::retention::{Archival, Archived, Operation, Redacted, Redaction, Removed, RemovedProjection, TableRows};
use crate::store::{EventStore, ProjectionStore};
use crate::store::{LeaseStore, Notifier};
use crate::value::Value;

/// Receives each step of the work.
pub(super) type Progress<'p> = &'p mut dyn FnMut(&TableRows);

/// What commands need of a store.
pub(super) trait Store: EventStore + ProjectionStore + LeaseStore + Notifier + Inspect + Transfer {
    /// See [`DbStore::push_or_repeat`].
    fn push_or_repeat(&self, events: &[NewEvent]) -> Result<bool, PushError>;
    /// See [`DbStore::import_or_repeat`].
    fn import_or_repeat(&self, events: &[NewEvent]) -> Result<bool, PushError>;
    /// See [`DbStore::setup_sql`].
    fn setup_sql(&self, projections: &[&Projection]) -> Result<String, SetupError>;
    /// See [`DbStore::grant_sql`].
    fn grant_sql(&self, role: &str, projections: &[&Projection]) -> Result<String, SetupError>;
    /// See [`DbStore::read_rows`].
    fn read_rows(&self, projection: &Projection, table: &str) -> Result<Vec<Vec<(String, Value)>>, StoreError>;
    /// See [`DbStore::redact`].
    fn redact(&self, redaction: &Redaction, by: &By, progress: Progress<'_>) -> Result<Redacted, RetentionError>;
    /// See [`DbStore::redact_dry_run`].
    fn redact_dry_run(&self, redaction: &Redaction) -> Result<Redacted, RetentionError>;
    /// See [`DbStore::remove_instance`].
    fn remove_instance(&self, instance: &str, by: &By, progress: Progress<'_>) -> Result<Removed, RetentionError>;
    /// See [`DbStore::remove_instance_dry_run`].
    fn remove_instance_dry_run(&self, instance: &str) -> Result<Removed, RetentionError>;
    /// See [`DbStore::remove_projection`].
    fn remove_projection(&self, projection: &str, by: &By) -> Result<RemovedProjection, RetentionError>;
    /// See [`DbStore::remove_projection_dry_run`].
    fn remove_projection_dry_run(&self, projection: &str) -> Result<RemovedProjection, RetentionError>;
    /// See [`DbStore::reopen_instance`].
    fn reopen_instance(&self, instance: &str, by: &By) -> Result<(), RetentionError>;
    /// See [`DbStore::archive`].
    fn archive(&self, archival: &Archival, by: &By, progress: Progress<'_>) -> Result<Archived, RetentionError>;
    /// See [`DbStore::archive_dry_run`].
    fn archive_dry_run(&self, archival: &Archival) -> Result<Archived, RetentionError>;
    /// See [`DbStore::operations`].
    fn operations(&self, limit: usize) -> Result<Vec<Operation>, StoreError>;
    /// See [`Backend::back_up`].
    fn back_up(&self, to: &Path, goes_on: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, StoreError>;
    /// A way to ask running engines.
    fn admin(&self) -> Admin<'static>;
    /// Begins to build an engine in this process.
    fn engine(&self) -> EngineBuilder;
    /// Makes that engine keep its read models in this store instead of the database of its events.
    fn keep_models(&self, engine: EngineBuilder) -> EngineBuilder;
    /// Removes the instances, tables and records of a measurement.
    fn erase(&self, tag: &str, projection: &Projection) -> Result<(), StoreError>;
}

impl<B: Backend> Store for DbStore<B>
where
    Self: Notifier,
{
    fn push_or_repeat(&self, events: &[NewEvent]) -> Result<bool, PushError> {
        self.push_or_repeat(events)
    }

    fn import_or_repeat(&self, events: &[NewEvent]) -> Result<bool, PushError> {
        self.import_or_repeat(events)
    }

    fn setup_sql(&self, projections: &[&Projection]) -> Result<String, SetupError> {
        self.setup_sql(projections)
    }

    fn grant_sql(&self, role: &str, projections: &[&Projection]) -> Result<String, SetupError> {
        self.grant_sql(role, projections)
    }

    fn read_rows(&self, projection: &Projection, table: &str) -> Result<Vec<Vec<(String, Value)>>, StoreError> {
        self.read_rows(projection, table)
    }

    fn redact(&self, redaction: &Redaction, by: &By, progress: Progress<'_>) -> Result<Redacted, RetentionError> {
        self.redact(redaction, by, progress)
    }

    fn redact_dry_run(&self, redaction: &Redaction) -> Result<Redacted, RetentionError> {
        self.redact_dry_run(redaction)
    }

    fn remove_instance(&self, instance: &str, by: &By, progress: Progress<'_>) -> Result<Removed, RetentionError> {
        self.remove_instance(instance, by, progress)
    }

    fn remove_instance_dry_run(&self, instance: &str) -> Result<Removed, RetentionError> {
        self.remove_instance_dry_run(instance)
    }

    fn remove_projection(&self, projection: &str, by: &By) -> Result<RemovedProjection, RetentionError> {
        self.remove_projection(projection, by)
    }

    fn remove_projection_dry_run(&self, projection: &str) -> Result<RemovedProjection, RetentionError> {
        self.remove_projection_dry_run(projection)
    }

    fn reopen_instance(&self, instance: &str, by: &By) -> Result<(), RetentionError> {
        self.reopen_instance(instance, by)
    }

    fn archive(&self, archival: &Archival, by: &By, progress: Progress<'_>) -> Result<Archived, RetentionError> {
        self.archive(archival, by, progress)
    }

    fn archive_dry_run(&self, archival: &Archival) -> Result<Archived, RetentionError> {
        self.archive_dry_run(archival)
    }

    fn operations(&self, limit: usize) -> Result<Vec<Operation>, StoreError> {
        self.operations(limit)
    }

    fn back_up(&self, to: &Path, goes_on: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, StoreError> {
        self.backend().back_up(to, goes_on)
    }

    fn admin(&self) -> Admin<'static> {
        Admin::new(self.clone())
    }

    fn engine(&self) -> EngineBuilder {
        Engine::builder(self.clone())
    }

    fn keep_models(&self, engine: EngineBuilder) -> EngineBuilder {
        engine.models(self.clone())
    }

    fn erase(&self, tag: &str, projection: &Projection) -> Result<(), StoreError> {
        self.erase_scratch(tag, projection)
    }
}

/// Further options for a PostgreSQL database.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "an SQLite file has neither"))]
pub(super) struct Ways<'w> {
    /// The URL for listening to pushes, if it is not the database's own URL.
    pub(super) listen: Option<&'w str>,
    /// The schema of the engine's own tables, if it is not the default one.
    pub(super) schema: Option<&'w str>,
}

/// Opens a database. With `create` it may create the file of an SQLite database. It never takes a text that looks
/// like a connection string for a file.
pub(super) fn open(place: &str, create: bool, ways: Ways<'_>) -> anyhow::Result<std::sync::Arc<dyn Store>> {
    match look(place) {
        Look::Server => postgres(place, ways),
        Look::File => {
            ensure!(ways.listen.is_none(), "--listen-url is for PostgreSQL; with an SQLite file leave it out");
            sqlite(Path::new(place), create)
        }
        Look::Slip(fault) => bail!(
            "the name of the database looks like a connection string with a slip; it is not shown, since it may hold a password: \
             {fault}. Write postgres://USER@HOST/NAME; or the path of an SQLite file, with ./ before a path that looks like one"
        ),
    }
}

#[cfg(feature = "postgres")]
fn postgres(url: &str, ways: Ways<'_>) -> anyhow::Result<std::sync::Arc<dyn Store>> {
    use crate::postgres::{PostgresOptions, PostgresStore};

    let mut options = PostgresOptions { listen_url: ways.listen.map(str::to_owned), ..PostgresOptions::from_env() };
    if let Some(schema) = ways.schema {
        schema.clone_into(&mut options.schema);
    }
    Ok(std::sync::Arc::new(PostgresStore::connect_with(url, options)?))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str, _: Ways<'_>) -> anyhow::Result<std::sync::Arc<dyn Store>> {
    bail!("this readside was built without PostgreSQL; build it with --features cli,postgres")
}

#[cfg(feature = "sqlite")]
fn sqlite(path: &Path, create: bool) -> anyhow::Result<std::sync::Arc<dyn Store>> {
    if path.to_str().is_some_and(|place| place.starts_with("file:")) {
        // This is a URI, which only SQLite can read.
        if !create {
            look_inside(path)?;
        }
    } else if path.exists() {
        look_at_file(path, create)?;
    } else {
        ensure!(create, "there is no file \"{}\"; `readside setup` makes one", path.display());
    }
    Ok(std::sync::Arc::new(crate::sqlite::SqliteStore::open(path)?))
}

/// Refuses a file that is not a readside database. This comes before opening a store, because opening changes the
/// file: it gets a write-ahead log.
#[cfg(feature = "sqlite")]
fn look_at_file(path: &Path, create: bool) -> anyhow::Result<()> {
    use std::io::Read;

    use anyhow::Context;

    let shown = path.display();
    ensure!(path.is_file(), "\"{shown}\" is not a file");
    let mut file = std::fs::File::open(path).with_context(|| format!("opening \"{shown}\""))?;
    let mut begin = Vec::new();
    file.by_ref().take(16).read_to_end(&mut begin).with_context(|| format!("reading \"{shown}\""))?;
    ensure!(
        begin.is_empty() || begin == b"SQLite format 3\0",
        "\"{shown}\" is not an SQLite database; name the file of the service, or a postgres:// URL"
    );
    if create { Ok(()) } else { look_inside(path) }
}

#[cfg(feature = "sqlite")]
fn look_inside(path: &Path) -> anyhow::Result<()> {
    use anyhow::Context;
    use rusqlite::OpenFlags;

    let place = path.to_string_lossy();
    let shown = shown(&place);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let ours = rusqlite::Connection::open_with_flags(path, flags).and_then(|conn| {
        conn.busy_timeout(std::time::Duration::from_secs(5))?;
        let sql = "SELECT count(*) FROM sqlite_master WHERE name = 'readside_schema_migrations'";
        conn.query_row(sql, [], |row| row.get::<_, i64>(0))
    });
    let ours = ours.map_err(|error| crate::sqlite::masked(error, path)).with_context(|| {
        format!(
            "reading \"{shown}\"; check that it is there, and that this user may write its folder and the files next to it that end \
             in -wal and -shm, which SQLite makes also to read; where nobody writes it, \
             `file:PATH?mode=ro&immutable=1` needs none of them"
        )
    })?;
    ensure!(ours > 0, "the SQLite database \"{shown}\" has no tables of readside; `readside setup` makes them");
    Ok(())
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &Path, _: bool) -> anyhow::Result<std::sync::Arc<dyn Store>> {
    bail!("this readside was built without SQLite; build it with --features cli,sqlite, or name a postgres:// URL")
}

/// Refuses a database that is not set up, or that another version of the schema was set up in.
pub(super) fn check_schema(store: &dyn Store) -> anyhow::Result<()> {
    let SchemaVersion { found, known } = store.schema()?;
    ensure!(
        found > 0,
        "this database has no tables of readside; check that it is the right one, or run `readside setup`"
    );
    ensure!(
        found >= known,
        "this database has schema {found}, this readside needs {known}; run `readside setup`, or start a service with this version"
    );
    ensure!(found <= known, SetupError::NewerSchema { found, known });
    Ok(())
}
