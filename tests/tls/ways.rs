//! Other ways to TLS, and ways that fail.

use readside::error::StoreErrorKind as Kind;
use readside::store::Notifier;
use readside::{NewEvent, PostgresConnector, PostgresOptions, PostgresStore};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::authority::{Authority, Valid};
use crate::common::eventually;
use crate::secure::{In, Secure};
use crate::{front, open, refused};

// The test server is too old for this way, so a proxy in front of it accepts it.
#[test]
fn tls_begins_without_a_question_where_that_is_asked_for() {
    let ours = Authority::new("ours");
    let issued = ours.issue("db", &["localhost"], Valid::Now);
    let secure = Secure::new(&issued);
    let root = secure.file("root.crt", &ours.pem).display().to_string();
    let port = front::direct(&issued, secure.server.port());
    let url = format!("postgres://tester@localhost:{port}/postgres?hostaddr=127.0.0.1&sslnegotiation=direct");
    let store = open(&format!("{url}&sslmode=verify-full&sslrootcert={root}")).unwrap();
    readside::store::ProjectionStore::setup(&store, &[]).unwrap();
}

// Contract: L11
#[test]
fn a_server_that_stops_half_way_is_told() {
    for (says, words) in [(&b""[..], "TLS handshake"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS")] {
        let port = front::stops(says);
        let url = format!("postgres://tester:zecret@127.0.0.1:{port}/postgres?sslmode=require");
        refused(&url, Kind::Insecure, &[words, "server's log says"]);
    }
}

// Contract: A7: listening and lease renewal use the same protection.
#[test]
fn all_connections_of_an_engine_are_protected() {
    let ours = Authority::new("ours");
    let mut secure = Secure::new(&ours.issue("db", &["localhost"], Valid::Now));
    secure.rules("hostssl all all 127.0.0.1/32 trust");
    let root = secure.file("root.crt", &ours.pem).display().to_string();
    let url = secure.url("localhost", &format!("sslmode=verify-full&sslrootcert={root}"));
    let (store, other) = (open(&url).unwrap(), open(&url).unwrap());
    readside::store::ProjectionStore::setup(&store, &[]).unwrap();
    let mut listener = store.listener();
    listener.listen(std::time::Duration::ZERO).unwrap();
    let event = NewEvent::raw("acme", "thing", "x", "thing.made");
    readside::EventStore::push(&other, &[event]).unwrap();
    eventually("the news of a push", || {
        let news = listener.listen(std::time::Duration::from_millis(100)).unwrap();
        news.all || news.instances.iter().any(|(instance, _)| &**instance == "acme")
    });
    readside::store::LeaseStore::renew(&store, uuid::Uuid::nil(), std::time::Duration::from_secs(5)).unwrap();
    let links = secure.links();
    assert!(links.len() >= 3 && links.iter().all(|link| *link), "{links:?}");
}

#[test]
fn a_connector_of_ones_own_speaks_tls() {
    let ours = Authority::new("ours");
    let mut secure = Secure::new(&ours.issue("db", &["localhost"], Valid::Now));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ours.pem.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = PostgresConnector::new(tokio_postgres_rustls::MakeRustlsConnect::new(config));
    let options = PostgresOptions::default().connector(connector).connect_timeout(crate::PATIENCE);
    let connect = |url: &str| PostgresStore::connect_with(url, options.clone());
    for (parameters, is_safe) in [("", true), ("sslmode=require", true), ("sslmode=disable", false)] {
        let store = connect(&secure.url("localhost", parameters)).unwrap();
        assert_eq!(secure.links(), [is_safe], "{parameters}");
        drop(store);
        eventually("its end", || secure.links().is_empty());
    }
    // The connector decides whom it trusts.
    let error = connect(&secure.url("127.0.0.1", "")).unwrap_err();
    assert_eq!(error.kind(), Kind::Insecure, "{error:?}");
    let error = connect(&secure.url("localhost", "sslrootcert=/no/file")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error:?}");
    // Without an `sslmode`, TLS is required.
    secure.admin().batch_execute("ALTER SYSTEM SET ssl = off").unwrap();
    secure.again();
    assert_eq!(connect(&secure.url("localhost", "")).unwrap_err().kind(), Kind::Insecure);
    assert_eq!(secure.ours(&secure.url("localhost", "")), In::Plain);
}

/// What `doctor` finds about TLS.
fn found(store: &PostgresStore) -> readside::inspect::Finding {
    let findings = readside::inspect::Inspect::examine(store, std::time::Duration::from_millis(100));
    findings.into_iter().find(|finding| finding.check == "tls").expect("a finding")
}

// Contract: L11
#[test]
fn the_doctor_tells_of_tls_and_of_the_certificates_end() {
    let ours = Authority::new("ours");
    let mut secure = Secure::new(&ours.issue("db", &["localhost"], Valid::Now));
    let root = secure.file("root.crt", &ours.pem).display().to_string();
    let past = ours.issue("db", &["localhost"], Valid::Past);
    let (full, issuer) = (format!("sslmode=verify-full&sslrootcert={root}"), format!("sslrootcert={root}"));
    for (parameters, words) in [
        ("sslmode=disable", "none; the link does not leave this machine"),
        ("sslmode=require", "nobody has checked whose"),
        (&issuer, "of a trusted authority; the certificate ends at 2999-01-01T00:00:00"),
        (&full, "and for this host; the certificate ends at 2999-01-01T00:00:00"),
    ] {
        let finding = found(&open(&secure.url("localhost", parameters)).unwrap());
        assert_eq!(finding.verdict, readside::inspect::Severity::Ok, "{finding:?}");
        assert!(finding.found.contains(words), "{words}: {finding:?}");
    }
    secure.show(&past);
    secure.again();
    let finding = found(&open(&secure.url("localhost", "sslmode=require")).unwrap());
    assert_eq!(finding.verdict, readside::inspect::Severity::Warn, "{finding:?}");
    assert!(finding.found.contains("ends at 2001-01-01T00:00:00"), "{finding:?}");
}
