//! Keeps the texts of an event in one piece: making them costs one allocation, and sharing them one counter.

use std::sync::Arc;

/// How many texts an event owns. It shares the type of its aggregate with other events.
pub(crate) const COUNT: usize = 6;

/// Which text, in the order of the columns.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    AggregateId,
    EventType,
    Creator,
    Owner,
    Payload,
    Metadata,
}

impl Which {
    const ALL: [Self; COUNT] =
        [Self::AggregateId, Self::EventType, Self::Creator, Self::Owner, Self::Payload, Self::Metadata];
}

#[derive(Clone, PartialEq)]
pub(crate) struct Texts {
    all: Arc<str>,
    /// Where each text ends.
    ends: [usize; COUNT],
}

impl Texts {
    pub(crate) fn of(texts: [&str; COUNT]) -> Self {
        Self::joined(&mut String::with_capacity(texts.iter().map(|text| text.len()).sum()), texts)
    }

    /// Joins the texts in a buffer that many events in a row may use.
    pub(crate) fn joined(buffer: &mut String, texts: [&str; COUNT]) -> Self {
        buffer.clear();
        let ends = texts.map(|text| {
            buffer.push_str(text);
            buffer.len()
        });
        Self { all: Arc::from(buffer.as_str()), ends }
    }

    pub(crate) fn get(&self, which: Which) -> &str {
        let at = which as usize;
        let from = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let to = self.ends.get(at).copied().unwrap_or(from);
        self.all.get(from..to).unwrap_or_default()
    }

    /// The same texts, but with other ones in these places.
    pub(crate) fn with<const N: usize>(&self, others: [(Which, &str); N]) -> Self {
        let mut texts = Which::ALL.map(|which| self.get(which));
        for (which, text) in others {
            if let Some(place) = texts.get_mut(which as usize) {
                *place = text;
            }
        }
        Self::of(texts)
    }

    /// The bytes of payload and metadata.
    pub(crate) fn size(&self) -> usize {
        self.get(Which::Payload).len() + self.get(Which::Metadata).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_found_and_replaced_in_its_place() {
        let texts = Texts::of(["a", "", "ccc", "", "é", "f"]);
        let read = |texts: &Texts| Which::ALL.map(|which| texts.get(which).to_owned());
        assert_eq!(read(&texts), ["a", "", "ccc", "", "é", "f"]);
        let other = texts.with([(Which::EventType, "bb"), (Which::Metadata, "")]);
        assert_eq!(read(&other), ["a", "bb", "ccc", "", "é", ""]);
        assert_eq!((texts.size(), other.size()), (3, 2));
        assert!(texts != other && texts == Texts::of(["a", "", "ccc", "", "é", "f"]));
    }
}
