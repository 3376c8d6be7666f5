//! Reads a `CloudEvent` 1.0 in JSON as a new event.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use serde_json::value::RawValue;

use super::defaults::{Defaults, reason};
use crate::event::NewEvent;
use crate::value::parse_time;

/// The attributes by name, each as its JSON text.
struct Attributes<'l>(BTreeMap<String, &'l RawValue>);

impl Attributes<'_> {
    /// Takes out a text that is not empty.
    fn text(&mut self, name: &str) -> anyhow::Result<Option<String>> {
        Ok(self.any_text(name)?.filter(|text| !text.is_empty()))
    }

    /// Takes out a text.
    fn any_text(&mut self, name: &str) -> anyhow::Result<Option<String>> {
        let Some(raw) = self.0.remove(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|_| anyhow::anyhow!("its `{name}` is not a text"))
    }

    fn required(&mut self, name: &str) -> anyhow::Result<String> {
        self.text(name)?.with_context(|| format!("it is a CloudEvent without `{name}`"))
    }
}

/// Reads a `CloudEvent`.
pub(super) fn command(text: &str, defaults: &Defaults<'_>) -> anyhow::Result<NewEvent> {
    let mut attributes = Attributes(serde_json::from_str(text).map_err(|error| reason(&error))?);
    let version = attributes.required("specversion")?;
    ensure!(version == "1.0", "it is a CloudEvent {version}; 1.0 can be read");
    ensure!(
        !attributes.0.contains_key("data_base64"),
        "it is a CloudEvent with binary data, and events hold JSON; encode it as JSON in `data`"
    );
    let data = attributes.0.remove("data");
    let (id, source) = (attributes.required("id")?, attributes.required("source")?);
    let event_type = attributes.required("type")?;
    let subject = attributes.text("subject")?;
    let aggregate_id = attributes.text("aggregateid")?.or_else(|| subject.clone());
    let aggregate_id = aggregate_id
        .context("it is a CloudEvent without `subject` and `aggregateid`, one of which is the aggregate's id")?;
    let aggregate_type = attributes.text("aggregatetype")?.or_else(|| defaults.aggregate_type.map(str::to_owned));
    let aggregate_type = aggregate_type.context(
        "it is a CloudEvent without the extension `aggregatetype`; add it, or give --aggregate-type for all such lines",
    )?;
    // An empty name is the system instance.
    let instance = attributes.any_text("instance")?.or_else(|| defaults.instance.map(str::to_owned));
    let instance = instance.context(
        "it is a CloudEvent without the extension `instance`; add it, or give --instance for all such lines",
    )?;
    let owner = attributes.text("owner")?.unwrap_or_default();
    let mut command = NewEvent::raw(&instance, &aggregate_type, &aggregate_id, &event_type)
        .creator(&source)
        .owner(&owner)
        .push_key(&key(&source, &id)?);
    if defaults.keep {
        let at = attributes.0.get("time").context("it has no `time`, which --keep-times keeps")?;
        let at = serde_json::from_str::<String>(at.get()).ok().and_then(|text| parse_time(&text));
        command = command.created_at(at.context("its `time` is not a time in RFC 3339, such as 2026-01-31T12:00:00Z")?);
    }
    if let Some(revision) = attributes.0.remove("revision") {
        let revision =
            serde_json::from_str(revision.get()).map_err(|_| anyhow::anyhow!("its `revision` is not a number"))?;
        command = command.revision(revision);
    }
    if let Some(data) = data {
        command = command.payload_json(data.get());
    }
    command = command.metadata("ce_id", &id).metadata("ce_source", &source);
    if let Some(subject) = subject {
        command = command.metadata("ce_subject", &subject);
    }
    for (name, value) in &attributes.0 {
        if let Some(text) = plain(name, value)? {
            command = command.metadata(&format!("ce_{name}"), &text);
        }
    }
    Ok(command)
}

/// A repeated event has the same source and id as the first time, and no other event has both.
fn key(source: &str, id: &str) -> anyhow::Result<String> {
    Ok(format!("ce:{}", serde_json::to_string(&[source, id])?))
}

/// The text of an attribute, `None` if it is null. Attributes hold no arrays and no objects.
fn plain(name: &str, raw: &RawValue) -> anyhow::Result<Option<String>> {
    match serde_json::from_str(raw.get())? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Bool(truth) => Ok(Some(truth.to_string())),
        // The digits stay as they are, so no number is rounded.
        Value::Number(_) => Ok(Some(raw.get().to_owned())),
        Value::Array(_) | Value::Object(_) => bail!("its attribute `{name}` is an array or an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults<'_> = Defaults { instance: Some("acme"), aggregate_type: None, keep: false };

    fn event(more: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"e1","source":"/crm","type":"user.added"{more}}}"#)
    }

    fn refused(more: &str) -> String {
        command(&event(more), &DEFAULTS).unwrap_err().to_string()
    }

    #[test]
    fn a_cloud_event_is_a_command() {
        let more = r#","subject":"u1","aggregatetype":"user","time":"2026-01-31T12:00:00Z","traceparent":"00-1","sampled":true,
            "datacontenttype":"application/json","owner":"o","revision":2,"data":{"n":1.10}"#;
        let read = command(&event(more), &DEFAULTS).unwrap();
        assert_eq!((read.instance(), read.aggregate_type(), read.aggregate_id()), ("acme", "user", "u1"));
        assert_eq!((&*read.event_type, read.revision, &*read.creator, &*read.owner), ("user.added", 2, "/crm", "o"));
        assert_eq!(read.push_key.as_deref(), Some(r#"ce:["/crm","e1"]"#));
        assert_eq!(&*read.payload.unwrap(), r#"{"n":1.10}"#);
        let kept: Vec<(&str, &str)> =
            read.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let wanted = [
            ("ce_datacontenttype", "application/json"),
            ("ce_id", "e1"),
            ("ce_sampled", "true"),
            ("ce_source", "/crm"),
            ("ce_subject", "u1"),
            ("ce_time", "2026-01-31T12:00:00Z"),
            ("ce_traceparent", "00-1"),
        ];
        assert_eq!(kept, wanted);
    }

    // Contract: A1
    #[test]
    fn the_time_is_kept_on_request_and_stays_in_the_metadata() {
        let of = |time: &str| {
            let text = event(&format!(r#","subject":"u1","aggregatetype":"user"{time}"#));
            command(&text, &Defaults { keep: true, ..DEFAULTS })
        };
        let read = of(r#","time":"2026-01-31T12:00:00Z""#).unwrap();
        assert_eq!(read.created_at.map(crate::value::time_text).as_deref(), Some("2026-01-31T12:00:00.000000Z"));
        assert_eq!(read.metadata["ce_time"], "2026-01-31T12:00:00Z");
        assert!(of("").unwrap_err().to_string().contains("no `time`"));
        assert!(of(r#","time":"soon""#).unwrap_err().to_string().contains("not a time in RFC 3339"));
    }

    // Contract: A8
    #[test]
    fn null_is_not_absent_and_numbers_are_kept() {
        let payload = |more: &str| {
            let read = command(&event(&format!(r#","subject":"u1","aggregatetype":"user"{more}"#)), &DEFAULTS).unwrap();
            (read.payload.unwrap().to_string(), read.instance.to_string(), read.metadata.get("ce_n").cloned())
        };
        let told =
            |payload: &str, instance: &str, n: Option<&str>| (payload.into(), instance.into(), n.map(Into::into));
        assert_eq!(payload(""), told("{}", "acme", None));
        assert_eq!(payload(r#","data":null,"n":null"#), told("null", "acme", None));
        assert_eq!(
            payload(r#","instance":"","n":12345678901234567890123"#),
            told("{}", "", Some("12345678901234567890123"))
        );
    }

    #[test]
    fn what_an_event_needs_is_named() {
        assert!(refused("").contains("`subject` and `aggregateid`"));
        assert!(refused(r#","subject":"u""#).contains("`aggregatetype`; add it, or give --aggregate-type"));
        assert!(refused(r#","data_base64":"AA==""#).contains("binary data"));
        assert!(refused(r#","subject":7"#).contains("its `subject` is not a text"));
        assert!(refused(r#","subject":"u","aggregatetype":"t","x":[]"#).contains("`x` is an array"));
        let old = r#"{"specversion":"0.3","id":"e"}"#;
        assert!(command(old, &DEFAULTS).unwrap_err().to_string().contains("CloudEvent 0.3; 1.0"));
    }
}
