//! What both forms of a line share: the defaults for what a line does not say, and the reason for refusing a line.

use serde_json::error::Category;

/// The values for what a line does not say.
#[derive(Debug, Default)]
pub(in crate::cli) struct Defaults<'a> {
    pub(in crate::cli) instance: Option<&'a str>,
    pub(in crate::cli) aggregate_type: Option<&'a str>,
    /// Lines keep their ids, times and versions.
    pub(in crate::cli) keep: bool,
}

/// The words of the decoder and the place in the line. The decoder counts each line as a separate text.
pub(super) fn reason(error: &serde_json::Error) -> anyhow::Error {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    let what = if error.classify() == Category::Data { "not an event" } else { "not JSON" };
    let hint = match error.classify() {
        Category::Eof => "; an event has to stand on one line: `jq -c .` makes such lines of objects over several",
        _ => "",
    };
    anyhow::anyhow!("{what}: {said}, at column {}{hint}", error.column())
}
