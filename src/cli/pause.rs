//! `pause` and `resume`: pause a projection, and let it go on.

use serde::Serialize;

use super::by;
use super::format::several;
use super::options::PauseArgs;
use super::{Ended, Outcome, Session};
use crate::remedy::{Act, Subject};

#[derive(Serialize)]
struct PauseLine<'a> {
    projection: &'a str,
    instance: Option<&'a str>,
    paused: bool,
    changed: bool,
}

pub(super) fn run(session: &mut Session<'_>, args: &PauseArgs, on: bool) -> Outcome {
    let (projection, instance) = (args.projection.as_str(), args.instance.as_deref());
    let by = by::of_acts(&args.by)?;
    session.build(projection, None)?;
    // A pause can be lifted even if its instance no longer exists.
    if let Some(instance) = instance.filter(|_| on) {
        session.check_instance(instance)?;
    }
    let remote = session.store.admin();
    let changed =
        if on { remote.pause(projection, instance, &by)? } else { remote.resume(projection, instance, &by)? };
    let of = instance.map_or(String::new(), |instance| format!(" in instance {instance:?}"));
    let what = format!("projection {projection:?}{of}");
    let words = match (on, changed) {
        (true, true) => format!("{what} is paused; engines notice at their next tick"),
        (true, false) => format!("{what} was paused already"),
        (false, true) => format!("{what} goes on; engines notice at their next tick"),
        (false, false) => format!("{what} was not paused"),
    };
    session.out.changed(&*words);
    if session.out.is_json() {
        session.out.object(&PauseLine { projection, instance, paused: on, changed })?;
        return Ok(Ended::Fine);
    }
    session.out.remark(&words)?;
    let pauses = session.store.pauses()?;
    let whole = pauses.iter().any(|(name, of)| name == projection && of.is_none());
    let apart = pauses.iter().filter(|(name, of)| name == projection && of.is_some()).count();
    let resume = |instance| Act::Resume.on(&Subject { projection, version: None, instance });
    if !on && whole && instance.is_some() {
        session.out.remark(&format!("the whole projection is paused; `{}` lets it go on", resume(None)))?;
    }
    if !on && instance.is_none() && apart > 0 {
        let are = if apart == 1 { "is" } else { "are" };
        let which = several(apart as u64, "instance");
        session.out.remark(&format!(
            "{which} of it {are} still paused; `readside status` names them, and `{}` lets one go on",
            resume(Some("INSTANCE"))
        ))?;
    }
    Ok(Ended::Fine)
}
