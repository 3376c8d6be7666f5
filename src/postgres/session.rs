//! One PostgreSQL connection, inside a transaction.

use postgres::GenericClient;
use postgres::types::{ToSql, Type};

use super::access::Access;
use super::error;
use super::error::End;
use super::home::Home;
use super::places::TableSchemas;
use super::value::Param;
use crate::error::{StoreError, StoreErrorKind};

/// A connection of the pool, or a transaction of the caller.
pub(super) struct Session<'c, C: GenericClient> {
    pub(super) client: &'c mut C,
    /// Where the engine's tables are.
    pub(super) home: &'c Home,
    /// True if an error happened, with no rollback to a savepoint since. The server would answer a commit by rolling
    /// back.
    pub(super) aborted: bool,
    /// The role of this connection on the server, if it is known.
    pub(super) role: Option<&'c str>,
    /// What the server let that role do when the connection was opened.
    pub(super) access: Access,
    /// True if a statement did not find its table or schema.
    pub(super) missed: bool,
    /// Where read tables are, as the store remembers it, with the generation of that memory.
    pub(super) places: Option<(&'c TableSchemas, u64)>,
    /// Why the connection has to be given up afterwards.
    pub(super) end: Option<End>,
}

impl<'c, C: GenericClient> Session<'c, C> {
    pub(super) fn new(client: &'c mut C, home: &'c Home, role: Option<&'c str>) -> Self {
        let (aborted, missed, access) = (false, false, Access::Writes);
        Self { client, home, aborted, role, access, missed, places: None, end: None }
    }

    /// A session that uses and fills the memory of where read tables are.
    pub(super) fn knowing(
        client: &'c mut C,
        home: &'c Home,
        role: Option<&'c str>,
        access: Access,
        places: &'c TableSchemas,
    ) -> Self {
        Self { places: Some((places, places.generation())), access, ..Self::new(client, home, role) }
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// True if a statement did not find its table or schema. What the store remembers about them may then be out of
    /// date.
    pub(super) fn has_missed(&self) -> bool {
        self.missed
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    pub(super) fn watch<T>(&mut self, outcome: Result<T, postgres::Error>, doing: &str) -> Result<T, StoreError> {
        outcome.map_err(|error| {
            let error = error::of_role(doing, self.role, self.access, &error);
            self.aborted = true;
            self.missed |= error.kind() == StoreErrorKind::Schema;
            self.end = self.end.max(error::end(&error));
            error
        })
    }

    /// Notes that the transaction goes on from a savepoint.
    pub(super) fn rolled_back(&mut self) {
        self.aborted = false;
    }

    /// The rows of a query as the driver gives them. Parameters may have any types.
    pub(super) fn rows(
        &mut self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
        doing: &str,
    ) -> Result<Vec<postgres::Row>, StoreError> {
        let outcome = self.client.query_typed(&self.home.sql(sql), params);
        self.watch(outcome, doing)
    }

    pub(super) fn touch(
        &mut self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
        doing: &str,
    ) -> Result<u64, StoreError> {
        let outcome = self.client.execute_typed(&self.home.sql(sql), params);
        let touched = self.watch(outcome, doing)?;
        if sql.starts_with("ROLLBACK TO") {
            self.rolled_back();
        }
        Ok(touched)
    }
}

pub(super) fn typed<'p>(params: &'p [Param<'p>]) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
    params.iter().map(|param| (param as &(dyn ToSql + Sync), param.kind())).collect()
}
