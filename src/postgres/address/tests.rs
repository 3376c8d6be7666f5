//! What connection strings mean, and that no part of a password is ever shown.

use proptest::prelude::*;

use super::super::channel::{Channel, Cover, Looked, is_local};
use super::super::security::Mode;
use super::*;
use crate::conninfo::{Look, look};
use crate::error::chain;

fn read(text: &str) -> Result<Address, StoreError> {
    Address::read(text, &PostgresOptions::default())
}

#[test]
fn hosts_have_their_own_ports() {
    for (text, shown) in [
        ("postgres://h/db", "h:5432/db"),
        ("postgres://a:1,b,c:3/db", "a:1,b:5432,c:3/db"),
        ("host=a,b port=7 dbname=x", "a:7,b:7/x"),
        ("host=a,b port=7, dbname=x", "a:7,b:5432/x"),
        ("postgres://[::1]:5,10.0.0.1/db", "[::1]:5,10.0.0.1:5432/db"),
        ("host=/run/a,b dbname=x", "/run/a:5432,b:5432/x"),
        ("postgres://%2Frun%2Fa:6/x", "/run/a:6/x"),
        ("hostaddr=127.0.0.1 dbname=x", "127.0.0.1:5432/x"),
        ("host=a,b hostaddr=127.0.0.1,::1 dbname=x", "a (127.0.0.1):5432,b (::1):5432/x"),
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
        ("host=h sslmode=on", StoreErrorKind::Usage, "disable, allow, prefer"),
        ("host=h require_auth=scram-sha-256", StoreErrorKind::Unsupported, "`require_auth`"),
        ("host=h client_encoding=latin1", StoreErrorKind::Unsupported, "`client_encoding`"),
        ("host=h sslcrldir=/x", StoreErrorKind::Unsupported, "`sslcrldir`"),
        ("host=h sslcertmode=require", StoreErrorKind::Usage, "disable or allow"),
        ("host=h sslmode=require sslrootcert=system", StoreErrorKind::Usage, "stronger sslmode: verify-full"),
        ("host=h sslnegotiation=direct", StoreErrorKind::Usage, "stronger sslmode: require"),
        ("host=h sslmode=require ssl_max_protocol_version=TLSv1.1", StoreErrorKind::Usage, "TLSv1.2 or TLSv1.3"),
        (
            "host=h ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
            StoreErrorKind::Usage,
            "no lower than ssl_min_protocol_version",
        ),
        ("service=nobody_has_this_one", StoreErrorKind::Usage, "none of the files of services"),
        ("service=x servicefile=/no/such/file", StoreErrorKind::Usage, "the file that `servicefile` names"),
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

// Without TLS, settings that need it are refused when the string is read. A custom connector makes them possible.
#[test]
fn tls_is_refused_where_nobody_speaks_it() {
    for text in
        ["host=h sslmode=require", "host=h sslrootcert=system", "host=h channel_binding=require", "host=h requiressl=1"]
    {
        let error = read(text).err().map(|error| (error.kind(), chain(&error).contains("PostgresOptions::connector")));
        let wanted = cfg!(not(feature = "tls")).then_some((StoreErrorKind::Unsupported, true));
        assert_eq!(error, wanted, "{text}");
    }
    let connector = Some(crate::postgres::PostgresConnector::new(postgres::NoTls));
    let options = PostgresOptions { connector, ..PostgresOptions::default() };
    let own = |text: &str| Address::read(text, &options);
    assert_eq!(own("host=h").unwrap().security.mode, Mode::Require);
    assert_eq!(own("host=h sslmode=prefer").unwrap().security.mode, Mode::Prefer);
    let error = own("host=h sslcert=x").unwrap_err();
    assert!(chain(&error).contains("`sslcert` is not supported here: PostgresOptions::connector decides that"));
}

// Contract: O4: a log line warns about plain text to another machine, unless the string asks for plain text.
#[test]
fn a_link_in_plain_text_to_another_machine_is_told() {
    let told = |text: &str, ip: Option<&str>, cover, speaks_tls| {
        let channel = Channel { is_local: is_local(ip.map(|ip| ip.parse().unwrap())), cover };
        channel.warning(&read(text).unwrap().security, speaks_tls).map(str::to_owned)
    };
    let (far, plain) = (Some("10.0.0.1"), Cover::Plain);
    let unseen = Cover::Tls { looked: Looked::Nobody, until: None };
    for (text, ip, cover, speaks, words) in [
        ("host=h", far, plain, true, Some("did not take TLS")),
        ("host=h sslmode=prefer", far, plain, true, Some("did not take TLS")),
        ("host=h sslmode=allow", Some("2001:db8::1"), plain, true, Some("did not take TLS")),
        ("host=h", far, plain, false, Some("does not speak TLS")),
        ("host=h", far, unseen, true, Some("nobody has checked whose")),
        ("host=h sslmode=prefer", far, unseen, true, None),
        ("host=h sslmode=disable", far, plain, true, None),
        ("host=h", Some("127.0.0.2"), plain, true, None),
        ("host=h", Some("::1"), plain, true, None),
        ("host=h", Some("::ffff:127.0.0.1"), plain, true, None),
        ("host=/run", None, plain, true, None),
        ("host=h", far, Cover::Tls { looked: Looked::Issuer, until: None }, true, None),
    ] {
        let found = told(text, ip, cover, speaks);
        assert_eq!(found.is_some(), words.is_some(), "{text}: {found:?}");
        assert!(found.is_none_or(|found| found.contains(words.unwrap())), "{text}");
    }
}

// As in libpq: the string comes first, then its service, then the environment variables.
#[test]
fn what_the_string_does_not_say_comes_from_its_service_and_then_from_variables() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pg_service.conf"), "[mine]\nhost=s\nport=7\nsslmode=allow\n").unwrap();
    let variable = |name: &str| -> Option<std::ffi::OsString> {
        match name {
            "PGSYSCONFDIR" => Some(folder.path().into()),
            "PGHOST" => Some("v".into()),
            "PGPORT" => Some("8".into()),
            "PGUSER" => Some("ada".into()),
            "PGREQUIRESSL" => Some("1".into()),
            _ => None,
        }
    };
    let read = |text: &str| {
        let mut parts = Parts::parse(text).unwrap();
        let address = Address::of_parts(parts.complete(&variable).map(|()| parts), &PostgresOptions::default());
        let address = address.unwrap();
        let user = address.config.get_user().unwrap_or_default().to_owned();
        (address.to_string(), user, address.security.mode)
    };
    let v = |place: &str, mode| (place.to_owned(), "ada".to_owned(), mode);
    for (text, wanted) in [
        ("postgres://", v("v:8/ada", Mode::Require)),
        ("postgres:///db", v("v:8/db", Mode::Require)),
        ("host=a dbname=db", v("a:8/db", Mode::Require)),
        ("service=mine", v("s:7/ada", Mode::Allow)),
        ("postgres://a/db?service=mine", v("a:7/db", Mode::Allow)),
        ("service=mine sslmode=disable", v("s:7/ada", Mode::Disable)),
    ] {
        assert_eq!(read(text), wanted, "{text}");
    }
    // A keyword with an empty value in the string is not looked up elsewhere.
    assert!(!read("host='' dbname=db").0.starts_with("v:"));
}

const MARK: &str = "zQ7x";

/// The text around the mark in a password. It uses every character that has a meaning somewhere in a connection
/// string.
fn around() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select("aé@:/?#%[]',=&\\ .-_+;\"1".chars().collect::<Vec<_>>()), 0..5)
        .prop_map(|letters| letters.into_iter().collect())
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
}

/// A connection string with this password, in a correct form or in a wrong one that people write.
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

/// Makes one slip: a letter is left out, doubled, changed in case, or replaced. The mark stays.
///
/// If the password has an @ or a comma, the @ that ends it stays too. Without it the string names another host, and
/// nobody can tell that it was meant otherwise.
fn slipped(text: &str, at: usize, kind: usize) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let mark: Vec<char> = MARK.chars().collect();
    let marks: Vec<usize> = (0..letters.len()).filter(|at| letters[*at..].starts_with(&mark)).collect();
    let at = at % letters.len();
    if marks.iter().any(|mark| (*mark..mark + MARK.len()).contains(&at)) {
        return text.to_owned();
    }
    let names_a_host = letters[at + 1..].contains(&'@') || letters[..at].contains(&'@') || letters[..at].contains(&',');
    let ends = letters[at] == '@' && names_a_host;
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

/// With a : in place of the /, the host becomes a user, and what follows the @ of the password becomes a host.
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

    /// Whatever slip a connection string has, no message about it holds the password, and it is not taken for a file.
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

    /// A correct string is read with exactly this password.
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

    /// No text makes the parser panic.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}", begin in "(|postgres://|host=|password='|postgres://a:b@)") {
        let text = format!("{begin}{text}");
        let _ = (look(&text), read(&text));
    }
}

#[test]
fn the_database_that_is_used_is_shown() {
    let own = whoami::username().unwrap();
    for (text, shown) in [
        ("postgres://ada@127.0.0.1:1", "127.0.0.1:1/ada"),
        ("postgres://ada@127.0.0.1:1/", "127.0.0.1:1/ada"),
        ("postgres://ada@127.0.0.1:1/books", "127.0.0.1:1/books"),
        ("host=127.0.0.1 port=1 user=ada", "127.0.0.1:1/ada"),
        ("host=127.0.0.1 port=1", &*format!("127.0.0.1:1/{own}")),
    ] {
        assert_eq!(read(text).unwrap().to_string(), shown, "{text}");
    }
}
