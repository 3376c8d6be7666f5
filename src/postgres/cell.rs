//! Values of a service's own query: those of read tables, and the `numeric` values that sums and averages give.

use std::error::Error;
use std::fmt::Write;

use postgres::Row as Found;
use postgres::types::{FromSql, Type};

use super::{error, value};
use crate::db::Row;
use crate::error::{StoreError, StoreErrorKind};
use crate::value::Value;

/// A `numeric` value as text, without zeros at its end, as on SQLite.
struct Digits(String);

impl<'a> FromSql<'a> for Digits {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let mut parts = raw.chunks_exact(2).map(|part| part.try_into().map(u16::from_be_bytes));
        let mut next = || parts.next().ok_or("it is too short")?.map_err(|_| "it is too short");
        let (count, weight, sign, scale) = (next()?, next()?.cast_signed(), next()?, next()?);
        let digits = (0..count).map(|_| next()).collect::<Result<Vec<u16>, _>>()?;
        let mut text = match sign {
            0x0000 => String::new(),
            0x4000 => "-".to_owned(),
            0xD000 => return Ok(Self("Infinity".to_owned())),
            0xF000 => return Ok(Self("-Infinity".to_owned())),
            _ => return Ok(Self("NaN".to_owned())),
        };
        let group = |at: i32| usize::try_from(at).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
        let weight = i32::from(weight);
        if weight < 0 {
            text.push('0');
        }
        for at in 0..=weight {
            if at == 0 { write!(text, "{}", group(at))? } else { write!(text, "{:04}", group(at))? }
        }
        let mut fraction = String::new();
        let mut at = weight + 1;
        while fraction.len() < usize::from(scale) {
            write!(fraction, "{:04}", group(at))?;
            at += 1;
        }
        fraction.truncate(scale.into());
        let fraction = fraction.trim_end_matches('0');
        if !fraction.is_empty() {
            write!(text, ".{fraction}")?;
        }
        Ok(Self(text))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }
}

/// All columns of a row.
pub(super) fn row(found: &Found) -> Result<Row, StoreError> {
    (0..found.len()).map(|at| column(found, at)).collect()
}

fn column(found: &Found, at: usize) -> Result<Value, StoreError> {
    let Some(column) = found.columns().get(at) else { return Ok(Value::Null) };
    if *column.type_() == Type::NUMERIC {
        let digits: Option<Digits> = found.try_get(at).map_err(|error| error::store("reading a number", &error))?;
        return Ok(digits.map_or(Value::Null, |digits| Value::Text(digits.0)));
    }
    value::column(found, at).map_err(|error| match error.kind() {
        StoreErrorKind::Usage => {
            let why = format!("column {:?} has the type {}, which is not read", column.name(), column.type_());
            StoreError::new("reading a value", StoreErrorKind::Usage, why)
                .with_remedy("; cast it in the query, for instance to text")
        }
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_digits_are_texts() {
        let text = |parts: &[u16]| {
            let raw: Vec<u8> = parts.iter().flat_map(|part| part.to_be_bytes()).collect();
            Digits::from_sql(&Type::NUMERIC, &raw).unwrap().0
        };
        let below = |weight: i16| weight.cast_unsigned();
        assert_eq!(text(&[0, 0, 0, 0]), "0");
        assert_eq!(text(&[2, 1, 0, 0, 12, 34]), "120034");
        assert_eq!(text(&[1, 1, 0x4000, 0, 12]), "-120000");
        assert_eq!(text(&[2, 0, 0, 2, 7, 500]), "7.05");
        assert_eq!(text(&[2, 0, 0, 3, 7, 500]), "7.05");
        assert_eq!(text(&[1, 0, 0, 2, 7]), "7");
        assert_eq!(text(&[1, below(-2), 0, 8, 1]), "0.00000001");
        assert_eq!(text(&[0, 0, 0xC000, 0]), "NaN");
    }
}
