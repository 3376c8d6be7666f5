//! Reads a line of JSON as a new event.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, bail};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::cloud;
use super::defaults::{Defaults, reason};
use crate::event::{Expected, NewEvent, Unique};
use crate::plain::plain;
use crate::value::{MAX_JSON_DEPTH, parse_time};

/// An event as `readside events` prints it, and what the push expects of the store.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'l> {
    #[serde(borrow)]
    instance: Option<Cow<'l, str>>,
    #[serde(borrow)]
    aggregate_type: Cow<'l, str>,
    #[serde(borrow)]
    aggregate_id: Cow<'l, str>,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'l, str>,
    revision: Option<u32>,
    #[serde(borrow)]
    creator: Option<Cow<'l, str>>,
    #[serde(borrow)]
    owner: Option<Cow<'l, str>>,
    #[serde(borrow, default, deserialize_with = "given")]
    payload: Option<&'l RawValue>,
    #[serde(default, deserialize_with = "headers")]
    metadata: Headers,
    push_key: Option<String>,
    /// The exact payload, in place of `payload`.
    payload_text: Option<String>,
    expected: Option<ExpectedText>,
    #[serde(default)]
    unique: Vec<UniqueText>,
    #[serde(borrow)]
    id: Option<&'l RawValue>,
    #[serde(rename = "position")]
    _position: Option<IgnoredAny>,
    #[serde(borrow)]
    version: Option<&'l RawValue>,
    #[serde(borrow)]
    created_at: Option<&'l RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected has to be \"any\", \"new\", or a version")]
enum ExpectedText {
    Exact(i64),
    Word(ExpectedWord),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ExpectedWord {
    Any,
    New,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum UniqueText {
    Add { constraint: String, value: String, message: Option<String> },
    Remove { constraint: String, value: String },
    RemoveAll,
}

/// The members of an object in their order, duplicates included, each with the text of its value.
struct Members<'l>(Vec<(Cow<'l, str>, &'l RawValue)>);

impl<'de: 'l, 'l> Deserialize<'de> for Members<'l> {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(members)
            }
        }
        decoder.deserialize_map(Each).map(Self)
    }
}

/// A name, without a copy if it has no escapes.
#[derive(Deserialize)]
struct Name<'l>(#[serde(borrow)] Cow<'l, str>);

/// Finds a member that stands twice in one object, and describes it. It searches as deep as events may be nested, but
/// not inside the member `but`. Decoders would silently take the first or the last one.
fn twice(members: &Members<'_>, path: &str, but: Option<&str>, depth: usize) -> Option<String> {
    let mut names = BTreeSet::new();
    if let Some((name, _)) = members.0.iter().find(|(name, _)| !names.insert(name.as_ref())) {
        let place = if path.is_empty() { String::new() } else { format!(" of `{}`", plain(path)) };
        return Some(format!("member `{}`{place} stands there twice", plain(name)));
    }
    let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let mut others = members.0.iter().filter(|(name, _)| but != Some(name));
    others.find_map(|(name, value)| twice_within(value, &|| inner(name), depth))
}

fn twice_within(value: &RawValue, path: &dyn Fn() -> String, depth: usize) -> Option<String> {
    // A text that is no JSON, or is nested too deep, is refused later by its decoder.
    let depth = depth.checked_sub(1)?;
    match value.get().as_bytes().first() {
        Some(b'{') => twice(&serde_json::from_str(value.get()).ok()?, &path(), None, depth),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            items.iter().find_map(|item| twice_within(item, path, depth))
        }
        _ => None,
    }
}

/// A value that is present, even if it is null. Null is not the same as absent.
fn given<'de: 'l, 'l, D: Deserializer<'de>>(decoder: D) -> Result<Option<&'l RawValue>, D::Error> {
    <&RawValue>::deserialize(decoder).map(Some)
}

#[derive(Default)]
enum Headers {
    #[default]
    Absent,
    Null,
    Given(BTreeMap<String, String>),
}

fn headers<'de, D: Deserializer<'de>>(decoder: D) -> Result<Headers, D::Error> {
    Ok(Option::deserialize(decoder)?.map_or(Headers::Null, Headers::Given))
}

/// Reads a line.
pub(in crate::cli) fn command(text: &str, defaults: &Defaults<'_>) -> anyhow::Result<NewEvent> {
    match text.trim_start().chars().next() {
        Some('{') => {}
        Some('[') => bail!(
            "not an event: it begins a JSON array, but each event has to be an object on a line of its own; \
             `jq -c '.[]'` makes such lines of an array"
        ),
        _ => {
            serde_json::from_str::<IgnoredAny>(text).map_err(|error| reason(&error))?;
            bail!("not an event: it is not a JSON object");
        }
    }
    let members: Members<'_> = serde_json::from_str(text).map_err(|error| reason(&error))?;
    let is_cloud = members.0.iter().any(|(name, _)| name == "specversion");
    // Whatever a printed payload holds, the push must accept it, so that payloads come back unchanged.
    let given = (!is_cloud).then_some("payload");
    if let Some(found) = twice(&members, "", given, MAX_JSON_DEPTH) {
        bail!("not an event: {found}; nobody can tell which of them counts");
    }
    if is_cloud {
        return cloud::command(text, defaults);
    }
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| reason(&error))?;
    let instance = line.instance.as_deref().or(defaults.instance);
    let instance = instance.context("it names no instance; add one, or give --instance for all such lines")?;
    let mut command = NewEvent::raw(instance, &line.aggregate_type, &line.aggregate_id, &line.event_type)
        .revision(line.revision.unwrap_or(1))
        .creator(line.creator.as_deref().unwrap_or_default())
        .owner(line.owner.as_deref().unwrap_or_default());
    if let Some(payload) = line.payload {
        command = command.payload_json(payload.get());
    }
    if let Some(text) = &line.payload_text {
        command = command.payload_json(text.as_str());
    }
    if let Some(key) = &line.push_key {
        command = command.push_key(key);
    }
    match line.metadata {
        Headers::Absent => {}
        Headers::Given(ref metadata) => {
            command = metadata.iter().fold(command, |command, (name, value)| command.metadata(name, value));
        }
        // This is how an erased event is printed.
        Headers::Null if line.payload.is_some_and(|payload| payload.get() == "null") => command = command.redacted(),
        Headers::Null => {
            bail!("its `metadata` is null, which marks an erased event, and its `payload` is not null; leave it out")
        }
    }
    if defaults.keep {
        command = kept(command, &line)?;
    }
    if let Some(expected) = line.expected {
        command = command.expect(expected.read()?);
    }
    Ok(line.unique.into_iter().fold(command, |command, change| command.unique(change.read())))
}

/// The event with its printed id and time, to be stored with its printed version.
fn kept(mut command: NewEvent, line: &Line<'_>) -> anyhow::Result<NewEvent> {
    let at = line.created_at.context("it has no `created_at`, which --keep-times keeps")?;
    let at = serde_json::from_str::<String>(at.get()).ok().and_then(|text| parse_time(&text));
    command =
        command.created_at(at.context("its `created_at` is not a time in RFC 3339, such as 2026-01-31T12:00:00Z")?);
    if let Some(id) = line.id {
        command = command.id(serde_json::from_str(id.get()).ok().context("its `id` is not a UUID")?);
    }
    if let Some(version) = line.version {
        let version: i64 = serde_json::from_str(version.get()).ok().context("its `version` is not a number")?;
        let before = version.checked_sub(1).context("its `version` is too small")?;
        command = command.expect(ExpectedText::Exact(before).read()?);
    }
    Ok(command)
}

impl ExpectedText {
    fn read(self) -> anyhow::Result<Expected> {
        match self {
            Self::Word(ExpectedWord::Any) => Ok(Expected::Any),
            Self::Word(ExpectedWord::New) | Self::Exact(0) => Ok(Expected::New),
            Self::Exact(version) if version > 0 => Ok(Expected::Version(version)),
            Self::Exact(version) => bail!("it expects version {version}, but versions count from 1"),
        }
    }
}

impl UniqueText {
    fn read(self) -> Unique {
        match self {
            Self::Add { constraint, value, message } => {
                let message = message.unwrap_or_else(|| "this value is taken".to_owned());
                Unique::Add { constraint, value, message }
            }
            Self::Remove { constraint, value } => Unique::Remove { constraint, value },
            Self::RemoveAll => Unique::RemoveAll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults<'_> = Defaults { instance: Some("acme"), aggregate_type: Some("user"), keep: false };

    fn refused(text: &str) -> String {
        crate::error::chain(command(text, &DEFAULTS).unwrap_err().as_ref())
    }

    #[test]
    fn a_line_is_a_command() {
        let text = r#"{"id":"x","instance":"i","position":7,"aggregate_type":"user","aggregate_id":"u1","version":3,
            "type":"user.added","revision":2,"created_at":"x","creator":"c","owner":"o","payload":{"n":1.10},
            "metadata":{"trace":"t"},"expected":3,"unique":[{"add":{"constraint":"e","value":"v"}},"remove_all"]}"#;
        let read = command(text, &DEFAULTS).unwrap();
        assert_eq!((read.instance(), read.aggregate_type(), read.aggregate_id()), ("i", "user", "u1"));
        assert_eq!((&*read.event_type, read.revision, &*read.creator, &*read.owner), ("user.added", 2, "c", "o"));
        assert_eq!(&*read.payload.unwrap(), r#"{"n":1.10}"#);
        assert_eq!(read.metadata["trace"], "t");
        assert_eq!((read.expected, read.unique.len()), (Expected::Version(3), 2));
    }

    #[test]
    fn the_least_line_takes_the_defaults() {
        let text = r#"{"aggregate_type":"user","aggregate_id":"\u00fc1","type":"user.added"}"#;
        let read = command(text, &DEFAULTS).unwrap();
        assert_eq!((read.instance(), read.aggregate_id(), &**read.payload.as_ref().unwrap()), ("acme", "ü1", "{}"));
        let error = command(text, &Defaults::default()).unwrap_err().to_string();
        assert!(error.contains("names no instance"), "{error}");
    }

    // Contract: A1
    #[test]
    fn what_an_event_was_elsewhere_is_read_on_request() {
        let id = "0198c2f0-0000-7000-8000-000000000001";
        let line = |more: &str, keep| {
            let text = format!(r#"{{"aggregate_type":"user","aggregate_id":"1","type":"t"{more}}}"#);
            command(&text, &Defaults { keep, ..DEFAULTS })
        };
        let printed = format!(r#","id":"{id}","version":3,"created_at":"2026-01-31T12:00:00.000001Z""#);
        let read = line(&printed, true).unwrap();
        let at = read.created_at.map(crate::value::time_text);
        assert_eq!((read.id.unwrap().to_string().as_str(), at.as_deref()), (id, Some("2026-01-31T12:00:00.000001Z")));
        assert_eq!(read.expected, Expected::Version(2));
        let first = line(r#","version":1,"created_at":"2026-01-31T12:00:00+01:00""#, true).unwrap();
        assert_eq!((first.id, first.expected), (None, Expected::New));
        let read_over = line(&printed, false).unwrap();
        assert_eq!((read_over.id, read_over.created_at, read_over.expected), (None, None, Expected::Any));
        for (more, said) in [
            ("", "no `created_at`"),
            (r#","created_at":"yesterday""#, "not a time in RFC 3339"),
            (r#","created_at":7"#, "not a time in RFC 3339"),
            (r#","created_at":"2026-01-31T12:00:00Z","id":"7""#, "its `id` is not a UUID"),
            (r#","created_at":"2026-01-31T12:00:00Z","version":"1""#, "its `version` is not a number"),
            (r#","created_at":"2026-01-31T12:00:00Z","version":0"#, "versions count from 1"),
        ] {
            let error = line(more, true).unwrap_err().to_string();
            assert!(error.contains(said), "{more}: {error}");
        }
    }

    // Contract: K2
    #[test]
    fn null_is_not_absent() {
        let line = |more: &str| {
            let text = format!(r#"{{"aggregate_type":"user","aggregate_id":"1","type":"t"{more}}}"#);
            command(&text, &DEFAULTS).map(|read| (read.payload.unwrap().to_string(), read.erased))
        };
        assert_eq!(line("").unwrap(), ("{}".to_owned(), false));
        assert_eq!(line(r#","payload":null"#).unwrap(), ("null".to_owned(), false));
        assert_eq!(line(r#","payload":null,"metadata":{}"#).unwrap(), ("null".to_owned(), false));
        assert_eq!(line(r#","payload":null,"metadata":null"#).unwrap(), ("null".to_owned(), true));
        for kept in [r#","payload":{},"metadata":null"#, r#","metadata":null"#] {
            assert!(line(kept).unwrap_err().to_string().contains("marks an erased event"), "{kept}");
        }
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        for cut in ["{", "{\"a\"", "{\"a\": [1,"] {
            let said = refused(cut);
            assert!(
                said.starts_with("not JSON: EOF while parsing ") && said.contains("on one line: `jq -c .`"),
                "{said}"
            );
        }
        for array in ["[", "[{}]", " [ {},"] {
            assert!(refused(array).contains("begins a JSON array") && refused(array).contains("`jq -c '.[]'`"));
        }
        assert_eq!(refused("7"), "not an event: it is not a JSON object");
        assert_eq!(refused("x"), "not JSON: expected value, at column 1");
        assert!(refused("{}").starts_with("not an event: missing field `aggregate_type`"), "{}", refused("{}"));
        let typo = r#"{"aggregate_type":"user","aggregate_id":"1","type":"t","payloud":1}"#;
        assert!(refused(typo).starts_with("not an event: unknown field `payloud`"), "{}", refused(typo));
        let expected = r#"{"aggregate_type":"user","aggregate_id":"1","type":"t","expected":"old"}"#;
        assert!(refused(expected).contains("\"any\", \"new\", or a version"), "{}", refused(expected));
        let negative = r#"{"aggregate_type":"user","aggregate_id":"1","type":"t","expected":-1}"#;
        assert!(refused(negative).contains("versions count from 1"), "{}", refused(negative));
    }
}
