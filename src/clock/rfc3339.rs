//! Times in JSON, in the form of RFC 3339, in UTC.

use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value;

pub(crate) fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    // The range of a jiff timestamp ends two hours before the last time that can be stored.
    let text = jiff::Timestamp::try_from(*at).map_or_else(|_| value::time_text(*at), |at| at.to_string());
    text.serialize(serializer)
}

#[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "explanations are made in SQLite"))]
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    value::parse_time(&text).ok_or_else(|| serde::de::Error::custom("not a time in RFC 3339"))
}

/// Times that may be absent.
pub(crate) mod optional {
    use std::time::SystemTime;

    use serde::Serializer;

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => crate::clock::rfc3339::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }
}
