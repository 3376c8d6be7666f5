//! Everything of an instance, read in pages from one snapshot.

use std::collections::HashMap;

use super::{Manifest, Part};
use crate::db::{Backend, Conn, filter, retention, row, setup};
use crate::error::{RetentionError, StoreError, StoreErrorKind};
use crate::query::{Query, SubQuery};
use crate::sql::Dialect;
use crate::value::Value;

const DOING: &str = "exporting an instance";

/// How many events one page holds.
const EVENTS: usize = 1000;
const BYTES: usize = 8 << 20;
const VALUES: i64 = 1000;

type Each<'e> = &'e mut dyn FnMut(Part<'_>) -> Result<(), StoreError>;

pub(super) fn export<B: Backend>(backend: &B, instance: &str, each: Each<'_>) -> Result<(), RetentionError> {
    let schema = backend.read(DOING, |conn| setup::schema(conn, backend.migrations()))?.found;
    backend.read(DOING, |conn| match conn.dialect() {
        Dialect::Postgres => {
            conn.batch("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
            all(conn, instance, schema, each)
        }
        Dialect::Sqlite => {
            conn.batch("BEGIN")?;
            let outcome = all(conn, instance, schema, each);
            conn.batch("ROLLBACK")?;
            outcome
        }
    })
}

fn all(conn: &mut dyn Conn, instance: &str, schema: i64, each: Each<'_>) -> Result<(), RetentionError> {
    let expected = match retention::extent(conn, instance)? {
        Some((head, removed)) if head > removed => head - removed,
        _ => return Err(RetentionError::UnknownInstance { instance: instance.to_owned() }),
    };
    let expected = u64::try_from(expected).unwrap_or_default();
    let table = conn.dialect().table("unique_constraints");
    let counted = conn.query(&format!("SELECT count(*) FROM {table} WHERE instance_id = $1"), &[instance.into()])?;
    let unique_values = counted.first().map_or(Ok(0), |found| row::int(found, 0))?;
    let unique_values = u64::try_from(unique_values).unwrap_or_default();
    each(Part::Manifest(&Manifest { schema, events: expected, unique_values }))?;
    let found = events(conn, instance, each)?;
    if found != expected {
        let why = format!("its log is not whole: {expected} events were expected, {found} were found");
        return Err(StoreError::new(DOING, StoreErrorKind::Corrupt, why).with_remedy("; see `readside doctor`").into());
    }
    values(conn, instance, &table, each)?;
    Ok(())
}

fn events(conn: &mut dyn Conn, instance: &str, each: Each<'_>) -> Result<u64, StoreError> {
    let (mut after, mut count) = (0, 0);
    loop {
        let query = Query::new().or(SubQuery::new().instance(instance).after(after)).limit(EVENTS).max_bytes(BYTES);
        let page = filter::filter(conn, &query)?;
        let Some(last) = page.last() else { return Ok(count) };
        let keys = keys(conn, instance, after, last.position())?;
        after = last.position();
        for event in &page {
            each(Part::Event(event, keys.get(&event.position()).map(String::as_str)))?;
            count += 1;
        }
    }
}

/// The push keys of the events above one position and up to another, by position.
fn keys(conn: &mut dyn Conn, instance: &str, after: i64, to: i64) -> Result<HashMap<i64, String>, StoreError> {
    let sql = format!(
        "SELECT position, push_key FROM {} WHERE instance_id = $1 AND position > $2 AND position <= $3 \
         AND push_key IS NOT NULL",
        conn.dialect().table("all_events")
    );
    let rows = conn.query(&sql, &[instance.into(), after.into(), to.into()])?;
    rows.iter().map(|found| Ok((row::int(found, 0)?, row::text(found, 1)?.to_owned()))).collect()
}

fn values(conn: &mut dyn Conn, instance: &str, table: &str, each: Each<'_>) -> Result<(), StoreError> {
    let mut after = (String::new(), String::new());
    loop {
        let sql = format!(
            "SELECT constraint_type, value FROM {table} WHERE instance_id = $1 AND (constraint_type, value) > ($2, $3) \
             ORDER BY constraint_type, value LIMIT $4"
        );
        let params: [Value; 4] = [instance.into(), after.0.as_str().into(), after.1.as_str().into(), VALUES.into()];
        let rows = conn.query(&sql, &params)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = (row::text(last, 0)?.to_owned(), row::text(last, 1)?.to_owned());
        for found in &rows {
            each(Part::Unique(row::text(found, 0)?, row::text(found, 1)?))?;
        }
    }
}
