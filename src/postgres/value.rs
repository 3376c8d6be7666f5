//! Values as PostgreSQL's binary protocol has them.

use std::error::Error;
use std::time::SystemTime;

use postgres::Row as Found;
use postgres::types::private::BytesMut;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::error;
use crate::db::Row;
use crate::error::{StoreError, StoreErrorKind};
use crate::value::{Value, unsigned_zero, within};

type Cause = Box<dyn Error + Sync + Send>;

/// A value to bind; NULL takes its type from where it stands.
#[derive(Debug)]
pub(super) struct Param<'v>(pub(super) &'v Value);

impl Param<'_> {
    pub(super) fn kind(&self) -> Type {
        match self.0 {
            Value::Null => Type::UNKNOWN,
            Value::Boolean(_) => Type::BOOL,
            Value::Integer(_) => Type::INT8,
            Value::Float(_) => Type::FLOAT8,
            Value::Text(_) => Type::TEXT,
            Value::Json(_) => Type::JSONB,
            Value::Bytes(_) => Type::BYTEA,
            Value::Timestamp(_) => Type::TIMESTAMPTZ,
            Value::TextArray(_) => Type::TEXT_ARRAY,
            Value::Uuid(_) => Type::UUID,
        }
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Cause> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Boolean(value) => value.to_sql(kind, out),
            Value::Integer(value) => value.to_sql(kind, out),
            Value::Float(value) => unsigned_zero(*value).to_sql(kind, out),
            Value::Text(value) => value.to_sql(kind, out),
            Value::Json(text) => {
                // The binary form of jsonb is a version and the text.
                out.extend_from_slice(&[1]);
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            Value::Bytes(value) => value.to_sql(kind, out),
            // Beyond the range the driver would wrap.
            Value::Timestamp(value) => within(*value).to_sql(kind, out),
            // Within an array of rows.
            Value::TextArray(value) if *kind == Type::TEXT => literal(value).to_sql(kind, out),
            Value::TextArray(value) => value.to_sql(kind, out),
            Value::Uuid(value) => value.to_sql(kind, out),
        }
    }

    /// The type is always the one that [`kind`](Param::kind) named.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// An array as PostgreSQL writes it, every text in quotes.
fn literal(texts: &[String]) -> String {
    let quoted = texts.iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

/// The text of a JSON value.
struct Json(String);

impl<'a> FromSql<'a> for Json {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        let text = if *kind == Type::JSONB { raw.get(1..).unwrap_or_default() } else { raw };
        Ok(Self(std::str::from_utf8(text)?.to_owned()))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSON || *kind == Type::JSONB
    }
}

/// All columns of a row.
pub(super) fn row(found: &Found) -> Result<Row, StoreError> {
    (0..found.len()).map(|at| column(found, at)).collect()
}

pub(super) fn column(found: &Found, at: usize) -> Result<Value, StoreError> {
    let Some(column) = found.columns().get(at) else { return Ok(Value::Null) };
    let kind = column.type_();
    match *kind {
        Type::BOOL => get::<bool>(found, at),
        Type::INT2 => get::<i16>(found, at),
        Type::INT4 => get::<i32>(found, at),
        Type::INT8 => get::<i64>(found, at),
        Type::FLOAT4 => get::<f32>(found, at),
        Type::FLOAT8 => get::<f64>(found, at),
        Type::TEXT | Type::VARCHAR | Type::NAME | Type::BPCHAR | Type::UNKNOWN => get::<String>(found, at),
        Type::BYTEA => get::<Vec<u8>>(found, at),
        Type::TIMESTAMPTZ => get::<SystemTime>(found, at),
        Type::TEXT_ARRAY => texts(found, at),
        Type::UUID => get::<Uuid>(found, at),
        Type::JSON | Type::JSONB => {
            let json: Option<Json> = found.try_get(at).map_err(|error| error::store("reading a value", &error))?;
            Ok(json.map_or(Value::Null, |json| Value::Json(json.0)))
        }
        Type::VOID => Ok(Value::Null),
        _ => Err(StoreError::new("reading a value", StoreErrorKind::Usage, format!("the type {kind} is not known"))),
    }
}

/// An array with NULL in it, which only SQL of others makes, is shown as a JSON text; so does SQLite.
fn texts(found: &Found, at: usize) -> Result<Value, StoreError> {
    let doing =
        || format!("reading the array in column {:?}", found.columns().get(at).map_or("", |column| column.name()));
    let texts: Option<Vec<Option<String>>> = found.try_get(at).map_err(|error| error::store(&doing(), &error))?;
    let Some(texts) = texts else { return Ok(Value::Null) };
    if texts.iter().all(Option::is_some) {
        return Ok(Value::TextArray(texts.into_iter().flatten().collect()));
    }
    Ok(Value::Text(serde_json::Value::from(texts).to_string()))
}

fn get<'r, T: FromSql<'r> + Into<Value>>(found: &'r Found, at: usize) -> Result<Value, StoreError> {
    let value: Option<T> = found.try_get(at).map_err(|error| error::store("reading a value", &error))?;
    Ok(value.into())
}
