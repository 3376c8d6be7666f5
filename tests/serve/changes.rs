//! Changes as server-sent events, as clients see them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::chrome::Chrome;
use crate::common::{LONG, eventually};
use crate::{Client, Place, count, counts, options, serve, served, start};

const TARGET: &str = "/changes?projection=counts&instance=a";

/// A client of an event stream.
pub(crate) struct Listening(BufReader<TcpStream>);

/// A received event: id, name and data.
type Told = (String, String, Value);

impl Listening {
    /// Asks for changes, with more header lines, and reads the head of the answer.
    pub(crate) fn to(client: Client, target: &str, lines: &str) -> Self {
        let mut stream = client.connect();
        stream
            .write_all(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", client.address()).as_bytes())
            .unwrap();
        let mut listening = Self(BufReader::new(stream));
        let head = listening.block();
        assert_eq!(head[0], "HTTP/1.1 200 OK");
        for line in ["Content-Type: text/event-stream; charset=utf-8", "Cache-Control: no-store"] {
            assert!(head.iter().any(|found| found == line), "{line}: {head:?}");
        }
        assert!(!head.iter().any(|line| line.starts_with("Content-Length")), "{head:?}");
        assert_eq!(listening.block(), ["retry: 2000"]);
        listening
    }

    /// The lines up to the next empty line.
    fn block(&mut self) -> Vec<String> {
        let lines = (&mut self.0).lines().map(Result::unwrap);
        lines.take_while(|line| !line.is_empty()).collect()
    }

    pub(crate) fn next(&mut self) -> Told {
        let block = self.block();
        let part = |name: &str| {
            let found = block.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.unwrap_or_else(|| panic!("{name}: {block:?}")).to_owned()
        };
        (part("id"), part("event"), serde_json::from_str(&part("data")).unwrap())
    }

    /// All that comes until the server ends it.
    #[cfg(feature = "cli")]
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }

    /// What comes, without its id.
    pub(crate) fn told(&mut self) -> (String, Value) {
        let (_, name, data) = self.next();
        (name, data)
    }
}

fn told(name: &str, data: Value) -> (String, Value) {
    (name.to_owned(), data)
}

// Contract: S6
both!(changes_are_sent_as_they_are_committed);
fn changes_are_sent_as_they_are_committed<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    let mut listening = Listening::to(client, TARGET, "");
    assert_eq!(listening.told(), told("begin", json!({ "position": 0 })));
    engine.push(&[count("a", "x"), count("b", "z"), count("a", "\n\ndata: y")]).unwrap();
    let keys = json!([{ "thing": "x" }, { "thing": "\n\ndata: y" }]);
    let (id, name, data) = listening.next();
    assert_eq!((name, data), told("change", json!({ "position": 2, "rows": { "counts": keys } })));
    drop(listening);

    // A client that reconnects gets what it missed. If another process told it before, it has to read everything
    // again.
    let pushed = engine.push(&[count("a", "x")]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let mut again = Listening::to(client, TARGET, &format!("Last-Event-ID: {id}\r\n"));
    assert_eq!(again.told(), told("begin", json!({ "position": 3 })));
    assert_eq!(again.told(), told("change", json!({ "position": 3, "rows": { "counts": [{ "thing": "x" }] } })));
    for mark in ["3-1-77", "3", "%", "<script>"] {
        let mut other = Listening::to(client, TARGET, &format!("Last-Event-ID: {mark}\r\n"));
        assert_eq!(other.told(), told("begin", json!({ "position": 3 })));
        assert_eq!(other.told(), told("anew", json!({ "position": 3 })), "{mark}");
    }
    // The stream ends with the engine.
    engine.shutdown(LONG).unwrap();
    let mut rest = String::new();
    again.0.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(client.get(TARGET).status, 503);
}

// Contract: S1, S6
#[test]
fn a_stream_is_for_those_who_may_see_pages() {
    let engine = start(readside::SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    for (target, status) in [
        ("/changes", 400),
        ("/changes?projection=counts", 400),
        ("/changes?projection=&instance=a", 400),
        ("/changes?projection=nobody&instance=a", 404),
        ("/changes.json?projection=counts&instance=a", 404),
    ] {
        assert_eq!(client.get(target).status, status, "{target}");
    }
    let asked =
        |method: &str, host: &str| client.say(format!("{method} {TARGET} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    assert_eq!([asked("GET", "evil.example").status, asked("POST", "localhost").status], [421, 405]);
    let head = asked("HEAD", "localhost");
    assert!(head.status == 200 && head.body.is_empty() && head.head.contains("text/event-stream"), "{head:?}");
    let (_server, client) = served(&engine, options().password("ops", "secret"));
    assert_eq!(client.get(TARGET).status, 401);
    let mut known = Listening::to(client, TARGET, "Authorization: Basic b3BzOnNlY3JldA==\r\n");
    assert_eq!(known.told(), told("begin", json!({ "position": 0 })));
}

// Contract: S1, S6: streams take no thread that answers requests, and their number is limited.
#[test]
fn streams_are_bounded_and_in_nobodys_way() {
    let engine = start(readside::SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    let mut streams: Vec<Listening> = (0..64).map(|_| Listening::to(client, TARGET, "")).collect();
    for stream in &mut streams {
        assert_eq!(stream.told().0, "begin");
    }
    assert_eq!(client.get(TARGET).status, 503);
    assert_eq!([client.get("/").status, client.get("/health").status], [200; 2]);
    engine.push(&[count("a", "x")]).unwrap();
    for stream in &mut streams {
        assert_eq!(stream.told(), told("change", json!({ "position": 1, "rows": { "counts": [{ "thing": "x" }] } })));
    }
    // A client that leaves, or that sends something, loses its place to others.
    streams.pop();
    streams[0].0.get_mut().write_all(b"more").unwrap();
    eventually("room for two", || {
        let mut stream = client.connect();
        let request = format!("GET {TARGET} HTTP/1.1\r\nHost: {}\r\n\r\n", client.address());
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.contains(" 200 ")
    });
}

// Contract: S6
#[test]
fn a_browser_hears_of_changes() {
    let engine = start(readside::SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    let mut chrome = Chrome::start();
    chrome.open(&format!("http://{}/", client.address()));
    chrome.value(&format!(
        "window.heard = []; window.source = new EventSource({TARGET:?}); for (const name of ['begin', 'change', 'anew']) \
         {{ source.addEventListener(name, event => heard.push([name, JSON.parse(event.data)])); }} true"
    ));
    chrome.until("heard.length === 1");
    engine.push(&[count("a", "x")]).unwrap();
    chrome.until("heard.length === 2");
    let expected =
        json!([["begin", { "position": 0 }], ["change", { "position": 1, "rows": { "counts": [{ "thing": "x" }] } }]]);
    assert_eq!(chrome.value("heard"), expected);
    assert_eq!(chrome.complaints, [""; 0]);
}
