//! Compares a build with the live one, instance by instance, each as of one position.

use std::sync::Arc;

use super::context::{Context, PAGE, answer};
use super::pace::Pace;
use super::target::{Target, check};
use super::tries::{LOOK_AGAIN, insist};
use crate::builds::{Comparison, LaggingInstance, Step};
use crate::engine::Control;
use crate::error::OperateError;
use crate::query::{Cursor, ReadRequest};
use crate::state::ProjectionKey;

/// How often a comparison looks again at instances whose two builds are at different positions.
const ROUNDS: u32 = 25;

/// Compares the old and the new build in all instances, each at one position.
pub(super) fn compare(site: &Context<'_>, target: &Target, control: &dyn Control) -> Result<Comparison, OperateError> {
    let (old, new) = (&target.live.key, target.projection.key());
    let mut found = Comparison::default();
    let mut after: Option<Arc<str>> = None;
    let standing = insist(control, || Ok(site.standing(&new, old)?))?;
    let mut progress = Pace::new().progress(Step::Comparing, &standing);
    (progress.done, progress.total) = (0, 0);
    loop {
        insist(control, || check(site, target))?;
        progress.done = i64::try_from(found.instances).unwrap_or(i64::MAX);
        control.report(&answer(&progress)?);
        let both = [old.clone(), new.clone()];
        let page = insist(control, || Ok(site.builds().instances_of(&both, after.as_deref(), PAGE)?))?;
        let Some(last) = page.last() else { break };
        after = Some(Arc::clone(last));
        compare_page(site, old, &new, page, control, &mut found)?;
    }
    progress.comparison = Some(found.clone());
    control.report(&answer(&progress)?);
    Ok(found)
}

fn compare_page(
    site: &Context<'_>,
    old: &ProjectionKey,
    new: &ProjectionKey,
    page: Vec<Arc<str>>,
    control: &dyn Control,
    found: &mut Comparison,
) -> Result<(), OperateError> {
    let (mut todo, mut equal) = (page, Vec::new());
    for _ in 0..ROUNDS {
        let others = insist(control, || Ok(site.builds().compare(old, new, &todo, &equal, found)?))?;
        if others.is_empty() {
            return Ok(());
        }
        equal = insist(control, || same_place(site, &others))?;
        todo = others.into_iter().map(|other| other.instance).collect();
        if equal.len() < todo.len() && !control.wait(LOOK_AGAIN.0) {
            return Err(OperateError::ShutDown);
        }
    }
    found.left_out += todo.len() as u64;
    Ok(())
}

/// The instances that have no event for the projection between their two positions.
fn same_place(site: &Context<'_>, others: &[LaggingInstance]) -> Result<Vec<LaggingInstance>, OperateError> {
    let cursor =
        |pair: &LaggingInstance| Cursor { instance: Arc::clone(&pair.instance), after: pair.from.min(pair.to) };
    let request = ReadRequest {
        cursors: others.iter().map(cursor).collect(),
        wanted: site.projection.wanted(),
        limit: 1,
        max_bytes: 1,
    };
    let slices = site.source.read(&request)?;
    let is_empty = |(pair, slice): &(&LaggingInstance, crate::query::EventBatch)| {
        slice.events.first().is_none_or(|event| event.position > pair.from.max(pair.to))
    };
    Ok(others.iter().zip(slices).filter(is_empty).map(|(pair, _)| pair.clone()).collect())
}
