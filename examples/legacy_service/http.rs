//! As much HTTP as a small service needs: one request on each connection, answered by a fixed number of threads.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a client may take to send its request, or to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest size of a request, in bytes. No request of this service has a body.
const LONGEST: u64 = 16 * 1024;

/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: Vec<String>,
    query: Vec<(String, String)>,
}

/// A status and a body in JSON.
pub(crate) type Answer = (u16, serde_json::Value);

impl Request {
    /// The value of a query parameter. `None` if it is empty.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(found, value)| found == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// Parses the first line of a request. `None` if it is no request.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.trim_matches('/').split('/').map(decoded).collect::<Option<_>>()?;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let value = |value: &str| decoded(&value.replace('+', " "));
        let query = pairs.map(|(name, of)| Some((value(name)?, value(of)?))).collect::<Option<_>>()?;
        Some(Self { method: method.to_owned(), path, query })
    }
}

/// Threads that answer requests.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens, and answers on this many threads.
    pub(crate) fn start(
        listen: &str,
        threads: usize,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = Arc::new(TcpListener::bind(listen)?);
        let mut server = Self { address: listener.local_addr()?, stop: Arc::default(), threads: Vec::new() };
        let answer = Arc::new(answer);
        for n in 0..threads {
            let (listener, stop, answer) = (Arc::clone(&listener), Arc::clone(&server.stop), Arc::clone(&answer));
            let serve = move || {
                while let Ok((stream, _)) = listener.accept() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    if let Err(error) = exchange(&stream, &*answer) {
                        log::info!("a client went away: {error}");
                    }
                }
            };
            server.threads.push(std::thread::Builder::new().name(format!("request-{n}")).spawn(serve)?);
        }
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets the running requests end, and joins the threads. A connection to ourselves wakes each of them.
    pub(crate) fn stop(self) -> io::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        for _ in &self.threads {
            TcpStream::connect(self.address)?;
        }
        let ended: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        if ended.iter().any(Result::is_err) {
            return Err(io::Error::other("a thread that answers requests panicked"));
        }
        Ok(())
    }
}

fn exchange(mut stream: &TcpStream, answer: &dyn Fn(&Request) -> Answer) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.take(LONGEST)).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    // Reads the head to its end. If the answer came while the client still sends, the client would lose the answer.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let unclear = || (400, serde_json::json!({"error": "this is no request"}));
    let (status, body) = Request::parse(&first).map_or_else(unclear, |request| answer(&request));
    let body = format!("{body}\n");
    let length = body.len();
    let head = format!("HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    write!(stream, "{head}Connection: close\r\n\r\n{body}")?;
    stream.flush()
}

/// Decodes the percent signs in a part of a URL. `None` if they do not stand for text.
fn decoded(part: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), part);
    while let Some((plain, coded)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let digits = coded.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = coded.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}
