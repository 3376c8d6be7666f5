//! An outage: the threads that look at the database all the time fail at it. The log says when that begins and when it
//! is over, and in between only now and then that it lasts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use crate::error::StoreErrorKind;

/// How often the log says that an outage lasts.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// A thread that looks at the database again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Looker {
    Ticker,
    Operator,
    Renewal,
}

/// What the log has to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It begins, or it has another reason from now on.
    Begins,
    Lasts {
        since: SystemTime,
        looks: u64,
    },
    Over {
        after: Duration,
        looks: u64,
    },
}

/// The outage of all threads together.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Those that failed, and have not succeeded since.
    failing: BTreeSet<Looker>,
    /// How many looks failed.
    looks: u64,
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    since: (Instant, SystemTime),
    /// When the log last said so.
    last: Instant,
    /// The reasons that the log has named.
    kinds: Vec<Option<StoreErrorKind>>,
}

impl Outage {
    pub(crate) fn fail(&mut self, looker: Looker, kind: Option<StoreErrorKind>, now: Instant) -> Option<Word> {
        self.failing.insert(looker);
        self.looks += 1;
        let Some(told) = &mut self.told else {
            self.told = Some(Told { since: (now, SystemTime::now()), last: now, kinds: vec![kind] });
            return Some(Word::Begins);
        };
        if !told.kinds.contains(&kind) {
            told.kinds.push(kind);
            told.last = now;
            return Some(Word::Begins);
        }
        if now.duration_since(told.last) < TELL_AGAIN {
            return None;
        }
        told.last = now;
        Some(Word::Lasts { since: told.since.1, looks: self.looks })
    }

    pub(crate) fn succeed(&mut self, looker: Looker, now: Instant) -> Option<Word> {
        if !self.failing.remove(&looker) || !self.failing.is_empty() {
            return None;
        }
        let (told, looks) = (self.told.take()?, std::mem::take(&mut self.looks));
        Some(Word::Over { after: now.duration_since(told.since.0), looks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: L11, S4: the threads share one outage, and the log repeats it once a minute.
    #[test]
    fn an_outage_has_a_beginning_and_an_end() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (gone, late) = (Some(StoreErrorKind::Connection), Some(StoreErrorKind::Timeout));
        assert_eq!(outage.succeed(Looker::Ticker, at(0)), None);
        assert_eq!(outage.fail(Looker::Ticker, gone, at(0)), Some(Word::Begins));
        assert_eq!(outage.fail(Looker::Operator, gone, at(1)), None);
        assert_eq!(outage.fail(Looker::Ticker, late, at(2)), Some(Word::Begins), "that is another reason");
        assert_eq!(outage.fail(Looker::Ticker, gone, at(61)), None);
        assert!(matches!(outage.fail(Looker::Ticker, gone, at(62)), Some(Word::Lasts { looks: 5, .. })));
        assert_eq!(outage.fail(Looker::Ticker, late, at(121)), None);
        assert_eq!(outage.succeed(Looker::Ticker, at(122)), None, "the operator has not looked since");
        assert_eq!(outage.succeed(Looker::Renewal, at(122)), None);
        let over = Word::Over { after: Duration::from_secs(123), looks: 6 };
        assert_eq!(outage.succeed(Looker::Operator, at(123)), Some(over));
        assert_eq!(outage.succeed(Looker::Operator, at(124)), None);
        assert_eq!(outage.fail(Looker::Renewal, gone, at(125)), Some(Word::Begins), "that is another outage");
    }
}
