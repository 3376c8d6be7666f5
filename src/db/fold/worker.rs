//! Folds while writing: while the database works on some rows, a thread folds the next ones.

use std::panic::resume_unwind;
use std::thread;

use crossbeam_channel::bounded;

use super::write::{Out, Write};
use crate::db::Conn;
use crate::error::{StoreError, StoreErrorKind};
use crate::projection::Projection;

/// Writes everything that `fold` hands over, in order. If there is much of it, `fold` runs on its own thread. Returns
/// how many statements met no row, as far as the database shows it.
pub(super) fn run<'s>(
    conn: &mut dyn Conn,
    projection: &Projection,
    much: bool,
    fold: impl FnOnce(Out<'_, 's>) -> Result<(), StoreError> + Send,
) -> Result<u64, StoreError> {
    let mut missed = 0;
    let mut perform = |write: Write<'s>| {
        missed += write.perform(conn, projection)?;
        Ok(())
    };
    if !much {
        fold(&mut perform)?;
        return Ok(missed);
    }
    thread::scope(|scope| {
        let (send, writes) = bounded::<Write<'s>>(1);
        let fold = move || fold(&mut |write| send.send(write).map_err(|_| failed("the writing has stopped")));
        let folding = thread::Builder::new().name("readside-folder".to_owned()).spawn_scoped(scope, fold);
        let folding = folding.map_err(failed)?;
        // An error drops the receiver. That ends the folding, which then has nothing to report.
        let written = writes.into_iter().try_for_each(&mut perform);
        let folded = folding.join().unwrap_or_else(|panic| resume_unwind(panic));
        written.and(folded)
    })?;
    Ok(missed)
}

fn failed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::new("folding statements on a second thread", StoreErrorKind::Other, why)
}
