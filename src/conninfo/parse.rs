//! Parses connection strings. The rules are those of libpq's `conninfo_parse` and `conninfo_uri_parse`, with one
//! exception: where libpq could take a part of a password for a host or a database, this parser refuses the text.

use super::environment::{Lookup, VARIABLES};
use super::fault::Fault;
use super::look::is_url;
use super::{keyword, service};

/// The values of a connection string by keyword. It has no `Debug`, because it holds the password.
#[derive(Default)]
pub(crate) struct Parts(Vec<(&'static str, Vec<u8>)>);

impl Parts {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let mut parts = Self::default();
        if text.contains('\0') {
            return Err(Fault::Nul);
        }
        if is_url(text) {
            parts.read_url(text.split_once("://").map_or(text, |(_, rest)| rest))?;
            return Ok(parts);
        }
        match super::look(text) {
            super::Look::Slip(fault) => return Err(fault),
            super::Look::File if !text.contains('=') => return Err(Fault::Neither),
            super::Look::File | super::Look::Server => {}
        }
        parts.read_pairs(text)?;
        Ok(parts)
    }

    /// Adds what the string does not say: first from its service, then from the environment variables.
    pub(crate) fn complete(&mut self, variable: Lookup<'_>) -> Result<(), Fault> {
        let named = self.bytes("service").map(<[u8]>::to_vec);
        let named = named.or_else(|| variable("PGSERVICE").map(std::ffi::OsString::into_encoded_bytes));
        if let Some(named) = named {
            let found = service::find(&named, self.text("servicefile")?, variable)?;
            for (keyword, value) in found {
                self.keep_unsaid(keyword, value);
            }
        }
        for (name, keyword) in VARIABLES {
            // `sslmode` is the newer keyword for the same thing, so it wins.
            if keyword == "requiressl" && self.is_said("sslmode") {
                continue;
            }
            if let Some(value) = variable(name) {
                self.keep_unsaid(keyword, value.into_encoded_bytes());
            }
        }
        Ok(())
    }

    fn is_said(&self, keyword: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == keyword)
    }

    /// Keeps a value unless the string has this keyword. A keyword with an empty value counts as said.
    fn keep_unsaid(&mut self, keyword: &'static str, value: Vec<u8>) {
        if !self.is_said(keyword) {
            self.keep(keyword, value);
        }
    }

    /// The last value of a keyword. An empty value counts as none.
    pub(crate) fn bytes(&self, keyword: &str) -> Option<&[u8]> {
        let found = self.0.iter().rev().find(|(known, _)| *known == keyword);
        found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    pub(crate) fn text(&self, keyword: &'static str) -> Result<Option<&str>, Fault> {
        let found = self.bytes(keyword).map(std::str::from_utf8).transpose();
        found.map_err(|_| Fault::NotUtf8(keyword))
    }

    /// The value of a keyword that allows only a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        keyword: &'static str,
        choices: &[(&str, T)],
        wanted: &'static str,
    ) -> Result<Option<T>, Fault> {
        let Some(value) = self.text(keyword)? else { return Ok(None) };
        let found = choices.iter().find(|(name, _)| *name == value).map(|(_, meant)| *meant);
        found.map(Some).ok_or(Fault::Value(keyword, wanted))
    }

    fn keep(&mut self, keyword: &'static str, value: Vec<u8>) {
        self.0.push((keyword, value));
    }

    /// Keeps a part of a URL. An empty part counts as not said.
    fn keep_part(&mut self, keyword: &'static str, value: Vec<u8>) {
        if !value.is_empty() {
            self.keep(keyword, value);
        }
    }

    /// Reads what follows `://`.
    fn read_url(&mut self, url: &str) -> Result<(), Fault> {
        let mut rest = url;
        // The first @ ends the password, unless a / comes before it.
        if let Some(at) = url.find(['@', '/']).filter(|at| url.get(*at..).is_some_and(|rest| rest.starts_with('@'))) {
            let (credentials, behind) = url.split_at(at);
            // A parameter comes before the @: the / before the parameters is missing, and a password in them has an
            // @. So no host follows the @.
            if credentials.split_once('?').is_some_and(|(_, parameters)| parameters.contains('=')) {
                return Err(Fault::At);
            }
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            self.keep_part("user", decoded(user)?);
            self.keep_part("password", decoded(password)?);
            rest = behind.get(1..).unwrap_or_default();
        }
        // What libpq would take for a host or a database may be the end of a password.
        let place = rest.split('?').next().unwrap_or_default();
        let path = place.split_once('/').map_or("", |(_, path)| path);
        if place.contains('@') || path.contains(['/', ':', ',', '[', ']']) {
            return Err(Fault::At);
        }
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        loop {
            let host;
            if let Some(address) = rest.strip_prefix('[') {
                let (inside, behind) =
                    address.split_once(']').filter(|(inside, _)| !inside.is_empty()).ok_or(Fault::Bracket)?;
                if !behind.is_empty() && !behind.starts_with([':', '/', '?', ',']) {
                    return Err(Fault::Bracket);
                }
                (host, rest) = (inside, behind);
            } else {
                (host, rest) = rest.split_at(rest.find([':', '/', '?', ',']).unwrap_or(rest.len()));
            }
            hosts.push(host);
            let mut port = "";
            if let Some(behind) = rest.strip_prefix(':') {
                (port, rest) = behind.split_at(behind.find(['/', '?', ',']).unwrap_or(behind.len()));
            }
            ports.push(port);
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => break,
            }
        }
        self.keep_part("host", decoded(&hosts.join(","))?);
        self.keep_part("port", decoded(&ports.join(","))?);
        if let Some(path) = rest.strip_prefix('/') {
            let (database, behind) = path.split_at(path.find('?').unwrap_or(path.len()));
            self.keep_part("dbname", decoded(database)?);
            rest = behind;
        }
        rest.strip_prefix('?').map_or(Ok(()), |parameters| self.read_parameters(parameters))
    }

    /// Reads what follows `?`.
    fn read_parameters(&mut self, parameters: &str) -> Result<(), Fault> {
        if parameters.is_empty() {
            return Ok(());
        }
        for (at, parameter) in parameters.split('&').enumerate() {
            let place = at + 1;
            let pair = parameter.split_once('=').filter(|(_, value)| !value.contains('='));
            let (word, value) = pair.ok_or(Fault::Parameter(place))?;
            let (word, value) = (decoded(word)?, decoded(value)?);
            // JDBC writes it so.
            if word == b"ssl" && value == b"true" {
                self.keep("sslmode", b"require".to_vec());
                continue;
            }
            let keyword = keyword::exact(&word).ok_or_else(|| Fault::keyword(place, &word))?;
            self.keep(keyword, value);
        }
        Ok(())
    }

    fn read_pairs(&mut self, text: &str) -> Result<(), Fault> {
        let mut rest = text.trim_start_matches(is_space);
        let mut place = 0;
        while !rest.is_empty() {
            place += 1;
            let (word, behind) =
                rest.split_at(rest.find(|letter| letter == '=' || is_space(letter)).unwrap_or(rest.len()));
            let behind = behind.trim_start_matches(is_space).strip_prefix('=').ok_or(Fault::NoEquals(place))?;
            let keyword = keyword::exact(word.as_bytes()).ok_or_else(|| Fault::keyword(place, word.as_bytes()))?;
            let behind = behind.trim_start_matches(is_space);
            let (value, behind) = value(keyword, behind)?;
            self.keep(keyword, value.into_bytes());
            rest = behind.trim_start_matches(is_space);
        }
        Ok(())
    }
}

/// Reads a value up to its end, and returns it with the rest of the text.
fn value<'t>(keyword: &'static str, text: &'t str) -> Result<(String, &'t str), Fault> {
    let inside = text.strip_prefix('\'');
    let begin = inside.unwrap_or(text);
    let ends = |letter: char| if inside.is_some() { letter == '\'' } else { is_space(letter) };
    let (mut value, mut letters) = (String::new(), begin.chars());
    loop {
        let rest = letters.as_str();
        match letters.next() {
            None if inside.is_some() => return Err(Fault::Quote(keyword)),
            None => return Ok((value, rest)),
            Some('\\') => value.extend(letters.next()),
            Some(end) if ends(end) => return Ok((value, letters.as_str())),
            Some(letter) => value.push(letter),
        }
    }
}

/// True for what the C library's `isspace` calls a space.
fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

fn decoded(text: &str) -> Result<Vec<u8>, Fault> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(Fault::Percent)?;
        if byte == 0 {
            return Err(Fault::Nul);
        }
        bytes.push(byte);
        bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `keyword=value` for each part that is not empty.
    fn parts(text: &str) -> Result<String, Fault> {
        let parts = Parts::parse(text)?;
        let shown =
            |(keyword, value): &(&'static str, Vec<u8>)| format!("{keyword}={}", String::from_utf8_lossy(value));
        Ok(parts.0.iter().filter(|(_, value)| !value.is_empty()).map(shown).collect::<Vec<_>>().join("|"))
    }

    // The right sides are what libpq makes of the left ones (`PQconninfoParse`).
    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        for (text, wanted) in [
            ("postgresql://", ""),
            ("postgres:///db", "dbname=db"),
            ("postgres://h", "host=h"),
            ("postgres://h:5/", "host=h|port=5"),
            ("postgres://u@", "user=u"),
            ("postgres://:p@h", "password=p|host=h"),
            ("postgres://u:p@h:5/db?connect_timeout=3", "user=u|password=p|host=h|port=5|dbname=db|connect_timeout=3"),
            ("postgres://u:a:b@h", "user=u|password=a:b|host=h"),
            ("postgres://u:p?w#[@h/db", "user=u|password=p?w#[|host=h|dbname=db"),
            ("postgres://u%40x:p%40%2f%3A@h", "user=u@x|password=p@/:|host=h"),
            ("postgres://a:1,b,c:3/db", "host=a,b,c|port=1,,3|dbname=db"),
            ("postgres://[::1]:5/db", "host=::1|port=5|dbname=db"),
            ("postgres://[::1],[2001:db8::2]:6", "host=::1,2001:db8::2|port=,6"),
            ("postgres://%2Fvar%2Frun/db", "host=/var/run|dbname=db"),
            ("postgres:///db?host=/tmp&user=a@b", "dbname=db|host=/tmp|user=a@b"),
            ("postgres://h?ssl=true", "host=h|sslmode=require"),
            ("postgres://h/d%20b?options=-c%20x%3Dy", "host=h|dbname=d b|options=-c x=y"),
            ("postgres://h/?", "host=h"),
        ] {
            assert_eq!(parts(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn pairs_are_read_as_libpq_reads_them() {
        for (text, wanted) in [
            ("host=h dbname = db  port= 5\tuser =u\n", "host=h|dbname=db|port=5|user=u"),
            ("host=h password='super cret'", "host=h|password=super cret"),
            (r"password='a\'b\\c' host=h", r"password=a'b\c|host=h"),
            (r"password=a\ b\\ host=h", r"password=a b\|host=h"),
            ("password='' host=h", "host=h"),
            ("password='a'host=h", "password=a|host=h"),
            ("user=a=b", "user=a=b"),
            ("password=pö host=h", "password=pö|host=h"),
            ("password=a@b:c host=h", "password=a@b:c|host=h"),
            ("host=a host=b", "host=a|host=b"),
        ] {
            assert_eq!(parts(text).as_deref(), Ok(wanted), "{text}");
        }
        let last = Parts::parse("host=a host=b").unwrap_or_default();
        assert_eq!(last.text("host"), Ok(Some("b")));
    }

    #[test]
    fn what_libpq_refuses_is_refused_and_so_is_what_shifts_a_password() {
        for (text, fault) in [
            ("postgres://u:/se@cr@h/x", Fault::At),
            ("postgres://u:se@cr@h/x", Fault::At),
            ("postgres://u:s/e@h/x", Fault::At),
            ("postgres://h/a@b", Fault::At),
            ("postgres://u:1/se:cr/x", Fault::At),
            ("postgres://u:%4@h", Fault::Percent),
            ("postgres://u:%+4@h", Fault::Percent),
            ("postgres://u:%é@h", Fault::Percent),
            ("postgres://u:%00@h", Fault::Nul),
            ("postgres://u:a\0@h", Fault::Nul),
            ("postgres://[::1", Fault::Bracket),
            ("postgres://[]", Fault::Bracket),
            ("postgres://[::1]x", Fault::Bracket),
            ("postgres://h?a", Fault::Parameter(1)),
            ("postgres://h?user=a&port=a=b", Fault::Parameter(2)),
            ("postgres://h?frobnicate=a", Fault::Unknown(1)),
            ("postgres://h?user=a&pasword=a", Fault::Near(2, "password")),
            ("PASSWORD = x", Fault::Near(1, "password")),
            ("host=h x", Fault::NoEquals(2)),
            ("host=h x y=z", Fault::NoEquals(2)),
            ("host=h password='x", Fault::Quote("password")),
            ("host=h =x", Fault::Unknown(2)),
            ("x.db", Fault::Neither),
            ("", Fault::Neither),
            ("u:p@h/x", Fault::NoScheme),
        ] {
            assert_eq!(parts(text).err(), Some(fault), "{text}");
        }
    }
}
