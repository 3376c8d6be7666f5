//! The switch: it shows readers another build, in one transaction in which nobody changes the live one.
//!
//! Within a version the two builds exchange their names. Afterwards states, failures and tables of the new build have
//! the plain name, so a pass that works by that name continues with the new build. State rows are locked before tables,
//! in the order that every pass uses.

use std::time::{Duration, Instant};

use super::carry;
use super::losses::{self, Losses};
use super::stored::{self, Stored};
use super::{accepts_loss, of, take_time, views};
use crate::builds::{LaggingInstance, Phase, torn_tables};
use crate::db::declared::{self, Worn};
use crate::db::objects::TablePair;
use crate::db::transaction::Transaction;
use crate::db::{Conn, made, row, setup};
use crate::error::{Holder, StoreError, StoreErrorKind, SwitchError};
use crate::sql::{self, Dialect};
use crate::state::ProjectionKey;
use crate::store::CatchUp;

/// The mark that a build has while two builds exchange their names.
const ASIDE: &str = "aside";

/// How names of constraints and indexes begin while two tables exchange them.
const NAMES_ASIDE: &str = "#aside";

/// Shows readers another build.
pub(in crate::db) fn go_live(
    conn: &mut dyn Conn,
    key: &ProjectionKey,
    patience: Duration,
    catch_up: Option<CatchUp<'_>>,
) -> Result<(), SwitchError> {
    setup::lock(conn)?;
    let known = stored::list(conn, Some(key.projection()))?;
    let none = || SwitchError::NoBuild { projection: key.projection().to_owned(), build: stored::label(key) };
    let new = known.iter().find(|stored| stored.build.key == *key).ok_or_else(none)?;
    if new.live {
        return Ok(());
    }
    if new.build.phase == Phase::Halted {
        return Err(none());
    }
    if let Some(found) = &new.build.torn {
        let doing = format!("putting {} of projection {:?} before the readers", new.label(), key.projection());
        return Err(torn_tables(&doing, found).into());
    }
    let Some(live) = known.iter().find(|stored| stored.live) else {
        views::point(conn, None, new, &mut Losses::default())?;
        wear(conn, None, new)?;
        return Ok(mark_live(conn, None, key)?);
    };
    look_ahead(conn, live, new)?;
    take_time(conn)?;
    let within = live.build.key.version == key.version;
    let (pairs, mut losses) = (carry::pairs(conn, live, new)?, Losses::default());
    // It may take time to carry over what people added since the build began, and readers need not wait for that.
    carry::give(conn, &pairs, &mut losses)?;
    let accepts = accepts_loss(conn, new.build.command)?;
    lock_states(conn, &live.build.key)?;
    if within {
        lock_states(conn, key)?;
    }
    if let Some(catch_up) = catch_up {
        follow(conn, live, key, catch_up)?;
        lock_tables(conn, live, within.then_some(new), &pairs, patience)?;
        // Only now the locks also cover instances that appeared in between.
        follow(conn, live, key, catch_up)?;
        check(&behind(conn, &live.build.key, key)?, new, live)?;
    } else {
        lock_tables(conn, live, within.then_some(new), &pairs, patience)?;
    }
    let before = conn.catalogue().broken(conn)?;
    let following = carry::hand_over(conn, &pairs, &mut losses)?;
    if within {
        exchange(conn, live, new, &mut losses)?;
    } else {
        views::point(conn, Some(live), new, &mut losses)?;
        mark_live(conn, Some(&live.build.key), key)?;
    }
    losses::take(conn, following, &mut losses)?;
    wear(conn, Some(live), if within { live } else { new })?;
    carry::breaks(conn, before, &mut losses)?;
    for lost in losses.accepted(key.projection(), accepts)? {
        log::warn!("projection {:?}: the tables that readers see now lack {lost}", key.projection());
    }
    Ok(())
}

/// Gives the tables that readers see now everything that their definition declares besides rows (comments, grants …),
/// and removes what only the earlier definition declared.
fn wear(conn: &mut dyn Conn, before: Option<&Stored>, seen: &Stored) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    for (name, declared) in &seen.declared {
        let (table, view) = (seen.relation(dialect, name), seen.view(dialect, name));
        let worn = Worn { schema: seen.schema.as_deref(), table: &table, view: Some(&view) };
        declared::wear(conn, worn, before.and_then(|before| before.declared.get(name)), declared)?;
    }
    Ok(())
}

fn follow(conn: &mut dyn Conn, live: &Stored, key: &ProjectionKey, catch_up: CatchUp<'_>) -> Result<(), SwitchError> {
    let behind = behind(conn, &live.build.key, key)?;
    if behind.is_empty() { Ok(()) } else { Ok(catch_up(&mut Transaction::new(conn), &behind)?) }
}

fn check(behind: &[LaggingInstance], new: &Stored, live: &Stored) -> Result<(), SwitchError> {
    let Some(first) = behind.first() else { return Ok(()) };
    Err(SwitchError::NotCaughtUp {
        projection: live.build.key.projection().to_owned(),
        build: new.label(),
        behind: behind.len(),
        instance: first.instance.to_string(),
        from: first.from,
        to: first.to,
    })
}

fn lock_states(conn: &mut dyn Conn, key: &ProjectionKey) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM {} WHERE projection = $1 AND version = $2 ORDER BY instance_id{}) s",
        dialect.table("projection_states"),
        dialect.for_update()
    );
    conn.query(&sql, &of(key)).map(|_| ())
}

/// If a transaction has held a lock for this long, the switch does not queue for the lock: all later sessions would
/// have to wait, too.
const LONG: Duration = Duration::from_secs(1);

/// How long readers may have to wait while the switch itself waits.
const MOST: Duration = Duration::from_millis(500);

/// How long the switch waits for the clean-up of a table. No other session has to wait because of that.
const CLEAN_UP: &str = "SET LOCAL lock_timeout = '2s'";

const BEFORE: &str = "SELECT current_setting('lock_timeout')";
const AS_BEFORE: &str = "SELECT set_config('lock_timeout', $1, true)";

/// The existing relations that a switch wants for itself alone.
fn wanted(conn: &mut dyn Conn, live: &Stored, new: &Stored) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let (dialect, schema) = (conn.dialect(), live.schema.as_deref());
    let mut tables = Vec::new();
    for stored in [live, new] {
        for table in &stored.tables {
            if stored.has(conn, table)? {
                tables.push(stored.quoted(dialect, table));
            }
        }
    }
    let view = |table: &String| sql::in_schema(dialect, schema, &sql::view_of(dialect, schema, table));
    Ok((tables, live.tables.iter().map(view).collect()))
}

/// The sessions that have held these for long, or all that hold them.
fn holders(conn: &mut dyn Conn, of: &[String], long: bool) -> Result<Vec<Holder>, StoreError> {
    let mut found = conn.in_the_way(of)?;
    found.retain(|holder| !long || holder.since.is_some_and(|since| since >= LONG));
    Ok(found)
}

fn held(live: &Stored, holders: Vec<Holder>, asked: Duration) -> SwitchError {
    let projection = live.build.key.projection().to_owned();
    SwitchError::Held { projection, holders, asked, gave_up: None }
}

/// Looks who holds these tables before anybody has to wait. The first lock blocks no reader and no writer. It conflicts
/// only with the server's own clean-up of tables (autovacuum), which then gives way.
fn look_ahead(conn: &mut dyn Conn, live: &Stored, new: &Stored) -> Result<(), SwitchError> {
    if conn.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let (tables, views) = wanted(conn, live, new)?;
    let all = [tables.as_slice(), views.as_slice()].concat();
    let seen = holders(conn, &all, false)?;
    if !tables.is_empty() {
        let before = conn.query(BEFORE, &[])?.into_iter().flatten().collect::<Vec<_>>();
        let lock = format!("{CLEAN_UP}; LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE", tables.join(", "));
        match conn.batch(&lock) {
            Err(error) if error.kind() == StoreErrorKind::Timeout && !seen.is_empty() => {
                return Err(held(live, seen, Duration::ZERO));
            }
            other => other?,
        }
        conn.query(AS_BEFORE, &before)?;
    }
    let long = holders(conn, &all, true)?;
    if long.is_empty() { Ok(()) } else { Err(held(live, long, Duration::ZERO)) }
}

/// Locks these tables, so that nobody reads or writes them. Readers lock a view before its tables, and so does this.
/// The wait for all locks together is shorter than the server's deadlock time-out: in a deadlock the switch gives up,
/// never a session that locks the tables in another order.
fn lock_tables(
    conn: &mut dyn Conn,
    live: &Stored,
    within: Option<&Stored>,
    pairs: &[TablePair],
    patience: Duration,
) -> Result<(), SwitchError> {
    let (dialect, schema) = (conn.dialect(), live.schema.as_deref());
    if dialect == Dialect::Sqlite {
        return Ok(());
    }
    let (all, views) = wanted(conn, live, within.unwrap_or(live))?;
    let all = [all, views].concat();
    let long = holders(conn, &all, true)?;
    if !long.is_empty() {
        return Err(held(live, long, Duration::ZERO));
    }
    let seen = holders(conn, &all, false)?;
    let mut sql = Vec::new();
    for table in &live.tables {
        sql.extend(views::lock(conn, schema, table)?);
    }
    for pair in pairs {
        sql.extend(conn.catalogue().locks(conn, pair)?);
    }
    for stored in std::iter::once(live).chain(within) {
        // A table that is missing does not hinder a switch to another version. It hinders one within a version, which
        // exchanges the names.
        for table in &stored.tables {
            if within.is_some() || stored.has(conn, table)? {
                sql.push(format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", stored.quoted(dialect, table)));
            }
        }
    }
    let (start, patience) = (Instant::now(), patience.min(MOST));
    for lock in sql {
        let left = patience.saturating_sub(start.elapsed()).as_millis().max(1);
        match conn.batch(&format!("SET LOCAL lock_timeout = '{left}ms'; {lock}")) {
            Err(error) if error.kind() == StoreErrorKind::Timeout && !seen.is_empty() => {
                return Err(held(live, seen, start.elapsed()));
            }
            other => other.map_err(|error| error.doing("waiting for readers of the tables"))?,
        }
    }
    Ok(())
}

/// The instances in which one build is behind another. There is nothing to catch up on below the position up to which
/// an instance was removed: a new state reads as that position (`db/state.rs`). The live state keeps its checkpoint
/// until the removal ends, and a removal may have been cut off.
pub(super) fn behind(
    conn: &mut dyn Conn,
    live: &ProjectionKey,
    new: &ProjectionKey,
) -> Result<Vec<LaggingInstance>, StoreError> {
    let [states, instances] = ["projection_states", "instances"].map(|name| conn.dialect().table(name));
    let sql = format!(
        "SELECT o.instance_id, coalesce(n.position, 0), o.position FROM {states} o LEFT JOIN {states} n \
         ON n.instance_id = o.instance_id AND n.projection = $3 AND n.version = $4 \
         WHERE o.projection = $1 AND o.version = $2 AND o.position > coalesce(n.position, 0) \
         AND NOT EXISTS (SELECT 1 FROM {instances} i WHERE i.instance_id = o.instance_id \
         AND coalesce(n.position, 0) = 0 AND i.removed >= o.position) ORDER BY o.instance_id"
    );
    let ([a, b], [c, d]) = (of(live), of(new));
    conn.query(&sql, &[a, b, c, d])?
        .iter()
        .map(|found| {
            Ok(LaggingInstance { instance: row::shared(found, 0)?, from: row::int(found, 1)?, to: row::int(found, 2)? })
        })
        .collect()
}

/// The two builds of one version take each other's names. The view has the same text afterwards, on other tables.
fn exchange(conn: &mut dyn Conn, live: &Stored, new: &Stored, losses: &mut Losses) -> Result<(), SwitchError> {
    let (plain, beside) = (&live.build.key, &new.build.key);
    let aside = ProjectionKey { name: format!("{}#{ASIDE}", plain.projection()).into(), version: plain.version };
    let renames = [(plain, &aside), (beside, plain), (&aside, beside)];
    for (from, to) in renames {
        rename_rows(conn, from, to)?;
    }
    conn.catalogue()
        .renaming(conn, &mut |conn| renames.iter().try_for_each(|(from, to)| rename_tables(conn, live, from, to)))?;
    made::exchange(conn, plain, beside)?;
    name_afresh(conn, live, new)?;
    views::point(conn, Some(live), live, losses)?;
    let dialect = conn.dialect();
    let table = dialect.table("projections");
    let update = format!(
        "UPDATE {table} SET command = $3, phase = $4, trouble = NULL, succeeded_at = coalesce(succeeded_at, $5) \
         WHERE name = $1 AND version = $2"
    );
    let now = crate::value::Value::Timestamp(crate::value::to_micros(conn.now()?));
    for (key, command, phase) in [(plain, new.build.command, Phase::Live), (beside, live.build.command, Phase::Kept)] {
        let [name, version] = of(key);
        conn.execute(&update, &[name, version, command.into(), phase.as_str().into(), now.clone()])?;
    }
    Ok(())
}

fn rename_rows(conn: &mut dyn Conn, from: &ProjectionKey, to: &ProjectionKey) -> Result<(), StoreError> {
    for table in ["projection_states", "held_events"] {
        let sql = format!(
            "UPDATE {} SET projection = $3 WHERE projection = $1 AND version = $2",
            conn.dialect().table(table)
        );
        let [name, version] = of(from);
        conn.execute(&sql, &[name, version, to.name.as_ref().into()])?;
    }
    Ok(())
}

fn rename_tables(
    conn: &mut dyn Conn,
    stored: &Stored,
    from: &ProjectionKey,
    to: &ProjectionKey,
) -> Result<(), StoreError> {
    let (dialect, schema) = (conn.dialect(), stored.schema.as_deref());
    for table in &stored.tables {
        let old = sql::in_schema(dialect, schema, &sql::physical_of(dialect, schema, table, from));
        let new = sql::quote(&sql::physical_of(dialect, schema, table, to));
        conn.batch(&format!("ALTER TABLE {old} RENAME TO {new}"))?;
    }
    Ok(())
}

/// Gives the constraints and indexes of the definition, on the tables that readers see, the names that a fresh set-up
/// would give. A name that is too long or taken stays.
fn name_afresh(conn: &mut dyn Conn, plain: &Stored, beside: &Stored) -> Result<(), StoreError> {
    let (dialect, catalogue) = (conn.dialect(), conn.catalogue());
    for table in &plain.tables {
        let (own, former) = (plain.relation(dialect, table), beside.relation(dialect, table));
        for (of, was, now) in
            [(&former, &*own.raw, NAMES_ASIDE), (&own, &former.raw, &own.raw), (&former, NAMES_ASIDE, &former.raw)]
        {
            let steps = catalogue.renamed(conn, of, was, now)?;
            losses::take(conn, steps, &mut Losses::default())?;
        }
    }
    Ok(())
}

fn mark_live(conn: &mut dyn Conn, old: Option<&ProjectionKey>, new: &ProjectionKey) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE {} SET live = $3, phase = $4, trouble = NULL WHERE name = $1 AND version = $2",
        conn.dialect().table("projections")
    );
    for (key, live, phase) in old.map(|old| (old, false, Phase::Kept)).into_iter().chain([(new, true, Phase::Live)]) {
        let [name, version] = of(key);
        conn.execute(&sql, &[name, version, live.into(), phase.as_str().into()])?;
    }
    Ok(())
}
