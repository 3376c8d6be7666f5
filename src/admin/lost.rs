//! A live build whose history the log has lost, and a build of the present log that takes its place.
//!
//! The live checkpoint is above the end of the log, so no build ever reaches it. It is lowered to the checkpoint of the
//! new build, but still names the lost event. So everybody still sees that it has diverged, and it no longer blocks the
//! switch.

use std::sync::Arc;

use super::context::Context;
use crate::error::OperateError;
use crate::state::{Checkpoint, Log, ProjectionKey};

/// The first instance in which the live build is ahead of the other one by events that the log lacks; in words.
pub(super) fn first(
    site: &Context<'_>,
    live: &ProjectionKey,
    build: &ProjectionKey,
) -> Result<Option<String>, OperateError> {
    let mut first = None;
    each(site, live, build, &mut |lost| {
        first.get_or_insert_with(|| format!("instance {:?} of what readers see: {}", lost.instance, lost.found));
        Ok(())
    })?;
    Ok(first)
}

/// Lowers these checkpoints, in one instance or in all. Returns how many it lowered.
pub(super) fn give_way(
    site: &Context<'_>,
    live: &ProjectionKey,
    build: &ProjectionKey,
    only: Option<&str>,
) -> Result<u64, OperateError> {
    let mut count = 0;
    each(site, live, build, &mut |lost| {
        if only.is_some_and(|only| *lost.instance != *only) {
            return Ok(());
        }
        let one = std::slice::from_ref(&lost.instance);
        site.models.transaction(&mut |tx| {
            let states = tx.lock(live, one)?;
            let Some(state) = states.first().filter(|state| state.position == lost.position) else { return Ok(()) };
            let (instance, event, store) = (Arc::clone(&lost.instance), state.event, state.store.unwrap_or_default());
            tx.save(live, &[Checkpoint { instance, position: lost.build, event, store }], Log::Elsewhere)
        })?;
        count += 1;
        let (name, at) = (site.name(), lost.build);
        log::warn!(
            "projection {name:?}, instance {:?}: {}; a build at {at} takes its place",
            lost.instance,
            lost.found
        );
        Ok(())
    })?;
    Ok(count)
}

/// A live checkpoint that no build can reach.
struct Lost {
    instance: Arc<str>,
    position: i64,
    /// The checkpoint of the build.
    build: i64,
    found: String,
}

fn each(
    site: &Context<'_>,
    live: &ProjectionKey,
    build: &ProjectionKey,
    visit: &mut dyn FnMut(Lost) -> Result<(), OperateError>,
) -> Result<(), OperateError> {
    let mut after: Option<Arc<str>> = None;
    loop {
        let (page, astray) = site.astray(live, after.as_deref())?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(Arc::clone(last));
        for one in astray {
            let build = site.state(build, &one.instance)?.position;
            if build < one.position {
                visit(Lost { instance: one.instance, position: one.position, build, found: one.found })?;
            }
        }
    }
}
