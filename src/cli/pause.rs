//! Pausing a projection, and letting it go on.

use serde::Serialize;

use super::options::PauseArgs;
use super::words::clean;
use super::{Ended, Outcome, Session};

#[derive(Serialize)]
struct Done<'a> {
    projection: &'a str,
    instance: Option<&'a str>,
    paused: bool,
    changed: bool,
}

pub(super) fn run(session: &mut Session<'_>, args: &PauseArgs, on: bool) -> Outcome {
    let (projection, instance) = (args.projection.as_str(), args.instance.as_deref());
    let pauses = session.store.pauses()?;
    let was = pauses.iter().any(|(name, of)| name == projection && of.as_deref() == instance);
    // A pause can be lifted though what it is for is gone.
    if !was {
        session.build(projection, None)?;
        if let Some(instance) = instance {
            session.check_instance(instance)?;
        }
    }
    if was != on {
        session.store.pause(projection, instance, on)?;
    }
    if session.out.is_json() {
        session.out.object(&Done { projection, instance, paused: on, changed: was != on })?;
        return Ok(Ended::Fine);
    }
    let of = instance.map_or(String::new(), |instance| format!(" in instance {:?}", clean(instance)));
    let what = format!("projection {:?}{of}", clean(projection));
    let words = match (was, on) {
        (false, true) => format!("{what} is paused; engines notice at their next tick"),
        (true, true) => format!("{what} was paused already"),
        (true, false) => format!("{what} goes on; engines notice at their next tick"),
        (false, false) => format!("{what} was not paused"),
    };
    session.out.remark(&words)?;
    let whole = pauses.iter().any(|(name, of)| name == projection && of.is_none());
    if !on && whole && instance.is_some() {
        session.out.remark(&format!("the whole projection is paused; `readside resume {projection}` lets it go on"))?;
    }
    Ok(Ended::Fine)
}
