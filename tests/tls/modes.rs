//! What each `sslmode` does, on servers with TLS, without TLS, and with rules that require one of the two.

use readside::error::StoreErrorKind as Kind;

use crate::authority::{Authority, Valid};
use crate::refused;
use crate::secure::{ANYHOW, In, Secure};

/// Checks cases, each with a host, parameters, and how the client gets in. psql has to do the same.
#[track_caller]
fn compare(secure: &Secure, cases: &[(&str, &str, In)]) {
    for (host, parameters, wanted) in cases {
        let url = secure.url(host, parameters);
        assert_eq!(secure.psql(&url), *wanted, "psql: {url}");
        assert_eq!(secure.ours(&url), *wanted, "{url}");
    }
}

// Contract: O4
#[test]
fn each_mode_does_what_it_does_in_psql() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let mut secure = Secure::new(&ours.issue("db", &["localhost"], Valid::Now));
    let root = secure.file("root.crt", &ours.pem).display().to_string();
    let another = secure.file("another.crt", &other.pem).display().to_string();
    let with = |mode: &str, root: &str| format!("sslmode={mode}&sslrootcert={root}");
    let (ip, name) = ("127.0.0.1", "localhost");
    compare(
        &secure,
        &[
            (ip, "", In::Tls),
            (ip, "sslmode=disable", In::Plain),
            (ip, "sslmode=allow", In::Plain),
            (ip, "sslmode=prefer", In::Tls),
            (ip, "sslmode=require", In::Tls),
            (ip, "requiressl=1", In::Tls),
            (ip, "ssl=true", In::Tls),
            (ip, "sslmode=verify-ca", In::Not),
            (ip, "sslmode=verify-full", In::Not),
            (ip, &with("require", &root), In::Tls),
            (ip, &with("verify-ca", &root), In::Tls),
            (ip, &with("verify-full", &root), In::Not),
            (name, &with("verify-full", &root), In::Tls),
            (name, &format!("hostaddr=127.0.0.1&{}", with("verify-full", &root)), In::Tls),
            (ip, &with("require", &another), In::Not),
            (ip, &with("prefer", &another), In::Plain),
            (ip, &with("verify-ca", &another), In::Not),
            (ip, "sslmode=require&ssl_max_protocol_version=TLSv1.2", In::Tls),
            (ip, "sslmode=require&ssl_min_protocol_version=TLSv1.3", In::Tls),
            (ip, "sslmode=require&sslsni=0", In::Tls),
            (ip, "channel_binding=require", In::Not),
            // Neither tool uses TLS on a socket, with any mode.
            ("", &format!("host={}&sslmode=require", secure.server.socket().display()), In::Plain),
        ],
    );
    let kind = Kind::Insecure;
    refused(&secure.url(ip, "sslmode=verify-full"), kind, &["~/.postgresql/root.crt", "sslrootcert=system"]);
    let direct = "sslnegotiation=direct&sslmode=prefer";
    refused(&secure.url(ip, direct), Kind::Usage, &["`sslnegotiation=direct` needs a stronger sslmode"]);
    let system = "sslrootcert=system&sslmode=verify-ca";
    refused(&secure.url(ip, system), Kind::Usage, &["`sslrootcert=system` needs a stronger sslmode: verify-full"]);
    // No authority that this machine trusts has issued our certificate. Only verify-full is allowed here.
    refused(&secure.url(ip, "sslrootcert=system"), kind, &["no authority that is trusted here", "\"CN=ours\""]);
    secure.rules("hostnossl all all 127.0.0.1/32 trust");
    compare(&secure, &[(ip, "", In::Plain), (ip, "sslmode=prefer", In::Plain), (ip, "sslmode=require", In::Not)]);
    secure.rules("hostssl all all 127.0.0.1/32 trust");
    compare(&secure, &[(ip, "", In::Tls), (ip, "sslmode=allow", In::Tls), (ip, "sslmode=disable", In::Not)]);
    secure.rules(ANYHOW);
    secure.admin().batch_execute("ALTER SYSTEM SET ssl = off").unwrap();
    secure.again();
    compare(
        &secure,
        &[
            (ip, "", In::Plain),
            (ip, "sslmode=allow", In::Plain),
            (ip, "sslmode=prefer", In::Plain),
            (ip, "sslmode=require", In::Not),
            (name, &with("verify-full", &root), In::Not),
        ],
    );
    refused(&secure.url(ip, "sslmode=require"), kind, &["does not speak TLS", "ssl = on", "sslmode=disable"]);
}

// SCRAM proves the password together with the certificate that both sides see.
#[test]
fn channel_binding_needs_tls_and_holds_with_it() {
    let ours = Authority::new("ours");
    let mut secure = Secure::new(&ours.issue("db", &["localhost"], Valid::Now));
    secure.admin().batch_execute("ALTER ROLE tester PASSWORD 'zecret'").unwrap();
    secure.rules("host all all 127.0.0.1/32 scram-sha-256");
    compare(
        &secure,
        &[
            ("127.0.0.1", "channel_binding=require&sslmode=require", In::Tls),
            ("127.0.0.1", "channel_binding=prefer&sslmode=require", In::Tls),
            ("127.0.0.1", "channel_binding=disable&sslmode=require", In::Tls),
            ("127.0.0.1", "channel_binding=require&sslmode=disable", In::Not),
        ],
    );
}
