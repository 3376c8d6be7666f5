//! The floor on PostgreSQL: it writes sets of rows in few statements, which are prepared once.

use anyhow::Context;
use postgres::error::SqlState;
use postgres::{Client, Statement};

use super::work::{Account, Change, Event, fold};
use super::{Floor, PAGE};

pub(super) struct Postgres {
    db: Client,
    /// The prefix of its table names.
    name: String,
    prepared: Prepared,
}

struct Prepared {
    count: Statement,
    insert: Statement,
    at: Statement,
    read: Statement,
    create: Statement,
    update: Statement,
    save: Statement,
}

impl Prepared {
    fn new(db: &mut Client, name: &str) -> Result<Self, postgres::Error> {
        let mut prepare = |sql: &str| db.prepare(&sql.replace("NAME", name));
        Ok(Self {
            count: prepare(
                "INSERT INTO NAME_counter AS c VALUES ($1, $2) ON CONFLICT (i) DO UPDATE SET head = c.head + $2 RETURNING head",
            )?,
            insert: prepare(
                "INSERT INTO NAME_events SELECT $1, $2 + u.o, u.a, u.v, u.t, u.payload \
                 FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[]) WITH ORDINALITY AS u(a, v, t, payload, o)",
            )?,
            at: prepare("SELECT coalesce(max(p), 0) FROM NAME_checkpoint WHERE i = $1")?,
            read: prepare("SELECT a, t, v, payload, p FROM NAME_events WHERE i = $1 AND p > $2 ORDER BY p LIMIT $3")?,
            create: prepare(
                "INSERT INTO NAME_accounts SELECT $1, u.* FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) u",
            )?,
            update: prepare(
                "UPDATE NAME_accounts a SET balance = balance + u.s, version = u.v \
                 FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS u(id, s, v) WHERE a.i = $1 AND a.id = u.id",
            )?,
            save: prepare("INSERT INTO NAME_checkpoint VALUES ($1, $2) ON CONFLICT (i) DO UPDATE SET p = excluded.p")?,
        })
    }
}

impl Postgres {
    pub(super) fn open(url: &str, tag: &str) -> anyhow::Result<Self> {
        let mut db = crate::postgres::client(url).context("connecting to the database for the hand-written side")?;
        let name = format!("bench_of_readside_{tag}_floor");
        db.batch_execute(&format!(
            "CREATE TABLE IF NOT EXISTS {name}_counter (i text COLLATE \"C\" PRIMARY KEY, head bigint NOT NULL);
             CREATE TABLE IF NOT EXISTS {name}_events (i text COLLATE \"C\" NOT NULL, p bigint NOT NULL,
               a text COLLATE \"C\" NOT NULL, v bigint NOT NULL, t text NOT NULL, payload text NOT NULL,
               PRIMARY KEY (i, p), UNIQUE (i, a, v));
             CREATE TABLE IF NOT EXISTS {name}_checkpoint (i text COLLATE \"C\" PRIMARY KEY, p bigint NOT NULL);
             CREATE TABLE IF NOT EXISTS {name}_accounts (i text COLLATE \"C\" NOT NULL, id text COLLATE \"C\" NOT NULL,
               holder text NOT NULL, balance bigint NOT NULL, version bigint NOT NULL, PRIMARY KEY (i, id))"
        ))?;
        match Prepared::new(&mut db, &name) {
            Ok(prepared) => Ok(Self { db, name, prepared }),
            Err(error) => {
                drop_tables(&mut db, &name)?;
                Err(past_pooler(error.into()))
            }
        }
    }

    fn store(&mut self, instance: &str, events: &[Event]) -> anyhow::Result<()> {
        let prepared = &self.prepared;
        let count = i64::try_from(events.len())?;
        let mut tx = self.db.transaction()?;
        let head: i64 = tx.query_one(&prepared.count, &[&instance, &count])?.try_get(0)?;
        let accounts: Vec<&str> = events.iter().map(|event| event.account.as_str()).collect();
        let versions: Vec<i64> = events.iter().map(|event| event.version).collect();
        let kinds: Vec<&str> = events.iter().map(|event| event.kind).collect();
        let payloads: Vec<&str> = events.iter().map(|event| event.payload.as_str()).collect();
        tx.execute(&prepared.insert, &[&instance, &(head - count), &accounts, &versions, &kinds, &payloads])?;
        tx.commit()?;
        Ok(())
    }

    /// Applies one page. False if there was none.
    fn page(&mut self, instance: &str) -> anyhow::Result<bool> {
        let prepared = &self.prepared;
        let mut tx = self.db.transaction()?;
        let at: i64 = tx.query_one(&prepared.at, &[&instance])?.try_get(0)?;
        let rows = tx.query(&prepared.read, &[&instance, &at, &i64::try_from(PAGE)?])?;
        let Some(last) = rows.last() else { return Ok(false) };
        let last: i64 = last.try_get(4)?;
        let event = |row: &postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        let (mut opened, mut paid) = (Columns::default(), Columns::default());
        for (id, Change { holder, sum, version }) in fold(rows.iter().map(event))? {
            let columns = if holder.is_some() { &mut opened } else { &mut paid };
            columns.ids.push(id);
            columns.holders.extend(holder);
            columns.sums.push(sum);
            columns.versions.push(version);
        }
        let Columns { ids, holders, sums, versions } = &opened;
        if !ids.is_empty() {
            tx.execute(&prepared.create, &[&instance, ids, holders, sums, versions])?;
        }
        let Columns { ids, sums, versions, .. } = &paid;
        if !ids.is_empty() {
            tx.execute(&prepared.update, &[&instance, ids, sums, versions])?;
        }
        tx.execute(&prepared.save, &[&instance, &last])?;
        tx.commit()?;
        Ok(true)
    }
}

/// Changed accounts, column by column.
#[derive(Default)]
struct Columns {
    ids: Vec<String>,
    holders: Vec<String>,
    sums: Vec<i64>,
    versions: Vec<i64>,
}

impl Floor for Postgres {
    fn push(&mut self, instance: &str, events: &[Event]) -> anyhow::Result<()> {
        self.store(instance, events).map_err(past_pooler)
    }

    fn catch_up(&mut self, instance: &str) -> anyhow::Result<()> {
        while self.page(instance).map_err(past_pooler)? {}
        Ok(())
    }

    fn accounts(&mut self) -> anyhow::Result<Vec<Account>> {
        let rows =
            self.db.query(&format!("SELECT i, id, holder, balance, version FROM {}_accounts", self.name), &[])?;
        let account = |row: &postgres::Row| {
            Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?))
        };
        rows.iter().map(account).collect()
    }

    fn remove(&mut self) -> anyhow::Result<()> {
        Ok(drop_tables(&mut self.db, &self.name)?)
    }
}

fn drop_tables(db: &mut Client, name: &str) -> Result<(), postgres::Error> {
    let tables = ["counter", "events", "checkpoint", "accounts"];
    db.batch_execute(&tables.map(|table| format!("DROP TABLE IF EXISTS {name}_{table};")).concat())
}

/// Says what to do about a session that has other prepared statements than the ones that were prepared on it.
fn past_pooler(error: anyhow::Error) -> anyhow::Error {
    let code = error.downcast_ref::<postgres::Error>().and_then(postgres::Error::code);
    let is_another =
        |code: &SqlState| [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT].contains(code);
    if !code.is_some_and(is_another) {
        return error;
    }
    error.context(
        "the hand-written side prepares its statements once, and a pooler in transaction mode does not keep them; \
         name the server itself with -d",
    )
}
