//! The events of a history.

use readside::{NewEvent, Payload};
use serde::{Deserialize, Serialize};

use super::parse::Commit;

/// An author made a commit. A merge commit has no lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommitAuthored {
    /// The number of the commit in the history, from 1.
    pub(crate) number: u64,
    pub(crate) hash: String,
    /// The author time, in seconds since 1970.
    pub(crate) at: i64,
    pub(crate) subject: String,
    pub(crate) added: i64,
    pub(crate) removed: i64,
}

impl Payload for CommitAuthored {
    const AGGREGATE: &str = "author";
    const TYPE: &str = "commit.authored";
}

/// A file was made, changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileChanged {
    pub(crate) author: String,
    pub(crate) at: i64,
    pub(crate) added: i64,
    pub(crate) removed: i64,
}

impl Payload for FileChanged {
    const AGGREGATE: &str = "file";
    const TYPE: &str = "file.changed";
}

/// A file got a new path, and possibly changed lines. The event belongs to the file under its new path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRenamed {
    pub(crate) from: String,
    pub(crate) author: String,
    pub(crate) at: i64,
    pub(crate) added: i64,
    pub(crate) removed: i64,
}

impl Payload for FileRenamed {
    const AGGREGATE: &str = "file";
    const TYPE: &str = "file.renamed";
}

/// The new events of a commit: first that of its author, then those of its files in git's order.
pub(crate) fn commands(instance: &str, number: u64, commit: &Commit) -> Vec<NewEvent> {
    let authored = CommitAuthored {
        number,
        hash: commit.hash.clone(),
        at: commit.at,
        subject: commit.subject.clone(),
        added: commit.files.iter().map(|file| file.added).sum(),
        removed: commit.files.iter().map(|file| file.removed).sum(),
    };
    let mut commands = vec![NewEvent::new(instance, &commit.author, &authored)];
    commands.extend(commit.files.iter().map(|file| {
        let (author, at, added, removed) = (commit.author.clone(), commit.at, file.added, file.removed);
        match file.from.clone() {
            Some(from) => NewEvent::new(instance, &file.path, &FileRenamed { from, author, at, added, removed }),
            None => NewEvent::new(instance, &file.path, &FileChanged { author, at, added, removed }),
        }
    }));
    commands
}
