//! Several hosts in one connection string, as in libpq: each address has the whole time-out and its own port, and the
//! error lists the cause at each address.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use readside::error::{StoreErrorKind as Kind, chain};
use readside::query::Query;
use readside::{EventStore, PostgresOptions, PostgresStore};

use crate::{OnPostgres, common::postgres::Database};

/// Long enough for a server on a busy machine. A dead address uses all of it.
const PATIENCE: Duration = Duration::from_secs(3);

/// A socket that accepts no more connections, so new clients wait.
struct Full {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    fn new() -> Self {
        Self::at(TcpListener::bind("127.0.0.9:0").unwrap())
    }

    fn at(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            waiting.push(stream);
            assert!(waiting.len() < 10_000, "the queue of the socket has no end");
        }
        Self { listener, _waiting: waiting }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}

/// The host and port of a test's database, and its name.
fn place(database: &Database) -> (String, String) {
    let (base, name) = database.url().rsplit_once('/').unwrap();
    (base.rsplit_once('@').unwrap().1.to_owned(), name.to_owned())
}

fn connect(url: &str) -> Result<PostgresStore, readside::error::StoreError> {
    PostgresStore::connect_with(url, PostgresOptions::default().connect_timeout(PATIENCE))
}

#[test]
fn a_dead_first_host_takes_nothing_from_the_second() {
    let store = OnPostgres::new();
    let (address, name) = place(&store.database);
    let (full, silent) = (Full::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    for dead in [full.address(), silent.local_addr().unwrap(), SocketAddr::from(([127, 0, 0, 1], 1))] {
        let url = format!("postgres://tester@{dead},{address}/{name}?target_session_attrs=read-write");
        let opened = connect(&url).unwrap();
        assert!(opened.filter(&Query::new()).unwrap().is_empty());
        assert!(format!("{opened:?}").contains(&format!("{dead},{address}/{name}")), "{opened:?}");
    }
}

#[test]
fn each_host_is_told_with_its_own_port_and_cause() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let url = format!("postgres://me:secret@127.0.0.1:1,{silent},nobody.invalid:7/db?connect_timeout=1");
    let error = connect(&url).unwrap_err();
    assert_eq!(error.kind(), Kind::Connection);
    let text = chain(&error);
    assert!(text.contains(&format!("connecting to 127.0.0.1:1,{silent},nobody.invalid:7/db failed")), "{text}");
    for cause in [
        "127.0.0.1:1: error connecting to server",
        &format!("{silent}: the server did not answer within 1"),
        "nobody.invalid:7: ",
    ] {
        assert!(text.contains(cause), "{cause}: {text}");
    }
    assert!(text.contains("refused") && !text.contains("secret"), "{text}");
}

/// A process whose own hosts file gives the addresses of the name.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "run as a process of its own by the test that follows"]
fn connects_by_a_name() {
    use std::net::ToSocketAddrs;
    let url = std::env::var("READSIDE_TEST_STRING").unwrap();
    let addresses: Vec<String> =
        ("two.test", 1).to_socket_addrs().unwrap().map(|address| address.ip().to_string()).collect();
    println!("has {}", addresses.join(" then "));
    match connect(&url) {
        Ok(_) => println!("is in"),
        Err(error) => println!("is not in: {}", chain(&error)),
    }
}

// Contract: L11: if one of two addresses of a name is dead, it takes no time from the other, and the error lists each
// with its cause.
#[cfg(target_os = "linux")]
#[test]
fn a_dead_address_of_a_name_takes_nothing_from_the_next() {
    let store = OnPostgres::new();
    let (address, name) = place(&store.database);
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let hosts = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(hosts.path(), "::1 two.test\n127.0.0.1 two.test\n").unwrap();
    let within = |script: &str, url: &str| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        unshare.arg(format!("mount --bind \"$HOSTS\" /etc/hosts && {script}")).arg(std::env::current_exe().unwrap());
        unshare.args(["--exact", "hosts::connects_by_a_name", "--ignored", "--nocapture"]);
        unshare.env("HOSTS", hosts.path()).env("READSIDE_TEST_STRING", url).output()
    };
    if !within("true", "").is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: this machine lets nobody give a process a file of hosts of its own (unshare --user --mount)"
        );
        return;
    }
    let Ok(dead) = TcpListener::bind(("::1", port)) else {
        println!(
            "skipped: port {port} of ::1 cannot be had, so that no name has a dead and a living address with one port"
        );
        return;
    };
    let _dead = Full::at(dead);
    let told = |url: &str| {
        let output = within("exec \"$0\" \"$@\"", url).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("has ::1 then 127.0.0.1"), "the dead one comes first: {text}");
        text
    };
    let text = told(&format!("postgres://tester@two.test:{port}/{name}"));
    assert!(text.contains("is in\n"), "{text}");
    let text =
        told(&format!("postgres://tester@two.test:{port}/{name}?target_session_attrs=standby&connect_timeout=1"));
    assert!(text.contains(&format!("two.test:{port} (::1): the server did not answer within ")), "{text}");
    assert!(text.contains(&format!("two.test:{port} (127.0.0.1): target_session_attrs wants a standby")), "{text}");
}

// If a server answers with an error, the search ends.
#[test]
fn a_server_that_refuses_a_password_ends_the_search() {
    let store = OnPostgres::new();
    let (address, name) = place(&store.database);
    let wrong = crate::postgres::wrong_password();
    let error = connect(&format!("postgres://me:secret@127.0.0.1:{wrong},{address}/{name}")).unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Denied, Some("28P01")));
    let text = chain(&error);
    assert!(text.contains(&format!("connecting to 127.0.0.1:{wrong}/{name} failed")), "{text}");
}

// This holds for the library too: it never takes a text for a host that may be the end of a password.
#[test]
fn a_second_at_sign_is_refused() {
    for url in
        ["postgres://me:a@secret@127.0.0.1:1/db", "postgres://me:a@secret:1/db@x", "postgres://me:/a@secret@h/db"]
    {
        let error = connect(url).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let text = format!("{} {error:?}", chain(&error));
        assert!(text.contains("write %40 for an @") && !text.contains("secret"), "{text}");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn a_connection_string_is_no_path_of_a_file() {
    for text in ["postgres://me:secret@h/db", "postgres:/me:secret@h/db", "me:secret@h", "host=h password=secret"] {
        let error = readside::SqliteStore::open(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let text = format!("{} {error:?}", chain(&error));
        assert!(text.contains("PostgresStore") && !text.contains("secret"), "{text}");
    }
    assert!(!std::path::Path::new("me:secret@h").exists());
}
