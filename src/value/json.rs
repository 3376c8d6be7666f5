//! The meaning of JSON texts: which are equal, which contains which, and how a report shows one. It follows
//! PostgreSQL's `jsonb`, so that every database and every report agree.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde_json::Value as Shown;
use serde_json::value::RawValue;

/// A document. In a number every digit counts, but not its spelling. If a key occurs twice, the last value counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Truth(bool),
    /// Digits without zeros at either end, and the power of ten that they are multiplied by: exact at any size.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Fields(BTreeMap<String, Json>),
}

/// The name under which a report shows the text of a document.
const AS_TEXT: &str = "json";

impl Json {
    /// `None` for a text that is not JSON.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Some(match text.bytes().next()? {
            b'{' => {
                let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
                let field = |(name, value): (String, &RawValue)| Some((name, Self::parse(value.get())?));
                Self::Fields(fields.into_iter().map(field).collect::<Option<_>>()?)
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                Self::List(items.into_iter().map(|item| Self::parse(item.get())).collect::<Option<_>>()?)
            }
            b'"' => Self::Text(serde_json::from_str(text).ok()?),
            b'-' | b'0'..=b'9' => Self::Number(number(text)?),
            _ => match text {
                "null" => Self::Null,
                "true" => Self::Truth(true),
                "false" => Self::Truth(false),
                _ => return None,
            },
        })
    }

    /// Containment as in PostgreSQL's `@>`. At the top level, an array also contains a plain value that is one of its
    /// elements.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "PostgreSQL does it by itself"))]
    pub(crate) fn contains(&self, part: &Self) -> bool {
        match (self, part) {
            (Self::List(items), Self::Null | Self::Truth(_) | Self::Number(_) | Self::Text(_)) => items.contains(part),
            _ => self.holds(part),
        }
    }

    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "PostgreSQL does it by itself"))]
    fn holds(&self, part: &Self) -> bool {
        match (self, part) {
            (Self::Fields(fields), Self::Fields(parts)) => {
                parts.iter().all(|(name, part)| fields.get(name).is_some_and(|found| found.holds(part)))
            }
            (Self::List(items), Self::List(parts)) => {
                parts.iter().all(|part| items.iter().any(|item| item.holds(part)))
            }
            _ => self == part,
        }
    }

    /// The document for reports, in which different documents look different, and none looks like NULL. What JSON
    /// decoders would round, and what could be mistaken for something else, appears as its text under a name.
    pub(crate) fn shown(&self) -> Shown {
        let is_mistakable = match self {
            Self::Null => true,
            Self::Fields(fields) => fields.len() == 1 && fields.contains_key(AS_TEXT),
            _ => false,
        };
        let exact = if is_mistakable { None } else { self.exact() };
        exact.unwrap_or_else(|| as_text(&self.to_string()))
    }

    /// `None` when a number would be rounded.
    fn exact(&self) -> Option<Shown> {
        Some(match self {
            Self::Null => Shown::Null,
            Self::Truth(truth) => Shown::from(*truth),
            Self::Number(digits) => Shown::Number(exact(digits)?),
            Self::Text(text) => Shown::from(text.as_str()),
            Self::List(items) => Shown::Array(items.iter().map(Self::exact).collect::<Option<_>>()?),
            Self::Fields(fields) => {
                let field = |(name, value): (&String, &Self)| Some((name.clone(), value.exact()?));
                Shown::Object(fields.iter().map(field).collect::<Option<_>>()?)
            }
        })
    }
}

/// A text that stands for a document, or for something that should have been one.
pub(super) fn as_text(text: &str) -> Shown {
    serde_json::json!({ AS_TEXT: text })
}

/// One spelling for each document, without spaces.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Number(digits) => f.write_str(digits),
            Self::Text(text) => write!(f, "{}", Shown::from(text.as_str())),
            Self::List(items) => {
                f.write_char('[')?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at > 0 { "," } else { "" })?;
                }
                f.write_char(']')
            }
            Self::Fields(fields) => {
                f.write_char('{')?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    let comma = if at > 0 { "," } else { "" };
                    write!(f, "{comma}{}:{value}", Shown::from(name.as_str()))?;
                }
                f.write_char('}')
            }
        }
    }
}

fn number(text: &str) -> Option<String> {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = digits.trim_end_matches('0');
    if kept.trim_start_matches('0').is_empty() {
        return Some("0".to_owned());
    }
    let cut = i64::try_from(digits.len() - kept.len()).ok()?;
    let power = exponent.parse::<i64>().ok()?.checked_add(cut)?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let kept = kept.trim_start_matches('0');
    Some(if power == 0 { format!("{sign}{kept}") } else { format!("{sign}{kept}e{power}") })
}

/// The number as decoders represent it, if they represent it exactly.
fn exact(digits: &str) -> Option<serde_json::Number> {
    // The number of digits of the widest integer.
    const WIDEST: usize = 20;
    let plain = digits.split_once('e').and_then(|(kept, power)| {
        let power = power.parse::<usize>().ok().filter(|power| *power <= WIDEST)?;
        Some(format!("{kept}{}", "0".repeat(power)))
    });
    let found: serde_json::Number = serde_json::from_str(plain.as_deref().unwrap_or(digits)).ok()?;
    (number(&found.to_string())? == digits).then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Json {
        Json::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    // Contract: B3
    #[test]
    fn documents_are_equal_by_meaning() {
        for (one, other) in [
            (r#"{"b": 1, "a": [1.50, 1e2, -0.0]}"#, r#"{"a":[1.5,100,0],"b":1}"#),
            (r#""\u00e4\/""#, "\"ä/\""),
            (" null ", "null"),
            ("1e400", &format!("1{}", "0".repeat(400))),
            ("0.00120", "12e-4"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert_eq!(read(one), read(other), "{one} {other}");
        }
        for (one, other) in [
            ("12345678901234567890123", "12345678901234567890124"),
            ("1", "-1"),
            ("1", "10"),
            ("\"1\"", "1"),
            ("[1,2]", "[2,1]"),
            ("{}", "[]"),
        ] {
            assert_ne!(read(one), read(other), "{one} {other}");
        }
        for wrong in ["", "nul", "-", "{]", "[1", "1e99999999999999999999"] {
            assert_eq!(Json::parse(wrong), None, "{wrong}");
        }
    }

    // Contract: B3
    #[test]
    fn contains_is_what_postgresql_says() {
        for (document, part, wanted) in [
            (r#"{"a": 1, "b": {"c": [1, 2]}}"#, r#"{"b": {"c": [2]}}"#, true),
            (r#"{"a": 1}"#, r#"{"a": 1.0}"#, true),
            (r#"{"a": 1}"#, r#"{"a": 2}"#, false),
            ("[1, 2, 3]", "2", true),
            ("[1, [2]]", "[[2], 1, 1]", true),
            ("[[1, 2]]", "[1]", false),
            (r#"{"a": [1]}"#, r#"{"a": 1}"#, false),
            (r#""a""#, r#""a""#, true),
            (r#""a""#, r#"["a"]"#, false),
            ("{}", "{}", true),
            ("[]", "{}", false),
            ("null", "null", true),
            ("[-0]", "[0]", true),
            ("[1E400]", &format!("10{}", "0".repeat(399)), true),
            ("[1e400]", "[2e400]", false),
            ("[12345678901234567890123]", "12345678901234567890124", false),
        ] {
            assert_eq!(read(document).contains(&read(part)), wanted, "{document} @> {part}");
        }
    }

    #[test]
    fn what_decoders_keep_is_shown_as_it_is() {
        for (text, shown) in [
            (
                r#"{"b":[1E2,1.50,-0,18446744073709551615],"a":"x"}"#,
                r#"{"a":"x","b":[100,1.5,0,18446744073709551615]}"#,
            ),
            ("null", r#"{"json":"null"}"#),
            ("[null]", "[null]"),
            ("0.1234567890123456789", r#"{"json":"1234567890123456789e-19"}"#),
            ("[1e400]", r#"{"json":"[1e400]"}"#),
            (r#"{"json":1}"#, r#"{"json":"{\"json\":1}"}"#),
        ] {
            assert_eq!(read(text).shown().to_string(), shown);
        }
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            prop::sample::select(&[
                "null", "true", "false", "0", "-0", "1", "1.0", "1e0", "10e-1", "\"\"", "\"null\"", "{}", "[]"
            ])
            .prop_map(str::to_owned),
            prop::sample::select(&[
                "1e400",
                "10e399",
                "0.1234567890123456789",
                "0.12345678901234567",
                "1e-400",
                "\"1e400\""
            ])
            .prop_map(str::to_owned),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(" , "))),
                prop::collection::vec((prop::sample::select(&["a", "b", "json"]), inner), 0..3).prop_map(|fields| {
                    let fields: Vec<String> =
                        fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        // Reports pass decoders that round numbers. NULL is shown as null.
        #[test]
        fn documents_look_alike_exactly_when_they_are_equal(one in any_json(), other in any_json()) {
            let (a, b) = (read(&one), read(&other));
            let shown = |json: &Json| -> Shown { serde_json::from_str(&json.shown().to_string()).unwrap() };
            prop_assert_eq!(a == b, shown(&a) == shown(&b), "{} {}", one, other);
            prop_assert_ne!(shown(&a), Shown::Null);
            prop_assert_eq!(&read(&a.to_string()), &a, "its spelling is a document with the same meaning");
        }
    }
}
