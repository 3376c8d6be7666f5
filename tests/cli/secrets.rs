//! Connection strings, with slips and without. Wherever they are given, they are never shown, and never taken for a
//! file.
//!
//! Contract: O4

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use crate::{Ran, command, common, fresh, ran};

const SECRET: &str = "super";

/// Connection strings with a slip, or strings that lead to no server.
const SLIPS: [&str; 33] = [
    "postgresql:/a:supersecret@h/x",
    "postgres//a:supersecret@h",
    "postgres:a:supersecret@h/x",
    "postgres:/a:supersecret@h/x",
    "postgre://a:supersecret@h/x",
    "POSTGRES://a:supersecret@h/x",
    "Postgres://a:supersecret@h/x",
    "postgres ://a:supersecret@h/x",
    " postgres://a:supersecret@h/x",
    "'postgres://a:supersecret@h/x'",
    "mysql://a:supersecret@h/x",
    "jdbc:postgresql://h/x?user=a&password=supersecret",
    "a:supersecret@h:5432/x",
    "//a:supersecret@h/x",
    "/a:supersecret@h/x",
    "h/x?user=a&password=supersecret",
    "h:5432/x?PASSWORD=supersecret",
    "host=h password='super cret",
    "host='h' password=super cret",
    "PASSWORD = supersecret",
    "Password=supersecret host=127.0.0.1",
    "host=127.0.0.1 port=1 pasword=supersecret",
    "host h password supersecret",
    "pwd=supersecret",
    "postgres://u:/super@cret@h/x",
    "postgres://u:x@supersecret@127.0.0.1:1/x",
    "postgres://u:supersecret@127.0.0.1:port/x",
    "postgres://u:%zzsupersecret@127.0.0.1:1/x",
    "postgres://127.0.0.1:1/x?user=u&passwort=supersecret",
    "postgres://127.0.0.1:1/x?password=a&supersecret",
    "dbname=postgres://u:supersecret@127.0.0.1:1/x host=127.0.0.1 port=1",
    "postgres://u:supersecret@127.0.0.1:1/x",
    "host=127.0.0.1 port=1 password='supersecret'",
];

fn silent(ran: &Ran, how: &str) {
    assert_ne!(ran.code, 0, "{how}: {}", ran.out);
    assert!(!format!("{}{}", ran.out, ran.err).contains(SECRET), "{how}: {}\n{}", ran.out, ran.err);
    assert!(!ran.err.contains("panicked"), "{how}: {}", ran.err);
}

/// Runs the command in its own folder, in which it must leave nothing.
fn within(work: impl Fn(&mut dyn FnMut() -> Command)) {
    let folder = tempfile::tempdir().unwrap();
    work(&mut || {
        let mut command = command();
        command.current_dir(&folder).env("RUST_LOG", "debug");
        command
    });
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_looks_like_a_connection_string_is_no_file_and_is_not_shown() {
    within(|command| {
        for slip in SLIPS {
            for args in [&["-d", slip, "setup"][..], &["-d", slip, "status"]] {
                silent(&ran(command().args(args), ""), &format!("{args:?}"));
            }
            let ran = ran(command().env("READSIDE_DATABASE_URL", slip).arg("setup"), "");
            silent(&ran, &format!("the environment: {slip}"));
        }
    });
}

#[test]
fn the_events_place_is_no_file_and_is_not_shown() {
    let [file, _] = fresh();
    file.run(&["setup"]).ok();
    within(|command| {
        for slip in SLIPS {
            let args = ["-d", &file.name(), "--events-url", slip, "status"];
            silent(&ran(command().args(args), ""), slip);
            let args = ["-d", &file.name(), "status"];
            silent(&ran(command().env("READSIDE_EVENTS_URL", slip).args(args), ""), slip);
        }
    });
}

// The string is in the place of a command, an option, or a value.
#[test]
fn a_connection_string_in_a_wrong_place_is_not_shown() {
    let [file, _] = fresh();
    file.run(&["setup"]).ok();
    let name = file.name();
    within(|command| {
        for slip in SLIPS {
            let (option, flag) = (format!("--databse-url={slip}"), format!("--{slip}"));
            for args in [
                &[slip][..],
                &[slip, "status"],
                &["-d", &name, slip],
                &["-d", &name, "status", slip],
                &["-d", &name, "pause", slip, "--why", "x"],
                &["-d", &name, "failed", "show", slip, "acme", "1"],
                &["-d", &name, "status", "--max-lag", slip],
                &["-d", &name, "push", slip],
                &[&option, "status"],
                &[&flag, "status"],
            ] {
                silent(&ran(command().args(args), ""), &format!("{args:?}"));
            }
        }
        for words in ["-d password = supersecret status", "-d PASSWORD supersecret", "-d host=h password=a supersecret"]
        {
            silent(&ran(command().args(words.split(' ')), ""), words);
        }
    });
}

// The printed script would name the role in each line.
#[test]
fn a_connection_string_is_no_role() {
    let database = common::postgres::database();
    ran(command().args(["-d", database.url(), "setup"]), "").ok();
    within(|command| {
        for slip in SLIPS {
            let args = ["-d", database.url(), "setup", "--sql", "--grant-to", slip];
            silent(&ran(command().args(args), ""), slip);
        }
    });
}

// The message still says what is wrong.
#[test]
fn the_slip_is_named() {
    for (place, named) in [
        ("postgresql:/a:supersecret@h/x", "does not begin with postgres:// or postgresql:// in small"),
        ("a:supersecret@h:5432/x", "does not begin with postgres://"),
        ("PASSWORD = supersecret", "`password` may be meant, written in small letters"),
        ("host=h passwrod=supersecret", "keyword 2 is not known; `password` may be meant"),
        ("postgres://u:/super@cret@h/x", "write %40 for an @"),
        ("host=h password='super cret", "the single quote that begins the value of `password` has no end"),
        ("host=h password=super cret", "no = follows keyword 3"),
        ("postgres://a:supersecret@h:port/x", "`port` does not fit: it has to be a number from 1 to 65535"),
        ("postgres://a:supersecret@h/x?sslnegotiation=direct", "`sslnegotiation=direct` needs a stronger sslmode"),
        ("postgres://a:supersecret@h/x?service=nobody", "`service` names one that none of the files of services has"),
        ("postgres://a:supersecret@h/x?target_session_attrs=all", "it has to be any, read-write"),
    ] {
        let error = ran(command().args(["-d", place, "status"]), "").failed();
        assert!(error.contains(named), "{place}: {error}");
    }
    let error = ran(command().args(["-d", "x.db", "postgres//a:supersecret@h"]), "").err;
    assert!(error.contains("unrecognized subcommand") && error.contains("--database-url"), "{error}");
}

// As in psql. The command sets up that database, and creates no file with this name.
#[test]
fn keyword_and_value_name_a_database() {
    let database = common::postgres::database();
    let (base, name) = database.url().rsplit_once('/').unwrap();
    let (host, port) = base.rsplit_once('@').unwrap().1.split_once(':').unwrap();
    let place = format!("host = {host} port={port} user=tester dbname='{name}' password='a \\' b' connect_timeout=60");
    let run = |args: &[&str]| ran(command().args(["-d", &place]).args(args), "");
    run(&["setup"]).ok();
    run(&["status"]).ok();
    ran(command().args(["-d", database.url(), "status"]), "").ok();
    run(&["bench", "--events", "100", "--instances", "2"]).ok();
}

// Contract: O4: the URI of a file may hold the key of an extension that encrypts the file.
#[test]
fn what_an_uri_of_a_file_holds_is_not_shown() {
    let (folder, [file, _]) = (tempfile::tempdir().unwrap(), fresh());
    file.run(&["setup"]).ok();
    let missing = format!("file:{}/no/no.db?hexkey=supersecret&mode=ro", folder.path().display());
    let known = format!("file:{}?key=supersecret", file.name());
    for (place, args) in [
        (&missing, &["setup"][..]),
        (&missing, &["status"]),
        (&missing, &["doctor"]),
        (&known, &["push", "no-such-file.jsonl"]),
        (&known, &["pause", "nobody", "--why", "x"]),
    ] {
        let mut command = command();
        silent(&ran(command.env("RUST_LOG", "debug").args(["-d", place]).args(args), ""), &format!("{args:?}"));
        let mut command = crate::command();
        silent(&ran(command.env("READSIDE_DATABASE_URL", place).args(args), ""), &format!("the environment: {args:?}"));
    }
    let error = ran(command().env("READSIDE_DATABASE_URL", &missing).arg("status"), "").failed();
    assert!(error.contains("no.db?hexkey=***&mode=ro"), "{error}");
    for args in [&[&*known, "status"][..], &["-d", "x.db", &known], &["-d", "x.db", "status", &known]] {
        silent(&ran(command().args(args), ""), &format!("{args:?}"));
    }
    let text = format!("{:?}", readside::SqliteStore::open(&known).unwrap());
    assert!(!text.contains(SECRET), "{text}");
    let error = readside::SqliteStore::open(&missing).unwrap_err();
    let text = format!("{error:?} {}", readside::error::chain(&error));
    assert!(!text.contains(SECRET), "{text}");
}

/// Where the environment says a part of a connection, and what stands there: a secret, or a slip that holds one. `$` is a
/// folder with files that hold it.
const SAID: [(&str, &str); 22] = [
    ("PGPASSWORD", "supersecret"),
    ("PGPASSFILE", "$/supersecret"),
    ("PGPASSFILE", "$/open"),
    ("PGPASSFILE", "$/pass"),
    ("PGSERVICEFILE", "$/supersecret"),
    ("PGSERVICEFILE", "$/services"),
    ("PGSERVICEFILE", "$/slips"),
    ("PGSYSCONFDIR", "$/supersecret"),
    ("PGOPTIONS", "-c search_path=supersecret"),
    ("PGOPTIONS", "-c supersecret"),
    ("PGSSLCERT", "$/supersecret"),
    ("PGSSLKEY", "$/supersecret"),
    ("PGSSLROOTCERT", "$/supersecret"),
    ("PGSSLCRL", "$/supersecret"),
    ("PGHOST", "postgres://u:supersecret@h/x"),
    ("PGHOSTADDR", "postgres://u:supersecret@h/x"),
    ("PGPORT", "supersecret"),
    ("PGSSLMODE", "supersecret"),
    ("PGTARGETSESSIONATTRS", "supersecret"),
    ("PGCONNECT_TIMEOUT", "supersecret"),
    ("PGLOADBALANCEHOSTS", "supersecret"),
    ("PGREQUIREAUTH", "supersecret"),
];

/// Files of passwords and of services that hold this.
fn files(folder: &Path, secret: &str) {
    use std::os::unix::fs::PermissionsExt;
    let line = format!("*:*:*:*:{}\n", secret.replace('\\', "\\\\").replace(':', "\\:"));
    for (name, text, mode) in [
        ("open", line.clone(), 0o644),
        ("pass", line, 0o600),
        ("services", format!("[own]\nuser=tester\npassword={secret}\n"), 0o600),
        ("slips", format!("[own]\npasword={secret}\n"), 0o600),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// A server that asks for a password in the clear, and refuses whatever is given to it.
fn refusing() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(|stream| drop(refuse(stream.unwrap()))));
    port
}

fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    let mut message = [0; 4096];
    if stream.read(&mut message)? == 8 {
        stream.write_all(b"N")?;
        let _ = stream.read(&mut message)?;
    }
    stream.write_all(b"R\0\0\0\x08\0\0\0\x03")?;
    if stream.read(&mut message)? == 0 {
        return Ok(());
    }
    let fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"me\"\0\0";
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    stream.write_all(&[b"E".as_slice(), &length, fields].concat())
}

/// What the environment says of it, however it ends, the command says nothing of.
fn says_nothing(folder: &Path, place: &str, said: &[(&str, &str)], args: &[&str], secret: &str) {
    let mut command = command();
    command.env("HOME", folder).env("RUST_LOG", "trace").args(["-d", place]).args(args);
    for (name, value) in said {
        command.env(name, value.replace('$', folder.to_str().unwrap()));
        if *name == "PGSERVICEFILE" {
            command.env("PGSERVICE", "own");
        }
    }
    let ran = ran(&mut command, "");
    let told = format!("{}{}", ran.out, ran.err);
    assert!(!told.contains(secret) && !told.contains("panicked"), "{said:?} {place} {args:?}: {told}");
}

// Contract: O4: a password in the environment, in a file that it names, or in a variable that was meant for something else.
#[test]
fn what_the_environment_says_of_a_connection_is_not_shown() {
    let (database, folder, refusing) = (common::postgres::database(), tempfile::tempdir().unwrap(), refusing());
    ran(command().args(["-d", database.url(), "setup"]), "").ok();
    files(folder.path(), "supersecret");
    let (host, name) = database.url().rsplit_once('@').unwrap().1.split_once('/').unwrap();
    let port = host.rsplit_once(':').unwrap().1;
    for said in SAID {
        for (place, args) in [
            ("postgres:///db".to_owned(), &["status"][..]),
            ("postgres://127.0.0.1:1/db".to_owned(), &["doctor"]),
            (format!("postgres://127.0.0.1:{refusing}/db"), &["status"]),
            (format!("host=127.0.0.1 port={refusing} sslmode=require"), &["events"]),
            (format!("host=127.0.0.1 port={port} dbname={name}"), &["doctor"]),
            (format!("host=127.0.0.1 port={port} dbname={name} user=tester"), &["status"]),
        ] {
            says_nothing(folder.path(), &place, &[said], args, SECRET);
        }
    }
    let all: Vec<(&str, &str)> = SAID.into_iter().filter(|(name, _)| name.starts_with("PGPASS")).collect();
    let slip = "postgres://u:supersecret@127.0.0.1:1/x?password=supersecret";
    for args in [&["doctor", "--listen-url", slip][..], &["setup"], &["failed", "list"], &["bench", "--events", "1"]] {
        says_nothing(folder.path(), database.url(), &all, args, SECRET);
    }
    let serve = ["serve", "--listen", "nowhere"];
    let secret = [("READSIDE_SERVE_PASSWORD", "supersecret")];
    says_nothing(folder.path(), database.url(), &secret, &serve, SECRET);
}

// Contract: O4: whatever a password is.
#[test]
fn no_password_of_the_environment_is_shown() {
    const MARK: &str = "zQ7x";
    let (folder, refusing) = (tempfile::tempdir().unwrap(), refusing());
    let place = format!("postgres://ada@127.0.0.1:{refusing}/db");
    let silent = |secret: &str| {
        files(folder.path(), secret);
        for said in [("PGPASSWORD", secret), ("PGPASSFILE", "$/pass"), ("PGSERVICEFILE", "$/services")] {
            says_nothing(folder.path(), &place, &[said], &["status"], MARK);
        }
        says_nothing(folder.path(), &place, &[("PGSERVICEFILE", "$/slips")], &["doctor"], MARK);
    };
    let all: String = (' '..='~').filter(|one| *one != '$').collect();
    for secret in [format!("{MARK}{all}"), format!("{all}{MARK}"), format!("ä日{MARK}\u{85}")] {
        silent(&secret);
    }
    let config = ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(before in "[^$\\pC]{0,8}", behind in "[^$\\pC]{0,8}")| {
        silent(&format!("{before}{MARK}{behind}"));
    });
}
