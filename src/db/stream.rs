//! Long reads of events, page by page.

use super::Backend;
use super::store::DbStore;
use crate::error::StoreError;
use crate::event::Event;
use crate::query::Query;
use crate::store::EventStore;

/// How many bytes one page of a long read holds.
const PAGE_BYTES: usize = 16 << 20;

impl<B: Backend> DbStore<B> {
    /// All events that a query finds. Reads pages of at most `page` events and at most 16 MiB, but of at least one
    /// event, so memory stays bounded.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::SqliteStore;
    /// use readside::query::Query;
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// for event in store.stream(Query::new(), 1000) {
    ///     println!("{}", event?.event_type());
    /// }
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn stream(&self, query: Query, page: usize) -> EventStream<B> {
        let left = if query.limit == 0 { usize::MAX } else { query.limit };
        EventStream { store: self.clone(), query, page: page.max(1), left, events: Vec::new().into_iter(), done: false }
    }
}

/// Events of a long read, page by page; see [`DbStore::stream`]. Ends after an error.
#[derive(Debug)]
#[must_use = "it reads nothing until it is iterated"]
pub struct EventStream<B: Backend> {
    store: DbStore<B>,
    query: Query,
    page: usize,
    left: usize,
    events: std::vec::IntoIter<Event>,
    done: bool,
}

impl<B: Backend> EventStream<B> {
    fn fetch(&mut self) -> Result<(), StoreError> {
        let size = self.page.min(self.left);
        let bytes = if self.query.max_bytes == 0 { PAGE_BYTES } else { self.query.max_bytes.min(PAGE_BYTES) };
        let events = self.store.filter(&self.query.clone().limit(size).max_bytes(bytes))?;
        self.left -= events.len();
        self.done = events.is_empty() || self.left == 0;
        if let Some(last) = events.last() {
            self.query = self.query.clone().resume(last.instance(), last.position());
        }
        self.events = events.into_iter();
        Ok(())
    }
}

impl<B: Backend> Iterator for EventStream<B> {
    type Item = Result<Event, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.events.as_slice().is_empty()
            && !self.done
            && let Err(error) = self.fetch()
        {
            self.done = true;
            return Some(Err(error));
        }
        self.events.next().map(Ok)
    }
}
