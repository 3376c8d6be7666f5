//! Statements and names.

use super::TextFault;
use crate::plain::{plain, quoted};

/// A statement that cannot be built, or does not fit the tables of its projection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Nothing to write.
    #[error("{statement} has no values to write")]
    NoValues {
        /// Kind of statement.
        statement: &'static str,
    },
    /// No row was named.
    #[error("{statement} has no condition and would touch every row of the instance")]
    NoCondition {
        /// Kind of statement.
        statement: &'static str,
    },
    /// `upsert` and `copy` must know which rows are the same.
    #[error("{statement} names no conflict columns")]
    NoConflictColumns {
        /// Kind of statement.
        statement: &'static str,
    },
    /// `upsert` needs a value for each conflict column.
    #[error("upsert has no plain value for its conflict column {column:?}")]
    ConflictColumnWithoutValue {
        /// The column.
        column: String,
    },
    /// `copy` needs as many sources as targets, `are_in` as many values as columns.
    #[error("there are {to} columns, but {from} values for them")]
    UnequalColumns {
        /// Number of target columns.
        to: usize,
        /// Number of sources.
        from: usize,
    },
    /// A column stands twice.
    #[error("column {column:?} is written twice")]
    DuplicateColumn {
        /// The column.
        column: String,
    },
    /// An assignment that makes no sense in this kind of statement.
    #[error("column {column:?} cannot be {how} in {statement}")]
    NotHere {
        /// The column.
        column: String,
        /// What was wanted.
        how: &'static str,
        /// Kind of statement.
        statement: &'static str,
    },
    /// A comparison with NULL that could never hold.
    #[error("column {column:?} is compared by {operator} with NULL, which never holds")]
    NullComparison {
        /// The column.
        column: String,
        /// The operator.
        operator: &'static str,
    },
    /// A value that not every database could hold.
    #[error("the value of column {column:?} cannot be stored")]
    BadValue {
        /// The column.
        column: String,
        /// Why.
        source: TextFault,
    },
    /// A value that could not be turned into JSON.
    #[error("the value of column {column:?} could not be serialized: {}", plain(why))]
    NotSerializable {
        /// The column.
        column: String,
        /// The serializer's words.
        why: String,
    },
    /// A value of the wrong type.
    #[error("column {column:?} of table {table:?} holds {wanted}, not {}", plain(given))]
    WrongType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The column's type.
        wanted: crate::value::ColumnType,
        /// What was given.
        given: String,
    },
    /// A text that the column's enumeration does not list.
    #[error(
        "column {column:?} of table {table:?} holds one of [{}], and the text given is none of them",
        quoted(values)
    )]
    NotListed {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What it lists.
        values: Vec<String>,
    },
    /// A decimal for custom SQL, with a scale that no column has.
    #[error(
        "the SQL {sql:?} was given a decimal with {scale} digits behind the point, and no column of the projection has as many; bring it to the column's scale by Decimal::at_scale"
    )]
    UnknownScale {
        /// Name of the SQL.
        sql: String,
        /// Digits behind the point.
        scale: u8,
    },
    /// A value that an index of the table could not hold.
    #[error(
        "the value of column {column:?} of table {table:?} takes {size} bytes; {limit} are allowed, because the column is part of a key or an index"
    )]
    TooLong {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The bytes that it takes.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A column that the database alone gives its values.
    #[error(
        "column {column:?} of table {table:?} is generated: the database alone gives it its values; leave it out of the statement"
    )]
    Generated {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// No such column.
    #[error("table {table:?} has no column {column:?}")]
    UnknownColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// No such table.
    #[error("the projection has no table {table:?}")]
    UnknownTable {
        /// The table.
        table: String,
    },
    /// Custom SQL that the projection does not declare.
    #[error("the projection declares no SQL named {sql:?}; declare it by Projection::sql")]
    UnknownSql {
        /// The name.
        sql: String,
    },
    /// Custom SQL with too few or too many values.
    #[error("the SQL {sql:?} takes {wanted} values beside the instance, and {given} were given")]
    UnequalValues {
        /// Its name.
        sql: String,
        /// How many it takes.
        wanted: usize,
        /// How many were given.
        given: usize,
    },
    /// Custom SQL that has no text for this database.
    #[error("the SQL {sql:?} has no text for {database}; give it one by Dialects::each")]
    NoText {
        /// Its name.
        sql: String,
        /// The database.
        database: &'static str,
    },
    /// The conflict columns are not known to be unique.
    #[error(
        "the conflict columns [{}] of table {table:?} are neither its primary key nor one of its unique constraints",
        quoted(columns)
    )]
    UnknownConflict {
        /// The table.
        table: String,
        /// The columns.
        columns: Vec<String>,
    },
    /// A look-up that may find several rows.
    #[error(
        "the conditions of a look-up in table {table:?} name no row: each column of its primary key, or of one of its unique constraints, has to equal a value, and nothing else is asked for"
    )]
    NoKey {
        /// The table.
        table: String,
    },
    /// A number of rows is expected of a statement that always writes one, or of several statements at once.
    #[error("a number of rows can be expected of update, delete and copy, not of {statement}")]
    NoExpectation {
        /// Kind of statement.
        statement: &'static str,
    },
    /// A name that cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A name of a table, column or projection that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Empty.
    #[error("a {what} has an empty name")]
    Empty {
        /// What bears the name.
        what: &'static str,
    },
    /// Longer than PostgreSQL allows, which would cut it off.
    #[error("the {what} name {name:?} has {length} bytes with its version, {limit} are allowed")]
    TooLong {
        /// What bears the name.
        what: &'static str,
        /// The name.
        name: String,
        /// Its length in bytes, with what the engine adds to it.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// NUL or another control character.
    #[error("the {what} name {name:?} holds a control character")]
    Control {
        /// What bears the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Kept by the engine or a database for itself.
    #[error("the {what} name {name:?} is reserved: {why}")]
    Reserved {
        /// What bears the name.
        what: &'static str,
        /// The name.
        name: String,
        /// By whom.
        why: &'static str,
    },
    /// Given twice; SQLite does not tell upper from lower case.
    #[error("the {what} name {name:?} is used twice (upper and lower case count as the same)")]
    Duplicate {
        /// What bears the name.
        what: &'static str,
        /// The name.
        name: String,
    },
}
