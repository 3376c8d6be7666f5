//! Each new connection reads the certificates again.

use std::time::Duration;

use readside::error::StoreErrorKind as Kind;
use readside::query::Query;
use readside::{EventStore, PostgresOptions, PostgresStore};

use crate::authority::{Authority, Valid};
use crate::secure::Secure;

#[test]
fn a_renewed_certificate_needs_no_restart() {
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let mut secure = Secure::new(&before.issue("db", &["localhost"], Valid::Now));
    let root = secure.file("root.crt", &before.pem);
    let url = secure.url("localhost", &format!("sslmode=verify-full&sslrootcert={}", root.display()));
    // Each call has its own connection.
    let options = PostgresOptions::default().max_lifetime(Duration::ZERO).connect_timeout(crate::PATIENCE);
    let store = PostgresStore::connect_with(&url, options).unwrap();
    readside::store::ProjectionStore::setup(&store, &[]).unwrap();
    secure.show(&after.issue("db", &["localhost"], Valid::Now));
    secure.again();
    assert_eq!(store.filter(&Query::new()).unwrap_err().kind(), Kind::Insecure);
    secure.file("root.crt", &after.pem);
    assert!(store.filter(&Query::new()).unwrap().is_empty());
    std::fs::remove_file(root).unwrap();
    assert_eq!(store.filter(&Query::new()).unwrap_err().kind(), Kind::Insecure);
}
