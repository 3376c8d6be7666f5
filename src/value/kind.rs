//! The types that columns have, the same on every database.

use std::fmt;

use super::decimal::MOST_DIGITS;

/// The type of a column, the same on every database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ColumnType {
    /// UTF-8 text without NUL. PostgreSQL `text`, SQLite `TEXT`.
    Text,
    /// Signed 64-bit integer. PostgreSQL `bigint`, SQLite `INTEGER`.
    Integer,
    /// Truth value. PostgreSQL `boolean`, SQLite `INTEGER` 0 or 1.
    Boolean,
    /// Finite 64-bit floating point; minus zero becomes zero. PostgreSQL `double precision`, SQLite `REAL`.
    Float,
    /// A JSON document. PostgreSQL `jsonb`, SQLite `TEXT`. Written without an exponent, its numbers have at most
    /// 131,072 digits before the decimal point and 16,383 after it.
    Json,
    /// Bytes. PostgreSQL `bytea`, SQLite `BLOB`.
    Bytes,
    /// A moment in microseconds, from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z. PostgreSQL `timestamptz`, SQLite `TEXT` as `2026-01-31T12:00:00.000000Z`.
    Timestamp,
    /// An array of texts. PostgreSQL `text[]`, SQLite `TEXT` holding a JSON array.
    TextArray,
    /// A UUID. PostgreSQL `uuid`, SQLite `BLOB` of 16 bytes.
    Uuid,
    /// An exact decimal number. PostgreSQL `numeric(precision, scale)`, SQLite `INTEGER` in units of the last decimal
    /// place: 19.99 with a scale of 2 is 1999.
    Decimal {
        /// The number of digits: 1 to 18.
        precision: u8,
        /// The number of decimal places: 0 to `precision`.
        scale: u8,
    },
    /// A day, from 0001-01-01 to 9999-12-31. PostgreSQL `date`, SQLite `TEXT` as `2026-01-31`.
    Date,
    /// A time of day in microseconds, from 00:00:00 to 23:59:59.999999. PostgreSQL `time`, SQLite `TEXT` as `12:00:00.000000`.
    Time,
    /// A duration: a signed 64-bit number of microseconds. PostgreSQL `interval`, SQLite `INTEGER`.
    Duration,
    /// An array of signed 64-bit integers. PostgreSQL `bigint[]`, SQLite `TEXT` holding a JSON array.
    IntegerArray,
    /// An array of UUIDs. PostgreSQL `uuid[]`, SQLite `TEXT` holding a JSON array of texts.
    UuidArray,
}

impl ColumnType {
    /// The type with this name in a stored definition.
    pub(crate) fn named(name: &str) -> Option<Self> {
        use ColumnType as T;
        let all = [
            T::Text,
            T::Integer,
            T::Boolean,
            T::Float,
            T::Json,
            T::Bytes,
            T::Timestamp,
            T::TextArray,
            T::Uuid,
            T::Date,
            T::Time,
            T::Duration,
            T::IntegerArray,
            T::UuidArray,
        ];
        let decimal = || {
            let (precision, scale) = name.strip_prefix("Decimal(")?.strip_suffix(')')?.split_once(", ")?;
            Some(T::Decimal { precision: precision.parse().ok()?, scale: scale.parse().ok()? })
        };
        all.into_iter().find(|kind| kind.to_string() == name).or_else(decimal)
    }

    /// True for arrays.
    pub(crate) fn is_array(self) -> bool {
        self.item().is_some()
    }

    /// The type of an array's items. `None` for a type that is not an array.
    pub(crate) fn item(self) -> Option<Self> {
        match self {
            Self::TextArray => Some(Self::Text),
            Self::IntegerArray => Some(Self::Integer),
            Self::UuidArray => Some(Self::Uuid),
            _ => None,
        }
    }

    /// True for types whose values can be added.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Float | Self::Decimal { .. } | Self::Duration)
    }

    /// True for types whose values have the same order on every database. Documents and arrays do not.
    pub(crate) fn is_ordered(self) -> bool {
        !self.is_array() && self != Self::Json
    }

    /// The fault of a type that no column can have.
    pub(crate) fn fault(self) -> Option<String> {
        match self {
            Self::Decimal { precision, scale } if !(1..=MOST_DIGITS).contains(&precision) || scale > precision => {
                Some(format!(
                    "decimals of {precision} digits, {scale} of them behind the point; a decimal has 1 to {MOST_DIGITS} \
                     digits, and no more of them stand behind the point"
                ))
            }
            _ => None,
        }
    }
}

/// The name in definitions and errors.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "Decimal({precision}, {scale})"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: I2: the names are stored.
    #[test]
    fn a_type_is_found_by_its_name() {
        for (kind, name) in [
            (ColumnType::Text, "Text"),
            (ColumnType::Decimal { precision: 12, scale: 2 }, "Decimal(12, 2)"),
            (ColumnType::UuidArray, "UuidArray"),
        ] {
            assert_eq!((kind.to_string().as_str(), ColumnType::named(name)), (name, Some(kind)));
        }
        assert_eq!(ColumnType::named("Decimal(12)"), None);
    }
}
