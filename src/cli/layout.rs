//! Lays out tables in a given width: the columns stand side by side if their words fit, otherwise each row gets its
//! own lines. No word is broken, and no column is wider than its content.

/// The number of spaces between two columns.
const GAP: usize = 2;

/// The indent of the second and later lines of a row.
const INDENT: &str = "  ";

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    number: bool,
}

/// A column of texts.
pub(super) const fn text(name: &'static str) -> Column {
    Column { name, number: false }
}

/// A column of numbers.
pub(super) const fn number(name: &'static str) -> Column {
    Column { name, number: true }
}

/// A table as lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// Empty if each row names its columns.
    pub(super) header: Vec<String>,
    /// The lines of each row.
    pub(super) rows: Vec<Vec<String>>,
}

/// Lays out a table. Without a limit each row is one line.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>], limit: Option<usize>) -> Lines {
    let cells = |at: usize| rows.iter().filter_map(move |row| row.get(at)).map(String::as_str);
    let name = |column: &Column| column.name;
    let widest = |at: usize, column: &Column| cells(at).chain([name(column)]).map(width).max().unwrap_or(0);
    let longest_word = |at: usize, column: &Column| {
        let words = cells(at).flat_map(str::split_whitespace);
        words.chain([name(column)]).map(width).max().unwrap_or(0)
    };
    let of_all = |width: &dyn Fn(usize, &Column) -> usize| -> Vec<usize> {
        columns.iter().enumerate().map(|(at, column)| width(at, column)).collect()
    };
    let widths = match limit {
        None => Some(of_all(&widest)),
        Some(limit) => fitted(&of_all(&longest_word), &of_all(&widest), limit),
    };
    let Some(widths) = widths else {
        let limit = limit.unwrap_or(usize::MAX);
        return Lines { header: Vec::new(), rows: rows.iter().map(|row| one_by_one(columns, row, limit)).collect() };
    };
    let header: Vec<String> = columns.iter().map(|column| column.name.to_owned()).collect();
    Lines {
        header: side_by_side(columns, &widths, &header),
        rows: rows.iter().map(|row| side_by_side(columns, &widths, row)).collect(),
    }
}

/// Widths between the least and the most that each column can use, in all at most the limit. `None` if even the least
/// widths exceed it.
fn fitted(least: &[usize], most: &[usize], limit: usize) -> Option<Vec<usize>> {
    let gaps = GAP * least.len().saturating_sub(1);
    let mut left = limit.checked_sub(gaps + least.iter().sum::<usize>())?;
    let mut widths = least.to_vec();
    // Of the columns that want more, the narrowest gets one more, until the limit is used up.
    while left > 0 {
        let wanting = widths.iter_mut().zip(most).filter(|(width, most)| **width < **most);
        let Some((narrowest, _)) = wanting.min_by_key(|(width, _)| **width) else { break };
        *narrowest += 1;
        left -= 1;
    }
    Some(widths)
}

fn side_by_side(columns: &[Column], widths: &[usize], row: &[String]) -> Vec<String> {
    let cells: Vec<Vec<String>> = row.iter().zip(widths).map(|(cell, width)| wrapped(cell, Some(*width))).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let line = |at: usize| {
        let part = |((cell, column), to): ((&Vec<String>, &Column), &usize)| {
            let text = cell.get(at).map_or("", String::as_str);
            let room = " ".repeat(to.saturating_sub(width(text)));
            if column.number { format!("{room}{text}") } else { format!("{text}{room}") }
        };
        let parts: Vec<String> = cells.iter().zip(columns).zip(widths).map(part).collect();
        parts.join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

/// Writes each cell behind the name of its column, as many on a line as fit.
fn one_by_one(columns: &[Column], row: &[String], limit: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (column, cell) in columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
        let named = format!("{} {cell}", column.name);
        let named = named.trim_start();
        match lines.last_mut() {
            Some(line) if width(line) + GAP + width(named) <= limit => {
                line.push_str(&" ".repeat(GAP));
                line.push_str(named);
            }
            last => {
                let indent = if last.is_some() { INDENT } else { "" };
                let parts = wrapped(named, Some(limit.saturating_sub(INDENT.len())));
                let indented = parts.into_iter().enumerate().map(|(at, part)| {
                    let indent = if at == 0 { indent } else { INDENT };
                    format!("{indent}{part}")
                });
                lines.extend(indented);
            }
        }
    }
    lines
}

/// The text in lines of at most this width. Lines break between words only, so a longer word is alone on its line.
pub(super) fn wrapped(text: &str, limit: Option<usize>) -> Vec<String> {
    let limit = limit.unwrap_or(usize::MAX);
    if width(text) <= limit {
        return vec![text.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= limit => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The width of a text in a terminal. Letters that some terminals show two columns wide count as two.
fn width(text: &str) -> usize {
    text.chars().map(|letter| if letter < '\u{1100}' { 1 } else { 2 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [text("NAME"), number("LAG"), text("WHY")];

    fn row(cells: [&str; 3]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    fn all(lines: &Lines) -> String {
        let lines: Vec<&str> = lines.header.iter().chain(lines.rows.iter().flatten()).map(String::as_str).collect();
        lines.join("\n") + "\n"
    }

    #[test]
    fn a_table_that_fits_is_as_wide_as_it_has_to_be() {
        let rows = [row(["users", "1,200", "it is behind"]), row(["o", "-", ""])];
        let shown = "NAME     LAG  WHY\nusers  1,200  it is behind\no          -\n";
        for limit in [None, Some(80), Some(26)] {
            assert_eq!(all(&table(&COLUMNS, &rows, limit)), shown, "{limit:?}");
        }
    }

    #[test]
    fn texts_are_broken_between_words() {
        let rows = [row(["users", "1", "it is behind its log"]), row(["o", "22", "all is well"])];
        let shown = "NAME   LAG  WHY\nusers    1  it is\n            behind\n            its log\no       22  all is\n            well\n";
        assert_eq!(all(&table(&COLUMNS, &rows, Some(19))), shown);
    }

    #[test]
    fn what_fits_no_columns_is_told_row_by_row() {
        let id = "019f0000-0000-7000-8000-000000000000";
        let rows = [row([id, "1", "it is behind its log"]), row(["o", "", ""])];
        let shown = format!("NAME {id}\n  LAG 1  WHY it is behind its log\nNAME o\n");
        assert_eq!(all(&table(&COLUMNS, &rows, Some(43))), shown);
        let narrow = format!("NAME\n  {id}\n  LAG 1\n  WHY it is\n  behind its\n  log\nNAME o\n");
        assert_eq!(all(&table(&COLUMNS, &rows, Some(12))), narrow);
    }

    #[test]
    fn no_word_is_ever_broken_and_no_line_is_too_long() {
        let rows = [row(["a-name-of-twenty-one", "1,000,000", "because of \u{4e2d}\u{6587} and so on, in many words"])];
        for limit in 22..100 {
            let lines = table(&COLUMNS, &rows, Some(limit));
            let said = all(&lines);
            assert!(said.lines().all(|line| width(line) <= limit), "{limit}: {said}");
            for word in rows.iter().flatten().flat_map(|cell| cell.split_whitespace()) {
                assert!(said.split_whitespace().any(|found| found == word), "{limit}: {word} in {said}");
            }
        }
    }
}
