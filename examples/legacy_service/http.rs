//! As much HTTP as a small service needs: a request each connection, on a bounded number of threads.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a client may take to send its request, or to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a request, at most; none of this service's has a body.
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
    /// A parameter of the query; none where it is empty.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(found, value)| found == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// From its first line; none where that is no request.
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

    /// Lets requests under way end, and joins the threads. A connection of our own wakes each of them.
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
    // What a client still sends when it is answered would cost it the answer.
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

/// A part of a URL without its percent signs; none where they stand for no text.
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
