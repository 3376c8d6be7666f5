//! Live changes as server-sent events: `/changes?projection=…&instance=…`.
//!
//! One thread serves all streams and waits for none of them. In a service, the engine tells which rows changed. On the
//! command line, a thread reads the checkpoints, so a stream tells only the position.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::error::ServeError;
use super::http::head::Request;
use super::http::reply::{Kind, Reply};
use super::http::socket::Link;
use super::place::Place;
use super::thread::{Stop, Thread, spawn};
use crate::engine::{Changes, Hub, LiveChange, Rows, WatchEnd, WatchMark};
use crate::error::{WatchError, chain};
use crate::sync::Mutex;

/// The most streams at once.
const MOST: usize = 64;

/// After this long without a change the stream sends a comment, so that each end knows that the other one is there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A client that reads nothing for this long is disconnected.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that wait for one client before its changes are left in their queue.
const WAITING: usize = 64 * 1024;

/// The time between two looks: while there are streams, and otherwise.
const LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));

/// The largest share of the time that looks at the database may take.
const SHARE: u32 = 5;

/// When a browser reconnects, in milliseconds.
const RETRY: u32 = 2000;

/// All streams.
pub(crate) struct Streams {
    place: Arc<Place>,
    /// Used if this process has no engine.
    hub: Option<Arc<Hub>>,
    open: Mutex<Vec<Stream>>,
    /// Places that are taken, also by those who were let in and have no stream yet.
    taken: Arc<AtomicUsize>,
}

/// One of the [`MOST`] places. It is free again when this is dropped.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let next = |count: usize| (count < MOST).then_some(count + 1);
        let got = taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        got.is_ok().then(|| Self(Arc::clone(taken)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A watch whose client has a place.
pub(crate) struct Admitted {
    changes: Changes,
    seat: Seat,
}

impl Streams {
    /// Starts its threads and adds them to these.
    pub(crate) fn start(
        place: &Arc<Place>,
        every: Duration,
        stop: &Arc<Stop>,
        threads: &mut Vec<Thread>,
    ) -> Result<Arc<Self>, ServeError> {
        let hub = place.engine.is_none().then(Arc::<Hub>::default);
        let (open, taken) = (Mutex::default(), Arc::default());
        let streams = Arc::new(Self { place: Arc::clone(place), hub: hub.clone(), open, taken });
        let (kept, until) = (Arc::clone(&streams), Arc::clone(stop));
        threads.push(spawn("readside-changes", move || kept.keep(&until))?);
        if let Some(hub) = hub {
            let (place, until) = (Arc::clone(place), Arc::clone(stop));
            threads.push(spawn("readside-watch", move || watch(&hub, &place, every, &until))?);
        }
        Ok(streams)
    }

    /// The watch that is asked for, or why there is none. Whoever gets one has a place, so several at once are no more than may.
    pub(crate) fn open(&self, request: &Request) -> Result<Admitted, Reply> {
        let told = |status, text: &str| Reply::new(status, Kind::Text, format!("{text}\n"));
        let named = |name| request.query.get(name).filter(|value| !value.is_empty());
        let (Some(projection), Some(instance)) = (named("projection"), request.query.get("instance")) else {
            return Err(told(400, "the address has to name both, as /changes?projection=…&instance=…"));
        };
        let Some(seat) = Seat::take(&self.taken) else {
            return Err(told(503, "there are as many watches as the page allows; try again later"));
        };
        // A mark that is not understood is one of before: all is read anew.
        let mark = request.last_event_id.as_deref().map(|text| text.parse().unwrap_or(WatchMark::NONE));
        let watched = match (&self.hub, &self.place.engine) {
            (Some(hub), _) => hub.watch(&*self.place.models, projection, instance, mark.as_ref()),
            (None, Some(engine)) => engine.watch(projection, instance, mark.as_ref()),
            (None, None) => Err(WatchError::ShutDown),
        };
        let changes = watched.map_err(|error| match &error {
            WatchError::UnknownProjection { .. } => told(404, &chain(&error)),
            _ => told(503, &chain(&error)),
        })?;
        Ok(Admitted { changes, seat })
    }

    /// Takes a client over.
    pub(crate) fn add(&self, stream: Box<dyn Link>, admitted: Admitted) -> io::Result<()> {
        let stream = Stream::begin(stream, admitted)?;
        self.open.lock().push(stream);
        Ok(())
    }

    fn keep(&self, stop: &Stop) {
        while !stop.is_set() {
            // No look waits for a client.
            let mut streams = self.open.lock();
            streams.retain_mut(Stream::look);
            let is_empty = streams.is_empty();
            drop(streams);
            stop.wait(if is_empty { LOOKS.1 } else { LOOKS.0 });
        }
        self.open.lock().clear();
        if let Some(hub) = &self.hub {
            hub.close();
        }
    }
}

/// Looks at the checkpoints of what is watched, until stopped.
fn watch(hub: &Hub, place: &Place, every: Duration, stop: &Stop) {
    while !stop.is_set() {
        if !hub.is_watched() {
            continue;
        }
        let began = Instant::now();
        if let Err(error) = hub.look(&*place.models) {
            log::debug!("looking for changes of what clients watch: {}; the next look finds them", chain(&error));
        }
        stop.wait(every.max(began.elapsed() * SHARE));
    }
}

/// One client.
struct Stream {
    client: Box<dyn Link>,
    changes: Changes,
    _seat: Seat,
    has_ended: bool,
    waiting: Vec<u8>,
    /// When it last took something, and was last told something.
    took: Instant,
    told: Instant,
}

impl Stream {
    fn begin(stream: Box<dyn Link>, Admitted { changes, seat }: Admitted) -> io::Result<Self> {
        stream.wait(false)?;
        let mut head = Reply::new(200, Kind::Events, String::new()).stream_head();
        let _ = write!(head, "retry: {RETRY}\n\n");
        let now = Instant::now();
        let mark = changes.mark();
        let (waiting, has_ended) = (head.into_bytes(), false);
        let mut begun = Self { client: stream, changes, _seat: seat, has_ended, waiting, took: now, told: now };
        begun.say("begin", mark, &serde_json::json!({ "position": mark.position() }));
        Ok(begun)
    }

    fn say(&mut self, name: &str, mark: WatchMark, data: &serde_json::Value) {
        // JSON on one line holds no line breaks.
        self.waiting.extend_from_slice(format!("id: {mark}\nevent: {name}\ndata: {data}\n\n").as_bytes());
        self.told = Instant::now();
    }

    fn tell(&mut self, change: &LiveChange) {
        let position = change.position;
        match &change.rows {
            Rows::Known(tables) => {
                let tables: serde_json::Map<_, _> =
                    tables.iter().map(|rows| (rows.table.clone(), rows.keys_json())).collect();
                self.say("change", change.mark, &serde_json::json!({ "position": position, "rows": tables }));
            }
            Rows::Anew => self.say("anew", change.mark, &serde_json::json!({ "position": position })),
        }
    }

    /// Says why it ends, where it goes on nowhere else. A client that comes again is told the same by the answer.
    fn say_end(&mut self) {
        if self.has_ended || !self.changes.is_over() {
            return;
        }
        self.has_ended = true;
        if self.changes.ended() == Some(WatchEnd::Removed) {
            let reason = "the projection was removed; nobody keeps it any more";
            self.say("end", self.changes.mark(), &serde_json::json!({ "reason": reason }));
        }
    }

    /// Says what there is to say, without waiting; false when it is over.
    fn look(&mut self) -> bool {
        while self.waiting.len() < WAITING
            && let Some(change) = self.changes.try_recv()
        {
            self.tell(&change);
        }
        self.say_end();
        if self.told.elapsed() >= HEARTBEAT && self.waiting.is_empty() {
            self.waiting.extend_from_slice(b": here\n\n");
            self.told = Instant::now();
        }
        let is_there = self.write() && self.hear();
        if self.waiting.is_empty() {
            self.took = Instant::now();
        }
        is_there && self.took.elapsed() < PATIENCE && !(self.changes.is_over() && self.waiting.is_empty())
    }

    fn write(&mut self) -> bool {
        while !self.waiting.is_empty() {
            match self.client.write(&self.waiting) {
                Ok(0) => return false,
                Ok(count) => {
                    self.waiting.drain(..count);
                    self.took = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// False when the client is gone. A client sends nothing after its request, so one that does is disconnected, too.
    fn hear(&mut self) -> bool {
        let found = self.client.read(&mut [0; 64]);
        found.is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted))
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::projection::Projection;
    use crate::serve::http::head::{Head, read};
    use crate::sqlite::SqliteStore;

    // Contract: S1, S6: clients that come at the same time get their places one by one. A client without a place gets 503.
    #[test]
    fn no_more_are_let_in_than_there_is_room_for() {
        let projection = Projection::new("p", 1).on_any(|_| crate::statement::noop());
        let engine = crate::Engine::builder(SqliteStore::in_memory().unwrap()).projection(projection).start().unwrap();
        let streams =
            Streams { place: Arc::new(engine.place()), hub: None, open: Mutex::default(), taken: Arc::default() };
        let Head::Whole(request) = read(b"GET /changes?projection=p&instance=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        else {
            panic!("it is a whole head");
        };
        // None of them has a stream yet.
        let mut admitted: Vec<Admitted> = (0..MOST).map(|_| streams.open(&request).ok().unwrap()).collect();
        let refused = streams.open(&request).err().unwrap();
        assert!(refused.stream_head().starts_with("HTTP/1.1 503 "));
        admitted.pop();
        assert!(streams.open(&request).is_ok(), "who goes makes room");
    }
}
