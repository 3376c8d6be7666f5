//! Columns of tables, and the sizes of their values.

use super::index::{each, mentions, sql_fault};
use super::{Table, TableFault};
use crate::dialect::{Dialect, Dialects};
use crate::value::{ColumnType, Value, check_text};

/// A column: name, type, whether it may be NULL, and default.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Column {
    pub(crate) name: String,
    pub(crate) kind: ColumnType,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
    /// The texts that an enumeration lists. `None` when the column accepts any text.
    pub(crate) values: Option<Vec<String>>,
    /// The expression with which the database computes the value.
    pub(crate) generated: Option<Dialects>,
    /// The comment, for people who look at the tables.
    pub(crate) comment: Option<String>,
}

impl Column {
    /// A column that must not be NULL and has no default.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let age = Column::new("age", ColumnType::Integer).nullable();
    /// # let _ = age;
    /// ```
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        Self { name: name.into(), kind, nullable: false, default: None, values: None, generated: None, comment: None }
    }

    /// Allows NULL.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let email = text("email").nullable();
    /// # let _ = email;
    /// ```
    pub fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// Sets the value of the column in a new row that does not name it.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let visits = integer("visits").default(0);
    /// # let _ = visits;
    /// ```
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Makes the database compute the value from other columns of the row and store it with the row. Statements never
    /// write the column: if the statement of an event does, the event fails before any SQL runs. The column may be used
    /// in conditions, indexes and unique constraints, and `verify` and `explain` compare it like any other.
    ///
    /// The expression has to give the same result each time: it uses no clock, no setting, no other row, and no other
    /// generated column. It is a text of the program, never of an event. If the databases spell it differently, use
    /// [`Dialects::each`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let people = Table::new("people")
    ///     .column(text("id"))
    ///     .column(text("first"))
    ///     .column(text("last"))
    ///     .column(text("full_name").generated("first || ' ' || last"))
    ///     .column(integer("letters").generated(Dialects::each("char_length(last)", "length(last)")))
    ///     .primary_key(["id"])
    ///     .index(["full_name"]);
    /// # let _ = people;
    /// ```
    pub fn generated(mut self, sql: impl Into<Dialects>) -> Self {
        self.generated = Some(sql.into());
        self
    }

    /// Describes the column for people who look at the read model. On PostgreSQL it becomes the comment on the column
    /// of the table and of the view that readers use; SQLite keeps no comments. It may change under the same version:
    /// each set-up applies it.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let total = decimal("total", 12, 2).comment("What was paid, in euros.");
    /// # let _ = total;
    /// ```
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }

    /// Checks the expression as far as that is possible without a database.
    pub(super) fn check_generated(&self, table: &Table) -> Result<(), TableFault> {
        let Some(sql) = self.generated else { return Ok(()) };
        let fault = |what: String| Err(TableFault::What(format!("has the generated column {:?}, {what}", self.name)));
        if self.default.is_some() {
            return fault("which has a default as well; leave one of them out".to_owned());
        }
        if let Some(what) = each(sql).find_map(sql_fault) {
            return fault(format!("whose SQL {what}"));
        }
        if table.primary_key.contains(&self.name) {
            return fault(
                "which is in the primary key; statements name rows by that, so let them write its columns".to_owned(),
            );
        }
        if table.foreign_keys.iter().any(|key| key.columns.contains(&self.name)) {
            return fault("which is in a foreign key; let statements write its columns".to_owned());
        }
        let other = |column: &&Column| column.generated.is_some() && each(sql).any(|text| mentions(text, &column.name));
        match table.columns.iter().find(other) {
            Some(column) => fault(format!(
                "whose SQL names the generated column {:?}; not every database allows that, write its expression instead",
                column.name
            )),
            None => Ok(()),
        }
    }

    /// True when the expression has no text for this database.
    pub(crate) fn lacks_text(&self, dialect: Dialect) -> bool {
        self.generated.is_some_and(|sql| sql.text(dialect).is_none())
    }
}

macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        $($(#[$doc])*
        pub fn $name(name: impl Into<String>) -> Column {
            Column::new(name, ColumnType::$kind)
        })*
    };
}

columns! {
    /// A column of [`ColumnType::Text`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(text("name")).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    text => Text,
    /// A column of [`ColumnType::Integer`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(integer("age").default(0)).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    integer => Integer,
    /// A column of [`ColumnType::Boolean`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(boolean("active").default(true)).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    boolean => Boolean,
    /// A column of [`ColumnType::Float`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(float("score").nullable()).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    float => Float,
    /// A column of [`ColumnType::Json`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(json("address").nullable()).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    json => Json,
    /// A column of [`ColumnType::Bytes`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(bytes("picture").nullable()).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    bytes => Bytes,
    /// A column of [`ColumnType::Timestamp`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(timestamp("seen_at").nullable()).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    timestamp => Timestamp,
    /// A column of [`ColumnType::TextArray`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(text_array("tags").nullable()).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    text_array => TextArray,
    /// A column of [`ColumnType::Uuid`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// use readside::table::uuid as uuid;
    /// let users = Table::new("users").column(text("id")).column(uuid("key").nullable()).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    uuid => Uuid,
    /// A column of [`ColumnType::Date`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(date("born").nullable()).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    date => Date,
    /// A column of [`ColumnType::Time`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let shops = Table::new("shops").column(text("id")).column(time("opens").nullable()).primary_key(["id"]);
    /// # let _ = shops;
    /// ```
    time => Time,
    /// A column of [`ColumnType::Duration`].
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use readside::prelude::*;
    /// let calls = Table::new("calls")
    ///     .column(text("id"))
    ///     .column(duration("talked").default(Duration::ZERO))
    ///     .primary_key(["id"]);
    /// # let _ = calls;
    /// ```
    duration => Duration,
    /// A column of [`ColumnType::IntegerArray`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let games = Table::new("games").column(text("id")).column(integer_array("scores").nullable()).primary_key(["id"]);
    /// # let _ = games;
    /// ```
    integer_array => IntegerArray,
    /// A column of [`ColumnType::UuidArray`].
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let groups = Table::new("groups").column(text("id")).column(uuid_array("members").nullable()).primary_key(["id"]);
    /// # let _ = groups;
    /// ```
    uuid_array => UuidArray,
}

/// A column of [`ColumnType::Decimal`]: exact numbers with at most `precision` digits (1 to 18), `scale` of them
/// decimal places. An event with more digits fails, because the library does not round.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let orders = Table::new("orders").column(text("id")).column(decimal("total", 12, 2).default(0)).primary_key(["id"]);
/// # let _ = orders;
/// ```
pub fn decimal(name: impl Into<String>, precision: u8, scale: u8) -> Column {
    Column::new(name, ColumnType::Decimal { precision, scale })
}

/// A column that accepts only these texts. An event with another text fails, and the database refuses it, too. Changing
/// the list changes the definition: raise the version.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let orders = Table::new("orders")
///     .column(text("id"))
///     .column(enumeration("state", ["open", "paid", "sent"]).default("open"))
///     .primary_key(["id"]);
/// # let _ = orders;
/// ```
pub fn enumeration<T: Into<String>>(name: impl Into<String>, values: impl IntoIterator<Item = T>) -> Column {
    Column { values: Some(values.into_iter().map(Into::into).collect()), ..Column::new(name, ColumnType::Text) }
}

pub(super) fn is_fixed(kind: ColumnType) -> bool {
    match kind {
        ColumnType::Integer
        | ColumnType::Boolean
        | ColumnType::Float
        | ColumnType::Timestamp
        | ColumnType::Uuid
        | ColumnType::Decimal { .. }
        | ColumnType::Date
        | ColumnType::Time
        | ColumnType::Duration => true,
        ColumnType::Text
        | ColumnType::Json
        | ColumnType::Bytes
        | ColumnType::TextArray
        | ColumnType::IntegerArray
        | ColumnType::UuidArray => false,
    }
}

/// The most bytes that a value takes in an index of PostgreSQL, uncompressed.
pub(super) fn size_in_index(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        // A one-digit number and its comma become 15 bytes.
        Value::Json(text) => text.len().saturating_mul(8),
        Value::TextArray(texts) => texts.iter().map(|text| text.len() + 8).sum::<usize>() + 24,
        Value::IntegerArray(numbers) => numbers.len() * 8 + 24,
        Value::UuidArray(ids) => ids.len() * 16 + 24,
        _ => 0,
    }
}

pub(super) fn check_type(column: &Column) -> Result<(), TableFault> {
    if let Some(fault) = column.kind.fault() {
        return Err(TableFault::What(format!("has column {:?} for {fault}", column.name)));
    }
    let Some(values) = &column.values else { return Ok(()) };
    if values.is_empty() {
        return Err(TableFault::What(format!("has the enumeration {:?}, which lists nothing", column.name)));
    }
    for (at, value) in values.iter().enumerate() {
        if values.iter().take(at).any(|other| other == value) {
            let what = format!("has the enumeration {:?}, which lists {value:?} twice", column.name);
            return Err(TableFault::What(what));
        }
        check_text(value)
            .map_err(|fault| TableFault::What(format!("has the enumeration {:?} with a text: {fault}", column.name)))?;
    }
    Ok(())
}

pub(super) fn check_default(column: &Column) -> Result<(), TableFault> {
    let Some(default) = &column.default else { return Ok(()) };
    let is_listed = match (&column.values, default) {
        (Some(values), Value::Text(text)) => values.contains(text),
        _ => true,
    };
    if let Value::Unfit(fault) = default {
        return Err(TableFault::What(format!("has a default for column {:?}, but {fault}", column.name)));
    }
    if !is_listed || !default.fits(column.kind) || (default.is_null() && !column.nullable) {
        return Err(TableFault::What(format!("has a default for column {:?} that it cannot hold", column.name)));
    }
    default
        .check()
        .map_err(|fault| TableFault::What(format!("has a default for column {:?}, but {fault}", column.name)))
}
