//! The pauses that this process knows of. Each full look reads them from the store. A pause that a service sets in this
//! process is noted at once.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::StoreError;
use crate::lease::Pause;
use crate::store::LeaseStore;
use crate::sync::Mutex;

#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Projections (without instance) and instances.
    paused: HashSet<Pause>,
    /// How often a pause, or its end, was noted without a look.
    noted: u64,
}

impl Pauses {
    /// Reads the pauses. If one was noted during the read, the result may lack it and is dropped: the pause changes the
    /// change token, so the next look reads again.
    pub(crate) fn look(&self, leases: &dyn LeaseStore) -> Result<(), StoreError> {
        let noted = self.0.lock().noted;
        let paused = leases.pauses()?;
        let mut known = self.0.lock();
        if known.noted == noted {
            known.paused = paused.into_iter().collect();
        }
        Ok(())
    }

    /// Notes a pause, or its end, before the next look reads it.
    pub(crate) fn note(&self, projection: &str, instance: Option<&str>, is_paused: bool) {
        let pause = (projection.to_owned(), instance.map(Arc::from));
        let mut known = self.0.lock();
        known.noted = known.noted.wrapping_add(1);
        if is_paused {
            known.paused.insert(pause);
        } else {
            known.paused.remove(&pause);
        }
    }

    /// True when the projection is paused, or this instance of it.
    pub(crate) fn hold(&self, projection: &str, instance: &Arc<str>) -> bool {
        let known = self.0.lock();
        if known.paused.is_empty() {
            return false;
        }
        let name = projection.to_owned();
        known.paused.contains(&(name.clone(), None)) || known.paused.contains(&(name, Some(Arc::clone(instance))))
    }
}
