//! Statements and names.

use super::TextFault;
use crate::plain::{plain, quoted, several, several_are};

/// A statement that cannot be built, or that does not fit the tables of its projection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The statement writes nothing.
    #[error("{statement} has no values to write")]
    NoValues {
        /// Kind of statement.
        statement: &'static str,
    },
    /// The statement names no rows.
    #[error("{statement} has no condition and would touch every row of the instance")]
    NoCondition {
        /// Kind of statement.
        statement: &'static str,
    },
    /// `upsert` and `copy` need columns that say which rows are the same.
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
    /// `copy` needs as many sources as targets. `are_in` needs as many values as columns.
    #[error("there are {to} columns, but {from} values for them")]
    UnequalColumns {
        /// Number of target columns.
        to: usize,
        /// Number of sources.
        from: usize,
    },
    /// A column is named twice.
    #[error("column {column:?} is written twice")]
    DuplicateColumn {
        /// The column.
        column: String,
    },
    /// An assignment that has no meaning in this kind of statement.
    #[error("column {column:?} cannot be {how} in {statement}")]
    NotHere {
        /// The column.
        column: String,
        /// The kind of assignment.
        how: &'static str,
        /// Kind of statement.
        statement: &'static str,
    },
    /// A comparison with NULL that is never true.
    #[error("column {column:?} is compared by {operator} with NULL, which never holds")]
    NullComparison {
        /// The column.
        column: String,
        /// The operator.
        operator: &'static str,
    },
    /// A value that at least one database cannot hold.
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
        /// What the serializer says.
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
        /// The type that was given.
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
        /// The values that it lists.
        values: Vec<String>,
    },
    /// Custom SQL was given a decimal with more decimal places than a column can have.
    #[error(
        "the SQL {sql:?} was given a decimal with {scale} digits behind the point, and no column of the projection has as many; bring it to the column's scale by Decimal::at_scale"
    )]
    UnknownScale {
        /// Name of the SQL.
        sql: String,
        /// The number of decimal places.
        scale: u8,
    },
    /// A value that is too large for an index of the table.
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
    /// A column whose values only the database may set.
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
    #[error("the SQL {sql:?} takes {} besides the instance, and {} given", several(*wanted as u64, "value"), several_are(*given as u64, "value"))]
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
        "the conditions of a look-up in table {table:?} name no row: each column of its primary key, or of one of its unique constraints, has to equal a value, with no other conditions"
    )]
    NoKey {
        /// The table.
        table: String,
    },
    /// An expected number of rows for a statement that always writes one row, or for several statements at once.
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
    /// The name is empty.
    #[error("a {what} has an empty name")]
    Empty {
        /// The kind of thing that has the name.
        what: &'static str,
    },
    /// The name is longer than PostgreSQL allows, which would cut it off.
    #[error("the {what} name {name:?} has {length} bytes with its version, {limit} are allowed")]
    TooLong {
        /// The kind of thing that has the name.
        what: &'static str,
        /// The name.
        name: String,
        /// Its length in bytes, including what the engine adds to it.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The name holds NUL or another control character.
    #[error("the {what} name {name:?} holds a control character")]
    Control {
        /// The kind of thing that has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The name is reserved by the engine or a database.
    #[error("the {what} name {name:?} is reserved: {why}")]
    Reserved {
        /// The kind of thing that has the name.
        what: &'static str,
        /// The name.
        name: String,
        /// Who reserves it.
        why: &'static str,
    },
    /// The name is given twice. SQLite does not distinguish upper from lower case.
    #[error("the {what} name {name:?} is used twice (upper and lower case count as the same)")]
    Duplicate {
        /// The kind of thing that has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
}
