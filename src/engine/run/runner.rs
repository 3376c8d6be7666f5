//! A projection in an engine: what it may do now, and what readers see of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::builds::Build;
use crate::engine::handler::ProjectionHandler;
use crate::engine::pass::reducing::Reducing;
use crate::query::EventFilter;
use crate::state::ProjectionKey;
use crate::sync::Mutex;

/// How often the log repeats that no process runs what readers see.
const TELL_AGAIN: Duration = Duration::from_mins(10);

/// The state of a projection in this process, as the ticker and other threads last found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is found by another look, and any may hold beside the others")]
pub(crate) struct RunState {
    /// It is kept current. A build next to the live one is active only while it exists.
    pub(crate) is_active: bool,
    /// Its first run over all instances has succeeded once.
    pub(crate) has_succeeded: bool,
    /// This process leads its first run.
    pub(crate) leads: bool,
    /// Readers do not see it; live work comes first.
    pub(crate) is_background: bool,
    /// Another version is about to take its place, or has done so. Then each question about what readers see asks the
    /// database.
    pub(crate) is_contested: bool,
    /// Some process has put on record that it does not move.
    pub(crate) is_told: bool,
    /// Its tables do not belong to its checkpoints.
    pub(crate) is_torn: bool,
    /// How often it was reset.
    pub(crate) resets: i64,
}

impl RunState {
    /// False while another process leads its first run, and while it rests.
    pub(crate) fn may_work(self) -> bool {
        self.is_active && !self.is_torn && (self.has_succeeded || self.leads)
    }

    /// True while its first run goes on, here or in another process.
    pub(crate) fn is_in_first_run(self) -> bool {
        self.is_active && !self.has_succeeded
    }
}

/// A projection in an engine.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) handler: ProjectionHandler,
    /// What commands are reducing at this moment, on their builds or to check this one.
    pub(crate) commands: Arc<Reducing>,
    pub(crate) wanted: EventFilter,
    state: Mutex<RunState>,
    /// When this process asks again for a refused switch, and how long it waits after that. `None` before it has asked.
    pub(crate) asked: Mutex<Option<(Instant, Duration)>>,
    /// Why it rests. It is set until it is on record, or until the build moves again.
    pub(crate) trouble: Mutex<Option<BuildTrouble>>,
    /// What happened to its tables, if they do not belong to its checkpoints.
    pub(crate) torn: Mutex<Option<String>>,
    /// What readers see of its projection, once that is known.
    pub(crate) live: Mutex<Option<Arc<LiveBuild>>>,
    /// Set while no living engine runs what readers see.
    pub(crate) unfed: Mutex<Option<Unfed>>,
}

impl Runner {
    pub(crate) fn new(handler: ProjectionHandler) -> Self {
        let (wanted, active) = (handler.projection().wanted(), !handler.projection().is_shadow());
        Self {
            handler,
            commands: Arc::default(),
            wanted,
            state: Mutex::new(RunState { is_active: active, is_background: !active, ..RunState::default() }),
            asked: Mutex::new(None),
            trouble: Mutex::new(None),
            torn: Mutex::new(None),
            live: Mutex::new(None),
            unfed: Mutex::new(None),
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.handler.projection().name()
    }

    pub(crate) fn key(&self) -> &ProjectionKey {
        &self.handler.inner.key
    }

    /// True for a build next to the live one of its version.
    pub(crate) fn is_shadow(&self) -> bool {
        self.handler.projection().is_shadow()
    }

    /// Its present state.
    pub(crate) fn state(&self) -> RunState {
        *self.state.lock()
    }

    /// Changes its state. Returns the state before.
    pub(crate) fn change(&self, change: impl FnOnce(&mut RunState)) -> RunState {
        let mut state = self.state.lock();
        let before = *state;
        change(&mut state);
        before
    }
}

impl Runner {
    /// What readers see of its projection. If the store does not tell, that is this build.
    pub(crate) fn seen(&self) -> Arc<LiveBuild> {
        let own = || LiveBuild { key: self.key().clone(), aggregate_types: self.wanted.aggregate_types.clone() };
        // The caller asked for a build next to the live one by its own name.
        let known = self.live.lock().clone().filter(|_| !self.is_shadow());
        known.unwrap_or_else(|| Arc::new(own()))
    }

    /// Takes in which build is live. Returns true when it is another one than before.
    pub(crate) fn sees(&self, live: &Build) -> bool {
        let mut known = self.live.lock();
        if known.as_ref().is_some_and(|known| known.key == live.key) {
            return false;
        }
        *known = Some(Arc::new(LiveBuild { key: live.key.clone(), aggregate_types: live.aggregate_types.clone() }));
        true
    }
}

/// Why a build rests.
#[derive(Debug, Clone)]
pub(crate) struct BuildTrouble {
    pub(crate) text: String,
    /// When it is tried again. `None` when a person has to act.
    pub(crate) again: Option<Instant>,
    /// How often in a row it failed.
    pub(crate) times: u32,
    pub(crate) is_told: bool,
}

impl BuildTrouble {
    pub(crate) fn holds(&self) -> bool {
        self.again.is_none_or(|again| Instant::now() < again)
    }
}

/// The live build of a projection: what readers see.
#[derive(Debug, Clone)]
pub(crate) struct LiveBuild {
    pub(crate) key: ProjectionKey,
    pub(crate) aggregate_types: Vec<String>,
}

/// Set when no living engine runs what readers see.
#[derive(Debug, Clone)]
pub(crate) struct Unfed {
    /// The version that readers see.
    pub(crate) live: u32,
    /// True when a person chose that.
    pub(crate) chosen: bool,
    pub(crate) reason: String,
    /// When the log said so last.
    pub(crate) told: Option<Instant>,
    /// When to ask for the switch, and how long to wait before asking again.
    pub(crate) ask: (Instant, Duration),
}

impl Unfed {
    /// True the first time, and again after a long while.
    pub(crate) fn is_to_tell(&mut self, now: Instant) -> bool {
        let is_due = self.told.is_none_or(|told| now.duration_since(told) >= TELL_AGAIN);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }
}
