//! Tables and views of projections: making, checking, switching, reading.

use super::{catalog, check_version, current, ints, lock, migrate, texts, trial};
use crate::builds::Phase;
use crate::db::builds::stored::{self, Stored};
use crate::db::declared::{self, Worn};
use crate::db::objects::Relation;
use crate::db::{Backend, Conn, builds, discarded, made, place, row};
use crate::error::{ProjectionError, SetupError, StoreError, StoreErrorKind, chain};
use crate::projection::{Projection, brings_the_same};
use crate::sql::{self, Dialect, Making};
use crate::statement::find_table;
use crate::table::Table;
use crate::value::Value;

/// Creates or migrates everything.
pub(crate) fn setup<B: Backend>(backend: &B, projections: &[&Projection]) -> Result<(), SetupError> {
    check(backend, projections)?;
    trial::all(backend, projections)?;
    migrate(backend)?;
    if backend.read("looking for tables without a schema on record", place::is_missing)? {
        backend.write("recording the schemas of tables", |conn| {
            lock(conn)?;
            place::record_all(conn)
        })?;
    }
    for projection in projections {
        let doing = format!("setting up projection {:?}", projection.name());
        backend.write(&doing, |conn| setup_one(conn, projection))?;
    }
    Ok(())
}

/// Checks that the definitions fit each other, and say everything that this database needs.
fn check<B: Backend>(backend: &B, projections: &[&Projection]) -> Result<(), SetupError> {
    Projection::check_all(projections)?;
    projections.iter().try_for_each(|projection| projection.check_texts(backend.dialect()))?;
    check_isolation(backend, projections)
}

/// Checks that the database can keep the promise to show readers only their own tenant.
pub(super) fn check_isolation<B: Backend>(backend: &B, projections: &[&Projection]) -> Result<(), SetupError> {
    let isolated = |projection: &&Projection| {
        let table = projection.tables().iter().find(|table| table.isolated)?;
        Some((projection.name().to_owned(), table.name.clone()))
    };
    let Some((projection, table)) = projections.iter().find_map(isolated) else { return Ok(()) };
    let doing = "looking whether this database can isolate tenants";
    let Some(why) = backend.read(doing, |conn| conn.catalogue().not_isolating(conn))? else { return Ok(()) };
    let what =
        format!("asks for tenant_isolation, which this database does not offer: {why}; leave it out for this database");
    Err(ProjectionError::Table { projection, table, what }.into())
}

fn setup_one(conn: &mut dyn Conn, projection: &Projection) -> Result<(), SetupError> {
    lock(conn)?;
    let known = stored::list(conn, Some(projection.name()))?;
    let projection = &place::settle(conn, projection, &known)?;
    let registered = register(conn, projection, &known)?;
    let dialect = conn.dialect();
    let mut create = false;
    for table in projection.tables() {
        let physical = sql::physical_raw(dialect, projection, table);
        let is_there = is_ours(conn, projection, &physical, "table")?;
        if !is_there && !registered.is_new {
            place::check_moved(conn, projection, &physical)?;
            check_empty(conn, projection, &physical)?;
        }
        create |= !is_there;
    }
    if create {
        for made in sql::create_tables(dialect, projection, None) {
            make(conn, projection, &made)?;
        }
    }
    let declared = declared::read(&projection.definition())?;
    let before = registered.before.as_deref().map(declared::read).transpose()?.unwrap_or_default();
    for table in projection.tables() {
        own(conn, projection, &sql::physical_raw(dialect, projection, table))?;
        check_fits(conn, projection, table)?;
        let view = sql::view_raw(dialect, projection, table);
        if !registered.live {
            // Readers do not see this version.
        } else if is_ours(conn, projection, &view, "view")? {
            check_view(conn, projection, table)?;
            close_view(conn, projection, table)?;
        } else {
            conn.batch(&create_view(dialect, projection, table))?;
            own(conn, projection, &view)?;
        }
        if let Some(declared) = declared.get(&table.name) {
            let [of, seen] = relations(dialect, projection, table);
            let view = Some(&seen).filter(|_| registered.live);
            let worn = Worn { schema: projection.place(), table: &of, view };
            declared::wear(conn, worn, before.get(&table.name), declared)?;
        }
    }
    Ok(if create { made::record(conn, projection) } else { made::record_new(conn, projection) }?)
}

/// A table of a projection, and its view.
pub(in crate::db) fn relations(dialect: Dialect, projection: &Projection, table: &Table) -> [Relation; 2] {
    [sql::physical_raw(dialect, projection, table), sql::view_raw(dialect, projection, table)]
        .map(|raw| Relation { quoted: sql::in_schema(dialect, projection.place(), &raw), raw })
}

/// Makes a table or an index of a projection. An error names it.
pub(in crate::db) fn make(conn: &mut dyn Conn, projection: &Projection, made: &Making) -> Result<(), StoreError> {
    let doing = || format!("making {} of projection {:?}", made.what, projection.name());
    conn.batch(&made.sql).map_err(|error| error.doing(doing()))
}

/// How long a set-up waits for readers of a view if it changes only the view's text.
const A_MOMENT: &str = "SET LOCAL lock_timeout = '200ms'";

/// A view that an earlier version of this library made lets everybody write through it. Set-up replaces such a view if
/// this role may do that and no reader holds it; otherwise the next set-up, or switch, does it.
fn close_view(conn: &mut dyn Conn, projection: &Projection, table: &Table) -> Result<(), SetupError> {
    let dialect = conn.dialect();
    if dialect == Dialect::Sqlite {
        return Ok(());
    }
    let [_, view] = relations(dialect, projection, table);
    let sql = "SELECT 1 FROM pg_class c WHERE c.oid = $1::text::regclass AND pg_has_role(c.relowner, 'USAGE') \
               AND strpos(pg_get_viewdef(c.oid), $2::text) = 0";
    if conn.query(sql, &[view.quoted.as_str().into(), sql::READ_ONLY.into()])?.is_empty() {
        return Ok(());
    }
    let before = conn.query("SELECT current_setting('lock_timeout')", &[])?;
    conn.batch("SAVEPOINT readside_view")?;
    let words = create_view(dialect, projection, table);
    match conn.batch(A_MOMENT).and_then(|()| builds::replace_view(conn, &view, &words)) {
        Ok(()) => conn.batch("RELEASE SAVEPOINT readside_view")?,
        Err(error) if matches!(error.kind(), StoreErrorKind::Timeout | StoreErrorKind::Denied) => {
            conn.batch("ROLLBACK TO SAVEPOINT readside_view; RELEASE SAVEPOINT readside_view")?;
            log::warn!("until the next set-up, users can write through view {:?}: {}", view.raw, chain(&error));
        }
        Err(error) => return Err(error.into()),
    }
    let before = before.into_iter().next().unwrap_or_default();
    conn.query("SELECT set_config('lock_timeout', $1, true)", &before)?;
    Ok(())
}

/// A missing table may be made only if no event was applied to it: rows and checkpoints belong together.
fn check_empty(conn: &mut dyn Conn, projection: &Projection, physical: &str) -> Result<(), SetupError> {
    let states = conn.dialect().table("projection_states");
    let sql = format!("SELECT 1 FROM {states} WHERE projection = $1 AND version = $2 AND position > 0 LIMIT 1");
    if conn.query(&sql, &[projection.name().into(), ints(projection.version())])?.is_empty() {
        return Ok(());
    }
    Err(SetupError::TableGone { projection: projection.name().to_owned(), table: physical.to_owned() })
}

/// Checks that the view of a live version, which exists, reads its table: a view may follow a table that is renamed.
fn check_view(conn: &mut dyn Conn, projection: &Projection, table: &Table) -> Result<(), SetupError> {
    let dialect = conn.dialect();
    let (view, physical) = (sql::view_raw(dialect, projection, table), sql::physical_raw(dialect, projection, table));
    if catalog::reads(conn, projection.place(), &view, &physical)? {
        return Ok(());
    }
    Err(SetupError::ViewElsewhere { projection: projection.name().to_owned(), view, table: physical })
}

struct Registered {
    live: bool,
    is_new: bool,
    /// The definition on record, if it is another text with the same meaning.
    before: Option<String>,
    /// The definition as it should be on record.
    own: String,
}

/// The view on a table of this version.
pub(super) fn create_view(dialect: Dialect, projection: &Projection, table: &Table) -> String {
    let columns: Vec<String> = catalog::typed_columns(table).into_iter().map(|(name, _)| name).collect();
    sql::create_view(dialect, projection.place(), &table.name, &projection.key(), &columns)
}

/// Makes the projection's row if there is none. Refuses another definition with the same version. A version older than
/// the live one never takes its place unless a person asks.
fn register(conn: &mut dyn Conn, projection: &Projection, known: &[Stored]) -> Result<Registered, SetupError> {
    if let Some(registered) = registered(conn, projection)? {
        let own = known.iter().find(|stored| stored.build.key == projection.key() && stored.place.is_none());
        if let (Some(stored), Some(place)) = (own, projection.told_place()) {
            place::record(conn, stored, place)?;
        }
        if registered.before.is_some() {
            let sql = format!(
                "UPDATE {} SET definition = $3 WHERE name = $1 AND version = $2",
                conn.dialect().table("projections")
            );
            conn.execute(
                &sql,
                &[projection.name().into(), ints(projection.version()), registered.own.as_str().into()],
            )?;
        }
        return Ok(registered);
    }
    let table = conn.dialect().table("projections");
    let others =
        conn.query(&format!("SELECT version FROM {table} WHERE name = $1 AND live"), &catalog::one(projection.name()))?;
    let live = others.is_empty();
    let phase = match others.first().map(|found| row::int(found, 0)).transpose()? {
        None => Phase::Live,
        Some(other) if other > i64::from(projection.version()) => Phase::Kept,
        Some(_) => Phase::Building,
    };
    conn.execute(
        &format!("INSERT INTO {table} (name, version, definition, live, phase, place) VALUES ($1, $2, $3, $4, $5, $6)"),
        &[
            projection.name().into(),
            ints(projection.version()),
            projection.definition().into(),
            live.into(),
            phase.as_str().into(),
            projection.told_place().map(ToString::to_string).into(),
        ],
    )?;
    if let (false, Some(seen)) = (live, known.iter().find(|stored| stored.live)) {
        discarded::carry(conn, &seen.build.key, &projection.key(), None)?;
    }
    Ok(Registered { live, is_new: true, before: None, own: projection.definition() })
}

fn registered(conn: &mut dyn Conn, projection: &Projection) -> Result<Option<Registered>, SetupError> {
    let sql = format!(
        "SELECT definition, live, place FROM {} WHERE name = $1 AND version = $2",
        conn.dialect().table("projections")
    );
    let rows = conn.query(&sql, &[projection.name().into(), ints(projection.version())])?;
    let Some(found) = rows.first() else { return Ok(None) };
    let recorded = row::text(found, 0)?;
    let own = match projection.schema_name() {
        // The code may now name the schema that is on record.
        Some(named) if !row::is_null(found, 2) && row::text(found, 2)? == named => {
            projection.without_schema().definition()
        }
        _ => projection.definition(),
    };
    if !brings_the_same(recorded, &own) {
        let version = projection.version();
        return Err(SetupError::DefinitionChanged { projection: projection.name().to_owned(), version });
    }
    let before = (recorded != own).then(|| recorded.to_owned());
    Ok(Some(Registered { live: row::truth(found, 1)?, is_new: false, before, own }))
}

/// True if this projection, whose schema is known, has the name; false if the name is free. Any other owner is an
/// error, `NameTaken`.
pub(in crate::db) fn is_ours(
    conn: &mut dyn Conn,
    projection: &Projection,
    name: &str,
    wanted: &str,
) -> Result<bool, SetupError> {
    let sql = format!("SELECT projection FROM {} WHERE table_name = $1", conn.dialect().table("projection_tables"));
    let owners = texts(&conn.query(&sql, &catalog::one(&catalog::qualified(projection, name)))?, 0)?;
    let found = catalog::relation(conn, projection.place(), name)?;
    let by = match (found, owners.first()) {
        (None, _) => return Ok(false),
        (Some(kind), Some(owner)) if owner == projection.name() && kind == wanted => return Ok(true),
        (Some(kind), Some(owner)) => format!("a {kind} of projection {owner:?}"),
        // Only builds beside the live one have such names, and a restore may remove their records.
        (Some(kind), None) if name.contains('#') => {
            format!("a {kind} on no record; if a build left it before a restore, drop it, otherwise")
        }
        (Some(kind), None) => format!("a {kind} that is not readside's"),
    };
    Err(SetupError::NameTaken { projection: projection.name().to_owned(), name: name.to_owned(), by })
}

pub(in crate::db) fn own(conn: &mut dyn Conn, projection: &Projection, name: &str) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO {} (table_name, projection) VALUES ($1, $2) ON CONFLICT (table_name) DO NOTHING",
        conn.dialect().table("projection_tables")
    );
    conn.execute(&sql, &[catalog::qualified(projection, name).into(), projection.name().into()]).map(|_| ())
}

fn check_fits(conn: &mut dyn Conn, projection: &Projection, table: &Table) -> Result<(), SetupError> {
    match catalog::difference(conn, projection, table)? {
        None => Ok(()),
        Some(difference) => Err(SetupError::TableDiffers {
            projection: projection.name().to_owned(),
            table: sql::physical_raw(conn.dialect(), projection, table),
            difference,
        }),
    }
}

/// Checks what `setup` would do.
pub(crate) fn verify<B: Backend>(backend: &B, projections: &[&Projection]) -> Result<(), SetupError> {
    check(backend, projections)?;
    backend.read("verifying the set-up", |conn| {
        let found = current(conn)?;
        check_version(found, backend.migrations())?;
        if found < super::known(backend.migrations()) {
            let what = if found == 0 { "the engine's schema".to_owned() } else { format!("schema {}", found + 1) };
            return Err(SetupError::Missing { what });
        }
        projections.iter().try_for_each(|projection| verify_one(conn, projection))
    })
}

fn verify_one(conn: &mut dyn Conn, projection: &Projection) -> Result<(), SetupError> {
    let missing = |what: String| Err(SetupError::Missing { what });
    let Some(registered) = registered(conn, projection)? else {
        return missing(format!("version {} of projection {:?}", projection.version(), projection.name()));
    };
    let known = stored::list(conn, Some(projection.name()))?;
    let projection = &place::settle(conn, projection, &known)?;
    let is_unknown = |stored: &Stored| stored.build.key == projection.key() && stored.place.is_none();
    if projection.told_place().is_some() && known.iter().any(is_unknown) {
        return missing(format!("the schema of the tables of projection {:?} on record", projection.name()));
    }
    for table in projection.tables() {
        let physical = sql::physical_raw(conn.dialect(), projection, table);
        if !is_ours(conn, projection, &physical, "table")? {
            place::check_moved(conn, projection, &physical)?;
            check_empty(conn, projection, &physical)?;
            return missing(format!("table {physical:?} of projection {:?}", projection.name()));
        }
        check_fits(conn, projection, table)?;
        let view = sql::view_raw(conn.dialect(), projection, table);
        if registered.live && is_ours(conn, projection, &view, "view")? {
            check_view(conn, projection, table)?;
        }
    }
    Ok(())
}

/// The rows of a table of this version.
pub(crate) fn read_rows(
    conn: &mut dyn Conn,
    projection: &Projection,
    table: &str,
) -> Result<Vec<Vec<(String, Value)>>, StoreError> {
    let table = find_table(projection.tables(), Some(table))
        .map_err(|error| StoreError::new("reading a read table", StoreErrorKind::Usage, error))?;
    let projection = &place::placed(conn, projection)?;
    let columns = catalog::typed_columns(table);
    let names: Vec<String> = columns.iter().map(|(name, _)| sql::quote(name)).collect();
    let key: Vec<String> = table.primary_key.iter().map(|name| sql::quote(name)).collect();
    let sql = format!(
        "SELECT {} FROM {} ORDER BY {}, {}",
        names.join(", "),
        sql::physical_name(conn.dialect(), projection, table),
        names.first().map_or("1", String::as_str),
        key.join(", ")
    );
    let rows = conn.query(&sql, &[])?;
    let name = |(found, (name, kind)): (Value, &(String, _))| (name.clone(), conn.typed(found, *kind));
    Ok(rows.into_iter().map(|found| found.into_iter().zip(&columns).map(name).collect()).collect())
}
