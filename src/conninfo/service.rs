//! Services: named sets of connection parameters in files (`pg_service.conf`).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::environment::Lookup;
use super::fault::Fault;
use super::keyword;

/// Where packages put the file for all users by default: Debian, Red Hat, and PostgreSQL itself.
const SYSTEM: [&str; 3] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc"];

/// A service file, and how messages name it. Messages do not show its path, because a path from a connection string
/// may be a part of a password.
struct Place {
    path: PathBuf,
    name: &'static str,
    /// True if a missing file is an error.
    is_asked_for: bool,
}

/// The parameters of the service with this name. `file` is the file that the connection string names, if it names
/// one.
pub(super) fn find(service: &[u8], file: Option<&str>, variable: Lookup<'_>) -> Result<Section, Fault> {
    for place in places(file, variable) {
        let text = match fs::read(&place.path) {
            Ok(text) => text,
            Err(_) if !place.is_asked_for => continue,
            Err(_) => return Err(Fault::ServiceFile(place.name)),
        };
        if let Some(found) = section(&text, service, place.name)? {
            return Ok(found);
        }
    }
    Err(Fault::Service)
}

/// The files to search: the user's file, then the file for all users.
fn places(file: Option<&str>, variable: Lookup<'_>) -> Vec<Place> {
    let said = file.map(|path| (PathBuf::from(path), "the file that `servicefile` names"));
    let said = said.or_else(|| variable("PGSERVICEFILE").map(|path| (path.into(), "the file of PGSERVICEFILE")));
    let user = match said {
        Some((path, name)) => Some(Place { path, name, is_asked_for: true }),
        None => std::env::home_dir().map(|home| Place {
            path: home.join(".pg_service.conf"),
            name: "~/.pg_service.conf",
            is_asked_for: false,
        }),
    };
    let folders = variable("PGSYSCONFDIR").map_or_else(|| SYSTEM.map(OsString::from).to_vec(), |folder| vec![folder]);
    let system = folders.into_iter().map(|folder| Place {
        path: Path::new(&folder).join("pg_service.conf"),
        name: "pg_service.conf of the system",
        is_asked_for: false,
    });
    user.into_iter().chain(system).collect()
}

/// Keywords with their values.
pub(super) type Section = Vec<(&'static str, Vec<u8>)>;

/// The section of a service in a file. The first value of a keyword wins. Faults in other sections are ignored.
fn section(text: &[u8], service: &[u8], file: &'static str) -> Result<Option<Section>, Fault> {
    let mut found: Option<Section> = None;
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if line.starts_with(b"[") {
            if found.is_some() {
                break;
            }
            // As in libpq, the name ends at `]`.
            let name = line.get(1..).unwrap_or_default();
            if name.strip_prefix(service).is_some_and(|rest| rest.starts_with(b"]")) {
                found = Some(Section::new());
            }
            continue;
        }
        let Some(section) = &mut found else { continue };
        let wrong = Fault::ServiceLine(file, at + 1);
        let (word, value) = split_once(line, b'=').ok_or(wrong)?;
        let keyword = keyword::exact(word).filter(|keyword| !matches!(*keyword, "service" | "servicefile"));
        let keyword = keyword.ok_or(wrong)?;
        if value.contains(&0) {
            return Err(Fault::Nul);
        }
        if !section.iter().any(|(known, _)| *known == keyword) {
            section.push((keyword, value.to_vec()));
        }
    }
    Ok(found)
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|byte| *byte == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<String>, Fault> {
        let found = section(text.as_bytes(), b"mine", "a file")?;
        let shown = |(word, value): &(&str, Vec<u8>)| format!("{word}={}", String::from_utf8_lossy(value));
        Ok(found.map(|found| found.iter().map(shown).collect::<Vec<_>>().join("|")))
    }

    // The right sides are what libpq makes of the left ones.
    #[test]
    fn services_are_read_as_libpq_reads_them() {
        for (text, wanted) in [
            ("[mine]\nhost=h\nport=5\n", Some("host=h|port=5")),
            ("# x\n\n[other]\nrubbish\n[mine]\r\n  host=h  \r\n", Some("host=h")),
            ("[mine]\nhost=a\nhost=b\n[mine]\nport=5", Some("host=a")),
            ("[mine]\npassword= a=b'c\\ \n", Some("password= a=b'c\\")),
            ("[mine]\nhost=\n", Some("host=")),
            ("[mine]", Some("")),
            ("[mines]\nhost=h", None),
            ("host=h", None),
            ("", None),
        ] {
            assert_eq!(read(text), Ok(wanted.map(str::to_owned)), "{text}");
        }
        for (text, line) in [
            ("[mine]\nhost", 2),
            ("[mine]\nhost=h\nhost = x", 3),
            ("[mine]\nservice=x", 2),
            ("[mine]\nfrobnicate=x", 2),
            ("[mine]\nldap://h/x", 2),
        ] {
            assert_eq!(read(text), Err(Fault::ServiceLine("a file", line)), "{text}");
        }
    }
}
