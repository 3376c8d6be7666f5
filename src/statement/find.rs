//! The table that a statement names.

use crate::error::StatementError;
use crate::table::Table;

/// The table with this name. `None` means the first table; a suffix means the table that is named after the first one.
pub(crate) fn find_table<'t>(tables: &'t [Table], name: Option<&str>) -> Result<&'t Table, StatementError> {
    let primary = tables.first().ok_or_else(|| StatementError::UnknownTable { table: "(the first one)".to_owned() })?;
    let Some(name) = name else { return Ok(primary) };
    let suffix = |table: &&Table| {
        table.name.strip_prefix(primary.name.as_str()).and_then(|rest| rest.strip_prefix('_')) == Some(name)
    };
    tables
        .iter()
        .find(|table| table.name == name)
        .or_else(|| tables.iter().find(suffix))
        .ok_or_else(|| StatementError::UnknownTable { table: name.to_owned() })
}
