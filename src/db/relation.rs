//! Tables and views by their names.

/// A table or view by its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The name without schema and quotes.
    pub(crate) raw: String,
    /// The name ready for SQL.
    pub(crate) quoted: String,
}
