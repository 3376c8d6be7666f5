//! Server certificates, most of which are wrong. The error names each cause and the remedy.

use readside::error::StoreErrorKind as Kind;

use crate::authority::{Authority, Valid, signs_itself};
use crate::refused;
use crate::secure::{In, Secure};

// Contract: L11
#[test]
fn each_wrong_certificate_is_told_with_its_cause() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let mut secure = Secure::new(&ours.issue("db", &["localhost"], Valid::Now));
    let root = secure.file("root.crt", &ours.pem).display().to_string();
    let full = secure.url("localhost", &format!("sslmode=verify-full&sslrootcert={root}"));
    assert_eq!(secure.ours(&full), In::Tls);
    for (issued, words) in [
        (ours.issue("db", &["localhost"], Valid::Past), ["it ended at 2001-01-01T00:00:00", "renewed on the server"]),
        (ours.issue("db", &["localhost"], Valid::Future), ["it begins at 2998-01-01T00:00:00", "set the clocks"]),
        (ours.issue("db", &["db.example.com"], Valid::Now), ["not for the host", "db.example.com"]),
        (other.issue("db", &["localhost"], Valid::Now), ["CN=another", "by sslrootcert"]),
        (signs_itself("db", &["localhost"]), ["signs itself", "by sslrootcert"]),
        // If the certificate has host names, its common name does not count.
        (ours.issue("localhost", &["db.example.com"], Valid::Now), ["not for the host", "hostaddr"]),
    ] {
        secure.show(&issued);
        secure.again();
        assert_eq!(secure.psql(&full), In::Not, "{words:?}");
        refused(&full, Kind::Insecure, &words);
        // A client that does not check the certificate does not see the fault.
        assert_eq!(secure.ours(&secure.url("localhost", "sslmode=require")), In::Tls, "{words:?}");
    }
    let itself = signs_itself("db", &["localhost"]);
    let trusted = secure.file("itself.crt", &itself.certificate).display().to_string();
    for (issued, root) in [
        // Older certificates name the host only there.
        (ours.issue("localhost", &[], Valid::Now), &root),
        (ours.issue("db", &["*.example.com", "localhost"], Valid::Now), &root),
        // This certificate itself is trusted.
        (itself, &trusted),
    ] {
        secure.show(&issued);
        secure.again();
        let full = secure.url("localhost", &format!("sslmode=verify-full&sslrootcert={root}"));
        assert_eq!((secure.psql(&full), secure.ours(&full)), (In::Tls, In::Tls));
    }
}

#[test]
fn a_revoked_certificate_is_refused() {
    let ours = Authority::new("ours");
    let secure = Secure::new(&ours.issue("db", &["localhost"], Valid::Now));
    let root = secure.file("root.crt", &ours.pem).display().to_string();
    let revoked = secure.file("revoked.crl", &ours.revoked()).display().to_string();
    let url = secure.url("localhost", &format!("sslmode=verify-full&sslrootcert={root}&sslcrl={revoked}"));
    assert_eq!(secure.psql(&url), In::Not);
    refused(&url, Kind::Insecure, &["was revoked"]);
}

/// A server that asks each user for a certificate of this authority.
fn asking(ours: &Authority) -> Secure {
    let mut secure = Secure::new(&ours.issue("db", &["localhost"], Valid::Now));
    secure.server.give("clients.crt", &ours.pem);
    secure.admin().batch_execute("ALTER SYSTEM SET ssl_ca_file = 'clients.crt'").unwrap();
    secure.rules("hostssl all all 127.0.0.1/32 cert");
    secure
}

// Contract: L11
#[test]
fn a_user_shows_a_certificate_and_each_wrong_one_is_told() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let secure = asking(&ours);
    let (mine, stranger) = (ours.issue("tester", &[], Valid::Now), other.issue("tester", &[], Valid::Now));
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nzecret\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let file = |name: &str, text: &str| secure.file(name, text).display().to_string();
    let (certificate, key) = (file("mine.crt", &mine.certificate), file("mine.key", &mine.key));
    let (strange, strange_key) = (file("strange.crt", &stranger.certificate), file("strange.key", &stranger.key));
    let (locked, garbage) = (file("locked.key", locked), file("garbage.key", "zecret"));
    let open = file("open.key", &mine.key);
    crate::secure::write(open.as_ref(), &mine.key, 0o644);
    let url = |certificate: &str, key: &str| {
        secure.url("127.0.0.1", &format!("sslmode=require&sslcert={certificate}&sslkey={key}"))
    };
    let right = url(&certificate, &key);
    assert_eq!((secure.psql(&right), secure.ours(&right)), (In::Tls, In::Tls));
    for (wrong, kind, words) in [
        (secure.url("127.0.0.1", "sslmode=require"), Kind::Denied, ["28000", "certificate"]),
        (url(&strange, &strange_key), Kind::Insecure, ["refuses the certificate", "sslcert and sslkey"]),
        (url(&certificate, &strange_key), Kind::Insecure, ["do not go together", "made together"]),
        (url(&certificate, &locked), Kind::Insecure, ["locked by a passphrase", "without a passphrase"]),
        (url(&certificate, &open), Kind::Insecure, ["may be read by others", "chmod 600"]),
        (url(&certificate, &garbage), Kind::Insecure, ["`sslkey` names holds none", "holds PEM"]),
        (url(&certificate, "/no/such.key"), Kind::Insecure, ["`sslkey` names cannot be read", "is there"]),
        (url(&certificate, ""), Kind::Insecure, ["no key to it", "by sslkey"]),
    ] {
        assert_eq!(secure.psql(&wrong), In::Not, "{wrong}");
        refused(&wrong, kind, &words);
    }
    // libpq ignores a certificate that does not exist. Here the string asks for it, so this is an error.
    refused(&url("/no/such.crt", &key), Kind::Insecure, &["`sslcert` names cannot be read"]);
    let off = format!("{right}&sslcertmode=disable");
    refused(&off, Kind::Denied, &["28000"]);
}
