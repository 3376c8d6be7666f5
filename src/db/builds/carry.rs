//! What people hung on the tables that readers see goes to those that take their place.
//!
//! What the new tables can have beforehand they get when their build begins, and again in the switch, where it may be more;
//! so the work is not done in vain where something cannot be had. What acts, or can be, on one table at a time moves in
//! the switch.

use std::fmt;

use super::stored::Stored;
use super::views;
use crate::db::Conn;
use crate::db::objects::{Step, TablePair};
use crate::error::{SetupError, StoreError, StoreErrorKind, SwitchError, chain};

/// What the new tables will be without.
#[derive(Debug, Default)]
pub(super) struct Losses(Vec<Loss>);

#[derive(Debug)]
struct Loss {
    what: String,
    why: Option<String>,
    guards: bool,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Some(why) => write!(f, "{} ({why})", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl Losses {
    fn add(&mut self, what: String, why: Option<String>, guards: bool) {
        if !self.0.iter().any(|known| known.what == what) {
            self.0.push(Loss { what, why, guards });
        }
    }

    /// What is on a view that will not have the columns for it.
    pub(super) fn unfit(&mut self, what: Vec<String>) {
        for what in what {
            self.add(what, Some("the new version does not have it".to_owned()), true);
        }
    }

    /// What is on a view that goes with its table.
    pub(super) fn vanish(&mut self, on_it: Vec<Step>) {
        let why = "the new version does not have the table";
        for step in on_it {
            self.add(step.what, Some(why.to_owned()), false);
        }
    }

    /// All in words, where nothing guards or a person accepts that it goes.
    pub(super) fn accepted(self, projection: &str, accepts: bool) -> Result<Vec<String>, SetupError> {
        let guarding: Vec<String> = self.0.iter().filter(|loss| loss.guards).map(ToString::to_string).collect();
        if !guarding.is_empty() && !accepts {
            return Err(SetupError::WouldLose { projection: projection.to_owned(), lost: guarding });
        }
        Ok(self.0.iter().map(ToString::to_string).collect())
    }
}

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
            if let Err(why) = try_out(conn, &step.sql)? {
                losses.add(step.what, Some(why), step.guards);
            }
        }
    }
    stays(conn, &pairs, &mut losses)?;
    let mut outcome = Ok(());
    let before = catalogue.broken(conn)?;
    if before.is_some() {
        conn.batch(BEGIN)?;
        outcome =
            views::point(conn, Some(live), new, &mut losses).and_then(|()| Ok(breaks(conn, before, &mut losses)?));
        conn.batch(UNDO)?;
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
        take(conn, steps, losses)?;
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
        catalogue.renaming(conn, &mut |conn| take(conn, steps.clone(), losses))?;
    }
    stays(conn, pairs, losses)?;
    Ok(following)
}

/// Does each step, or notes what could not be done.
pub(super) fn take(conn: &mut dyn Conn, steps: Vec<Step>, losses: &mut Losses) -> Result<(), StoreError> {
    for step in steps {
        let sql = if step.then.is_empty() { step.sql } else { format!("{}; {}", step.sql, step.then) };
        if let Err(why) = attempt(conn, &sql)? {
            losses.add(step.what, Some(why), step.guards);
        }
    }
    Ok(())
}

const BEGIN: &str = "SAVEPOINT readside_object";
const UNDO: &str = "ROLLBACK TO SAVEPOINT readside_object; RELEASE SAVEPOINT readside_object";

/// Runs statements; where they are refused, nothing of them stays, and the reason is given.
fn attempt(conn: &mut dyn Conn, sql: &str) -> Result<Result<(), String>, StoreError> {
    conn.batch(BEGIN)?;
    let refused = match conn.batch(sql) {
        Ok(()) => {
            conn.batch("RELEASE SAVEPOINT readside_object")?;
            return Ok(Ok(()));
        }
        Err(error) if is_refusal(&error) => chain(&error),
        Err(error) => return Err(error),
    };
    conn.batch(UNDO)?;
    Ok(Err(refused))
}

/// The same, and nothing of them stays in any case.
fn try_out(conn: &mut dyn Conn, sql: &str) -> Result<Result<(), String>, StoreError> {
    conn.batch(BEGIN)?;
    let mut outcome = Ok(Ok(()));
    let catalogue = conn.catalogue();
    catalogue.renaming(conn, &mut |conn| {
        outcome = match conn.batch(sql) {
            Err(error) if is_refusal(&error) => Ok(Err(chain(&error))),
            other => other.map(Ok),
        };
        Ok(())
    })?;
    let outcome = outcome?;
    conn.batch(UNDO)?;
    Ok(outcome)
}

/// Trouble of the database itself says nothing about the statement.
fn is_refusal(error: &StoreError) -> bool {
    use StoreErrorKind as K;
    !error.passes() && !matches!(error.kind(), K::Full | K::ReadOnly | K::CannotOpen | K::Replaced | K::Corrupt)
}
