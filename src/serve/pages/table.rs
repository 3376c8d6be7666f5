//! Lists that are tables, and, where it is narrow, cards.

use super::html::Html;

/// A list with these columns. A name that begins with `#` is that of a column of numbers.
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

/// A cell; its label is shown where the columns' names are not.
pub(super) fn cell(html: &mut Html, class: &str, label: &str, add: impl FnOnce(&mut Html)) {
    html.within("td", &[("class", class), ("data-label", label)], add);
}
