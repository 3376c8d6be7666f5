//! Clients that are hostile or broken.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use readside::SqliteStore;
use readside::serve::{ServeAddress, ServeError, ServeOptions};

use crate::client::answer;
use crate::common::LONG;
use crate::{counts, options, serve, served, start};

// Contract: S1
#[test]
fn what_is_no_plain_question_is_refused() {
    let engine = start(SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    let get = |target: &str| client.get(target).status;
    assert_eq!([get("/"), get("/health"), get("/metrics"), get("/index.json")], [200; 4]);
    for target in ["//", "//x/", "/..", "/../etc/passwd", "/%2e%2e/", "/a/../b", "http://localhost/", "/?a=%zz"] {
        assert_eq!(get(target), 400, "{target}");
    }
    assert_eq!([get("/nothing"), get("/nothing.json"), get("/metrics.json"), get("/.json")], [404, 404, 404, 400]);
    assert_eq!(get(&format!("/?{}", "x".repeat(9000))), 431);
    for lines in ["Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n", "Host: localhost\r\n"] {
        assert_eq!(client.get_with("/", lines).status, 400, "{lines}");
    }
    let post = client.say(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na=b");
    assert!(post.status == 405 && post.head.contains("Allow: GET, HEAD"), "{post:?}");
    let head = client.say(format!("HEAD / HTTP/1.1\r\nHost: {}\r\n\r\n", client.address()).as_bytes());
    assert!(head.status == 200 && head.body.is_empty() && head.head.contains("Content-Length: "), "{head:?}");
}

// Contract: S1: a foreign page, whose name points to this server, gets nothing.
#[test]
fn a_foreign_host_is_refused() {
    let engine = start(SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (server, client) = served(&engine, options().host("status.example"));
    let port = server.address().tcp().unwrap().port();
    let of = |host: &str| client.say(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).status;
    for host in ["localhost", "127.0.0.1", "status.example"] {
        assert_eq!([of(host), of(&format!("{host}:{port}"))], [200; 2], "{host}");
    }
    for host in ["evil.example", "localhost:1", "127.0.0.1.evil.example", "", "localhost, evil.example"] {
        assert_eq!(of(host), 421, "{host}");
    }
    assert_eq!(client.say(b"GET /metrics HTTP/1.0\r\n\r\n").status, 421);
}

// Contract: S1
#[test]
fn a_head_of_a_megabyte_is_cut_off_and_told() {
    let engine = start(SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(client.say(long.as_bytes()).status, 431);
    assert_eq!(client.say(&vec![0; 1 << 16]).status, 400);
    assert_eq!(client.say("GET / HTTP/1.1\r\n".repeat(1000).as_bytes()).status, 400);
    assert_eq!(client.get("/").status, 200);
}

// Contract: S1: a silent client has a place in a list, and keeps nobody from an answer.
#[test]
fn five_hundred_silent_clients_are_in_nobodys_way() {
    let engine = start(SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    let mut silent: Vec<TcpStream> = Vec::new();
    for number in 0..500 {
        let mut stream = client.connect();
        let said: &[u8] = if number % 2 == 0 { b"" } else { b"GET / HTTP/1.1\r\nHost: loc" };
        let _ = stream.write_all(said);
        silent.push(stream);
        if number % 100 == 99 {
            assert_eq!(client.get("/health").status, 200, "{number}");
        }
    }
    // The last client is told that its time is over.
    assert_eq!(answer(silent.pop().unwrap()).status, 408);
    // The first clients had to make room.
    let mut first = silent.swap_remove(0);
    assert!(matches!(first.read(&mut [0; 16]), Ok(0) | Err(_)));
    assert_eq!(client.get("/").status, 200);
}

// Contract: S1
#[test]
fn many_at_once_are_all_answered() {
    let engine = start(SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    let ask = || (0..20).map(|_| client.get("/index.json").status).collect::<Vec<_>>();
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    assert!(answers.iter().filter(|status| **status == 200).count() >= 160, "{answers:?}");
}

// Contract: S1
#[test]
fn a_password_is_asked_for_and_health_tells_one_word_without() {
    let engine = start(SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (_server, client) = served(&engine, options().password("ops", "pass:word"));
    let without = client.get("/");
    assert!(without.status == 401 && without.head.contains("WWW-Authenticate: Basic"), "{without:?}");
    assert_eq!(client.get("/metrics").status, 401);
    assert_eq!(client.get_with("/", "Authorization: Basic b3BzOnBhc3M6d29yZA==\r\n").status, 200);
    assert_eq!(client.get_with("/", "Authorization: Basic b3BzOnBhc3M6d29yZB==\r\n").status, 401);
    assert_eq!(client.get("/nothing").status, 401, "what there is, is nobody's business either");
    let word = client.get("/health");
    let names: Vec<String> = word.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!((word.status, names), (200, vec!["healthy".to_owned(), "verdict".to_owned()]));
}

// Contract: S1
#[test]
fn other_machines_reach_it_only_where_that_is_said() {
    let engine = start(SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let open = ServeOptions::at("0.0.0.0:0".parse().unwrap());
    let refused = engine.serve_status_with(open.clone());
    assert!(matches!(refused, Err(ServeError::Open { .. })), "{refused:?}");
    for allowed in [open.clone().without_password(), open.password("a", "b")] {
        engine.serve_status_with(allowed).unwrap().shutdown(LONG).unwrap();
    }
    for wrong in [options().every(Duration::ZERO), options().every(Duration::from_hours(1)), options().host("a b")] {
        let refused = engine.serve_status_with(wrong);
        assert!(matches!(refused, Err(ServeError::Setting { .. })), "{refused:?}");
    }
    let (server, _) = serve(&engine);
    let taken = engine.serve_status(server.address().tcp().unwrap()).unwrap_err();
    assert!(taken.to_string().contains(&server.address().to_string()), "{taken}");
}

// Contract: S1, J1
#[test]
fn it_ends_when_it_is_told_to_and_goes_on_without_its_engine() {
    let engine = start(SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (server, client) = serve(&engine);
    let _silent = client.connect();
    assert_eq!(client.get("/health").status, 200);
    engine.shutdown(LONG).unwrap();
    assert_eq!(client.get("/").status, 200, "the database is there still");
    drop(engine);
    assert_eq!(client.get("/metrics").status, 200);
    server.shutdown(LONG).unwrap();
    server.shutdown(LONG).unwrap();
    assert!(TcpStream::connect(client.address()).is_err());
}

/// The answer on a socket to a client that names this host.
fn said(socket: &Path, host: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned()
}

// Contract: S1
#[test]
fn a_socket_is_for_its_user_alone_and_goes_with_the_page() {
    let engine = start(SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("page.sock");
    let open = || engine.serve_status_with(ServeOptions::on(ServeAddress::Unix(socket.clone())));
    // A socket file without a listener may remain from an earlier run.
    drop(UnixListener::bind(&socket).unwrap());
    let server = open().unwrap();
    assert_eq!((server.address().tcp(), server.address().to_string()), (None, format!("unix:{}", socket.display())));
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for (host, first) in
        [("localhost", "200 OK"), ("localhost:80", "200 OK"), ("evil.example", "421 Misdirected Request")]
    {
        assert_eq!(said(&socket, host), format!("HTTP/1.1 {first}"), "{host}");
    }
    let taken = open().unwrap_err();
    assert!(readside::error::chain(&taken).contains("another process listens on it"), "{taken:?}");
    assert_eq!(said(&socket, "localhost"), "HTTP/1.1 200 OK", "it is left alone");
    server.shutdown(LONG).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(&socket, "mine").unwrap();
    let refused = open().unwrap_err();
    assert!(matches!(refused, ServeError::Listen { .. }), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "mine");
}
