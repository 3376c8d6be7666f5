//! Pushes the commits that are not stored yet, several at a time. All events of one commit are in one push.

use std::io::BufRead;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use readside::query::{Query, SubQuery};
use readside::{Error, NewEvent, Payload};

use super::Failure;
use super::events::{self, CommitAuthored};
use super::parse::Commits;
use super::store::Store;

/// The size of one push. A push ends with the commit that reaches this number of events.
const BATCH: usize = 500;

/// What was pushed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pushed {
    /// The number of commits in the history. All of them are stored now.
    pub(crate) total: u64,
    /// The number of commits among them that are new.
    pub(crate) commits: u64,
    pub(crate) events: u64,
    pub(crate) took: Duration,
}

/// Pushes a history, beginning after the last stored commit.
pub(crate) fn push<R: BufRead>(
    store: &dyn Store,
    instance: &str,
    commits: Commits<R>,
    bar: &ProgressBar,
) -> Result<Pushed, Failure> {
    bar.set_message("pushing commits");
    let stored = last_stored(store, instance)?;
    let mut skip = stored.as_ref().map_or(0, |stored| stored.number);
    let mut batch = Batch { store, instance, commands: Vec::new(), key: String::new(), events: 0 };
    let (mut total, mut since) = (0, Instant::now());
    for commit in commits {
        let commit = commit?;
        total += 1;
        bar.inc(1);
        if total <= skip {
            if let Some(stored) = stored.as_ref().filter(|stored| stored.number == total) {
                check_same(instance, stored, &commit.hash)?;
                since = Instant::now();
            }
            continue;
        }
        batch.add(total, events::commands(instance, total, &commit))?;
    }
    if total < skip {
        return Err(Failure::Shorter { instance: instance.to_owned(), stored: skip, found: total });
    }
    batch.push()?;
    skip = total - skip;
    Ok(Pushed { total, commits: skip, events: batch.events, took: since.elapsed() })
}

/// The last stored commit.
fn last_stored(store: &dyn Store, instance: &str) -> Result<Option<CommitAuthored>, Failure> {
    let last =
        SubQuery::new().instance(instance).aggregate_type(CommitAuthored::AGGREGATE).event_type(CommitAuthored::TYPE);
    let events = store.filter(&Query::new().or(last).descending().limit(1)).map_err(Error::from)?;
    Ok(events.first().map(readside::Event::payload).transpose().map_err(Error::from)?)
}

fn check_same(instance: &str, stored: &CommitAuthored, found: &str) -> Result<(), Failure> {
    if stored.hash == found {
        return Ok(());
    }
    Err(Failure::Rewritten {
        instance: instance.to_owned(),
        number: stored.number,
        stored: stored.hash.clone(),
        found: found.to_owned(),
    })
}

/// Events that wait to be pushed together.
struct Batch<'a> {
    store: &'a dyn Store,
    instance: &'a str,
    commands: Vec<NewEvent>,
    /// The same commits always have the same key, so two runs at the same time store them only once.
    key: String,
    events: u64,
}

impl Batch<'_> {
    fn add(&mut self, number: u64, commands: Vec<NewEvent>) -> Result<(), Failure> {
        if self.commands.is_empty() {
            self.key = format!("commits from {number}");
        }
        self.commands.extend(commands.into_iter().map(|command| command.push_key(&self.key)));
        if self.commands.len() < BATCH { Ok(()) } else { self.push() }
    }

    fn push(&mut self) -> Result<(), Failure> {
        log::debug!("pushing {} events of {:?}: {}", self.commands.len(), self.instance, self.key);
        let events = self.store.push(&self.commands).map_err(Error::from)?;
        self.events += events.len() as u64;
        self.commands.clear();
        Ok(())
    }
}
