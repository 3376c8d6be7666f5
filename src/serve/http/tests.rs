use super::head::{self, Head, Request};
use super::host::Hosts;
use super::password::{Password, base64};
use super::query::{Query, address};
use super::reply::Refusal;

fn read(text: &str) -> Head {
    head::read(text.as_bytes())
}

fn request(target: &str) -> Option<Request> {
    match read(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")) {
        Head::Whole(request) => Some(request),
        _ => None,
    }
}

fn refused(text: &str) -> Option<Refusal> {
    match read(text) {
        Head::Refused(refusal) => Some(refusal),
        _ => None,
    }
}

// Contract: J2
#[test]
fn a_head_is_read_once_it_is_whole() {
    let text = "HEAD /failures?projection=a%20b&type=%3Cscript%3E&x HTTP/1.1\r\nHost: localhost:7878\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(read(&text[..end]), Head::Begun, "{end}");
    }
    let Head::Whole(request) = read(text) else { panic!("it is whole") };
    assert!(request.only_head && request.path == "/failures" && request.host.as_deref() == Some("localhost:7878"));
    assert_eq!((request.query.get("projection"), request.query.get("type")), (Some("a b"), Some("<script>")));
    assert_eq!((request.query.get("x"), request.query.filled("x"), request.query.get("y")), (Some(""), None, None));
}

// Contract: J2
#[test]
fn what_may_be_understood_in_two_ways_is_refused() {
    let get = |lines: &str| refused(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"));
    assert_eq!(get("Transfer-Encoding: chunked\r\n"), Some(Refusal::Body));
    assert_eq!(get("transfer-encoding: identity\r\n"), Some(Refusal::Body));
    assert_eq!(get("Content-Length: 5\r\n"), Some(Refusal::Body));
    assert_eq!(get("Content-Length: 0\r\n"), None);
    assert_eq!(get("Content-Length: 0, 5\r\n"), Some(Refusal::Body));
    assert_eq!(get("Host: localhost\r\n"), Some(Refusal::Malformed));
    assert_eq!(get("Authorization: a\r\nAuthorization: b\r\n"), Some(Refusal::Malformed));
    assert_eq!(get("X : y\r\n"), Some(Refusal::Malformed));
    assert_eq!(get(" folded\r\n"), Some(Refusal::Malformed));
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Some(Refusal::Body));
    assert_eq!(refused("GET / HTTP/2.0\r\n\r\n"), Some(Refusal::Malformed));
    assert_eq!(refused("\u{16}\u{3}\u{1}"), Some(Refusal::Malformed));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "PRI"] {
        assert_eq!(refused(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")), Some(Refusal::Method), "{method}");
    }
}

// Contract: J2
#[test]
fn addresses_that_climb_or_are_no_path_are_refused() {
    for target in [
        "//",
        "//evil.example/",
        "/a//b",
        "/..",
        "/../etc/passwd",
        "/a/../b",
        "/a/..",
        "/.",
        "/%2e%2e/",
        "/a/",
        "*",
        "http://localhost/",
        "localhost",
        "/a\\..\\b",
        "/;a",
        "/a?x=%",
        "/a?x=%zz",
        "/a?x=%ff",
        "/a?%c3",
    ] {
        assert_eq!(request(target), None, "{target}");
    }
    for target in ["/", "/failures", "/failures.json", "/a?x=..", "/a?x=//", "/a?"] {
        assert!(request(target).is_some(), "{target}");
    }
}

// Contract: J2
#[test]
fn a_head_is_bounded_in_bytes_and_lines() {
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(1 << 20));
    assert_eq!(head::read(&long.as_bytes()[..head::LONGEST - 1]), Head::Begun);
    assert_eq!(head::read(&long.as_bytes()[..head::LONGEST]), Head::Refused(Refusal::TooLarge));
    assert_eq!(refused(&format!("{long}\r\n\r\n")), Some(Refusal::TooLarge));
    let lines = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert_eq!(refused(&lines(64)), Some(Refusal::TooLarge));
    assert_eq!(refused(&lines(63)), None);
}

// Contract: J2
#[test]
fn only_known_hosts_are_answered() {
    let here = Hosts::of(&"127.0.0.1:7878".parse().unwrap(), &["Status.Example".to_owned()]);
    for host in ["localhost", "LOCALHOST:7878", "127.0.0.1:7878", "[::1]:7878", "[::1]", "status.example"] {
        assert!(here.accepts(Some(host)), "{host}");
    }
    for host in ["", "evil.example", "localhost:80", "localhost.evil.example", "localhost:", "x@localhost", "::1"] {
        assert!(!here.accepts(Some(host)), "{host}");
    }
    assert!(!here.accepts(None));
    let open = Hosts::of(&"10.1.2.3:80".parse().unwrap(), &[]);
    assert!(open.accepts(Some("10.1.2.3:80")) && !open.accepts(Some("localhost")));
}

// Contract: J2
#[test]
fn only_the_right_password_is_accepted() {
    assert_eq!(
        ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())),
        ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]
    );
    let password = Password::new("ada", "s3cret");
    let header = format!("Basic {}", base64(b"ada:s3cret"));
    assert!(password.accepts(Some(&header)) && password.accepts(Some(&header.replace("Basic", "bASIC"))));
    for wrong in
        [String::new(), "Basic".into(), "Basic ".into(), header.replace("Basic", "Bearer"), header.clone() + "A"]
    {
        assert!(!password.accepts(Some(&wrong)), "{wrong}");
    }
    assert!(!password.accepts(None) && !password.accepts(Some(&header[..header.len() - 4])));
    assert!(!format!("{password:?}").contains("s3cret"));
}

// Contract: J2
#[test]
fn addresses_are_read_as_they_were_made() {
    for text in ["", "a b", "ä/?&=+%", "<script>", "\u{0}\n", "日本"] {
        let made = address("/x", &[("name", text), ("n", "1")]);
        let read = Query::read(made.strip_prefix("/x?").unwrap()).unwrap();
        assert_eq!((read.get("name"), read.get("n")), (Some(text), Some("1")), "{made}");
        assert!(!made.contains(['<', ' ', '"', '\'']) && request(&made).is_some(), "{made}");
    }
}
