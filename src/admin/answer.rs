//! Waits for the answer to a command. The answer is a row, which the engine that carries the command out writes.

use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::command::{CommandRecord, CommandState};
use crate::error::{OperateError, StoreError, StoreErrorKind, Unanswered};
use crate::projection::is_reducing;
use crate::store::CommandStore;

/// The first wait between two looks for an answer, and the longest one.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// How often to look whether a process is alive that could carry a command out.
const WHO_IS_ALIVE: Duration = Duration::from_millis(500);

/// How long a command waits while no engine is alive: one may just be restarting.
const NOBODY: Duration = Duration::from_secs(2);

/// Fails inside a reducer: one that waits for the outcome of a command may wait for itself.
pub(super) fn check_outside() -> Result<(), OperateError> {
    if is_reducing() { Err(OperateError::InsideReducer) } else { Ok(()) }
}

/// Whether a pause or a resume changed anything.
pub(super) fn has_changed(answer: &serde_json::Value) -> Result<bool, OperateError> {
    let failed = || StoreError::new("reading an answer", StoreErrorKind::Corrupt, "it does not say whether it changed");
    Ok(answer.get("changed").and_then(serde_json::Value::as_bool).ok_or_else(failed)?)
}

/// Looks until the command is over, `pause` says that the time is over, or no process is alive that could finish the
/// command.
pub(super) fn follow(
    store: &dyn CommandStore,
    id: Uuid,
    changed: &mut dyn FnMut(&CommandRecord),
    mut pause: impl FnMut(Duration, &CommandRecord) -> bool,
) -> Result<serde_json::Value, OperateError> {
    check_outside()?;
    let (start, mut wait, mut last) = (Instant::now(), LOOK_AGAIN.0, None);
    let (mut asked_who, mut nobody): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        let asked = store.command(id)?.ok_or(OperateError::UnknownCommand { id })?;
        if last.as_ref() != Some(&asked) {
            changed(&asked);
        }
        if asked.state.is_over() {
            return answered(asked);
        }
        if asked_who.is_none_or(|at| at.elapsed() >= WHO_IS_ALIVE) {
            asked_who = Some(Instant::now());
            nobody = if store.is_tended(id)? { None } else { nobody.or(asked_who) };
        }
        if nobody.is_some_and(|since| since.elapsed() >= NOBODY) {
            let (kind, found) = (asked.command.kind().to_owned(), how_it_stands(store, &asked)?.into());
            return Err(OperateError::NobodyLeft { id, kind, projection: asked.projection, found });
        }
        if !pause(wait, &asked) {
            let (kind, found) = (asked.command.kind().to_owned(), how_it_stands(store, &asked)?.into());
            let waited = start.elapsed();
            return Err(OperateError::NoAnswer { id, kind, projection: asked.projection, found, waited });
        }
        last = Some(asked);
        wait = (wait * 2).min(LOOK_AGAIN.1);
    }
}

pub(super) fn how_it_stands(store: &dyn CommandStore, asked: &CommandRecord) -> Result<Unanswered, OperateError> {
    let id = asked.id;
    let (CommandState::Taken, Some(process)) = (asked.state, asked.taken_by) else {
        return Ok(Unanswered::NotBegun { id });
    };
    if !store.is_tended(id)? {
        return Ok(Unanswered::Left { id });
    }
    let name = store.members()?.into_iter().find(|member| member.process == process).map(|member| member.name);
    let by = name.map_or_else(|| process.to_string(), |name| format!("{name:?} ({process})"));
    let since = asked.taken_at.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
    Ok(Unanswered::Begun { id, by, since })
}

fn answered(asked: CommandRecord) -> Result<serde_json::Value, OperateError> {
    let answer = asked.answer.unwrap_or_default();
    if asked.state == CommandState::Done {
        return Ok(answer);
    }
    let error = answer.get("error").and_then(serde_json::Value::as_str);
    Err(OperateError::Answered { error: error.unwrap_or("it failed without a word").to_owned() })
}
