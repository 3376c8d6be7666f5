//! What a watcher holds: a bounded queue of changes.

use std::collections::VecDeque;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::sync::{Condvar, Mutex};
use crate::value::Value;

/// The most changes that wait to be taken.
pub(crate) const MOST: usize = 64;

/// The most keys in waiting changes. A single change may have more.
pub(crate) const MOST_KEYS: usize = 1_000;

/// The longest time that one call waits, even if it was asked to wait without end.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// How far a client has watched. [`Engine::watch_from`](crate::Engine::watch_from) goes on from there.
///
/// Clients of `GET /changes` get its text as the id of an event. A mark is valid only in the process that gave it, and
/// only while nothing but events changes the rows. With any other mark a client reads everything again.
///
/// # Examples
/// ```
/// use readside::watch::WatchMark;
/// let mark: WatchMark = "12-3-a4f0".parse()?;
/// assert_eq!((mark.position(), mark.to_string().as_str()), (12, "12-3-a4f0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchMark {
    pub(crate) position: i64,
    /// The unbroken sequence of changes that it belongs to.
    pub(crate) era: u64,
    /// The hub that counts the eras.
    pub(crate) hub: u64,
}

impl WatchMark {
    /// A mark that no hub gave.
    #[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "for clients"))]
    pub(crate) const NONE: Self = Self { position: 0, era: 0, hub: 0 };

    /// Every event up to here is in the rows.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }
}

impl fmt::Display for WatchMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:x}", self.position, self.era, self.hub)
    }
}

/// A text that is no [`WatchMark`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a mark of watched changes; use the text of one, or watch from the beginning")]
pub struct MarkError(#[source] Option<ParseIntError>);

impl FromStr for WatchMark {
    type Err = MarkError;

    fn from_str(text: &str) -> Result<Self, MarkError> {
        let number = |error| MarkError(Some(error));
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(MarkError(None));
        Ok(Self {
            position: part()?.parse().map_err(number)?,
            era: part()?.parse().map_err(number)?,
            hub: u64::from_str_radix(part()?, 16).map_err(number)?,
        })
    }
}

/// What changed, as of a commit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LiveChange {
    /// Every event up to here is in the rows that a client reads from now on.
    pub position: i64,
    /// Which rows changed since the change before.
    pub rows: Rows,
    /// The mark to go on from.
    pub mark: WatchMark,
}

/// Which rows changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Rows {
    /// Rows of these tables, and no others. The list is empty when the events changed no rows.
    Known(Arc<[ChangedRows]>),
    /// Any rows: another process did the work, more happened than the hub remembers, or the read model was exchanged.
    /// Read again everything that you show.
    Anew,
}

/// The rows of a table that changed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ChangedRows {
    /// Its plain name.
    pub table: String,
    /// The columns of its primary key, without the instance.
    pub columns: Vec<String>,
    /// The keys of rows that were added, changed or removed, each in the order of these columns: at most 256. `None`
    /// when any row may have changed, for example after conditions that name no keys. A named row may be unchanged.
    pub keys: Option<Vec<Vec<Value>>>,
}

impl ChangedRows {
    /// The keys as JSON objects, by column. It is null when any row may have changed.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// # use std::time::Duration;
    /// # use readside::prelude::*;
    /// # use readside::{Engine, NewEvent, SqliteStore};
    /// # use readside::watch::Rows;
    /// # let users = Projection::new("users", 1)
    /// #     .table(Table::new("users").column(text("id")).primary_key(["id"]))
    /// #     .on_raw("user", "user.added", |e| create([set("id", e.aggregate_id())]));
    /// # let engine = Engine::builder(SqliteStore::in_memory()?).projection(users).start()?;
    /// let changes = engine.watch("users", "acme")?;
    /// engine.push(&[NewEvent::raw("acme", "user", "u1", "user.added")])?;
    /// let change = changes.recv_timeout(Duration::from_secs(60)).expect("a change");
    /// let Rows::Known(tables) = &change.rows else { panic!("this process did it") };
    /// assert_eq!(tables[0].keys_json(), serde_json::json!([{ "id": "u1" }]));
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    #[must_use]
    pub fn keys_json(&self) -> serde_json::Value {
        let object = |key: &Vec<Value>| {
            let pairs = self.columns.iter().zip(key).map(|(column, value)| (column.clone(), value.to_json()));
            serde_json::Value::Object(pairs.collect())
        };
        self.keys.as_ref().map_or(serde_json::Value::Null, |keys| keys.iter().map(object).collect())
    }
}

impl LiveChange {
    /// How many keys the change holds. They are the part of it that may be large.
    pub(crate) fn keys(&self) -> usize {
        let of = |rows: &ChangedRows| rows.keys.as_ref().map_or(0, Vec::len);
        match &self.rows {
            Rows::Known(tables) => tables.iter().map(of).sum(),
            Rows::Anew => 0,
        }
    }
}

/// The number of keys in all of these changes.
pub(crate) fn keys_of<'c>(changes: impl IntoIterator<Item = &'c LiveChange>) -> usize {
    changes.into_iter().map(LiveChange::keys).sum()
}

/// Why a watch ended.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use std::time::Duration;
/// # use readside::prelude::*;
/// # use readside::{Engine, SqliteStore};
/// # let users = Projection::new("users", 1)
/// #     .table(Table::new("users").column(text("id")).primary_key(["id"]))
/// #     .on_raw("user", "user.added", |e| create([set("id", e.aggregate_id())]));
/// # let engine = Engine::builder(SqliteStore::in_memory()?).projection(users).start()?;
/// use readside::watch::WatchEnd;
/// let changes = engine.watch("users", "acme")?;
/// assert_eq!(changes.ended(), None);
/// engine.shutdown(Duration::from_secs(60))?;
/// assert_eq!(changes.ended(), Some(WatchEnd::ShutDown));
/// # }
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEnd {
    /// The engine was shut down. Another one goes on.
    ShutDown,
    /// The projection was removed, and its tables with it.
    Removed,
}

#[derive(Debug, Default)]
struct Queued {
    changes: VecDeque<LiveChange>,
    /// Nothing comes any more; without a reason because the one who watched has gone.
    closed: bool,
    ended: Option<WatchEnd>,
}

/// The queue between the hub and one watcher.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    queued: Mutex<Queued>,
    news: Condvar,
}

impl Queue {
    /// Adds a change; it never waits. If the queue is full, one notice replaces all that it holds: read everything
    /// again.
    pub(crate) fn put(&self, change: &LiveChange) {
        let mut queued = self.queued.lock();
        let has_room = queued.changes.len() < MOST && keys_of(&queued.changes) + change.keys() <= MOST_KEYS;
        if has_room || queued.changes.is_empty() {
            queued.changes.push_back(change.clone());
        } else {
            queued.changes.clear();
            queued.changes.push_back(LiveChange { rows: Rows::Anew, ..change.clone() });
        }
        drop(queued);
        self.news.notify_all();
    }

    pub(crate) fn clear(&self) {
        self.queued.lock().changes.clear();
    }

    pub(crate) fn close(&self) {
        self.queued.lock().closed = true;
        self.news.notify_all();
    }

    /// Nothing comes any more, for this reason.
    pub(crate) fn end(&self, why: WatchEnd) {
        let mut queued = self.queued.lock();
        (queued.closed, queued.ended) = (true, Some(why));
        drop(queued);
        self.news.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queued.lock().closed
    }
}

/// The changes of a read model in one instance, see [`Engine::watch`](crate::Engine::watch). Dropping it ends the
/// watch.
///
/// It holds up to 64 changes with 1,000 keys. If a client takes them too slowly, one [`Rows::Anew`] replaces them. The
/// engine never waits.
#[must_use = "dropping it ends the watch"]
pub struct Changes {
    pub(crate) queue: Arc<Queue>,
    pub(crate) mark: WatchMark,
}

impl Changes {
    /// Where the watch began: a read from now on has every event up to there, and the watch tells all later changes.
    #[must_use]
    pub fn mark(&self) -> WatchMark {
        self.mark
    }

    /// Waits at most this long for the next change. `None` when none came, or when the watch [is over](Self::is_over).
    #[must_use = "what was taken is not told again"]
    pub fn recv_timeout(&self, timeout: Duration) -> Option<LiveChange> {
        self.take(clock::deadline(timeout.min(LONGEST_WAIT)))
    }

    /// The next change, if there is one.
    #[must_use = "what was taken is not told again"]
    pub fn try_recv(&self) -> Option<LiveChange> {
        self.queue.queued.lock().changes.pop_front()
    }

    fn take(&self, deadline: Instant) -> Option<LiveChange> {
        let mut queued = self.queue.queued.lock();
        loop {
            if let Some(change) = queued.changes.pop_front() {
                return Some(change);
            }
            if queued.closed || self.queue.news.wait_until(&mut queued, deadline).timed_out() {
                return queued.changes.pop_front();
            }
        }
    }

    /// True once it has [ended](Self::ended) and all was taken.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let queued = self.queue.queued.lock();
        queued.closed && queued.changes.is_empty()
    }

    /// Why nothing comes any more behind what can still be taken; none while it goes on.
    #[must_use]
    pub fn ended(&self) -> Option<WatchEnd> {
        self.queue.queued.lock().ended
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued = self.queue.queued.lock();
        f.debug_struct("Changes")
            .field("mark", &self.mark)
            .field("queued", &queued.changes.len())
            .field("closed", &queued.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(position: i64) -> LiveChange {
        LiveChange { position, rows: Rows::Known(Arc::new([])), mark: WatchMark { position, era: 1, hub: 2 } }
    }

    // Contract: S6: a slow client gets a single notice, which says up to where it has to read.
    #[test]
    fn a_full_queue_becomes_one_word() {
        let queue = Arc::new(Queue::default());
        let changes = Changes { queue: Arc::clone(&queue), mark: change(0).mark };
        let most = i64::try_from(MOST).unwrap();
        for position in 1..=most {
            queue.put(&change(position));
        }
        assert_eq!(changes.try_recv(), Some(change(1)));
        queue.put(&change(most + 1));
        queue.put(&change(most + 2));
        assert_eq!(changes.try_recv(), Some(LiveChange { rows: Rows::Anew, ..change(most + 2) }));
        queue.put(&change(most + 3));
        queue.close();
        assert!(!changes.is_over());
        assert_eq!(changes.recv_timeout(Duration::ZERO), Some(change(most + 3)));
        assert!(changes.recv_timeout(LONGEST_WAIT).is_none() && changes.is_over());
    }

    // Contract: S6, L9: a few changes with many keys count as much as many changes with few keys.
    #[test]
    fn a_queue_holds_so_many_keys() {
        let queue = Arc::new(Queue::default());
        let changes = Changes { queue: Arc::clone(&queue), mark: change(0).mark };
        let large = |position| {
            let keys = Some(vec![vec![Value::from("key")]; MOST_KEYS / 2]);
            let rows = ChangedRows { table: "t".into(), columns: vec!["id".into()], keys };
            LiveChange { rows: Rows::Known(Arc::new([rows])), ..change(position) }
        };
        (1..=2).for_each(|position| queue.put(&large(position)));
        assert_eq!(keys_of(&queue.queued.lock().changes), MOST_KEYS);
        queue.put(&large(3));
        assert_eq!(changes.try_recv(), Some(LiveChange { rows: Rows::Anew, ..change(3) }));
        assert_eq!(changes.try_recv(), None);
    }

    // Contract: S6
    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = WatchMark { position: i64::MAX, era: u64::MAX, hub: u64::MAX };
        assert_eq!(mark.to_string().parse(), Ok(mark));
        for text in ["", "1", "1-2", "1-2-", "1-2-x", "x-2-3", "1-2-3-4", "1--2-3"] {
            assert!(text.parse::<WatchMark>().is_err(), "{text:?}");
        }
    }
}
