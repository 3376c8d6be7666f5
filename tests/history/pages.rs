//! Two projections share pages, and one of them is slow.

use std::sync::Arc;

use readside::testing::laws;
use readside::{Engine, EngineBuilder, EngineStore, Event, EventStore, Projection};

use crate::ground::Ground;
use crate::{Gate, LONG, Site, begun, eager, eventually, ledger_of, moved, push};

/// More events than the smallest page that is kept.
const MANY: usize = 500;

/// An engine with a fast projection, and a projection that waits at the gate.
pub(crate) struct Two {
    pub(crate) engine: Engine,
    pub(crate) gate: Arc<Gate>,
    pub(crate) projections: [Projection; 2],
}

impl Two {
    pub(crate) fn start(store: impl EngineStore) -> Self {
        let gate = Arc::new(Gate::default());
        let projections = [ledger_of("fast", Arc::default()), ledger_of("slow", Arc::clone(&gate))];
        let builder = Engine::builder(store).config(eager());
        let builder = projections.iter().cloned().fold(builder, EngineBuilder::projection);
        Self { engine: begun(builder), gate, projections }
    }

    pub(crate) fn await_all(&self, pushed: &[Event]) {
        for projection in &self.projections {
            self.engine.await_pushed(projection.name(), pushed, LONG).unwrap();
        }
    }

    /// Makes both projections read the same page. The fast one applies it, and the slow one stops before its first
    /// event.
    pub(crate) fn read_a_page(&self, other: &dyn EventStore, tenant: &str) {
        self.gate.close();
        let pushed = push(other, &moved(tenant, MANY));
        self.engine.await_pushed("fast", &pushed, LONG).unwrap();
        eventually("a slow reducer", || self.gate.waiting() > 0);
    }

    pub(crate) fn lawful(&self, store: &(impl EngineStore + laws::Models)) {
        for projection in &self.projections {
            Site { engine: &self.engine, events: store, models: store, projection }.lawful();
        }
    }
}

// Contract: L10: the page was read from a history that no longer exists.
both!(kept_pages_of_a_lost_history_are_not_applied);
pub(crate) fn kept_pages_of_a_lost_history_are_not_applied<G: Ground>(ground: &mut G) {
    let store = ground.open();
    let two = Two::start(store.clone());
    two.await_all(&push(&store, &moved("a", 10)));
    ground.keep();
    let other = ground.open();
    two.read_a_page(&other, "a");
    ground.put_back();
    let other = ground.open();
    push(&other, &moved("a", 1));
    two.gate.open();
    two.lawful(&other);
    push(&other, &moved("a", MANY));
    two.lawful(&other);
    two.engine.shutdown(LONG).unwrap();
}
