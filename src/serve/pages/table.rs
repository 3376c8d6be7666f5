//! Lists that are shown as tables, or as cards on a narrow screen.

use super::html::Html;

/// A list with these columns. A column whose name begins with `#` holds numbers.
pub(super) fn list(html: &mut Html, columns: &[&str], rows: impl FnOnce(&mut Html)) {
    html.within("div", &[("class", "list")], |html| {
        html.within("table", &[], |html| {
            html.raw("<thead><tr>");
            for name in columns {
                match name.strip_prefix('#') {
                    Some(name) => html.element("th", &[("scope", "col"), ("class", "n")], name),
                    None => html.element("th", &[("scope", "col")], name),
                };
            }
            html.raw("</tr></thead><tbody>");
            rows(html);
            html.raw("</tbody>");
        });
    });
}

/// A cell. Its label is shown where the column names are hidden.
pub(super) fn cell(html: &mut Html, class: &str, label: &str, add: impl FnOnce(&mut Html)) {
    html.within("td", &[("class", class), ("data-label", label)], add);
}
