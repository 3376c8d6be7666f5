//! Password files (`.pgpass`).

use std::fs;
use std::path::{Path, PathBuf};

/// The connection that needs a password.
pub(crate) struct Wanted<'w> {
    /// A name, an address, or the directory of a socket.
    pub(crate) host: &'w str,
    pub(crate) port: u16,
    pub(crate) database: &'w str,
    pub(crate) user: &'w str,
}

/// The outcome of a look into a password file.
#[derive(PartialEq, Eq)]
pub(crate) enum Found {
    Password(Vec<u8>),
    Nothing,
    /// Others than its owner may read the file, so it is ignored.
    Open,
}

/// The default file, for when no file is named.
pub(crate) fn usual() -> Option<PathBuf> {
    Some(std::env::home_dir()?.join(".pgpass"))
}

/// Finds the password in a file. A file that does not exist holds none.
pub(crate) fn find(path: &Path, wanted: &Wanted<'_>) -> Found {
    let Ok(about) = fs::metadata(path) else { return Found::Nothing };
    if !about.is_file() {
        return Found::Nothing;
    }
    if is_open(&about) {
        return Found::Open;
    }
    let Ok(text) = fs::read(path) else { return Found::Nothing };
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.find_map(|line| password(line, wanted)).map_or(Found::Nothing, Found::Password)
}

#[cfg(unix)]
fn is_open(about: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(about) & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open(_: &fs::Metadata) -> bool {
    false
}

/// The password of a line `host:port:database:user:password`, if the line matches the wanted connection.
fn password(line: &[u8], wanted: &Wanted<'_>) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    let mut rest = line;
    for wanted in [wanted.host, &wanted.port.to_string(), wanted.database, wanted.user] {
        let (field, behind) = field(rest)?;
        if field != Field::Any && field != Field::Text(wanted.as_bytes().to_vec()) {
            return None;
        }
        rest = behind;
    }
    let mut letters = rest.iter();
    let mut password = Vec::new();
    while let Some(letter) = letters.next() {
        match letter {
            b'\\' => password.extend(letters.next().or(Some(letter))),
            letter => password.push(*letter),
        }
    }
    Some(password).filter(|password| !password.is_empty())
}

#[derive(PartialEq, Eq)]
enum Field {
    /// A `*`, which matches everything.
    Any,
    Text(Vec<u8>),
}

/// Reads a field up to its colon, and returns it with the rest of the line.
fn field(text: &[u8]) -> Option<(Field, &[u8])> {
    if let Some(behind) = text.strip_prefix(b"*:") {
        return Some((Field::Any, behind));
    }
    let (mut field, mut at) = (Vec::new(), 0);
    loop {
        match text.get(at)? {
            b':' => return Some((Field::Text(field), text.get(at + 1..)?)),
            b'\\' => {
                at += 1;
                field.push(*text.get(at)?);
            }
            letter => field.push(*letter),
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(line: &str) -> Option<String> {
        let wanted = Wanted { host: "::1", port: 5, database: "d:b", user: "u\\v" };
        password(line.as_bytes(), &wanted).map(|found| String::from_utf8(found).unwrap())
    }

    #[test]
    fn lines_are_read_as_libpq_reads_them() {
        for (line, wanted) in [
            (r"\:\:1:5:d\:b:u\\v:zecret", Some("zecret")),
            (r"*:*:*:*:a:b\:c\\d", Some(r"a:b:c\d")),
            (r"*:*:*:*:ze cret ", Some("ze cret ")),
            ("*:*:*:*:zecret\r", Some("zecret")),
            (r"*:5:*:u\\v:#x", Some("#x")),
            ("#*:*:*:*:zecret", None),
            ("*:*:*:*:", None),
            ("*:*:*:zecret", None),
            ("*:6:*:*:zecret", None),
            (r"\*:*:*:*:zecret", None),
            ("**:*:*:*:zecret", None),
            ("", None),
        ] {
            assert_eq!(look(line).as_deref(), wanted, "{line}");
        }
    }
}
