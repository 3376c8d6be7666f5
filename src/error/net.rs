//! The safety net around code of the service: whatever that code does, its texts are bounded, and its panics are
//! caught.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Most bytes of an error's text.
pub(crate) const LONGEST_TEXT: usize = 4000;

/// Most errors of a chain that are asked for their texts: an error may be its own cause.
const LONGEST_CHAIN: usize = 32;

/// The most panics in a row that are dropped. The drop of a panic may panic too.
const MOST_DROPS: usize = 4;

/// Runs code of the service. If it panics, returns the text of the panic.
pub(crate) fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = bounded(panic_text(panic.as_ref()));
        discard(panic);
        text
    })
}

/// Drops a value of the service, whose drop may panic.
pub(crate) fn discard<T>(value: T) {
    let mut panic = catch_unwind(AssertUnwindSafe(move || drop(value))).err();
    for _ in 0..MOST_DROPS {
        let Some(again) = panic else { return };
        panic = catch_unwind(AssertUnwindSafe(move || drop(again))).err();
    }
    // Its drop panics again and again. Leaking its memory is the smaller loss.
    std::mem::forget(panic);
}

/// The text that a value gives for itself.
pub(crate) fn said(value: &(impl fmt::Display + ?Sized)) -> String {
    let mut text = Bounded::default();
    let why = match caught(|| write!(text, "{value}")) {
        Ok(Ok(())) => return text.0,
        Ok(Err(_)) if text.0.len() >= LONGEST_TEXT => None,
        Ok(Err(_)) => Some("an error whose text cannot be made: its Display fails".to_owned()),
        Err(panic) => Some(format!("an error whose text cannot be made: its Display panics ({panic})")),
    };
    match why {
        None => text.0 + "…",
        Some(why) if text.0.is_empty() => why,
        Some(why) => bounded(&format!("{}… ({why})", text.0)),
    }
}

/// An error and its causes on one line, each with the text that `say` makes of it.
pub(crate) fn chain(error: &(dyn StdError + 'static), say: impl Fn(&(dyn StdError + 'static)) -> String) -> String {
    let mut text = say(error);
    let mut next = cause(error);
    for _ in 1..LONGEST_CHAIN {
        let Some(error) = next.filter(|_| text.len() < LONGEST_TEXT) else { return bounded(&text) };
        let said = say(error);
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause(error);
    }
    bounded(&text)
}

fn cause<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    caught(|| error.source()).ok().flatten()
}

/// The text, cut if it is too long.
pub(crate) fn bounded(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST_TEXT);
    let kept = text.get(..end).unwrap_or_default();
    if end < text.len() { format!("{kept}…") } else { kept.to_owned() }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}

/// A text that refuses more than it has room for.
#[derive(Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST_TEXT.saturating_sub(self.0.len());
        let end = text.floor_char_boundary(room);
        self.0.push_str(text.get(..end).unwrap_or_default());
        if end < text.len() {
            // This fills it to the last byte, whatever the width of the character that did not fit.
            self.0.extend(std::iter::repeat_n('.', room - end));
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its cause is itself, or an equal error, without an end.
    #[derive(Debug)]
    struct Endless {
        another: Option<&'static Endless>,
    }

    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(if self.another.is_some() { "ping" } else { "itself" })
        }
    }

    impl StdError for Endless {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            static ITSELF: Endless = Endless { another: None };
            Some(self.another.unwrap_or(&ITSELF))
        }
    }

    #[derive(Debug)]
    struct Rude(fn(&mut fmt::Formatter<'_>) -> fmt::Result);

    impl fmt::Display for Rude {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0(f)
        }
    }

    impl StdError for Rude {}

    // Contract: L8, H1
    #[test]
    fn a_chain_without_end_ends() {
        static FIRST: Endless = Endless { another: None };
        assert_eq!(super::super::chain(&Endless { another: Some(&FIRST) }), "ping: itself");
        assert_eq!(super::super::chain(&FIRST), "itself");
    }

    // Contract: H1
    #[test]
    fn a_chain_is_one_line() {
        let error = Rude(|f| f.write_str("one\ntwo\u{202e}\u{1b}[31m"));
        assert_eq!(super::super::chain(&error), "one\\u{a}two\\u{202e}\\u{1b}[31m");
    }

    // Contract: L8, H1: if the text of an error cannot be made, the chain says so.
    #[test]
    fn a_text_that_cannot_be_made_is_told_so() {
        let panics = Rude(|f| f.write_str("so far").map(|()| panic!("and no further")));
        let text = super::super::chain(&panics);
        assert!(text.starts_with("so far…") && text.contains("its Display panics (and no further)"), "{text}");
        assert!(said(&Rude(|_| Err(fmt::Error))).contains("its Display fails"));
        let long = said(&Rude(|f| (0..).try_for_each(|_| f.write_str("ß, und so weiter"))));
        assert!(long.len() < LONGEST_TEXT + 4 && long.ends_with('…'), "{}", long.len());
    }

    // Contract: L8
    #[test]
    fn a_panic_whose_drop_panics_is_caught() {
        struct Bomb(u32);
        impl Drop for Bomb {
            fn drop(&mut self) {
                std::panic::panic_any(Bomb(self.0 + 1));
            }
        }
        assert_eq!(caught(|| std::panic::panic_any(Bomb(0))), Err::<(), _>("a panic without a text".to_owned()));
        discard(Bomb(0));
    }
}
