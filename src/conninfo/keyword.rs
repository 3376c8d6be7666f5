//! The keywords of connection strings: the words before `=`.

/// All keywords that libpq knows, and one that only the driver knows.
const KNOWN: [&str; 53] = [
    "application_name",
    "authtype",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "tty",
    "user",
    "oauth_client_id",
    "oauth_client_secret",
];

/// Words that people write instead of a keyword, each with the keyword that they mean.
const OTHER_WORDS: [(&str, &str); 14] = [
    ("pass", "password"),
    ("passphrase", "password"),
    ("pw", "password"),
    ("pwd", "password"),
    ("secret", "password"),
    ("username", "user"),
    ("login", "user"),
    ("role", "user"),
    ("db", "dbname"),
    ("database", "dbname"),
    ("hostname", "host"),
    ("server", "host"),
    ("timeout", "connect_timeout"),
    ("attrs", "target_session_attrs"),
];

/// The keyword that is spelled exactly like this word.
#[cfg(feature = "postgres")]
pub(super) fn exact(word: &[u8]) -> Option<&'static str> {
    KNOWN.into_iter().find(|known| known.as_bytes() == word)
}

/// The keyword that this word probably means, if there is one.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    // No keyword is this long, even with two slips. The text itself may have any length.
    if word.len() > 30 {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    if let Some((_, meant)) = OTHER_WORDS.iter().find(|(other, _)| *other == word) {
        return Some(meant);
    }
    let slips = |known: &&str| if known.len() <= 4 { 1 } else { 2 };
    let near = KNOWN.into_iter().map(|known| (distance(&word, known), known));
    let nearest = near.filter(|(slips_made, known)| *slips_made <= slips(known)).min_by_key(|(slips, _)| *slips);
    nearest.map(|(_, known)| known)
}

/// True if a password follows this word.
pub(super) fn is_secret(word: &str) -> bool {
    matches!(nearest(word), Some("password" | "sslpassword"))
}

/// How many letters have to be added, removed or replaced to turn one word into the other.
pub(super) fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (at, letter) in left.chars().enumerate() {
        let mut before = at;
        let mut last = at + 1;
        let mut next = vec![last];
        for (other, above) in right.chars().zip(row.iter().skip(1)) {
            let exchanged = before + usize::from(letter != other);
            last = exchanged.min(above + 1).min(last + 1);
            before = *above;
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_keyword_is_found() {
        for (word, meant) in [
            ("password", Some("password")),
            ("PASSWORD", Some("password")),
            ("pasword", Some("password")),
            ("passwort", Some("password")),
            ("PGPASSWORD", Some("password")),
            ("connect-timeout", Some("connect_timeout")),
            ("hosts", Some("host")),
            ("username", Some("user")),
            ("tenant", None),
            ("mode", None),
            ("", None),
        ] {
            assert_eq!(nearest(word), meant, "{word}");
        }
    }

    #[test]
    fn distances() {
        for (left, right, wanted) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(left, right), wanted, "{left} {right}");
        }
    }
}
