//! Compares heads of one database with states of another, to find where a projection lags.

use std::sync::Arc;

use crate::error::StoreError;
use crate::query::{Head, HeadsRequest};
use crate::state::{ProjectionKey, State};
use crate::store::{EventSource, ProjectionStore};

/// Heads in one page.
const PAGE: usize = 1000;

/// Visits all instances with events of these aggregate types until `visit` says that it has seen enough. The system
/// instance is included only on request.
pub(crate) fn compare<E: EventSource + ?Sized, M: ProjectionStore + ?Sized>(
    source: &E,
    models: &M,
    (key, aggregate_types): (&ProjectionKey, &[String]),
    system: bool,
    visit: &mut dyn FnMut(&Head, &State) -> bool,
) -> Result<(), StoreError> {
    let aggregate_types = aggregate_types.to_vec();
    let mut request = HeadsRequest { instances: Vec::new(), aggregate_types, after: None, limit: PAGE };
    loop {
        let (pairs, last) = page(source, models, key, &request, system)?;
        if !pairs.iter().all(|(head, state)| visit(head, state)) || last.is_none() {
            return Ok(());
        }
        request.after = last;
    }
}

/// Heads with their states, and the last instance of the page if another page follows. The next page begins after it.
pub(crate) type ComparedPage = (Vec<(Head, State)>, Option<Arc<str>>);

/// Reads one page of heads with their states.
pub(crate) fn page<E: EventSource + ?Sized, M: ProjectionStore + ?Sized>(
    source: &E,
    models: &M,
    key: &ProjectionKey,
    request: &HeadsRequest,
    system: bool,
) -> Result<ComparedPage, StoreError> {
    let mut heads = source.heads(request)?;
    let last = heads.last().filter(|_| heads.len() >= request.limit).map(|head| Arc::clone(&head.instance));
    heads.retain(|head| head.relevant > 0 && (system || !head.instance.is_empty()));
    let instances: Vec<Arc<str>> = heads.iter().map(|head| Arc::clone(&head.instance)).collect();
    let states = if instances.is_empty() { Vec::new() } else { models.states(key, &instances)? };
    Ok((heads.into_iter().zip(states).collect(), last))
}
