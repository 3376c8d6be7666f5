//! Builds beside the live one: making, comparing, exchanging and removing them.
//!
//! `stored` is what is on record, `switch` exchanges builds, `views` moves what readers see, `carry` carries over what
//! people added to tables, `compare` finds how two builds differ, `retire` removes a whole projection, and `instance`
//! exchanges or empties single instances.

mod carry;
mod compare;
mod instance;
mod losses;
pub(super) mod retire;
pub(super) mod stored;
mod switch;
mod views;

pub(super) use compare::compare;
pub(super) use instance::{empty, exchange, referring};
pub(super) use switch::go_live;
pub(super) use views::replace as replace_view;

use std::sync::Arc;

use uuid::Uuid;

use super::declared::{self, Worn};
use super::objects::{Dependent, Relation};
use super::setup;
use super::{Conn, Row, command, discarded, made, place};
use crate::builds::{Build, Phase};
use crate::command::AdminCommand;
use crate::error::{SetupError, StoreError, SwitchError};
use crate::inspect::{Hanging, Lacking};
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::state::{PART, ProjectionKey};
use crate::value::{Value, to_micros};
use stored::Stored;
#[cfg(feature = "sqlite")]
pub(crate) use stored::column_types;

/// Gives long work inside one transaction more time than other statements get. It waits less for locks, because others
/// wait behind it.
fn take_time(conn: &mut dyn Conn) -> Result<(), StoreError> {
    match conn.dialect() {
        Dialect::Postgres => conn.batch("SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '1s'"),
        Dialect::Sqlite => Ok(()),
    }
}

fn of(key: &ProjectionKey) -> [Value; 2] {
    [key.name.as_ref().into(), key.version.into()]
}

/// All builds.
pub(super) fn builds(conn: &mut dyn Conn) -> Result<Vec<Build>, StoreError> {
    Ok(stored::list(conn, None)?.into_iter().map(|stored| stored.build).collect())
}

/// Which tables that engines fill, and which views that readers use, are missing or read something else; in words.
pub(super) fn out_of_place(conn: &mut dyn Conn) -> Result<Vec<String>, StoreError> {
    let (dialect, mut found) = (conn.dialect(), Vec::new());
    let known = stored::list(conn, None)?;
    for stored in known.iter().filter(|stored| stored.build.phase.is_filled()) {
        for table in &stored.tables {
            let (raw, of) = (stored.raw(dialect, table), format!("of projection {:?}", stored.build.key.projection()));
            if !stored.has(conn, table)? {
                found.push(format!("table {raw:?} {of} is gone"));
                continue;
            }
            if !stored.live {
                continue;
            }
            let (view, schema) = (stored.view(dialect, table).raw, stored.schema.as_deref());
            match setup::catalog::relation(conn, schema, &view)? {
                None => found.push(format!("view {view:?} {of} is gone, so that readers find nothing")),
                Some(kind) if kind != "view" => found.push(format!("{view:?} {of} is a {kind} and no view")),
                Some(_) if !setup::catalog::reads(conn, schema, &view, &raw)? => {
                    found.push(format!(
                        "view {view:?} {of} does not read table {raw:?}, so that readers see something else"
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Ok(found)
}

/// The objects that services added to the tables of all builds.
pub(super) fn hanging(conn: &mut dyn Conn) -> Result<Vec<Hanging>, StoreError> {
    let (known, mut hanging) = (stored::list(conn, None)?, Vec::new());
    for stored in &known {
        let (tables, views) = (stored.relations(conn)?, stored.views(conn.dialect()));
        let own: Vec<Relation> = tables.iter().cloned().chain(views).collect();
        for (name, table) in stored.named_relations(conn)? {
            let table = &table;
            let mut found = conn.catalogue().dependents(conn, std::slice::from_ref(table), &own)?;
            if stored.live {
                let added = conn.catalogue().added(conn, table, &stored.own(&name), &tables)?;
                found.extend(added.into_iter().map(|what| Dependent { what, moves: true }));
            }
            hanging.extend(found.into_iter().map(|Dependent { what, moves }| Hanging {
                projection: stored.build.key.projection().to_owned(),
                version: stored.build.key.version,
                build: stored.build.key.mark().map(str::to_owned),
                is_live: stored.live,
                table: table.raw.clone(),
                what,
                moves,
            }));
        }
    }
    Ok(hanging)
}

/// What the definitions declare and the tables that readers see lack.
pub(super) fn lacking(conn: &mut dyn Conn) -> Result<Vec<Lacking>, StoreError> {
    let (known, mut lacking) = (stored::list(conn, None)?, Vec::new());
    for stored in known.iter().filter(|stored| stored.live) {
        for (name, table) in stored.named_relations(conn)? {
            let Some(declared) = stored.declared.get(&name) else { continue };
            let view = stored.view(conn.dialect(), &name);
            let schema = stored.schema.as_deref();
            let is_there = setup::catalog::relation(conn, schema, &view.raw)?.as_deref() == Some("view");
            let worn = Worn { schema, table: &table, view: Some(&view).filter(|_| is_there) };
            lacking.extend(declared::lacking(conn, worn, declared)?.into_iter().map(|what| Lacking {
                projection: stored.build.key.projection().to_owned(),
                version: stored.build.key.version,
                table: table.raw.clone(),
                what,
            }));
        }
    }
    Ok(lacking)
}

/// Registers a build as under construction. Makes its tables, unless it was under construction already. Returns what
/// people added to the tables that readers see, and the new tables will lack.
pub(super) fn begin(conn: &mut dyn Conn, build: &Projection, command: Uuid) -> Result<Vec<String>, SwitchError> {
    setup::lock(conn)?;
    let key = build.key();
    let known = stored::list(conn, Some(build.name()))?;
    let build = &place::settle(conn, build, &known)?;
    match known.iter().find(|stored| stored.build.key == key) {
        Some(stored) if stored.build.phase == Phase::Live => return Ok(Vec::new()),
        Some(stored) if stored.build.phase != Phase::Kept || !build.is_shadow() => go_on(conn, stored, command)?,
        old => {
            if let Some(old) = old {
                discard(conn, old)?;
            }
            make(conn, build, command)?;
        }
    }
    pass_over(conn, &known, &key, command)?;
    prepare(conn, &key, command)
}

/// Makes the build pass over the events that were discarded in the live build, unless the person who asked for it wants
/// them tried.
fn pass_over(conn: &mut dyn Conn, known: &[Stored], key: &ProjectionKey, command: Uuid) -> Result<(), StoreError> {
    let asked = command::one(conn, command)?.map(|asked| asked.command);
    let (instance, retry) = match &asked {
        Some(AdminCommand::Rebuild(options)) => (options.instance.as_deref(), options.retry_discarded),
        _ => (None, false),
    };
    if retry {
        return discarded::forget(conn, key, instance).map(|_| ());
    }
    match known.iter().find(|stored| stored.live) {
        Some(live) => discarded::carry(conn, &live.build.key, key, instance),
        None => Ok(()),
    }
}

/// A build of one instance goes into the existing tables. All other builds bring tables that take the place of those.
fn prepare(conn: &mut dyn Conn, key: &ProjectionKey, command: Uuid) -> Result<Vec<String>, SwitchError> {
    let known = stored::list(conn, Some(key.projection()))?;
    let (live, new) = (known.iter().find(|stored| stored.live), known.iter().find(|stored| stored.build.key == *key));
    let (Some(live), Some(new), false) = (live, new, key.mark() == Some(PART)) else { return Ok(Vec::new()) };
    let losses = carry::prepare(conn, live, new)?;
    Ok(losses.accepted(key.projection(), accepts_loss(conn, Some(command))?)?)
}

/// Whether the person who asked for a build accepted that it may lack something that the live build has.
fn accepts_loss(conn: &mut dyn Conn, command: Option<Uuid>) -> Result<bool, StoreError> {
    let Some(command) = command else { return Ok(false) };
    let asked = command::one(conn, command)?.map(|asked| asked.command);
    Ok(matches!(asked, Some(AdminCommand::Rebuild(options)) if options.accept_loss))
}

/// Puts a build under construction again that was halted, or that its code kept current.
fn go_on(conn: &mut dyn Conn, stored: &Stored, command: Uuid) -> Result<(), SetupError> {
    let again = matches!(stored.build.phase, Phase::Halted | Phase::Kept);
    let phase = if again { Phase::Building } else { stored.build.phase };
    let sql = format!(
        "UPDATE {} SET command = $3, phase = $4, trouble = NULL WHERE name = $1 AND version = $2",
        conn.dialect().table("projections")
    );
    let [name, version] = of(&stored.build.key);
    conn.execute(&sql, &[name, version, command.into(), phase.as_str().into()])?;
    Ok(())
}

/// Lets engines fill a kept build again.
pub(super) fn revive(conn: &mut dyn Conn, key: &ProjectionKey, command: Uuid) -> Result<(), SwitchError> {
    setup::lock(conn)?;
    let known = stored::list(conn, Some(key.projection()))?;
    let Some(stored) = known.iter().find(|stored| stored.build.key == *key && !stored.live) else {
        let what = format!("{} of projection {:?}", stored::label(key), key.projection());
        return Err(SetupError::Missing { what }.into());
    };
    go_on(conn, stored, command)?;
    prepare(conn, key, command).map(|_| ())
}

/// The instances that have a state in one of these builds.
pub(super) fn instances_of(
    conn: &mut dyn Conn,
    builds: &[ProjectionKey],
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Arc<str>>, StoreError> {
    let mut params: Vec<Value> = vec![after.map(str::to_owned).into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
    let mut which = Vec::new();
    for key in builds {
        params.extend(of(key));
        which.push(format!("(projection = ${} AND version = ${})", params.len() - 1, params.len()));
    }
    let sql = format!(
        "SELECT DISTINCT instance_id FROM {} WHERE ({}) AND (CAST($1 AS text) IS NULL OR instance_id > $1) \
         ORDER BY instance_id LIMIT $2",
        conn.dialect().table("projection_states"),
        which.join(" OR ")
    );
    conn.query(&sql, &params)?.iter().map(|found| super::row::shared(found, 0)).collect()
}

/// Makes a build. Work of an earlier build with this key may have written after the removal, so this clears the key
/// first.
fn make(conn: &mut dyn Conn, build: &Projection, command: Uuid) -> Result<(), SetupError> {
    let (dialect, key) = (conn.dialect(), build.key());
    forget(conn, &key)?;
    let mut left = Vec::new();
    for table in build.tables() {
        let raw = sql::physical_raw(dialect, build, table);
        if setup::is_ours(conn, build, &raw, "table")? {
            left.push(Relation { raw, quoted: sql::physical_name(dialect, build, table) });
        }
    }
    drop_tables(conn, &key, &left)?;
    let tag = command.simple().to_string();
    let tag = tag.get(tag.len().saturating_sub(8)..).unwrap_or_default();
    for made in sql::create_tables(dialect, build, Some(tag)) {
        setup::make(conn, build, &made)?;
    }
    let declared = declared::read(&build.definition())?;
    for table in build.tables() {
        setup::own(conn, build, &sql::physical_raw(dialect, build, table))?;
        if let Some(declared) = declared.get(&table.name) {
            let [of, _] = setup::relations(dialect, build, table);
            declared::wear(conn, Worn { schema: build.place(), table: &of, view: None }, None, declared)?;
        }
    }
    // All engines help to fill it. So its first run counts as succeeded, and no engine has to lead.
    let sql = format!(
        "INSERT INTO {} (name, version, definition, live, succeeded_at, phase, command, place) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        dialect.table("projections")
    );
    let now = Value::Timestamp(to_micros(conn.now()?));
    let [name, version] = of(&key);
    let phase = Phase::Building.as_str().into();
    let definition = build.definition().into();
    let place = build.told_place().map(ToString::to_string).into();
    conn.execute(&sql, &[name, version, definition, false.into(), now, phase, command.into(), place])?;
    Ok(made::record(conn, build)?)
}

/// Moves a build into another phase.
pub(super) fn enter(
    conn: &mut dyn Conn,
    build: &ProjectionKey,
    from: &[Phase],
    to: Phase,
    trouble: Option<&str>,
) -> Result<bool, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "UPDATE {} SET phase = $3, trouble = $4 WHERE name = $1 AND version = $2 AND {}",
        dialect.table("projections"),
        dialect.any("phase", 5)
    );
    let [name, version] = of(build);
    let from = Value::TextArray(from.iter().map(|phase| phase.as_str().to_owned()).collect());
    let trouble = trouble.map(|text| text.replace('\0', "\u{fffd}"));
    Ok(conn.execute(&sql, &[name, version, to.as_str().into(), trouble.into(), from])? > 0)
}

/// Removes a build that readers do not see.
pub(super) fn remove(conn: &mut dyn Conn, key: &ProjectionKey) -> Result<bool, SetupError> {
    setup::lock(conn)?;
    take_time(conn)?;
    let known = stored::list(conn, Some(key.projection()))?;
    match known.iter().find(|stored| stored.build.key == *key && !stored.live) {
        None => Ok(false),
        Some(stored) => discard(conn, stored).map(|()| true),
    }
}

fn discard(conn: &mut dyn Conn, stored: &Stored) -> Result<(), SetupError> {
    let dialect = conn.dialect();
    let tables = stored.relations(conn)?;
    drop_tables(conn, &stored.build.key, &tables)?;
    for table in &stored.tables {
        let raw = stored.raw(dialect, table);
        let sql =
            format!("DELETE FROM {} WHERE table_name = $1 AND projection = $2", dialect.table("projection_tables"));
        conn.execute(&sql, &[stored.owned(&raw).into(), stored.build.key.projection().into()])?;
    }
    forget(conn, &stored.build.key)?;
    let sql = format!("DELETE FROM {} WHERE name = $1 AND version = $2", dialect.table("projections"));
    conn.execute(&sql, &of(&stored.build.key))?;
    Ok(())
}

/// Removes tables of a build, which may refer to each other. Other objects that depend on them belong to the service,
/// and only the service may remove them.
fn drop_tables(conn: &mut dyn Conn, key: &ProjectionKey, tables: &[Relation]) -> Result<(), SetupError> {
    let dependents = conn.catalogue().dependents(conn, tables, &[])?;
    if !dependents.is_empty() {
        let dependents: Vec<String> = dependents.into_iter().map(|one| one.what).collect();
        let (projection, build) = (key.projection().to_owned(), stored::label(key));
        return Err(SetupError::Dependents { projection, build, dependents: dependents.join(", ") });
    }
    let names = tables.iter().map(|table| table.quoted.clone());
    let drops = match conn.dialect() {
        Dialect::Postgres if tables.is_empty() => Vec::new(),
        Dialect::Postgres => vec![names.collect::<Vec<_>>().join(", ")],
        Dialect::Sqlite => referring_first(conn, tables)?,
    };
    Ok(drops.iter().try_for_each(|names| conn.batch(&format!("DROP TABLE {names}")))?)
}

/// The names of tables, each before the tables that it refers to. In this order they can be dropped one by one.
fn referring_first(conn: &mut dyn Conn, tables: &[Relation]) -> Result<Vec<String>, StoreError> {
    let mut left: Vec<(String, Vec<String>)> = Vec::with_capacity(tables.len());
    for table in tables {
        let keys = conn.catalogue().referring(conn, std::slice::from_ref(table))?;
        left.push((table.quoted.clone(), keys.into_iter().map(|key| key.from).collect()));
    }
    let mut sorted = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let is_free = |(_, from): &(String, Vec<String>)| !left.iter().any(|(other, _)| from.contains(other));
        let next = left.iter().position(is_free).unwrap_or(0);
        sorted.push(left.remove(next).0);
    }
    Ok(sorted)
}

/// Removes states and failures of a build.
fn forget(conn: &mut dyn Conn, key: &ProjectionKey) -> Result<(), StoreError> {
    for table in ["projection_states", "held_events", "standstills"] {
        let sql = format!("DELETE FROM {} WHERE projection = $1 AND version = $2", conn.dialect().table(table));
        conn.execute(&sql, &of(key))?;
    }
    Ok(())
}

/// Makes the first run begin again, and be announced again when it succeeds.
pub(super) fn revoke(conn: &mut dyn Conn, key: &ProjectionKey) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE {} SET succeeded_at = NULL, resets = resets + 1 WHERE name = $1 AND version = $2",
        conn.dialect().table("projections")
    );
    conn.execute(&sql, &of(key)).map(|_| ())
}

/// The values of one column of texts.
fn texts(rows: &[Row]) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|found| super::row::text(found, 0).map(str::to_owned)).collect()
}
