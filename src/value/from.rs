//! Conversions into values. What no column could hold becomes a value that every statement refuses, with the reason.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{Date, Decimal, Time, Value, to_micros, unsigned_zero};
use crate::error::TextFault;

macro_rules! into_value {
    ($($(#[$feature:meta])* $type:ty => |$name:ident| $value:expr),* $(,)?) => {
        $($(#[$feature])* impl From<$type> for Value {
            fn from($name: $type) -> Self {
                $value
            }
        })*
    };
}

into_value! {
    bool => |v| Value::Boolean(v),
    i8 => |v| Value::Integer(v.into()),
    i16 => |v| Value::Integer(v.into()),
    i32 => |v| Value::Integer(v.into()),
    i64 => |v| Value::Integer(v),
    isize => |v| integer(v),
    u8 => |v| Value::Integer(v.into()),
    u16 => |v| Value::Integer(v.into()),
    u32 => |v| Value::Integer(v.into()),
    u64 => |v| integer(v),
    usize => |v| integer(v),
    f32 => |v| Value::Float(unsigned_zero(v.into())),
    f64 => |v| Value::Float(unsigned_zero(v)),
    &str => |v| Value::Text(v.to_owned()),
    String => |v| Value::Text(v),
    &String => |v| Value::Text(v.clone()),
    Arc<str> => |v| Value::Text(v.as_ref().to_owned()),
    Cow<'_, str> => |v| Value::Text(v.into_owned()),
    Vec<u8> => |v| Value::Bytes(v),
    &[u8] => |v| Value::Bytes(v.to_vec()),
    serde_json::Value => |v| Value::Json(v.to_string()),
    SystemTime => |v| Value::Timestamp(to_micros(v)),
    Duration => |v| duration(v.as_micros()),
    Date => |v| Value::Date(v),
    Time => |v| Value::Time(v),
    Decimal => |v| Value::Decimal(v),
    Vec<String> => |v| Value::TextArray(v),
    Vec<&str> => |v| Value::TextArray(v.into_iter().map(str::to_owned).collect()),
    &[&str] => |v| Value::TextArray(v.iter().map(|&text| text.to_owned()).collect()),
    Vec<i32> => |v| integers(v),
    Vec<i64> => |v| Value::IntegerArray(v),
    &[i64] => |v| Value::IntegerArray(v.to_vec()),
    Vec<u32> => |v| integers(v),
    Vec<u64> => |v| integers(v),
    Vec<usize> => |v| integers(v),
    Uuid => |v| Value::Uuid(v),
    Vec<Uuid> => |v| Value::UuidArray(v),
    &[Uuid] => |v| Value::UuidArray(v.to_vec()),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

fn integer<N: TryInto<i64>>(number: N) -> Value {
    number.try_into().map_or(Value::Unfit(TextFault::IntegerOutOfRange), Value::Integer)
}

fn integers<N: TryInto<i64>>(numbers: Vec<N>) -> Value {
    let numbers: Result<Vec<i64>, _> = numbers.into_iter().map(TryInto::try_into).collect();
    numbers.map_or(Value::Unfit(TextFault::IntegerOutOfRange), Value::IntegerArray)
}

fn duration<N: TryInto<i64>>(micros: N) -> Value {
    micros.try_into().map_or(Value::Unfit(TextFault::DurationOutOfRange), Value::Duration)
}

#[cfg(feature = "rust_decimal")]
into_value! {
    rust_decimal::Decimal => |v| {
        let too_many = Value::Unfit(TextFault::TooManyDigits { limit: super::decimal::MOST_DIGITS });
        Decimal::of(v.mantissa(), v.scale()).map_or(too_many, Value::Decimal)
    },
}

#[cfg(feature = "rust_decimal")]
impl From<Decimal> for rust_decimal::Decimal {
    fn from(number: Decimal) -> Self {
        Self::new(number.units(), number.scale().into())
    }
}

#[cfg(feature = "jiff")]
into_value! {
    jiff::Timestamp => |v| SystemTime::from(v).into(),
    jiff::Zoned => |v| v.timestamp().into(),
    jiff::civil::Date => |v| Date::of(v).map_or(Value::Unfit(TextFault::NotDate), Value::Date),
    jiff::civil::Time => |v| Time::of(v).map_or(Value::Unfit(TextFault::NotTime), Value::Time),
    jiff::SignedDuration => |v| duration(v.as_micros()),
}

#[cfg(feature = "chrono")]
impl<Z: chrono::TimeZone> From<chrono::DateTime<Z>> for Value {
    fn from(at: chrono::DateTime<Z>) -> Self {
        Value::Timestamp(super::from_micros(at.timestamp_micros()))
    }
}

#[cfg(feature = "chrono")]
into_value! {
    chrono::NaiveDate => |v| {
        let since = v.signed_duration_since(chrono::NaiveDate::default()).num_days();
        let date = i32::try_from(since).map_err(|_| TextFault::NotDate).and_then(Date::from_days);
        date.map_or_else(Value::Unfit, Value::Date)
    },
    chrono::NaiveTime => |v| {
        use chrono::Timelike;
        // In a leap second the nanoseconds exceed one second.
        let micros = i64::from(v.num_seconds_from_midnight()) * 1_000_000 + i64::from(v.nanosecond() / 1000);
        Time::from_micros(micros).map_or_else(Value::Unfit, Value::Time)
    },
    chrono::TimeDelta => |v| {
        v.num_microseconds().map_or(Value::Unfit(TextFault::DurationOutOfRange), Value::Duration)
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: A8
    #[test]
    fn numbers_beyond_64_bits_are_no_values_and_say_so() {
        assert_eq!(Value::from(u64::MAX), Value::Unfit(TextFault::IntegerOutOfRange));
        assert_eq!(Value::from(u64::MAX).check(), Err(TextFault::IntegerOutOfRange));
        assert_eq!(Value::from(vec![1, u64::MAX]).check(), Err(TextFault::IntegerOutOfRange));
        assert_eq!(Value::from(i64::MAX.unsigned_abs()), Value::Integer(i64::MAX));
        assert_eq!(Value::from(7_usize), Value::Integer(7));
        assert_eq!(Value::from(Some(u64::MAX)).check(), Err(TextFault::IntegerOutOfRange));
        assert_eq!(Value::from(Duration::MAX).check(), Err(TextFault::DurationOutOfRange));
        assert_eq!(Value::from(Duration::from_nanos(1999)), Value::Duration(1));
        assert_eq!(Value::from(serde_json::json!({"a": 1})), Value::Json("{\"a\":1}".to_owned()));
        assert_eq!(Value::from(vec![1_u32, 2]), Value::IntegerArray(vec![1, 2]));
        let said = Value::from(u64::MAX).to_json();
        assert!(said.to_string().contains("outside of"), "{said}");
    }

    // Contract: A8
    #[cfg(feature = "rust_decimal")]
    #[test]
    fn decimals_of_others_are_taken_exactly_or_not_at_all() {
        use rust_decimal::Decimal as Theirs;
        assert_eq!(Value::from(Theirs::new(1990, 2)), Value::decimal("19.9"));
        assert_eq!(Value::from(Theirs::MAX).check(), Err(TextFault::TooManyDigits { limit: 18 }));
        assert_eq!(Value::from(Theirs::new(1, 28)).check(), Err(TextFault::TooManyDigits { limit: 18 }));
        assert_eq!(Value::from(Theirs::from_i128_with_scale(10_i128.pow(27), 28)), Value::decimal("0.1"));
        let (ours, theirs) = (Decimal::new(-1990, 2), Theirs::new(-1990, 2));
        assert_eq!(ours.map(Theirs::from), Ok(theirs));
    }

    // Contract: A8
    #[cfg(feature = "jiff")]
    #[test]
    fn times_of_jiff_are_taken_within_the_range() {
        use jiff::civil;
        assert_eq!(Value::from(civil::date(2026, 1, 31)), Value::date("2026-01-31"));
        assert_eq!(Value::from(civil::date(0, 1, 31)).check(), Err(TextFault::NotDate));
        assert_eq!(Value::from(civil::time(12, 0, 0, 1999)), Value::time("12:00:00.000001"));
        assert_eq!(Value::from(jiff::SignedDuration::from_micros(-5)), Value::Duration(-5));
        assert_eq!(Value::from(jiff::SignedDuration::MAX).check(), Err(TextFault::DurationOutOfRange));
        let at = jiff::Timestamp::from_microsecond(-1).unwrap();
        assert_eq!(Value::from(at), Value::Timestamp(SystemTime::UNIX_EPOCH - Duration::from_micros(1)));
    }

    // Contract: A8
    #[cfg(feature = "chrono")]
    #[test]
    fn times_of_chrono_are_taken_within_the_range() {
        use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta};
        let day = |year| NaiveDate::from_ymd_opt(year, 1, 31).unwrap();
        assert_eq!(Value::from(day(2026)), Value::date("2026-01-31"));
        assert_eq!(Value::from(day(0)).check(), Err(TextFault::NotDate));
        assert_eq!(Value::from(NaiveDate::MAX).check(), Err(TextFault::NotDate));
        let time = |second, nanos| NaiveTime::from_hms_nano_opt(23, 59, second, nanos).unwrap();
        assert_eq!(Value::from(time(58, 1999)), Value::time("23:59:58.000001"));
        assert_eq!(Value::from(time(59, 1_500_000_000)).check(), Err(TextFault::NotTime), "a leap second");
        assert_eq!(Value::from(TimeDelta::microseconds(-5)), Value::Duration(-5));
        assert_eq!(Value::from(TimeDelta::MAX).check(), Err(TextFault::DurationOutOfRange));
        let at = DateTime::from_timestamp_micros(-1).unwrap();
        assert_eq!(Value::from(at), Value::Timestamp(SystemTime::UNIX_EPOCH - Duration::from_micros(1)));
        assert_eq!(Value::from(DateTime::<chrono::Utc>::MAX_UTC).check(), Err(TextFault::TimeOutOfRange));
    }
}
