//! SQL on one PostgreSQL connection, inside a transaction.

use std::sync::Arc;
use std::time::SystemTime;

use postgres::GenericClient;

use super::objects::Objects;
use super::places::Place;
use super::session::{Session, typed};
use super::value::{self, Param};
use super::{bulk, event_batches, holder, in_order, push};
use crate::db::made::{torn, whole};
use crate::db::objects::Catalogue;
use crate::db::{Append, Bulk, Conn, Counters, EventBatches, Row, row};
use crate::error::{Holder, StoreError, StoreErrorKind};
use crate::query::ReadRequest;
use crate::sql::Dialect;
use crate::state::ProjectionKey;
use crate::value::{Value, refuse_nul};

/// Who holds locks on relations. A lock without a session belongs to a prepared transaction.
const IN_THE_WAY: &str = "SELECT l.pid::int8, a.application_name, \
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8, a.state \
     FROM (SELECT DISTINCT k.pid FROM pg_locks k WHERE k.granted AND k.locktype = 'relation' \
       AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) \
       AND k.relation IN (SELECT to_regclass(n)::oid FROM unnest($1::text[]) n) \
       AND k.pid IS DISTINCT FROM pg_backend_pid()) l \
     LEFT JOIN pg_stat_activity a ON a.pid = l.pid ORDER BY a.xact_start NULLS FIRST LIMIT 5";

impl<C: GenericClient> Conn for Session<'_, C> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn catalogue(&self) -> &'static dyn Catalogue {
        &Objects
    }

    fn home(&self) -> Option<&str> {
        Some(self.home.name())
    }

    fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        refuse_nul("running a query", params)?;
        let params: Vec<Param<'_>> = params.iter().map(Param).collect();
        let rows = self.rows(sql, &typed(&params), "running a query")?;
        rows.iter().map(value::row).collect()
    }

    fn in_the_way(&mut self, relations: &[String]) -> Result<Vec<Holder>, StoreError> {
        let rows = self.query(IN_THE_WAY, &[Value::TextArray(relations.to_vec())])?;
        Ok(rows.iter().map(holder::of_lock).collect())
    }

    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, StoreError> {
        refuse_nul("running a statement", params)?;
        let params: Vec<Param<'_>> = params.iter().map(Param).collect();
        self.touch(sql, &typed(&params), "running a statement")
    }

    fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        let outcome = self.client.batch_execute(&self.home.sql(sql));
        self.watch(outcome, "running statements")?;
        if sql.starts_with("ROLLBACK TO") {
            self.rolled_back();
        }
        Ok(())
    }

    fn bulk(&mut self, write: &Bulk) -> Result<u64, StoreError> {
        bulk::write(self, write)
    }

    fn bulk_in_order(&mut self, write: &Bulk, uniques: &[&[String]]) -> Result<u64, StoreError> {
        in_order::write(self, write, uniques)
    }

    fn event_batches(&mut self, request: &ReadRequest) -> Result<EventBatches, StoreError> {
        event_batches::read(self, request)
    }

    fn counters(&mut self, instances: &[Arc<str>]) -> Result<Counters, StoreError> {
        push::counters(self, instances)
    }

    fn index_ids(&mut self) -> Result<(), StoreError> {
        push::index_ids(self)
    }

    fn append(&mut self, append: &Append<'_>) -> Result<(), StoreError> {
        push::append(self, append)
    }

    fn place(&mut self, build: &ProjectionKey) -> Result<Option<Arc<str>>, StoreError> {
        if let Some(place) = self.places.and_then(|(places, _)| places.get(build)) {
            return Ok(place.schema);
        }
        let sql = format!(
            "SELECT p.place, {} FROM readside.projections p WHERE p.name = $1 AND p.version = $2",
            torn(Dialect::Postgres)
        );
        let rows = self.query(&sql, &[build.name.as_ref().into(), build.version.into()])?;
        let Some(found) = rows.first() else { return Ok(None) };
        whole(found, 1, &format!("looking for the tables of projection {:?}", build.projection()))?;
        let place = Place { schema: if row::is_null(found, 0) { None } else { Some(row::shared(found, 0)?) } };
        if let Some((places, generation)) = self.places {
            places.keep(generation, build, &place);
        }
        Ok(place.schema)
    }

    fn now(&mut self) -> Result<SystemTime, StoreError> {
        let doing = "asking the server's clock";
        let rows = self.query("SELECT clock_timestamp()", &[]).map_err(|error| error.doing(doing))?;
        let now = rows.first().map(|found| row::time(found, 0)).transpose()?.flatten();
        now.ok_or_else(|| StoreError::new(doing, StoreErrorKind::Corrupt, "it has none"))
    }
}
