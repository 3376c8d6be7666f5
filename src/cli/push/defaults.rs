//! What both forms of a line share: what is given for it, and why one is refused.

use serde_json::error::Category;

/// What stands in for what a line does not say.
#[derive(Debug, Default)]
pub(in crate::cli) struct Defaults<'a> {
    pub(in crate::cli) instance: Option<&'a str>,
    pub(in crate::cli) aggregate_type: Option<&'a str>,
    /// Lines keep their ids, times and versions.
    pub(in crate::cli) keep: bool,
}

/// The decoder's words with the place in the line; to it, each line is a text by itself.
pub(super) fn reason(error: &serde_json::Error) -> anyhow::Error {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    let what = if error.classify() == Category::Data { "no event" } else { "no JSON" };
    let hint = match error.classify() {
        Category::Eof => "; an event has to stand on one line: `jq -c .` makes such lines of objects over several",
        _ => "",
    };
    anyhow::anyhow!("{what}: {said}, at column {}{hint}", error.column())
}
