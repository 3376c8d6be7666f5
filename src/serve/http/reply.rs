//! Answers.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use super::socket::Link;

/// Why a request does not get what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not HTTP, or is ambiguous.
    Malformed,
    /// It has a body.
    Body,
    /// Its head is too large.
    TooLarge,
    /// Its head did not come in time.
    Late,
    /// It wants to change something.
    Method,
    /// It is meant for another host.
    Host,
    /// It does not bring the password.
    Password,
    /// Too many clients ask at the same time.
    Busy,
}

impl Refusal {
    fn status(self) -> (u16, &'static str) {
        match self {
            Self::Malformed => (400, "the request is not understood"),
            Self::Body => (400, "requests have no body here"),
            Self::TooLarge => (431, "the head of the request is too large: 8 KiB and 64 lines at most"),
            Self::Late => (408, "the request did not come in time"),
            Self::Method => (405, "only GET and HEAD are answered: nothing can be changed here"),
            Self::Host => (421, "the request names another host; name this one with --host if it is right"),
            Self::Password => (401, "name and password are asked for"),
            Self::Busy => (503, "too many ask at once; try again"),
        }
    }

    pub(crate) fn reply(self) -> Reply {
        let (status, words) = self.status();
        let reply = Reply::new(status, Kind::Text, format!("{words}\n"));
        match self {
            Self::Method => reply.with("Allow", "GET, HEAD"),
            Self::Password => reply.with("WWW-Authenticate", "Basic realm=\"readside\", charset=\"UTF-8\""),
            _ => reply,
        }
    }
}

/// The kind of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Html,
    Json,
    /// The text format of Prometheus.
    Metrics,
    /// Server-sent events.
    Events,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) kind: Kind,
    pub(crate) body: String,
    more: Vec<(&'static str, String)>,
}

impl Reply {
    pub(crate) fn new(status: u16, kind: Kind, body: String) -> Self {
        Self { status, kind, body, more: Vec::new() }
    }

    /// The reply with one more line in its head.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.more.push((name, value.into()));
        self
    }

    /// The head of an answer that lasts until the connection is closed.
    pub(crate) fn stream_head(&self) -> String {
        self.lines(None)
    }

    fn head(&self) -> String {
        self.lines(Some(self.body.len()))
    }

    fn lines(&self, length: Option<usize>) -> String {
        let words = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        let kind = match self.kind {
            Kind::Text => "text/plain; charset=utf-8",
            Kind::Html => "text/html; charset=utf-8",
            Kind::Json => "application/json",
            Kind::Events => "text/event-stream; charset=utf-8",
            Kind::Metrics => "text/plain; version=0.0.4; charset=utf-8",
        };
        let mut head = format!(
            "HTTP/1.1 {} {words}\r\nContent-Type: {kind}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             X-Frame-Options: DENY\r\nCross-Origin-Resource-Policy: same-origin\r\n\
             Cross-Origin-Opener-Policy: same-origin\r\n",
            self.status
        );
        if let Some(length) = length {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        if !self.more.iter().any(|(name, _)| *name == POLICY) {
            let _ = write!(head, "{POLICY}: default-src 'none'; frame-ancestors 'none'\r\n");
        }
        for (name, value) in &self.more {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        head
    }

    /// Writes the reply without waiting for the client.
    pub(crate) fn write_at_once(&self, stream: &mut dyn Link) -> io::Result<()> {
        stream.write_all(&[self.head().as_bytes(), self.body.as_bytes()].concat())
    }

    /// Writes the whole reply within this time.
    pub(crate) fn write(&self, stream: &mut dyn Link, only_head: bool, time: Duration) -> io::Result<()> {
        let deadline = Instant::now() + time;
        let mut bytes = self.head().into_bytes();
        if !only_head {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.write_within(left)?;
            match stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        stream.flush()
    }
}

/// What a page may load and run.
pub(crate) const POLICY: &str = "Content-Security-Policy";
