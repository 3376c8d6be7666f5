//! A proxy between a client and a server that does what networks do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

/// What happens to a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// The connection is cut before the server sees the COMMIT.
    Lost,
    /// The server commits, and the connection is cut before the client gets the answer.
    Unanswered,
}

/// A text, and a function. If a transaction contains the text, the function decides about its COMMIT.
type Decide = (&'static str, Box<dyn FnMut() -> Fate + Send>);

#[derive(Default)]
struct Shared {
    links: Mutex<Vec<Weak<Link>>>,
    refuses: AtomicBool,
    frozen: AtomicBool,
    resets: AtomicBool,
    /// New connections wait until this is false.
    holds: AtomicBool,
    /// The address of the server for new connections.
    server: Mutex<String>,
    mute: AtomicBool,
    /// The delay of each chunk, in microseconds.
    delay: AtomicU64,
    /// How many bytes may still pass before a connection is cut. Negative if none is to be cut.
    left: AtomicI64,
    decide: Mutex<Option<Decide>>,
    lost: AtomicUsize,
    unanswered: AtomicUsize,
    cut: AtomicUsize,
}

/// Both ends of a connection. The sockets are closed when the last thread that shares it ends. So a socket with
/// unread bytes is reset.
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// True if, since the last COMMIT, the client said the text that makes the next one matter.
    marked: AtomicBool,
    /// True if the server's next message is not passed on.
    swallows: AtomicBool,
}

impl Link {
    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy in front of the server that a URL names.
    pub(crate) fn before(url: &str) -> Self {
        let server = Mutex::new(address(url));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { server, left: AtomicI64::new(-1), ..Shared::default() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                while accepting.holds.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let server = accepting.server.lock().clone();
                if !accepting.refuses.load(Ordering::SeqCst)
                    && let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server))
                {
                    accepting.link(client, server);
                }
            }
        });
        Self { port, shared }
    }

    /// The URL through this proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let (before, after) = url.split_once('@').unwrap();
        format!("{before}@127.0.0.1:{}/{}", self.port, after.split_once('/').unwrap().1)
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        for link in self.shared.links.lock().drain(..) {
            link.upgrade().inspect(|link| link.cut());
        }
    }

    /// Keeps connections open but passes nothing on, until it is called with false.
    pub(crate) fn freeze(&self, on: bool) {
        self.shared.frozen.store(on, Ordering::SeqCst);
    }

    /// Makes new connections wait, as a forwarder does while it looks for the new primary.
    pub(crate) fn hold(&self, on: bool) {
        self.shared.holds.store(on, Ordering::SeqCst);
    }

    /// Sends new connections to the server that this URL names.
    pub(crate) fn point_to(&self, url: &str) {
        *self.shared.server.lock() = address(url);
    }

    /// Drops notifications, as if a pooler had given them to another client.
    pub(crate) fn mute(&self, on: bool) {
        self.shared.mute.store(on, Ordering::SeqCst);
    }

    pub(crate) fn vanish(&self, gone: bool) {
        self.shared.refuses.store(gone, Ordering::SeqCst);
        self.cut();
    }

    pub(crate) fn delay(&self, by: Duration) {
        self.shared.delay.store(u64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// Resets the next connection on which the client sends something.
    pub(crate) fn reset_one(&self) {
        self.shared.resets.store(true, Ordering::SeqCst);
    }

    /// Lets this many bytes pass, in both directions together, and cuts the connection of the next byte.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.shared.left.store(i64::try_from(bytes).unwrap(), Ordering::SeqCst);
    }

    /// True until the requested cut is done.
    pub(crate) fn is_armed(&self) -> bool {
        self.shared.left.load(Ordering::SeqCst) >= 0 || self.shared.resets.load(Ordering::SeqCst)
    }

    /// From now on, lets this function decide about the COMMIT of each transaction that contains `name`.
    pub(crate) fn commits_of(&self, name: &'static str, decide: impl FnMut() -> Fate + Send + 'static) {
        *self.shared.decide.lock() = Some((name, Box::new(decide)));
    }

    pub(crate) fn pass_commits(&self) {
        *self.shared.decide.lock() = None;
    }

    /// How many connections were cut or reset, how many commits were lost, and how many were unanswered.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let shared = &self.shared;
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (read(&shared.cut), read(&shared.lost), read(&shared.unanswered))
    }
}

impl Shared {
    fn link(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let link = Arc::new(Link { client, server, marked: AtomicBool::new(false), swallows: AtomicBool::new(false) });
        self.links.lock().push(Arc::downgrade(&link));
        for from_client in [true, false] {
            let (shared, link) = (Arc::clone(self), Arc::clone(&link));
            std::thread::spawn(move || shared.pump(&link, from_client));
        }
    }

    fn pump(&self, link: &Link, from_client: bool) {
        let (mut from, mut to) = if from_client { (&link.client, &link.server) } else { (&link.server, &link.client) };
        let mut buffer = [0; 16 * 1024];
        while from.peek(&mut buffer[..1]).is_ok_and(|seen| seen > 0) {
            if from_client && self.resets.swap(false, Ordering::SeqCst) {
                // The client's bytes stay unread, so closing resets the connection.
                self.cut.fetch_add(1, Ordering::SeqCst);
                let _ = link.server.shutdown(Shutdown::Both);
                return;
            }
            let Ok(read) = from.read(&mut buffer) else { break };
            self.hold_up();
            // The server sends notifications when it has nothing else to send, so they begin a chunk.
            if !from_client && buffer[0] == b'A' && self.mute.load(Ordering::SeqCst) {
                continue;
            }
            let passes = self.passes(link, from_client, &buffer[..read]);
            if to.write_all(&buffer[..passes]).is_err() || passes < read {
                break;
            }
        }
        link.cut();
    }

    fn hold_up(&self) {
        std::thread::sleep(Duration::from_micros(self.delay.load(Ordering::SeqCst)));
        while self.frozen.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How many of these bytes pass before the connection is cut.
    fn passes(&self, link: &Link, from_client: bool, bytes: &[u8]) -> usize {
        if !from_client && link.swallows.load(Ordering::SeqCst) {
            self.unanswered.fetch_add(1, Ordering::SeqCst);
            return 0;
        }
        match if from_client { self.fate(link, bytes) } else { Fate::Pass } {
            Fate::Pass => self.allowed(bytes.len()),
            Fate::Lost => {
                self.lost.fetch_add(1, Ordering::SeqCst);
                0
            }
            Fate::Unanswered => {
                link.swallows.store(true, Ordering::SeqCst);
                bytes.len()
            }
        }
    }

    fn fate(&self, link: &Link, bytes: &[u8]) -> Fate {
        let mut decide = self.decide.lock();
        let Some((name, decide)) = &mut *decide else { return Fate::Pass };
        if contains(bytes, name.as_bytes()) {
            link.marked.store(true, Ordering::SeqCst);
        }
        let decides = contains(bytes, b"COMMIT\0") && link.marked.swap(false, Ordering::SeqCst);
        if decides { decide() } else { Fate::Pass }
    }

    fn allowed(&self, bytes: usize) -> usize {
        let wanted = i64::try_from(bytes).unwrap();
        let spend = |left: i64| (left >= 0).then_some(if left < wanted { -1 } else { left - wanted });
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) {
            Ok(left) if left < wanted => {
                self.cut.fetch_add(1, Ordering::SeqCst);
                usize::try_from(left).unwrap()
            }
            _ => bytes,
        }
    }
}

/// Host and port of a URL.
fn address(url: &str) -> String {
    url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned()
}

fn contains(bytes: &[u8], name: &[u8]) -> bool {
    bytes.windows(name.len()).any(|word| word == name)
}
