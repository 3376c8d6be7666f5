//! Makes texts of unknown origin safe for one line of a log, an error or a table.
//!
//! Texts in quotes go through `{:?}`, which escapes the same characters.

use std::borrow::Cow;
use std::fmt::Display;

/// The text in which every character that would break the line, move a cursor, or reverse or hide other text is
/// escaped.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let shown = |letter: char| if is_hidden(letter) { letter.escape_unicode().to_string() } else { letter.into() };
    Cow::Owned(text.chars().map(shown).collect())
}

/// True for control characters, line separators, direction marks, and characters without width.
pub(crate) fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Most bytes of a list in an error. The words around it have room beside it, where texts are cut.
const LONGEST_LIST: usize = 3000;

/// A list as [`plain`] text. Where it is too long it says how many more there are.
pub(crate) fn listed<T: Display>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    listed_of_more(items, between, 0)
}

/// Lists these first items of a longer list, and says that there are `more` items.
pub(crate) fn listed_of_more<T: Display>(items: impl IntoIterator<Item = T>, between: &str, mut more: u64) -> String {
    let (mut text, mut is_full) = (String::new(), false);
    for item in items {
        let item = item.to_string();
        let item = plain(&item);
        let room = LONGEST_LIST.saturating_sub(text.len());
        is_full |= !text.is_empty() && item.len() > room;
        if is_full {
            more = more.saturating_add(1);
            continue;
        }
        if !text.is_empty() {
            text.push_str(between);
        }
        let end = item.floor_char_boundary(room);
        text.push_str(item.get(..end).unwrap_or_default());
        if end < item.len() {
            text.push('…');
        }
    }
    if more > 0 { format!("{text}{between}and {more} more") } else { text }
}

/// The same of texts in quotes.
pub(crate) fn quoted(items: &[String]) -> String {
    listed(items.iter().map(|item| format!("{item:?}")), ", ")
}

/// `12,345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 event`, `2 events`.
pub(crate) fn several(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `1 event is`, `2 events are`.
pub(crate) fn several_are(number: u64, what: &str) -> String {
    format!("{} {}", several(number, what), if number == 1 { "is" } else { "are" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_a_line_or_turns_it() {
        assert_eq!(plain("a\nb\t\u{1b}[2Jc\u{202e}d\u{9b}"), "a\\u{a}b\\u{9}\\u{1b}[2Jc\\u{202e}d\\u{9b}");
        assert_eq!(plain("Zoë, 日本, \"x\" \\"), "Zoë, 日本, \"x\" \\");
        // Quoting a text is as safe.
        for letter in (0..0x11_0000_u32).filter_map(char::from_u32).filter(|letter| is_hidden(*letter)) {
            assert!(!format!("{:?}", letter.to_string()).contains(letter), "{letter:?}");
        }
    }
}
