//! `commands`: the history of what people asked engines to do, and the progress of one command.

use serde_json::Value;

use super::format::{clean, moment, several, short};
use super::operate::{Told, building, progress};
use super::options::CommandsArgs;
use super::output::text;
use super::{Ended, Outcome, Session};
use crate::command::CommandRecord;

/// The largest number of commands in memory.
const MOST: usize = 100_000;

/// The number of letters of an answer, or of a reason, that a list shows where lines have a width.
pub(super) const ANSWER: usize = 60;

/// How a person sees the whole of it.
const CUT: &str = "what ends in … is cut; in full: `readside commands --id ID`";

pub(super) fn run(session: &mut Session<'_>, args: &CommandsArgs) -> Outcome {
    let remote = session.store.admin();
    if let Some(name) = &args.projection {
        session.build(name, None)?;
    }
    if args.wait.wait
        && let Some(id) = args.id
    {
        let wait = super::options::WaitArgs { timeout: args.wait.timeout, detach: false };
        return match session.follow(&remote, id, &wait, (None, None))? {
            Told::Answer(answer) => {
                session.out.object(&answer)?;
                Ok(Ended::Fine)
            }
            Told::GoesOn(ended) => Ok(ended),
        };
    }
    let limit = if args.limit == 0 || args.id.is_some() { MOST } else { args.limit };
    let mut commands = remote.commands(args.projection.as_deref(), limit)?;
    if let Some(id) = args.id {
        commands.retain(|asked| asked.id == id);
        anyhow::ensure!(!commands.is_empty(), "there is no command {id}; see `readside commands`");
    }
    if session.out.is_json() || args.id.is_some() {
        commands.iter().try_for_each(|asked| session.out.object(asked))?;
        return Ok(Ended::Fine);
    }
    print(session, &commands)
}

fn print(session: &mut Session<'_>, commands: &[CommandRecord]) -> Outcome {
    if commands.is_empty() {
        session.out.remark("no engine was asked for anything")?;
        return Ok(Ended::Fine);
    }
    let letters = if session.out.has_width() { ANSWER } else { usize::MAX };
    let row = |asked: &CommandRecord| {
        vec![
            moment(asked.asked_at),
            asked.id.to_string(),
            clean(&asked.projection),
            asked.command.kind().to_owned(),
            asked.state.to_string(),
            outcome(asked, letters),
            clean(&asked.who),
            if asked.why.is_empty() { "-".to_owned() } else { short(&asked.why, letters) },
        ]
    };
    let columns = [
        text("ASKED"),
        text("ID"),
        text("PROJECTION"),
        text("WHAT"),
        text("STATE"),
        text("OUTCOME"),
        text("BY"),
        text("WHY"),
    ];
    session.out.table(&columns, commands.iter().map(row).collect())?;
    let is_cut = |asked: &CommandRecord| {
        let words = asked.answer.as_ref().and_then(said);
        words.iter().chain([&asked.why]).any(|text| short(text, letters) != clean(text))
    };
    if commands.iter().any(is_cut) {
        session.out.remark(CUT)?;
    }
    Ok(Ended::Fine)
}

/// The outcome of a command, or its progress, in at most this many letters.
pub(super) fn outcome(asked: &CommandRecord, letters: usize) -> String {
    if let Some(words) = asked.answer.as_ref().and_then(said) {
        return short(&words, letters);
    }
    let told = asked.progress.clone().filter(|_| !asked.state.is_over());
    told.as_ref().and_then(building).map_or("-".to_owned(), |told| progress(&told))
}

/// A short form of an answer.
fn said(answer: &Value) -> Option<String> {
    let words = ["error", "done", "waits_for"].iter().find_map(|name| answer.get(name)?.as_str());
    if let Some(words) = words {
        return Some(words.to_owned());
    }
    if answer.get("switched").and_then(Value::as_bool) == Some(true) {
        return Some("readers see it".to_owned());
    }
    let count = |name: &str| answer.get(name).and_then(Value::as_array).map(|list| list.len() as u64);
    count("differing")
        .map(|found| match found {
            0 => "no instance differs".to_owned(),
            1 => "1 instance differs".to_owned(),
            more => format!("{more} instances differ"),
        })
        .or_else(|| count("steps").map(|steps| several(steps, "change")))
}
