//! Applies events again, to tables that nobody sees, for verifications and explanations.

use super::{Backend, Conn, execute, model};
use crate::error::{Error, StoreError, StoreErrorKind};
use crate::projection::Projection;
use crate::sealed::Sealed;
use crate::sql;
use crate::statement::Statement;
use crate::store::{Replay, Replaying};
use crate::table::Table;
use crate::value::Value;

/// The schema of tables that last as long as their session.
const TEMPORARY: &str = "pg_temp";

/// A connection with tables of the projection that are empty at first.
pub(crate) struct Scratch<'c> {
    pub(crate) conn: &'c mut dyn Conn,
    /// The projection with the names of these tables.
    pub(crate) projection: &'c Projection,
}

impl Sealed for Scratch<'_> {}

impl Replay for Scratch<'_> {
    fn apply(&mut self, instance: &str, statement: &Statement) -> Result<(), StoreError> {
        self.conn.execute("SAVEPOINT step", &[])?;
        let outcome = execute::execute(self.conn, self.projection, instance, statement);
        if outcome.is_err() {
            self.conn.execute("ROLLBACK TO SAVEPOINT step", &[])?;
        }
        self.conn.execute("RELEASE SAVEPOINT step", &[])?;
        outcome.map(|_| ())
    }

    fn rows(&mut self, instance: &str) -> Result<Vec<Vec<Vec<(String, Value)>>>, StoreError> {
        model::all_rows(self.conn, self.projection, instance)
    }

    fn find(
        &mut self,
        table: &Table,
        instance: &str,
        key: &[Value],
    ) -> Result<Option<Vec<(String, Value)>>, StoreError> {
        model::find(self.conn, self.projection, table, instance, key)
    }
}

/// How a transaction that is always rolled back ends.
enum Undone {
    Done,
    Failed(Box<Error>),
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Failed(Box::new(error.into()))
    }
}

/// Runs the work in a transaction that is rolled back.
pub(crate) fn leaving_nothing<B: Backend>(
    backend: &B,
    doing: &str,
    work: impl FnOnce(&mut dyn Conn) -> Result<(), Error>,
) -> Result<(), Error> {
    let outcome = backend.write(doing, |conn| match work(conn) {
        Ok(()) => Err::<(), Undone>(Undone::Done),
        Err(error) => Err(Undone::Failed(Box::new(error))),
    });
    match outcome {
        Ok(()) | Err(Undone::Done) => Ok(()),
        Err(Undone::Failed(error)) => Err(*error),
    }
}

/// Runs the work on temporary tables.
pub(super) fn in_temporary_tables<B: Backend>(
    backend: &B,
    projection: &Projection,
    work: Replaying<'_>,
) -> Result<(), Error> {
    let projection = &projection.without_schema().placed(Some(TEMPORARY.into()));
    let doing = format!("applying the events of projection {:?} again", projection.name());
    leaving_nothing(backend, &doing, |conn| {
        for made in sql::create_tables(conn.dialect(), projection, None) {
            conn.batch(&made.sql).map_err(|error| match error.kind() {
                StoreErrorKind::Denied => error.with_remedy("; GRANT TEMPORARY ON DATABASE to this role"),
                _ => error,
            })?;
        }
        work(&mut Scratch { conn, projection })
    })
}
