//! The frame of the floors on PostgreSQL: the hand-written loop around the writes of a bench.
//!
//! One connection with prepared statements goes from instance to instance. It works in batches of 1,000 events, each
//! in one transaction of at most seven round trips: begin, lock and read the checkpoint, read the events, write (one
//! statement or two), move the checkpoint, commit. It has none of the safeguards of [`readside`].

use readside::postgres_driver::{Client, Row, Statement, Transaction};

use super::place::Database;

pub(crate) const BATCH: i64 = 1_000;

/// Sets the checkpoints of a floor to 0 in all instances.
pub(crate) fn forget(client: &mut Client) {
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS floor_at (instance_id text COLLATE \"C\" PRIMARY KEY, position bigint NOT NULL);
             TRUNCATE floor_at; INSERT INTO floor_at SELECT instance_id, 0 FROM readside.instances",
        )
        .unwrap();
}

pub(crate) struct Frame {
    pub(crate) client: Client,
    at: Statement,
    read: Statement,
    save: Statement,
    limit: i64,
}

impl Frame {
    /// A frame that reads the positions and these columns of events.
    pub(crate) fn new(database: &Database, columns: &str, limit: i64) -> Self {
        let mut client = database.client();
        let at = "SELECT c.position, i.head FROM floor_at c JOIN readside.instances i USING (instance_id) \
                  WHERE c.instance_id = $1 FOR UPDATE OF c";
        let read = format!(
            "SELECT position, {columns} FROM readside.events WHERE instance_id = $1 AND position > $2 \
             ORDER BY position LIMIT $3"
        );
        Self {
            at: client.prepare(at).unwrap(),
            read: client.prepare(&read).unwrap(),
            save: client.prepare("UPDATE floor_at SET position = $2 WHERE instance_id = $1").unwrap(),
            client,
            limit,
        }
    }

    /// Catches up with these instances. `write` turns a batch into rows.
    pub(crate) fn catch_up(&mut self, instances: &[String], mut write: impl FnMut(&mut Transaction<'_>, &str, &[Row])) {
        for instance in instances {
            while self.batch(instance, &mut write) {}
        }
    }

    /// Runs one transaction. True if there is more to do.
    fn batch(&mut self, instance: &str, write: &mut impl FnMut(&mut Transaction<'_>, &str, &[Row])) -> bool {
        let mut tx = self.client.transaction().unwrap();
        let found = tx.query_one(&self.at, &[&instance]).unwrap();
        let (at, head): (i64, i64) = (found.get(0), found.get(1));
        let rows = tx.query(&self.read, &[&instance, &at, &self.limit]).unwrap();
        let Some(last) = rows.last() else { return false };
        write(&mut tx, instance, &rows);
        let to: i64 = last.get(0);
        tx.execute(&self.save, &[&instance, &to]).unwrap();
        tx.commit().unwrap();
        to < head
    }
}
