//! Tables and views by their names.

/// A table or view by its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Without schema and quotes.
    pub(crate) raw: String,
    /// Ready for SQL.
    pub(crate) quoted: String,
}
