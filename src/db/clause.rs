//! A statement while it is built, with its parameters.

use std::sync::Arc;
use std::time::Duration;

use super::Conn;
use crate::clock;
use crate::error::StoreError;
use crate::sql::Dialect;
use crate::value::{Value, to_micros};

/// A lease that ends more than this many lease lengths ahead is ignored: only a wrong clock writes one.
pub(super) const FAR: u32 = 4;

/// A statement while it is built, with its parameters.
pub(super) struct Sql {
    pub(super) params: Vec<Value>,
    /// The clock is the database's: PostgreSQL reads it inside the statement; SQLite gets the time from here.
    pub(super) now: Option<std::time::SystemTime>,
}

impl Sql {
    pub(super) fn new(conn: &mut dyn Conn) -> Result<Self, StoreError> {
        let now = match conn.dialect() {
            Dialect::Postgres => None,
            Dialect::Sqlite => Some(conn.now()?),
        };
        Ok(Self { params: Vec::new(), now })
    }

    pub(super) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.params.push(value.into());
        format!("${}", self.params.len())
    }

    /// The moment this long from now.
    pub(super) fn after(&mut self, time: Duration) -> String {
        let time = time.min(clock::FAR);
        match self.now {
            Some(now) => self.bind(Value::Timestamp(to_micros(now + time))),
            None if time.is_zero() => "clock_timestamp()".to_owned(),
            None => {
                let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
                format!("(clock_timestamp() + {} * interval '1 microsecond')", self.bind(micros))
            }
        }
    }

    pub(super) fn now(&mut self) -> String {
        self.after(Duration::ZERO)
    }

    /// A condition: the time in this column has passed, or is so far ahead that only a wrong clock can have written it.
    pub(super) fn over(&mut self, column: &str, lease: Duration) -> String {
        let (now, far) = (self.now(), self.after(lease.saturating_mul(FAR)));
        format!("({column} <= {now} OR {column} > {far})")
    }

    pub(super) fn one_of(&mut self, dialect: Dialect, column: &str, instances: &[Arc<str>]) -> String {
        self.params.push(Value::TextArray(instances.iter().map(ToString::to_string).collect()));
        dialect.any(column, self.params.len())
    }
}
