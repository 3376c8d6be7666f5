//! Reads page after page of events for some instances. The next pages are made ready while the pass works on the last
//! one.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::engine::config::HandlerConfig;
use crate::engine::pass::Pass;
use crate::engine::pass::read_position::ReadPosition;
use crate::engine::read::fetch::Fetched;
use crate::error::{StoreError, StoreErrorKind};

/// The most events of a page, unless a single instance is allowed more. Larger pages gain nothing.
const MOST_EVENTS: usize = 10_000;

/// The places from which reading goes on.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    places: VecDeque<ReadPosition>,
    /// The most pages for one instance.
    pages: usize,
    /// Places that have had the most pages.
    pub(crate) left: Vec<ReadPosition>,
}

impl ReadAhead {
    pub(crate) fn new(places: Vec<ReadPosition>, pages: usize) -> Self {
        Self { places: places.into(), pages, left: Vec::new() }
    }

    fn add(&mut self, place: ReadPosition) {
        if place.pages < self.pages { self.places.push_back(place) } else { self.left.push(place) }
    }

    /// Places whose events together fit a page.
    fn page(&mut self, config: &HandlerConfig) -> Vec<ReadPosition> {
        let mut page = Vec::new();
        let mut events = 0_usize;
        while let Some(place) = self.places.front() {
            events = events.saturating_add(place.lag.min(config.bulk_limit).max(1));
            if !page.is_empty() && (events > MOST_EVENTS || page.len() >= config.concurrent_instances) {
                break;
            }
            page.extend(self.places.pop_front());
        }
        page
    }
}

/// Pages that are made ready at the same time ahead of the work.
const AHEAD: usize = 2;

/// Makes what was read ready for the work on it, as far as it can.
type Prepare<'p> = &'p (dyn Fn(&mut Fetched) + Sync);

/// Stack of a thread on which reducers run, like that of most main threads.
const STACK: usize = 8 << 20;

/// Makes pages ready on its own threads, which begin with the first pages that are read ahead. What was asked for
/// first comes first.
struct PageLoader<'s, 'e> {
    scope: &'s thread::Scope<'s, 'e>,
    inner: &'s Pass,
    prepare: Prepare<'s>,
    idle: Vec<Ahead<'s>>,
    asked: VecDeque<Ahead<'s>>,
    /// The last work, to be freed while the next work runs.
    spent: Option<Fetched>,
}

struct Ahead<'s> {
    asked: Sender<(Vec<ReadPosition>, Option<Fetched>)>,
    read: Receiver<Result<Fetched, StoreError>>,
    thread: thread::ScopedJoinHandle<'s, ()>,
    /// Instances that have stopped since.
    stopped: Vec<Arc<str>>,
}

impl<'s> PageLoader<'s, '_> {
    fn ask(&mut self, page: Vec<ReadPosition>) -> Result<(), StoreError> {
        let ahead = match self.idle.pop() {
            Some(ahead) => ahead,
            None => self.start()?,
        };
        // Whether the thread has ended shows when its answer is waited for.
        let _ = ahead.asked.send((page, self.spent.take()));
        self.asked.push_back(ahead);
        Ok(())
    }

    fn start(&self) -> Result<Ahead<'s>, StoreError> {
        let (asked, pages) = bounded::<(Vec<ReadPosition>, Option<Fetched>)>(1);
        let (send, read) = bounded(1);
        let (inner, prepare) = (self.inner, self.prepare);
        let run = move || {
            for (page, spent) in pages {
                drop(spent);
                if send.send(inner.ready(&page, prepare)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("readside-reader".to_owned()).stack_size(STACK);
        let thread = thread.spawn_scoped(self.scope, run);
        let failed = |error| StoreError::new("starting a thread that reads ahead", StoreErrorKind::Other, error);
        Ok(Ahead { asked, read, thread: thread.map_err(failed)?, stopped: Vec::new() })
    }

    /// Waits for the page that was asked for first. `None` when none was. A panic of the reading thread goes on here.
    fn wait(&mut self) -> Option<Result<Fetched, StoreError>> {
        let mut ahead = self.asked.pop_front()?;
        let Ok(mut read) = ahead.read.recv() else {
            return match ahead.thread.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => None,
            };
        };
        let stopped = std::mem::take(&mut ahead.stopped);
        if let Ok(fetched) = &mut read {
            fetched.forget(&stopped);
        }
        self.idle.push(ahead);
        Some(read)
    }

    /// Drops what was read ahead of these.
    fn forget(&mut self, stopped: &[Arc<str>]) {
        for ahead in &mut self.asked {
            ahead.stopped.extend_from_slice(stopped);
        }
    }
}

impl Pass {
    /// Hands page after page to `prepare`, on any thread, and then to `work`, which returns the instances that stopped: what
    /// was read ahead of those is dropped.
    ///
    /// # Errors
    /// When reading fails, after retries where that may help.
    pub(crate) fn feed(
        &self,
        feed: &mut ReadAhead,
        prepare: Prepare<'_>,
        mut work: impl FnMut(&mut Fetched) -> Vec<Arc<str>>,
    ) -> Result<(), StoreError> {
        let first = feed.page(&self.config);
        if first.is_empty() {
            return Ok(());
        }
        thread::scope(|scope| {
            let mut reader =
                PageLoader { scope, inner: self, prepare, idle: Vec::new(), asked: VecDeque::new(), spent: None };
            self.ask(feed, &mut reader, AHEAD - 1)?;
            let mut next = Some(self.ready(&first, prepare));
            while let Some(read) = next {
                let mut fetched = read?;
                for place in std::mem::take(&mut fetched.next) {
                    feed.add(place);
                }
                self.ask(feed, &mut reader, AHEAD)?;
                // No thread took it, so it is freed here.
                reader.spent = None;
                let stopped = work(&mut fetched);
                reader.spent = Some(fetched);
                feed.places.retain(|place| !stopped.contains(&place.instance));
                reader.forget(&stopped);
                next = reader.wait();
            }
            Ok(())
        })
    }

    fn ready(&self, page: &[ReadPosition], prepare: Prepare<'_>) -> Result<Fetched, StoreError> {
        let began = Instant::now();
        let mut fetched = self.read(page)?;
        self.meter.read(began.elapsed());
        let began = Instant::now();
        prepare(&mut fetched);
        self.meter.reduced(began.elapsed());
        Ok(fetched)
    }

    /// Asks for pages, until this many are under way.
    fn ask(&self, feed: &mut ReadAhead, reader: &mut PageLoader<'_, '_>, pages: usize) -> Result<(), StoreError> {
        while reader.asked.len() < pages {
            let page = feed.page(&self.config);
            if page.is_empty() {
                break;
            }
            reader.ask(page)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(instance: &str, lag: usize, pages: usize) -> ReadPosition {
        ReadPosition { instance: instance.into(), position: 0, event: None, lag, pages, careful: false }
    }

    fn names(page: &[ReadPosition]) -> Vec<&str> {
        page.iter().map(|place| place.instance.as_ref()).collect()
    }

    fn config(bulk_limit: usize, concurrent_instances: usize) -> HandlerConfig {
        HandlerConfig { bulk_limit, concurrent_instances, ..HandlerConfig::default() }
    }

    // Contract: L9, C3
    #[test]
    fn a_page_has_as_many_instances_as_it_has_room_for() {
        let unknown = usize::MAX;
        let mut feed = ReadAhead::new(vec![place("a", 4, 0), place("b", unknown, 0), place("c", 0, 0)], 9);
        assert_eq!(names(&feed.page(&config(100, 2))), ["a", "b"]);
        assert_eq!(names(&feed.page(&config(100, 2))), ["c"]);
        let full = vec![place("a", MOST_EVENTS, 0), place("b", 1, 0), place("c", MOST_EVENTS - 1, 0), place("d", 1, 0)];
        let mut feed = ReadAhead::new(full, 9);
        for names_of_page in [vec!["a"], vec!["b", "c"], vec!["d"], vec![]] {
            assert_eq!(names(&feed.page(&config(1_000_000, 100))), names_of_page);
        }
    }

    #[test]
    fn an_instance_that_had_its_pages_is_left() {
        let mut feed = ReadAhead::new(Vec::new(), 2);
        feed.add(place("a", 1, 1));
        feed.add(place("b", 1, 2));
        assert_eq!((names(&feed.page(&config(1, 9))), names(&feed.left)), (vec!["a"], vec!["b"]));
    }
}
