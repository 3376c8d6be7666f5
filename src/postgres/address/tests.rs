//! What connection strings mean, and that no part of a password is ever shown.

use proptest::prelude::*;

use super::*;
use crate::conninfo::{Look, look};
use crate::error::chain;

fn read(text: &str) -> Result<Address, StoreError> {
    Address::read(text, &PostgresOptions::default())
}

#[test]
fn hosts_have_their_own_ports() {
    for (text, shown) in [
        ("postgres://h", "h:5432/"),
        ("postgres://a:1,b,c:3/db", "a:1,b:5432,c:3/db"),
        ("host=a,b port=7", "a:7,b:7/"),
        ("host=a,b port=7,", "a:7,b:5432/"),
        ("postgres://[::1]:5,10.0.0.1/db", "[::1]:5,10.0.0.1:5432/db"),
        ("host=/run/a,b dbname=x", "/run/a:5432,b:5432/x"),
        ("postgres://%2Frun%2Fa:6/x", "/run/a:6/x"),
        ("hostaddr=127.0.0.1 dbname=x", "127.0.0.1:5432/x"),
        ("host=a,b hostaddr=127.0.0.1,::1", "a (127.0.0.1):5432,b (::1):5432/"),
    ] {
        assert_eq!(read(text).unwrap().to_string(), shown, "{text}");
    }
    let usual = read("postgres:///db").unwrap().hosts;
    assert!(matches!(&*usual, [host] if host.is_socket()), "a socket of this machine");
}

#[test]
fn what_the_string_says_counts_more_than_what_is_usual() {
    let usual = read("host=h").unwrap();
    assert_eq!((usual.timeout, usual.config.get_keepalives_idle()), (None, KEEPALIVE));
    assert_eq!(usual.config.get_tcp_user_timeout(), Some(&Duration::from_secs(30)));
    let own =
        "postgres://h?connect_timeout=3&keepalives_idle=7&keepalives_interval=8&keepalives_count=9&tcp_user_timeout=10";
    let own = read(own).unwrap();
    assert_eq!(own.timeout, Some(Duration::from_secs(3)));
    assert_eq!(own.config.get_keepalives_idle(), Duration::from_secs(7));
    assert_eq!(own.config.get_keepalives_interval(), Some(Duration::from_secs(8)));
    assert_eq!(own.config.get_keepalives_retries(), Some(9));
    assert_eq!(own.config.get_tcp_user_timeout(), Some(&Duration::from_millis(10)));
    let none = read("host=h connect_timeout=0 keepalives=0 tcp_user_timeout=0").unwrap();
    assert_eq!((none.timeout, none.config.get_keepalives()), (Some(Duration::MAX), false));
    assert_eq!(none.config.get_tcp_user_timeout(), None);
    assert_eq!(read("host=h application_name=x").unwrap().config.get_application_name(), Some("x"));
    assert_eq!(read("host=h").unwrap().config.get_application_name(), Some("readside"));
}

#[test]
fn what_cannot_be_kept_is_named() {
    for (text, kind, named) in [
        ("host=h sslmode=verify-full", StoreErrorKind::Unsupported, "`sslmode`"),
        ("host=h sslmode=on", StoreErrorKind::Usage, "disable, allow, prefer"),
        ("host=h sslrootcert=system", StoreErrorKind::Unsupported, "`sslrootcert`"),
        ("host=h channel_binding=require", StoreErrorKind::Unsupported, "`channel_binding`"),
        ("host=h require_auth=scram-sha-256", StoreErrorKind::Unsupported, "`require_auth`"),
        ("host=h client_encoding=latin1", StoreErrorKind::Unsupported, "`client_encoding`"),
        ("service=x", StoreErrorKind::Unsupported, "`service`"),
        ("host=@abstract", StoreErrorKind::Unsupported, "`host`"),
        ("host=a,b port=1,2,3", StoreErrorKind::Usage, "as many `port` as hosts, or one for all, but not 3"),
        ("host=a,b hostaddr=127.0.0.1", StoreErrorKind::Usage, "as many `hostaddr` as hosts"),
        ("host=h port=0", StoreErrorKind::Usage, "a number from 1 to 65535"),
        ("host=h connect_timeout=soon", StoreErrorKind::Usage, "a whole number of seconds"),
        ("host=h load_balance_hosts=yes", StoreErrorKind::Usage, "disable or random"),
        ("x.db", StoreErrorKind::Usage, "a file is opened by SqliteStore"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(chain(&error).contains(named), "{text}: {}", chain(&error));
    }
}

const MARK: &str = "zQ7x";

/// What stands around the mark in a password: all that has a meaning somewhere in a connection string.
fn around() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select("aé@:/?#%[]',=&\\ .-_+;\"1".chars().collect::<Vec<_>>()), 0..5)
        .prop_map(|letters| letters.into_iter().collect())
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
}

/// A connection string with this password, written as it should be or as people do.
fn written(form: usize, password: &str) -> String {
    match form {
        0 => format!("postgres://ada:{password}@host:5432/db"),
        1 => format!("postgresql://ada:{}{MARK}@host,other:1/db?connect_timeout=3", encoded(password)),
        2 => format!("postgres://host/db?user=ada&password={password}"),
        3 => format!("host=host user=ada password='{password}' dbname=db"),
        4 => format!("host=host password={password} user=ada"),
        5 => format!("password = {password}"),
        6 => format!("postgres://ada:{password}@[::1]:5432,host/db"),
        _ => format!("host = 'host' password = '{}'", password.replace('\\', "\\\\").replace('\'', "\\'")),
    }
}

/// One slip: a letter that is left out, doubled, in the other case, or another one in its place. The mark stays.
///
/// So does the @ that ends a password with an @ of its own: without it, the string names another host, and nobody can
/// tell that it was meant otherwise.
fn slipped(text: &str, at: usize, kind: usize) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let mark: Vec<char> = MARK.chars().collect();
    let marks: Vec<usize> = (0..letters.len()).filter(|at| letters[*at..].starts_with(&mark)).collect();
    let at = at % letters.len();
    if marks.iter().any(|mark| (*mark..mark + MARK.len()).contains(&at)) {
        return text.to_owned();
    }
    let ends = letters.iter().filter(|letter| **letter == '@').count() > 1 && letters[at] == '@';
    if ends && matches!(kind, 0 | 5) {
        return text.to_owned();
    }
    match kind {
        0 => drop(letters.remove(at)),
        1 => letters.insert(at, letters[at]),
        2 if letters[at].is_lowercase() => letters[at] = letters[at].to_ascii_uppercase(),
        2 => letters[at] = letters[at].to_ascii_lowercase(),
        3 => letters.insert(at, ' '),
        4 => letters.insert(at, '@'),
        5 => letters[at] = ':',
        6 => letters.insert(at, '/'),
        _ => {}
    }
    letters.into_iter().collect()
}

/// A : in place of the / makes a user of the host, and a host of what follows the @ of the password.
#[test]
fn a_password_among_parameters_is_no_host() {
    for text in [
        "postgres://host:db?user=ada&password=@zQ7x",
        "postgres://host:5432:db?password=a@zQ7x&user=ada",
        "postgresql://host:?sslpassword=@zQ7x",
    ] {
        let error = read(text).unwrap_err();
        assert!(chain(&error).contains("%3F for a ?") && !chain(&error).contains("zQ7x"), "{text}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever slip a connection string has, nothing that is said of it holds the password, and it is no file.
    #[test]
    fn no_part_of_a_password_is_shown(
        (before, behind) in (around(), around()), form in 0usize..8, at in 0usize..200, kind in 0usize..8,
    ) {
        let text = slipped(&written(form, &format!("{before}{MARK}{behind}")), at, kind);
        prop_assert_ne!(look(&text), Look::File, "{}", text);
        let shown = match read(&text) {
            Ok(address) => format!("{address} {address:?}"),
            Err(error) => format!("{} {error:?}", chain(&error)),
        };
        prop_assert!(!shown.contains(MARK), "{}: {}", text, shown);
    }

    /// What is written as it should be is read, with this password.
    #[test]
    fn a_password_is_read_as_it_was_written(password in "\\PC{1,20}") {
        let user = |address: &Address| address.config.get_user().map(str::to_owned);
        for text in [
            format!("postgres://ada:{}@host/db", encoded(&password)),
            format!("postgres://host/db?user=ada&password={}", encoded(&password)),
            format!("user=ada host=host password='{}'", password.replace('\\', "\\\\").replace('\'', "\\'")),
        ] {
            let address = read(&text).unwrap();
            prop_assert_eq!(address.config.get_password(), Some(password.as_bytes()));
            prop_assert_eq!(user(&address), Some("ada".to_owned()));
        }
    }

    /// No text is too odd.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}", begin in "(|postgres://|host=|password='|postgres://a:b@)") {
        let text = format!("{begin}{text}");
        let _ = (look(&text), read(&text));
    }
}
