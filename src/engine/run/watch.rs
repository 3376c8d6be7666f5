//! Watching read models: the calls of a service, and the thread that notices changes by other processes.

use std::time::{Duration, Instant};

use crate::engine::run::engine::Engine;
use crate::engine::run::state::Shared;
use crate::engine::watch::changes::{Changes, WatchMark};
use crate::error::{WatchError, chain};

/// The time between two looks while somebody watches.
const EVERY: Duration = Duration::from_millis(100);

/// A look takes at most this share of the time.
const SHARE: u32 = 5;

/// One look, then the wait for the next one.
pub(crate) fn tick(shared: &Shared) {
    if !shared.hub.is_watched() {
        return;
    }
    let began = Instant::now();
    if let Err(error) = shared.hub.look(&*shared.stores.models) {
        log::debug!("looking for changes of what clients watch: {}; the next look finds them", chain(&error));
    }
    shared.stop.wait(EVERY.max(began.elapsed() * SHARE));
}

impl Engine {
    /// Tells which rows of a read model change in an instance, so that a client that shows them can read them again. It
    /// tells of a change after its commit. Changes of this process name keys. Changes of other processes arrive within
    /// about 100 ms and name only the position that they reach ([`Rows::Anew`](crate::watch::Rows::Anew)). A watch does
    /// not cover builds that readers do not see; the switch to one is a single `Anew`.
    ///
    /// A read after this call has every event up to [`Changes::mark`]. At most 10,000 watches exist at once.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use readside::prelude::*;
    /// use readside::watch::Rows;
    /// use readside::{Engine, NewEvent, SqliteStore};
    ///
    /// let users = Projection::new("users", 1)
    ///     .table(Table::new("users").column(text("id")).primary_key(["id"]))
    ///     .on_raw("user", "user.added", |e| create([set("id", e.aggregate_id())]));
    /// let engine = Engine::builder(SqliteStore::in_memory()?).projection(users).start()?;
    ///
    /// let changes = engine.watch("users", "acme")?;
    /// engine.push(&[NewEvent::raw("acme", "user", "u1", "user.added")])?;
    /// let change = changes.recv_timeout(Duration::from_secs(60)).expect("it is there within a moment");
    /// match &change.rows {
    ///     Rows::Known(tables) => println!("read these up to {}: {:?}", change.position, tables[0].keys),
    ///     Rows::Anew => println!("read all anew up to {}", change.position),
    /// }
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn watch(&self, projection: &str, instance: &str) -> Result<Changes, WatchError> {
        self.shared().watch(projection, instance, None)
    }

    /// As [`watch`](Self::watch), but goes on at a mark: the changes since then come first. If they are no longer
    /// known, the first change is [`Rows::Anew`](crate::watch::Rows::Anew). The engine remembers at most 64 changes,
    /// and keeps them for a minute after the last watch of the same read model and instance has ended.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// # use std::time::Duration;
    /// # use readside::prelude::*;
    /// # use readside::{Engine, NewEvent, SqliteStore};
    /// # let users = Projection::new("users", 1)
    /// #     .table(Table::new("users").column(text("id")).primary_key(["id"]))
    /// #     .on_raw("user", "user.added", |e| create([set("id", e.aggregate_id())]));
    /// # let engine = Engine::builder(SqliteStore::in_memory()?).projection(users).start()?;
    /// let mark = engine.watch("users", "acme")?.mark();
    /// let pushed = engine.push(&[NewEvent::raw("acme", "user", "u1", "user.added")])?;
    /// engine.await_pushed("users", &pushed, Duration::from_secs(60))?;
    /// let missed = engine.watch_from("users", "acme", &mark)?.recv_timeout(Duration::from_secs(60));
    /// assert_eq!(missed.map(|change| change.position), Some(1));
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn watch_from(&self, projection: &str, instance: &str, mark: &WatchMark) -> Result<Changes, WatchError> {
        self.shared().watch(projection, instance, Some(mark))
    }
}

impl Shared {
    pub(crate) fn watch(
        &self,
        projection: &str,
        instance: &str,
        mark: Option<&WatchMark>,
    ) -> Result<Changes, WatchError> {
        self.hub.watch(&*self.stores.models, projection, instance, mark)
    }
}
