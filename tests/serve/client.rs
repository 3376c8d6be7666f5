//! An HTTP client that sends exactly what the test says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::common::LONG;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(SocketAddr);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }

    /// The page's own part of the answer.
    pub(crate) fn page(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()["page"].clone()
    }
}

impl Client {
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self(address)
    }

    pub(crate) fn address(self) -> SocketAddr {
        self.0
    }

    pub(crate) fn connect(self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.0, LONG).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Sends these bytes, and reads until the connection is closed. A server that refuses them may not read all.
    pub(crate) fn say(self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        answer(stream)
    }

    pub(crate) fn get(self, target: &str) -> Answer {
        self.get_with(target, "")
    }

    /// Sends a GET with more header lines.
    pub(crate) fn get_with(self, target: &str, lines: &str) -> Answer {
        self.say(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", self.0).as_bytes())
    }
}

pub(crate) fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// An address with these parameters.
pub(crate) fn address(path: &str, pairs: &[(&str, &str)]) -> String {
    let escaped = |text: &str| {
        let letters = text.bytes().map(|byte| format!("%{byte:02X}"));
        letters.collect::<Vec<_>>().concat()
    };
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    format!("{path}?{}", pairs.join("&"))
}
