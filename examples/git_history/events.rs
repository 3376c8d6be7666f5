//! The events of a history, and how a commit becomes some of them.

use readside::{Command, Payload};
use serde::{Deserialize, Serialize};

use super::parse::{Commit, File};

/// Somebody authored a commit. The aggregate is the author.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CommitAuthored {
    /// Place in the history, from 1.
    pub(crate) ordinal: u64,
    pub(crate) hash: String,
    /// Author time, seconds since 1970.
    pub(crate) at: i64,
    pub(crate) subject: String,
    pub(crate) added: i64,
    pub(crate) removed: i64,
}

/// A file was made or changed. The aggregate is the path.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileChanged {
    pub(crate) author: String,
    pub(crate) at: i64,
    pub(crate) added: i64,
    pub(crate) removed: i64,
}

/// A file was renamed, and possibly changed. The aggregate is the new path.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileRenamed {
    pub(crate) from: String,
    pub(crate) author: String,
    pub(crate) at: i64,
    pub(crate) added: i64,
    pub(crate) removed: i64,
}

impl Payload for CommitAuthored {
    const AGGREGATE: &'static str = "author";
    const TYPE: &'static str = "commit.authored";
}

impl Payload for FileChanged {
    const AGGREGATE: &'static str = "file";
    const TYPE: &'static str = "file.changed";
}

impl Payload for FileRenamed {
    const AGGREGATE: &'static str = "file";
    const TYPE: &'static str = "file.renamed";
}

/// The events of one commit. Its hash is the push key: two runs at the same time store it once.
pub(crate) fn commands(instance: &str, ordinal: u64, commit: &Commit) -> Vec<Command> {
    let authored = CommitAuthored {
        ordinal,
        hash: commit.hash.clone(),
        at: commit.at,
        subject: commit.subject.clone(),
        added: commit.files.iter().map(|file| file.added).sum(),
        removed: commit.files.iter().map(|file| file.removed).sum(),
    };
    let first = Command::new(instance, &commit.author, &authored);
    let files = commit.files.iter().map(|file| file_command(instance, commit, file));
    std::iter::once(first).chain(files).map(|command| command.push_key(&commit.hash)).collect()
}

fn file_command(instance: &str, commit: &Commit, file: &File) -> Command {
    let (author, at, added, removed) = (commit.author.clone(), commit.at, file.added, file.removed);
    match file.from.clone() {
        Some(from) => Command::new(instance, &file.path, &FileRenamed { from, author, at, added, removed }),
        None => Command::new(instance, &file.path, &FileChanged { author, at, added, removed }),
    }
}
