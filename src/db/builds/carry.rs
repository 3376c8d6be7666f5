//! What people hung on the tables that readers see goes to those that take their place.
//!
//! What the new tables can have beforehand they get when their build begins, and again in the switch, where it may be more;
//! so the work is not done in vain where something cannot be had. What acts, or can be, on one table at a time moves in
//! the switch.

use super::losses::{self, Losses};
use super::stored::Stored;
use super::views;
use crate::db::Conn;
use crate::db::objects::{Step, TablePair};
use crate::error::{StoreError, SwitchError};

/// The tables that both builds have.
pub(super) fn pairs(conn: &mut dyn Conn, live: &Stored, new: &Stored) -> Result<Vec<TablePair>, StoreError> {
    let (dialect, tables) = (conn.dialect(), live.relations(conn)?);
    let mut pairs = Vec::new();
    for table in live.tables.iter().filter(|table| new.tables.contains(table)) {
        if live.has(conn, table)? && new.has(conn, table)? {
            pairs.push(TablePair {
                old: live.relation(dialect, table),
                new: new.relation(dialect, table),
                own: live.own(table),
                tables: tables.clone(),
                views: live.views(dialect),
                within: live.build.key.version == new.build.key.version,
            });
        }
    }
    Ok(pairs)
}

/// Gives the new tables what they can have while readers see the old ones, and finds what they never will.
pub(super) fn prepare(conn: &mut dyn Conn, live: &Stored, new: &Stored) -> Result<Losses, SwitchError> {
    let mut losses = Losses::default();
    let (pairs, catalogue) = (pairs(conn, live, new)?, conn.catalogue());
    views::check(conn, live, new, &mut losses)?;
    give(conn, &pairs, &mut losses)?;
    for pair in &pairs {
        for step in catalogue.moved(conn, pair)?.into_iter().filter(|step| step.alone) {
            if let Err(why) = losses::try_out(conn, &step.sql)? {
                losses.add(step.what, Some(why), step.guards);
            }
        }
    }
    stays(conn, &pairs, &mut losses)?;
    let mut outcome = Ok(());
    let before = catalogue.broken(conn)?;
    if before.is_some() {
        conn.batch(losses::BEGIN)?;
        outcome =
            views::point(conn, Some(live), new, &mut losses).and_then(|()| Ok(breaks(conn, before, &mut losses)?));
        conn.batch(losses::UNDO)?;
    }
    outcome.map(|()| losses)
}

/// What of the service's own is of no use any more that was before.
pub(super) fn breaks(
    conn: &mut dyn Conn,
    before: Option<Vec<(String, String)>>,
    losses: &mut Losses,
) -> Result<(), StoreError> {
    let Some(before) = before else { return Ok(()) };
    for (what, why) in conn.catalogue().broken(conn)?.unwrap_or_default() {
        if !before.iter().any(|(known, _)| *known == what) {
            losses.add(format!("{what}, which would not work any more"), Some(why), true);
        }
    }
    Ok(())
}

/// What touches nothing but the new tables.
pub(super) fn give(conn: &mut dyn Conn, pairs: &[TablePair], losses: &mut Losses) -> Result<(), StoreError> {
    for pair in pairs {
        let steps = conn.catalogue().carried(conn, pair)?;
        losses::take(conn, steps, losses)?;
    }
    Ok(())
}

fn stays(conn: &mut dyn Conn, pairs: &[TablePair], losses: &mut Losses) -> Result<(), StoreError> {
    for pair in pairs {
        for (what, guards) in conn.catalogue().staying(conn, pair)? {
            losses.add(what, None, guards);
        }
    }
    Ok(())
}

/// Moves what is on one table at a time, or stands on it, while nobody reads from both. Gives what is to follow once the
/// new tables have the names of the old ones.
pub(super) fn hand_over(
    conn: &mut dyn Conn,
    pairs: &[TablePair],
    losses: &mut Losses,
) -> Result<Vec<Step>, StoreError> {
    let catalogue = conn.catalogue();
    give(conn, pairs, losses)?;
    let mut following = Vec::new();
    for pair in pairs {
        following.extend(catalogue.following(conn, pair)?);
        let steps = catalogue.moved(conn, pair)?;
        catalogue.renaming(conn, &mut |conn| losses::take(conn, steps.clone(), losses))?;
    }
    stays(conn, pairs, losses)?;
    Ok(following)
}
