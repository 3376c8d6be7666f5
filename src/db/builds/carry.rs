//! Carries what people added to the tables that readers see over to the tables that take their place.
//!
//! The new tables get what they can have beforehand when their build begins. So no build is filled in vain if they
//! cannot have something. The switch does it again, because people may have added more. What can act, or exist, on only
//! one table at a time moves in the switch.

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

/// Gives the new tables what they can have while readers see the old ones, and finds what they can never have.
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

/// The service's own objects that work now and would no longer work.
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

/// Carries over what touches nothing but the new tables.
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

/// Moves what can be on only one table at a time, or depends on it, while nobody reads from either table. Returns the
/// steps to take once the new tables have the names of the old ones.
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
