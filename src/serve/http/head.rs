//! Reads the head of a request strictly: it refuses an ambiguous head.

use super::query::Query;
use super::reply::Refusal;

/// The most bytes of a whole head.
pub(crate) const LONGEST: usize = 8 * 1024;

/// The most lines of a head.
const MOST_LINES: usize = 64;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The path as it was sent. It has no escapes, since no path of this server has any.
    pub(crate) path: String,
    /// The part after the question mark.
    pub(crate) query: Query,
    /// True when the client asks only for the head of the answer.
    pub(crate) only_head: bool,
    /// The host to which the client believes it talks.
    pub(crate) host: Option<String>,
    /// The authorization that the client sent.
    pub(crate) authorization: Option<String>,
    /// The id of the last event that it received, if it reconnects.
    pub(crate) last_event_id: Option<String>,
}

/// What the bytes read so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// The beginning of a head.
    Begun,
    /// A whole head.
    Whole(Request),
    /// A head that is refused.
    Refused(Refusal),
}

/// Reads a head. Nothing may follow it: that would be a body, or a second request.
pub(crate) fn read(bytes: &[u8]) -> Head {
    let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
    let mut parsed = httparse::Request::new(&mut lines);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() >= LONGEST => Head::Refused(Refusal::TooLarge),
        Ok(httparse::Status::Partial) => Head::Begun,
        Ok(httparse::Status::Complete(end)) if end > LONGEST => Head::Refused(Refusal::TooLarge),
        Ok(httparse::Status::Complete(end)) => match request(&parsed, bytes.len() > end) {
            Ok(request) => Head::Whole(request),
            Err(refusal) => Head::Refused(refusal),
        },
        Err(httparse::Error::TooManyHeaders) => Head::Refused(Refusal::TooLarge),
        Err(_) => Head::Refused(Refusal::Malformed),
    }
}

fn request(parsed: &httparse::Request<'_, '_>, has_more: bool) -> Result<Request, Refusal> {
    let only_head = match parsed.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Refusal::Method),
    };
    let (mut host, mut authorization, mut last_event_id) = (None, None, None);
    for line in parsed.headers.iter() {
        let value = || std::str::from_utf8(line.value).map(str::to_owned).map_err(|_| Refusal::Malformed);
        let into = match line.name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => return Err(Refusal::Body),
            "content-length" if line.value != b"0" => return Err(Refusal::Body),
            "host" => &mut host,
            "authorization" => &mut authorization,
            "last-event-id" => &mut last_event_id,
            _ => continue,
        };
        if into.replace(value()?).is_some() {
            return Err(Refusal::Malformed);
        }
    }
    if has_more {
        return Err(Refusal::Body);
    }
    let target = parsed.path.ok_or(Refusal::Malformed)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !is_plain(path) {
        return Err(Refusal::Malformed);
    }
    let query = Query::read(query).ok_or(Refusal::Malformed)?;
    Ok(Request { path: path.to_owned(), query, only_head, host, authorization, last_event_id })
}

/// A path from the root, without an empty part and without `..`.
fn is_plain(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_');
    rest.bytes().all(is_letter)
        && (rest.is_empty() || rest.split('/').all(|part| !part.is_empty() && !part.starts_with('.')))
}
