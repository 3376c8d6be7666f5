//! Whatever the password is, no message about a connection holds it.

use std::net::TcpListener;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use proptest::prelude::*;
use readside::error::chain;
use readside::{PostgresOptions, PostgresStore};

/// Is in each password, and nowhere else.
const MARK: &str = "zQ7x";

/// Collects the log lines that contain the mark.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        if line.contains(MARK) {
            self.0.lock().unwrap().push(line);
        }
    }
    fn flush(&self) {}
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A server that reads each password and refuses it.
fn refuses() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().for_each(|stream| crate::postgres::refuse(stream.unwrap())));
        port
    })
}

/// Correct connection strings, with the secret in each possible place.
fn strings(secret: &str, port: u16) -> [String; 6] {
    let (url, pair) = (encoded(secret), quoted(secret));
    [
        format!("postgres://ada:{url}@127.0.0.1:{port}/db"),
        format!("postgres://127.0.0.1:{port}/db?user=ada&password={url}"),
        format!("host=127.0.0.1 port={port} user=ada dbname=db password={pair}"),
        format!("host=127.0.0.1 port={port} user=ada dbname=db passfile={pair}"),
        format!("host=127.0.0.1 port={port} user=ada dbname=db password={pair} sslmode=verify-full sslrootcert={pair}"),
        format!(
            "host=127.0.0.1 port={port} user=ada dbname=db sslmode=require sslcert={pair} sslkey={pair} password=x"
        ),
    ]
}

/// Every text about the connection: the error with its sources, in both forms, and the options.
fn said(url: &str, options: PostgresOptions) -> String {
    let options_text = format!("{options:?}");
    match PostgresStore::connect_with(url, options) {
        Ok(store) => format!("{options_text} {store:?}"),
        Err(error) => format!("{options_text} {} {error} {error:?} {error:#?}", chain(&error)),
    }
}

/// Longer than a refusal takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn patient() -> PostgresOptions {
    PostgresOptions::default().connect_timeout(PATIENCE)
}

fn silent_about(secret: &str) -> Result<(), TestCaseError> {
    let mut texts = Vec::new();
    for port in [1, refuses()] {
        for url in strings(secret, port) {
            texts.push((url.clone(), said(&url, patient())));
            // The string is used for listening, or together with the environment.
            texts.push((url.clone(), said("postgres://ada@127.0.0.1:1/db", patient().listen_url(&url))));
            let environment = PostgresOptions::from_env().connect_timeout(PATIENCE);
            texts.push((url.clone(), said(&url, environment)));
            #[cfg(feature = "sqlite")]
            {
                let error = readside::SqliteStore::open(&url).expect_err("it is no file");
                texts.push((url.clone(), format!("{} {error:?}", chain(&error))));
            }
        }
    }
    texts.extend(std::mem::take(&mut *LINES.0.lock().unwrap()).into_iter().map(|line| ("the log".to_owned(), line)));
    for (url, text) in texts {
        prop_assert!(!text.contains(MARK), "{}: {}", url, text);
    }
    Ok(())
}

// Contract: O4
#[test]
fn no_secret_is_in_any_error_nor_in_the_log() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let all: String = (' '..='~').collect();
    for secret in [
        format!("{MARK}{all}"),
        format!("{all}{MARK}"),
        format!("@{MARK}@"),
        format!("%{MARK}%25"),
        format!("ä日{MARK}\u{85}"),
    ] {
        silent_about(&secret).unwrap();
    }
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(before in "\\PC{0,8}", behind in "\\PC{0,8}")| {
        silent_about(&format!("{before}{MARK}{behind}"))?;
    });
}
