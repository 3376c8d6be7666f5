//! Remembers where read tables are, so that not every transaction has to ask.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::state::ProjectionKey;

/// Where the tables of builds are, for the builds in the code. When this was read, the tables were those made for the
/// build. An entry is valid until a new connection is made, which may lead to another database, or until a statement
/// does not find its table.
#[derive(Debug, Default)]
pub(super) struct TableSchemas(Mutex<KnownSchemas>);

#[derive(Debug, Default)]
struct KnownSchemas {
    /// Grows each time when all entries are forgotten.
    generation: u64,
    schemas: HashMap<ProjectionKey, Place>,
}

/// Where the tables of a build are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The schema on record. `None` for a build whose code names one.
    pub(super) schema: Option<Arc<str>>,
}

impl TableSchemas {
    /// Tells a caller whether all entries were forgotten since an earlier call.
    pub(super) fn generation(&self) -> u64 {
        self.0.lock().generation
    }

    pub(super) fn get(&self, build: &ProjectionKey) -> Option<Place> {
        self.0.lock().schemas.get(build).cloned()
    }

    /// Keeps an entry, if it was read in this generation.
    pub(super) fn keep(&self, generation: u64, build: &ProjectionKey, place: &Place) {
        let mut known = self.0.lock();
        if known.generation == generation {
            known.schemas.insert(build.clone(), place.clone());
        }
    }

    pub(super) fn forget(&self) {
        let mut known = self.0.lock();
        known.generation += 1;
        known.schemas.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: L10
    #[test]
    fn what_was_read_before_all_was_forgotten_is_not_kept() {
        let (places, place) = (TableSchemas::default(), Place { schema: Some("app".into()) });
        let key = ProjectionKey { name: "users".into(), version: 1 };
        let before = places.generation();
        places.keep(before, &key, &place);
        assert_eq!(places.get(&key), Some(place.clone()));
        places.forget();
        places.keep(before, &key, &place);
        assert_eq!(places.get(&key), None);
    }
}
