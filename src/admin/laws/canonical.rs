//! One spelling for each value, so that values of different databases can be compared as texts.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::table::Column;
use crate::value::{ColumnType, Value, to_micros};

/// The value as every database would give it back.
pub(super) fn canonical(value: Value) -> Value {
    match value {
        Value::Json(text) => Value::Json(json(&text).unwrap_or(text)),
        Value::Timestamp(at) => Value::Timestamp(to_micros(at)),
        // Minus zero equals zero.
        Value::Float(number) => Value::Float(number + 0.0),
        other => other,
    }
}

/// As [`canonical`], for a column whose type is known: an integer in a column of floats is a float.
pub(super) fn in_column(value: Value, column: Option<&Column>) -> Value {
    match (column.map(|column| column.kind), value) {
        (Some(ColumnType::Float), Value::Integer(number)) =>
        {
            #[expect(clippy::cast_precision_loss, reason = "columns of floats take only integers that are exact")]
            Value::Float(number as f64)
        }
        (_, value) => canonical(value),
    }
}

/// The same document, its keys in order, its numbers and texts in one spelling, without spaces.
fn json(text: &str) -> Option<String> {
    let text = text.trim();
    match text.bytes().next()? {
        b'{' => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            let field = |(name, value): (String, &RawValue)| Some(format!("{}:{}", quoted(&name)?, json(value.get())?));
            Some(format!("{{{}}}", fields.into_iter().map(field).collect::<Option<Vec<_>>>()?.join(",")))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let items: Option<Vec<String>> = items.into_iter().map(|item| json(item.get())).collect();
            Some(format!("[{}]", items?.join(",")))
        }
        b'"' => quoted(&serde_json::from_str::<String>(text).ok()?),
        b'-' | b'0'..=b'9' => number(text),
        _ => Some(text.to_owned()),
    }
}

fn quoted(text: &str) -> Option<String> {
    serde_json::to_string(text).ok()
}

/// Digits without zeros at either end, and the power of ten by which they count: exact at any size.
fn number(text: &str) -> Option<String> {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    if kept.trim_start_matches('0').is_empty() {
        return Some("0".to_owned());
    }
    let cut = i64::try_from(digits.len() - kept.len()).ok()?;
    let power = exponent.parse::<i64>().ok()?.checked_add(cut)?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    Some(format!("{sign}{}e{power}", kept.trim_start_matches('0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_compared_by_meaning() {
        for (one, other) in [
            (r#"{"b": 1, "a": [1.50, 1e2, -0.0]}"#, r#"{"a":[1.5,100,0],"b":1}"#),
            (r#""\u00e4\/""#, "\"ä/\""),
            (" null ", "null"),
            ("1e400", &format!("1{}", "0".repeat(400))),
            ("0.00120", "12e-4"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert_eq!(json(one), json(other), "{one} {other}");
            assert!(json(one).is_some(), "{one}");
        }
        for (one, other) in [
            ("12345678901234567890123", "12345678901234567890124"),
            ("1", "-1"),
            ("1", "10"),
            ("\"1\"", "1"),
            ("[1,2]", "[2,1]"),
            ("{}", "[]"),
        ] {
            assert_ne!(json(one), json(other), "{one} {other}");
        }
    }

    #[test]
    fn numbers_and_times_have_one_spelling() {
        assert_eq!(format!("{:?}", canonical(Value::Float(-0.0))), "Float(0.0)");
        let column = crate::table::float("f");
        assert_eq!(in_column(Value::Integer(2), Some(&column)), Value::Float(2.0));
    }
}
