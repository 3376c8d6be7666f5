//! What a switch would lose, and the attempt to keep it.

use std::fmt;

use crate::db::Conn;
use crate::db::objects::Step;
use crate::error::{SetupError, StoreError, StoreErrorKind};

pub(super) const UNDO: &str = "ROLLBACK TO SAVEPOINT readside_object; RELEASE SAVEPOINT readside_object";

pub(super) const BEGIN: &str = "SAVEPOINT readside_object";

pub(super) const KEEP: &str = "RELEASE SAVEPOINT readside_object";

/// What the new tables will lack.
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
    pub(super) fn add(&mut self, what: String, why: Option<String>, guards: bool) {
        if !self.0.iter().any(|known| known.what == what) {
            self.0.push(Loss { what, why, guards });
        }
    }

    /// Notes objects on a view that will not have the columns they need.
    pub(super) fn unfit(&mut self, what: Vec<String>) {
        for what in what {
            self.add(what, Some("the new version does not have it".to_owned()), true);
        }
    }

    /// Notes objects on a view that is removed with its table.
    pub(super) fn vanish(&mut self, on_it: Vec<Step>) {
        let why = "the new version does not have the table";
        for step in on_it {
            self.add(step.what, Some(why.to_owned()), false);
        }
    }

    /// All losses in words, if none of them guards data or a person accepts them.
    pub(super) fn accepted(self, projection: &str, accepts: bool) -> Result<Vec<String>, SetupError> {
        let guarding: Vec<String> = self.0.iter().filter(|loss| loss.guards).map(ToString::to_string).collect();
        if !guarding.is_empty() && !accepts {
            return Err(SetupError::WouldLose { projection: projection.to_owned(), lost: guarding });
        }
        Ok(self.0.iter().map(ToString::to_string).collect())
    }
}

/// Takes each step, or notes what could not be done.
pub(super) fn take(conn: &mut dyn Conn, steps: Vec<Step>, losses: &mut Losses) -> Result<(), StoreError> {
    for step in steps {
        let sql = if step.then.is_empty() { step.sql } else { format!("{}; {}", step.sql, step.then) };
        if let Err(why) = attempt(conn, &sql)? {
            losses.add(step.what, Some(why), step.guards);
        }
    }
    Ok(())
}

/// Runs statements. If the database refuses them, it undoes all of them, and returns the reason.
fn attempt(conn: &mut dyn Conn, sql: &str) -> Result<Result<(), String>, StoreError> {
    conn.batch(BEGIN)?;
    let refused = match conn.batch(sql) {
        Ok(()) => {
            conn.batch(KEEP)?;
            return Ok(Ok(()));
        }
        Err(error) if is_refusal(&error) => error.cause(),
        Err(error) => return Err(error),
    };
    conn.batch(UNDO)?;
    Ok(Err(refused))
}

/// As [`attempt`], but undoes the statements in any case.
pub(super) fn try_out(conn: &mut dyn Conn, sql: &str) -> Result<Result<(), String>, StoreError> {
    conn.batch(BEGIN)?;
    let mut outcome = Ok(Ok(()));
    let catalogue = conn.catalogue();
    catalogue.renaming(conn, &mut |conn| {
        outcome = match conn.batch(sql) {
            Err(error) if is_refusal(&error) => Ok(Err(error.cause())),
            other => other.map(Ok),
        };
        Ok(())
    })?;
    let outcome = outcome?;
    conn.batch(UNDO)?;
    Ok(outcome)
}

/// True if the database refused the statement. Trouble of the database itself says nothing about the statement.
fn is_refusal(error: &StoreError) -> bool {
    use StoreErrorKind as K;
    !error.passes() && !matches!(error.kind(), K::Full | K::ReadOnly | K::CannotOpen | K::Replaced | K::Corrupt)
}
