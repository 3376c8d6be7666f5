//! Engines with their own threads, and waits for them that use almost no CPU time.

use std::sync::Arc;
use std::time::Duration;

use readside::store::ProjectionStore;
use readside::{Engine, Projection};

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until the projection has reached this position in all instances.
pub(crate) fn until_at(store: &dyn ProjectionStore, projection: &Projection, instances: &[Arc<str>], position: i64) {
    let key = projection.key();
    while store.states(&key, instances).unwrap().iter().any(|state| state.position < position) {
        std::thread::sleep(LOOK);
    }
}

/// Waits until the first run of each projection is over.
pub(crate) fn until_succeeded(engine: &Engine) {
    while engine.health().unwrap().projections.iter().any(|projection| !projection.succeeded) {
        std::thread::sleep(LOOK);
    }
}

pub(crate) fn shut_down(engine: &Engine) {
    engine.shutdown(Duration::from_secs(10)).unwrap();
}
