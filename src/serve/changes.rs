//! Live changes as server-sent events: `/changes?projection=…&instance=…`.
//!
//! One thread serves all streams and waits for none of them. In a service, the engine tells which rows changed. On the
//! command line, a thread reads the checkpoints, so a stream tells only the position.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::ServeError;
use super::http::head::Request;
use super::http::reply::{Kind, Reply};
use super::http::socket::Link;
use super::place::Place;
use super::thread::{Stop, Thread, spawn};
use crate::engine::{Changes, Hub, LiveChange, Rows, WatchMark};
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
        let streams = Arc::new(Self { place: Arc::clone(place), hub: hub.clone(), open: Mutex::default() });
        let (kept, until) = (Arc::clone(&streams), Arc::clone(stop));
        threads.push(spawn("readside-changes", move || kept.keep(&until))?);
        if let Some(hub) = hub {
            let (place, until) = (Arc::clone(place), Arc::clone(stop));
            threads.push(spawn("readside-watch", move || watch(&hub, &place, every, &until))?);
        }
        Ok(streams)
    }

    /// The stream that the request asks for, or the reason why there is none.
    pub(crate) fn open(&self, request: &Request) -> Result<Changes, Reply> {
        let told = |status, text: &str| Reply::new(status, Kind::Text, format!("{text}\n"));
        let named = |name| request.query.get(name).filter(|value| !value.is_empty());
        let (Some(projection), Some(instance)) = (named("projection"), request.query.get("instance")) else {
            return Err(told(400, "the address has to name both, as /changes?projection=…&instance=…"));
        };
        if self.open.lock().len() >= MOST {
            return Err(told(503, "as many watch already as may; try again later"));
        }
        // A mark that cannot be read comes from an earlier version: the client has to read everything again.
        let mark = request.last_event_id.as_deref().map(|text| text.parse().unwrap_or(WatchMark::NONE));
        let watched = match (&self.hub, &self.place.engine) {
            (Some(hub), _) => hub.watch(&*self.place.models, projection, instance, mark.as_ref()),
            (None, Some(engine)) => engine.watch(projection, instance, mark.as_ref()),
            (None, None) => Err(WatchError::ShutDown),
        };
        watched.map_err(|error| match &error {
            WatchError::UnknownProjection { .. } => told(404, &chain(&error)),
            _ => told(503, &chain(&error)),
        })
    }

    /// Takes a client over.
    pub(crate) fn add(&self, stream: Box<dyn Link>, changes: Changes) -> io::Result<()> {
        let stream = Stream::begin(stream, changes)?;
        let mut streams = self.open.lock();
        // Several requests may have been accepted at the same time.
        if streams.len() < MOST {
            streams.push(stream);
        }
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
            log::debug!("looking at what is watched: {}; the next look sees it", chain(&error));
        }
        stop.wait(every.max(began.elapsed() * SHARE));
    }
}

/// One client.
struct Stream {
    client: Box<dyn Link>,
    changes: Changes,
    waiting: Vec<u8>,
    /// When it last took something, and was last told something.
    took: Instant,
    told: Instant,
}

impl Stream {
    fn begin(stream: Box<dyn Link>, changes: Changes) -> io::Result<Self> {
        stream.wait(false)?;
        let mut head = Reply::new(200, Kind::Events, String::new()).stream_head();
        let _ = write!(head, "retry: {RETRY}\n\n");
        let now = Instant::now();
        let mark = changes.mark();
        let mut begun = Self { client: stream, changes, waiting: head.into_bytes(), took: now, told: now };
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

    /// Sends what is due, without waiting. False when the stream is over.
    fn look(&mut self) -> bool {
        while self.waiting.len() < WAITING
            && let Some(change) = self.changes.try_recv()
        {
            self.tell(&change);
        }
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
