//! Values that statements carry and columns hold, checked so that both databases store them alike.
//!
//! A value enters through `Into<Value>`. [`Value::check`] refuses what one of the databases could not hold unchanged.
//! The backends render values for their databases.

mod day;
mod decimal;
mod document;
mod from;
mod json;
mod kind;
mod moment;

use std::borrow::Cow;
use std::time::SystemTime;

use serde::Serialize;

pub use self::day::{Date, Time};
pub use self::decimal::Decimal;
pub(crate) use self::decimal::NAME as DECIMAL;
#[cfg(feature = "cli")]
pub(crate) use self::document::MAX_JSON_DEPTH;
pub(crate) use self::document::check_json;
use self::document::check_numbers;
pub(crate) use self::json::Json;
pub use self::kind::ColumnType;
use self::moment::check_time;
#[cfg(any(test, feature = "chrono"))]
pub(crate) use self::moment::from_micros;
pub(crate) use self::moment::{micros, parse_time, time_text, to_micros, within, within_above};
use crate::error::{StoreError, StoreErrorKind, TextFault};

/// One value of a column.
///
/// # Examples
/// ```
/// use readside::Value;
/// assert_eq!(Value::from("a"), Value::Text("a".into()));
/// assert_eq!(Value::from(None::<i64>), Value::Null);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// SQL NULL, of any type.
    Null,
    /// See [`ColumnType::Boolean`].
    Boolean(bool),
    /// See [`ColumnType::Integer`].
    Integer(i64),
    /// See [`ColumnType::Float`].
    Float(f64),
    /// See [`ColumnType::Text`].
    Text(String),
    /// The text of a JSON document, see [`ColumnType::Json`].
    Json(String),
    /// See [`ColumnType::Bytes`].
    Bytes(Vec<u8>),
    /// See [`ColumnType::Timestamp`]. Times are truncated to microseconds.
    Timestamp(SystemTime),
    /// See [`ColumnType::TextArray`].
    TextArray(Vec<String>),
    /// See [`ColumnType::Uuid`].
    Uuid(uuid::Uuid),
    /// See [`ColumnType::Decimal`].
    Decimal(Decimal),
    /// See [`ColumnType::Date`].
    Date(Date),
    /// See [`ColumnType::Time`].
    Time(Time),
    /// Microseconds, see [`ColumnType::Duration`].
    Duration(i64),
    /// See [`ColumnType::IntegerArray`].
    IntegerArray(Vec<i64>),
    /// See [`ColumnType::UuidArray`].
    UuidArray(Vec<uuid::Uuid>),
    /// Something that no column can hold, for instance a number that is too large. A statement with it is refused, with
    /// the reason.
    Unfit(TextFault),
}

impl Value {
    /// The JSON document of any serializable value.
    ///
    /// # Errors
    /// The error of the serializer, for instance for a map whose keys are not texts.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Value::Json)
    }

    /// The decimal number in a text, for instance `-19.99`. If the text is not one, a statement with the value is
    /// refused.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// assert_eq!(Value::decimal("19.90"), Value::decimal("19.9"));
    /// assert!(create([set("id", "u1"), set("price", Value::decimal("NaN"))]).is_err());
    /// ```
    #[must_use]
    pub fn decimal(text: &str) -> Self {
        text.parse().map_or_else(Value::Unfit, Value::Decimal)
    }

    /// The day in a text, for instance `2026-01-31`. If the text is not one, a statement with the value is refused.
    #[must_use]
    pub fn date(text: &str) -> Self {
        text.parse().map_or_else(Value::Unfit, Value::Date)
    }

    /// The time of day in a text, for instance `12:00:00`. If the text is not one, a statement with the value is
    /// refused.
    #[must_use]
    pub fn time(text: &str) -> Self {
        text.parse().map_or_else(Value::Unfit, Value::Time)
    }

    /// The value for people and programs that read JSON: times in RFC 3339, bytes in hexadecimal, UUIDs and decimals as
    /// texts, durations in microseconds. Different values of one column look different. What JSON, or its usual
    /// decoders, cannot hold becomes a text (`"NaN"`, `"infinity"`). A JSON document with a number that would be
    /// rounded, or one that would look like NULL, becomes `{"json": "…"}` with its text.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Null => Json::Null,
            Value::Boolean(truth) => Json::from(*truth),
            Value::Integer(number) => Json::from(*number),
            Value::Float(number) if number.is_nan() => Json::from("NaN"),
            Value::Float(number) if number.is_infinite() => {
                Json::from(if *number > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Value::Float(number) => Json::from(unsigned_zero(*number)),
            Value::Text(text) => Json::from(text.as_str()),
            Value::Json(text) => self::Json::parse(text).map_or_else(|| json::as_text(text), |json| json.shown()),
            Value::Bytes(bytes) => {
                let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                Json::from(digits.concat())
            }
            Value::Timestamp(at) => Json::from(time_text(*at)),
            Value::TextArray(texts) => Json::from(texts.clone()),
            Value::Uuid(id) => Json::from(id.to_string()),
            Value::Decimal(number) => Json::from(number.to_string()),
            Value::Date(day) => Json::from(day.to_string()),
            Value::Time(time) => Json::from(time.to_string()),
            Value::Duration(micros) => Json::from(*micros),
            Value::IntegerArray(numbers) => Json::from(numbers.clone()),
            Value::UuidArray(ids) => ids.iter().map(ToString::to_string).collect(),
            Value::Unfit(fault) => Json::from(format!("no value: {fault}")),
        }
    }

    /// True for [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// True when a column of this type can hold the value.
    #[must_use]
    pub fn fits(&self, column: ColumnType) -> bool {
        match self {
            Value::Null => true,
            Value::Integer(n) => match column {
                ColumnType::Integer => true,
                // An integer fits a float column only up to the size at which every integer is exactly a float.
                ColumnType::Float => n.unsigned_abs() <= 1 << 53,
                ColumnType::Decimal { precision, scale } => {
                    Decimal::try_from(*n).is_ok_and(|number| number.fits(precision, scale))
                }
                _ => false,
            },
            Value::Decimal(number) => match column {
                ColumnType::Decimal { precision, scale } => number.fits(precision, scale),
                _ => false,
            },
            other => other.column_type() == Some(column),
        }
    }

    /// The value as a column of this type holds it, if it fits: with the same type and the same scale.
    pub(crate) fn held_by(&self, column: ColumnType) -> Cow<'_, Self> {
        let held = match (self, column) {
            #[expect(clippy::cast_precision_loss, reason = "columns of floats take only integers that are exact")]
            (Value::Integer(number), ColumnType::Float) => Some(Value::Float(*number as f64)),
            (Value::Integer(number), ColumnType::Decimal { scale, .. }) => {
                let number = Decimal::try_from(*number).ok();
                number.and_then(|number| number.scaled(scale)).map(Value::Decimal)
            }
            (Value::Decimal(number), ColumnType::Decimal { scale, .. }) if number.scale() != scale => {
                number.scaled(scale).map(Value::Decimal)
            }
            _ => None,
        };
        held.map_or(Cow::Borrowed(self), Cow::Owned)
    }

    /// What the value is, for errors that say what the column holds instead. It does not show the value.
    pub(crate) fn described(&self, wanted: ColumnType) -> String {
        let digits = match (self, wanted) {
            (Value::Decimal(number), _) => Some(number.digits()),
            (Value::Integer(number), ColumnType::Decimal { .. }) => Some((number.unsigned_abs().to_string().len(), 0)),
            _ => None,
        };
        match (digits, self.column_type()) {
            (Some((digits, behind)), _) => format!("a number of {digits} digits, {behind} of them behind the point"),
            (None, Some(kind)) => kind.to_string(),
            (None, None) => "NULL".to_owned(),
        }
    }

    /// An array of these items, as a column of this type holds it. Items of another type are left out.
    pub(crate) fn array(column: ColumnType, items: &[Self]) -> Self {
        let items = items.iter();
        match column {
            ColumnType::IntegerArray => Value::IntegerArray(
                items.filter_map(|item| if let Value::Integer(number) = item { Some(*number) } else { None }).collect(),
            ),
            ColumnType::UuidArray => Value::UuidArray(
                items.filter_map(|item| if let Value::Uuid(id) = item { Some(*id) } else { None }).collect(),
            ),
            _ => Value::TextArray(
                items.filter_map(|item| if let Value::Text(text) = item { Some(text.clone()) } else { None }).collect(),
            ),
        }
    }

    /// The number with the other sign, if it has one. A value that is not a number stays as it is.
    pub(crate) fn negative(self) -> Option<Self> {
        Some(match self {
            Value::Integer(number) => Value::Integer(number.checked_neg()?),
            Value::Duration(micros) => Value::Duration(micros.checked_neg()?),
            Value::Float(number) => Value::Float(unsigned_zero(-number)),
            Value::Decimal(number) => Value::Decimal(-number),
            other => other,
        })
    }

    /// The column type that this value fits; for a decimal, the narrowest one. `None` for NULL.
    #[must_use]
    pub fn column_type(&self) -> Option<ColumnType> {
        Some(match self {
            Value::Null | Value::Unfit(_) => return None,
            Value::Decimal(number) => {
                let (digits, scale) = number.digits();
                ColumnType::Decimal { precision: u8::try_from(digits).unwrap_or(u8::MAX), scale }
            }
            Value::Date(_) => ColumnType::Date,
            Value::Time(_) => ColumnType::Time,
            Value::Duration(_) => ColumnType::Duration,
            Value::IntegerArray(_) => ColumnType::IntegerArray,
            Value::UuidArray(_) => ColumnType::UuidArray,
            Value::Boolean(_) => ColumnType::Boolean,
            Value::Integer(_) => ColumnType::Integer,
            Value::Float(_) => ColumnType::Float,
            Value::Text(_) => ColumnType::Text,
            Value::Json(_) => ColumnType::Json,
            Value::Bytes(_) => ColumnType::Bytes,
            Value::Timestamp(_) => ColumnType::Timestamp,
            Value::TextArray(_) => ColumnType::TextArray,
            Value::Uuid(_) => ColumnType::Uuid,
        })
    }

    /// Checks that both databases can store the value unchanged.
    ///
    /// # Errors
    /// The first part of it that one of them could not hold.
    pub fn check(&self) -> Result<(), TextFault> {
        match self {
            Value::Text(text) => check_text(text),
            Value::TextArray(texts) => texts.iter().try_for_each(|text| check_text(text)),
            Value::Json(text) => check_json(text).and_then(|()| check_numbers(text)),
            Value::Float(float) if !float.is_finite() => Err(TextFault::NotFinite),
            Value::Timestamp(at) => check_time(*at),
            Value::Unfit(fault) => Err(fault.clone()),
            _ => Ok(()),
        }
    }
}

/// The value as every database would return it from a column of this type. Values that count as the same become equal.
pub(crate) fn canonical(value: Value, kind: Option<ColumnType>) -> Value {
    match (kind, value) {
        (Some(kind @ (ColumnType::Float | ColumnType::Decimal { .. })), value @ Value::Integer(_)) => {
            value.held_by(kind).into_owned()
        }
        (_, Value::Json(text)) => Value::Json(Json::parse(&text).map_or(text, |json| json.to_string())),
        (_, Value::Timestamp(at)) => Value::Timestamp(to_micros(at)),
        // As in PostgreSQL, NaN is equal to itself.
        (_, Value::Float(number)) if number.is_nan() => Value::Text("NaN".to_owned()),
        (_, Value::Float(number)) => Value::Float(unsigned_zero(number)),
        (_, other) => other,
    }
}

/// Refuses NUL, which PostgreSQL cannot store and at which SQLite's own functions stop.
pub(crate) fn check_text(text: &str) -> Result<(), TextFault> {
    if !text.as_bytes().contains(&0) {
        return Ok(());
    }
    Err(TextFault::Nul { at: text.find('\0').unwrap_or_default() })
}

/// Turns minus zero, which SQLite does not keep, into zero.
pub(crate) fn unsigned_zero(number: f64) -> f64 {
    number + 0.0
}

/// Refuses texts with NUL, which only one of the databases accepts, and everything that is not a value.
#[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), expect(dead_code, reason = "for backends"))]
pub(crate) fn refuse_nul(doing: &str, params: &[Value]) -> Result<(), StoreError> {
    let refuse = |text: &str| check_text(text).map_err(|fault| StoreError::new(doing, StoreErrorKind::Data, fault));
    params.iter().try_for_each(|param| match param {
        Value::Text(text) | Value::Json(text) => refuse(text),
        Value::TextArray(texts) => texts.iter().try_for_each(|text| refuse(text)),
        Value::Unfit(fault) => Err(StoreError::new(doing, StoreErrorKind::Data, fault.clone())),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::moment::{FIRST, LAST, parse_written};
    use super::*;

    // Contract: A8
    #[test]
    fn json_that_a_database_could_not_hold_is_refused_by_its_reason() {
        assert_eq!(check_json(r#"{"a":"\u0000"}"#), Err(TextFault::Nul { at: 6 }));
        assert_eq!(check_json(r#""\ud800x""#), Err(TextFault::LoneSurrogate { at: 1 }));
        assert_eq!(check_json(r#""\ud800\u0041""#), Err(TextFault::LoneSurrogate { at: 1 }));
        assert_eq!(check_json(r#""\udc00""#), Err(TextFault::LoneSurrogate { at: 1 }));
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        assert_eq!(check_json(&deep), Err(TextFault::TooDeep { at: 127, limit: 127 }));
        assert!(matches!(check_json("{"), Err(TextFault::NotJson { .. })));
        assert!(matches!(check_json(""), Err(TextFault::NotJson { .. })));
    }

    // Contract: A8
    #[test]
    fn json_that_both_databases_hold_is_accepted() {
        for text in [r#""\ud83d\ude00""#, r#"{"a":"\\u0000","b":"\"[[["}"#, "1e400", "null", "\"ß😀\""] {
            assert_eq!(check_json(text), Ok(()), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert_eq!(check_json(&deep), Ok(()));
        assert!(serde_json::from_str::<serde_json::Value>(&deep).is_ok());
    }

    #[test]
    fn times_keep_microseconds_on_both_sides_of_1970() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(micros(epoch - Duration::from_nanos(1)), Some(-1));
        assert_eq!(micros(epoch + Duration::from_nanos(1999)), Some(1));
        assert_eq!(from_micros(-1), epoch - Duration::from_micros(1));
        assert!(Value::Timestamp(from_micros(i64::MAX)).check().is_err());
    }

    #[test]
    fn times_have_one_range_and_are_read_as_they_are_written() {
        for (micros, text) in [
            (FIRST, "0001-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (0, "1970-01-01T00:00:00.000000Z"),
            (LAST, "9999-12-31T23:59:59.999999Z"),
        ] {
            let at = from_micros(micros);
            assert_eq!((time_text(at).as_str(), parse_time(text)), (text, Some(at)));
            assert_eq!((Value::Timestamp(at).check(), within(at), within_above(at)), (Ok(()), at, at));
        }
        assert_eq!(parse_time("2026-01-31T12:00:00+02:00"), parse_time("2026-01-31T10:00:00Z"));
        for text in ["soon", "2026-02-30T12:00:00.000000Z", "2026-01-31T12:00:00.0000éZ", "+026-01-31T12:00:00.000000Z"]
        {
            assert_eq!((parse_time(text), parse_written(text)), (None, None), "{text}");
        }
        assert_eq!(parse_written("2026-01-31T12:00:00Z"), None, "the other way reads it");
        let far = Duration::from_hours(24 * 365 * 500_000);
        for (at, end) in [
            (from_micros(FIRST - 1), FIRST),
            (from_micros(LAST + 1), LAST),
            (SystemTime::UNIX_EPOCH - far, FIRST),
            (SystemTime::UNIX_EPOCH + far, LAST),
        ] {
            assert_eq!(Value::Timestamp(at).check(), Err(TextFault::TimeOutOfRange));
            assert_eq!((within(at), within_above(at)), (from_micros(end), from_micros(end)));
            assert!(!time_text(at).contains('T'), "{}", time_text(at));
        }
        let between = SystemTime::UNIX_EPOCH + Duration::from_nanos(1500);
        assert_eq!((within(between), within_above(between)), (from_micros(1), from_micros(2)));
    }

    // Contract: A8: the expectations follow what a real server accepted and refused.
    #[test]
    fn numbers_of_json_are_those_that_jsonb_takes() {
        let digits = |count: usize| "1".repeat(count);
        let long = |whole: usize, fraction: usize| format!("{}.{}", digits(whole), digits(fraction));
        for number in [
            "1e400".to_owned(),
            "-1E131071".to_owned(),
            "0.00001e131076".to_owned(),
            "1e-16383".to_owned(),
            "0e131072".to_owned(),
            digits(131_072),
            long(1, 16_383),
            long(1, 16_390) + "e10",
            r#""1e999999""#.to_owned(),
            r#""\"1e999999""#.to_owned(),
            r#"{"1e999999":[1,-0,0.5]}"#.to_owned(),
        ] {
            assert_eq!(Value::Json(number.clone()).check(), Ok(()), "{number:.40}");
        }
        for number in [
            "1e131072".to_owned(),
            "1e200000".to_owned(),
            "1e-16384".to_owned(),
            "1e-20000".to_owned(),
            "0e-20000".to_owned(),
            "1e99999999999999999999".to_owned(),
            "-1e-99999999999999999999".to_owned(),
            digits(131_073),
            long(1, 16_384),
            digits(20_000) + "e-16384",
        ] {
            let fault = Value::Json(format!("[1,{number}]")).check();
            assert_eq!(fault, Err(TextFault::NumberOutOfRange { at: 3 }), "{number:.40}");
            assert_eq!(check_json(&number), Ok(()), "payloads are texts");
        }
    }

    #[test]
    fn values_that_count_as_the_same_are_equal() {
        assert_eq!(format!("{:?}", canonical(Value::Float(-0.0), None)), "Float(0.0)");
        assert_eq!(canonical(Value::Integer(2), Some(ColumnType::Float)), Value::Float(2.0));
        assert_eq!(canonical(Value::Integer(2), Some(ColumnType::Integer)), Value::Integer(2));
        let json = |text: &str| canonical(Value::Json(text.to_owned()), Some(ColumnType::Json));
        assert_eq!(json(r#"{"b":[1E2, -0],"a":1e400}"#), json(r#"{"a":10e399,"b":[100,0]}"#));
        assert_ne!(json("no JSON"), json("other"));
        assert_eq!(canonical(Value::Float(f64::NAN), None), canonical(Value::Float(-f64::NAN), None));
    }

    #[test]
    fn what_json_has_no_word_for_is_spelled_out() {
        let shown = |value: Value| value.to_json().to_string();
        assert_eq!(shown(Value::Float(f64::NAN)), "\"NaN\"");
        assert_eq!(shown(Value::Float(f64::NEG_INFINITY)), "\"-Infinity\"");
        let of_2000 = from_micros(946_684_800_000_000);
        assert_eq!(shown(Value::Timestamp(of_2000 + Duration::from_micros(i64::MAX as u64))), "\"infinity\"");
        let negative = of_2000 - Duration::from_micros(i64::MIN.unsigned_abs());
        assert_eq!(shown(Value::Timestamp(negative)), "\"-infinity\"");
        assert_eq!(format!("{:?} {:?}", Value::from(-0.0_f64), Value::from(-0.0_f32)), "Float(0.0) Float(0.0)");
    }
}
