//! The floor on SQLite: it writes row by row with prepared statements, and is as durable as the store.

use anyhow::Context;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::work::{Account, Change, Event, fold};
use super::{Floor, PAGE};

pub(super) struct Sqlite {
    db: Connection,
    /// The prefix of its table names.
    name: String,
}

impl Sqlite {
    pub(super) fn open(path: &str, tag: &str) -> anyhow::Result<Self> {
        let db = Connection::open(path).context("opening the database for the hand-written side")?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        let name = format!("bench_of_readside_{tag}_floor");
        db.execute_batch(&format!(
            "PRAGMA synchronous = FULL;
             CREATE TABLE IF NOT EXISTS {name}_counter (i TEXT PRIMARY KEY, head INTEGER NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS {name}_events (i TEXT NOT NULL, p INTEGER NOT NULL, a TEXT NOT NULL,
               v INTEGER NOT NULL, t TEXT NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (i, p), UNIQUE (i, a, v)) STRICT;
             CREATE TABLE IF NOT EXISTS {name}_checkpoint (i TEXT PRIMARY KEY, p INTEGER NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS {name}_accounts (i TEXT NOT NULL, id TEXT NOT NULL, holder TEXT NOT NULL,
               balance INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (i, id)) STRICT"
        ))?;
        Ok(Self { db, name })
    }
}

/// Applies one page. False if there was none.
fn page(tx: &Transaction<'_>, name: &str, instance: &str) -> anyhow::Result<bool> {
    let mut checkpoint =
        tx.prepare_cached(&format!("SELECT coalesce(max(p), 0) FROM {name}_checkpoint WHERE i = ?1"))?;
    let at: i64 = checkpoint.query_row([instance], |row| row.get(0))?;
    let mut read = tx.prepare_cached(&format!(
        "SELECT a, t, v, payload, p FROM {name}_events WHERE i = ?1 AND p > ?2 ORDER BY p LIMIT ?3"
    ))?;
    let mut last = at;
    let rows = read.query_map(params![instance, at, i64::try_from(PAGE)?], |row| {
        last = row.get(4)?;
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let changes = fold(rows.map(|row| row.map_err(Into::into)))?;
    if changes.is_empty() {
        return Ok(false);
    }
    let mut create = tx.prepare_cached(&format!("INSERT INTO {name}_accounts VALUES (?1, ?2, ?3, ?4, ?5)"))?;
    let mut update = tx.prepare_cached(&format!(
        "UPDATE {name}_accounts SET balance = balance + ?3, version = ?4 WHERE i = ?1 AND id = ?2"
    ))?;
    for (id, Change { holder, sum, version }) in changes {
        match holder {
            Some(holder) => create.execute(params![instance, id, holder, sum, version])?,
            None => update.execute(params![instance, id, sum, version])?,
        };
    }
    let sql = format!("INSERT INTO {name}_checkpoint VALUES (?1, ?2) ON CONFLICT (i) DO UPDATE SET p = excluded.p");
    tx.prepare_cached(&sql)?.execute(params![instance, last])?;
    Ok(true)
}

impl Floor for Sqlite {
    fn push(&mut self, instance: &str, events: &[Event]) -> anyhow::Result<()> {
        let name = &self.name;
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let sql = format!(
                "INSERT INTO {name}_counter VALUES (?1, ?2) ON CONFLICT (i) DO UPDATE SET head = head + ?2 RETURNING head"
            );
            let count = i64::try_from(events.len())?;
            let head: i64 = tx.prepare_cached(&sql)?.query_row(params![instance, count], |row| row.get(0))?;
            let mut insert =
                tx.prepare_cached(&format!("INSERT INTO {name}_events VALUES (?1, ?2, ?3, ?4, ?5, ?6)"))?;
            for (event, position) in events.iter().zip(head - count + 1..) {
                insert.execute(params![instance, position, event.account, event.version, event.kind, event.payload])?;
            }
        }
        tx.commit()?;
        Ok(())
    }

    fn catch_up(&mut self, instance: &str) -> anyhow::Result<()> {
        loop {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let more = page(&tx, &self.name, instance)?;
            tx.commit()?;
            if !more {
                return Ok(());
            }
        }
    }

    fn accounts(&mut self) -> anyhow::Result<Vec<Account>> {
        let mut select =
            self.db.prepare(&format!("SELECT i, id, holder, balance, version FROM {}_accounts", self.name))?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn remove(&mut self) -> anyhow::Result<()> {
        let tables = ["counter", "events", "checkpoint", "accounts"];
        let drops: Vec<String> =
            tables.iter().map(|table| format!("DROP TABLE IF EXISTS {}_{table};", self.name)).collect();
        Ok(self.db.execute_batch(&drops.concat())?)
    }
}
