//! What this process knows about why projections and instances stand still here.

mod notes;
mod outage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use crate::engine::observe::Hook;
use crate::engine::observe::observation::{GoesOn, Observation, StandsStill};
use crate::engine::pass::reducing::Hanging;
use crate::error::{Error, PushError, StoreError, chain};
use crate::standstill::{Standstill, StandstillKind, StandstillSubject};
use crate::state::{ProjectionKey, State};
use crate::stop_cause::{StopCause, Stopped};
use crate::sync::Mutex;
pub(crate) use notes::{KnownStandstill, StandstillKey};
use notes::{News, Notes};
use outage::Outage;
pub(crate) use outage::{Looker, Word};

/// The text for a projection that has no worker because reducers hang.
pub(crate) const STARVES: &str = "no worker is left for it: more reducers hang than the pool has spare threads";

/// What stands still, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct Standstills {
    /// False while there is nothing to look at.
    pub(crate) any: AtomicBool,
    /// True when there is something new that should not wait for the next tick.
    pub(crate) urgent: AtomicBool,
    pub(crate) notes: Mutex<Notes>,
    pub(crate) outage: Mutex<Outage>,
    hook: Hook,
    /// Each runner's, by its place.
    builds: Vec<ProjectionKey>,
}

impl Standstills {
    /// Tells an observer of what stands still of these builds.
    pub(crate) fn new(hook: Hook, builds: Vec<ProjectionKey>) -> Self {
        Self { hook, builds, ..Self::default() }
    }

    /// Tells what has changed, in the order in which it did.
    fn tell(&self, news: impl Iterator<Item = News>) {
        for news in news {
            let key = match &news {
                News::Stands(key, ..) | News::GoesOn(key, ..) => key,
            };
            let Some(build) = self.builds.get(key.0) else { continue };
            let (projection, version, is_rebuild) = (build.projection().into(), build.version, build.mark().is_some());
            let instance = match &key.1 {
                StandstillSubject::Instance(instance) => Some(Arc::clone(instance)),
                _ => None,
            };
            self.hook.tell(|| match news {
                News::Stands(_, kind, reason) => {
                    Observation::StandsStill(StandsStill { projection, version, is_rebuild, instance, kind, reason })
                }
                News::GoesOn(_, kind, after) => {
                    Observation::GoesOn(GoesOn { projection, version, is_rebuild, instance, kind, after })
                }
            });
        }
    }

    pub(crate) fn with(&self, work: impl FnOnce(&mut Notes) -> bool) {
        let mut notes = self.notes.lock();
        let is_new = work(&mut notes);
        self.tell(notes.news.drain(..));
        self.any.store(!notes.is_empty(), Ordering::Relaxed);
        if is_new {
            self.urgent.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn has_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Notes that an instance stopped in a pass. Returns true when the log should say so, because it has not said the
    /// same lately.
    pub(crate) fn stopped(&self, projection: usize, stopped: &Stopped) -> bool {
        let Some(kind) = stopped.cause.standstill() else { return true };
        let reason = match &stopped.cause {
            StopCause::HistoryDiverged { found } | StopCause::LogIncomplete { found } => found.clone(),
            cause => cause.to_string(),
        };
        let key = (projection, StandstillSubject::Instance(Arc::clone(&stopped.instance)));
        let mut is_news = true;
        self.with(|notes| {
            is_news = notes.is_news(&key, kind, &reason, stopped.position);
            notes.note(key, kind, &reason, stopped.position)
        });
        is_news
    }

    /// Notes that a batch of these instances panicked.
    pub(crate) fn panicked(&self, projection: usize, instances: &[Arc<str>]) {
        let reason = "a batch with it panicked outside of user code; the log of that process tells where";
        self.with(|notes| {
            let mut is_new = false;
            for instance in instances {
                let key = (projection, StandstillSubject::Instance(Arc::clone(instance)));
                is_new |= notes.note(key, StandstillKind::Panicked, reason, 0);
            }
            is_new
        });
    }

    /// Notes how long an event of an instance has been inside its reducer. Returns true when that is new.
    pub(crate) fn hangs(&self, projection: usize, hanging: &Hanging, what: &str) -> bool {
        self.note_hanging(&(projection, StandstillSubject::Instance(Arc::clone(&hanging.instance))), hanging, what)
    }

    fn note_hanging(&self, key: &StandstillKey, hanging: &Hanging, what: &str) -> bool {
        let mut is_news = true;
        self.with(|notes| {
            is_news = notes.is_news(key, StandstillKind::Hangs, what, hanging.position);
            let is_new = notes.note(key.clone(), StandstillKind::Hangs, what, hanging.position);
            if let Some(kept) = notes.kept.get_mut(key).filter(|_| is_new) {
                kept.since = Instant::now().checked_sub(hanging.age).unwrap_or(kept.since);
            }
            is_new
        });
        is_news
    }

    /// Notes how long a command has had an event inside its reducer, or that none has one now. Returns true when that
    /// is new.
    pub(crate) fn command_hangs(&self, projection: usize, hanging: Option<(&Hanging, &str)>) -> bool {
        let key = (projection, StandstillSubject::Command);
        let Some((hanging, what)) = hanging else {
            if self.has_any() {
                self.with(|notes| notes.clear(&key));
            }
            return false;
        };
        self.note_hanging(&key, hanging, what)
    }

    /// Notes that hanging reducers leave no worker for a projection. Returns true when that is new.
    pub(crate) fn starves(&self, projection: usize) -> bool {
        let mut is_news = true;
        self.with(|notes| {
            let key = (projection, StandstillSubject::Work);
            is_news = notes.is_news(&key, StandstillKind::Hangs, STARVES, 0);
            notes.note(key, StandstillKind::Hangs, STARVES, 0)
        });
        is_news
    }

    /// Notes that a projection has a worker, or nothing to do.
    pub(crate) fn has_workers(&self, projection: usize) {
        if self.has_any() {
            let key = (projection, StandstillSubject::Work);
            self.with(|notes| notes.kept.get(&key).is_some_and(|kept| kept.reason == STARVES) && notes.clear(&key));
        }
    }

    /// Notes that a whole projection stands still. Returns true when the log should say so, because it has not said the
    /// same lately.
    pub(crate) fn failed(&self, projection: usize, subject: StandstillSubject, error: &StoreError) -> bool {
        let (key, kind, reason) = ((projection, subject), StandstillKind::of(error), chain(error));
        let mut is_news = true;
        self.with(|notes| {
            is_news = notes.is_news(&key, kind, &reason, 0);
            notes.note(key, kind, &reason, 0)
        });
        is_news
    }

    /// Notes that the reason for which a whole projection stood still is gone.
    pub(crate) fn works(&self, projection: usize) {
        self.with(|notes| notes.clear(&(projection, StandstillSubject::Work)));
    }

    /// Notes that a build was halted.
    pub(crate) fn halted(&self, projection: usize, trouble: &str) {
        self.with(|notes| notes.note((projection, StandstillSubject::Build), StandstillKind::Halted, trouble, 0));
    }

    /// Begins a pass: what is found from now on is newer.
    pub(crate) fn begin(&self) -> u64 {
        if !self.has_any() {
            return 0;
        }
        let mut notes = self.notes.lock();
        notes.pass += 1;
        notes.pass
    }

    /// Notes that a pass learned nothing new about these instances.
    pub(crate) fn keep<'i>(&self, projection: usize, instances: impl IntoIterator<Item = &'i Arc<str>>) {
        if !self.has_any() {
            return;
        }
        let mut notes = self.notes.lock();
        let pass = notes.pass;
        for instance in instances {
            if let Some(kept) = notes.kept.get_mut(&(projection, StandstillSubject::Instance(Arc::clone(instance)))) {
                kept.pass = pass;
            } else if let Some(found) = notes.others.get_mut(&projection).and_then(|others| others.get_mut(instance)) {
                *found = pass;
            }
        }
    }

    /// Notes that a pass over these instances ended: standstills that it did not find are over.
    pub(crate) fn passed(&self, projection: usize, instances: &[Arc<str>], pass: u64) {
        if !self.has_any() {
            return;
        }
        self.with(|notes| {
            let mut changed = notes.clear_before(&(projection, StandstillSubject::Work), pass);
            changed |= notes.clear_before(&(projection, StandstillSubject::Build), pass);
            for instance in instances {
                let key = (projection, StandstillSubject::Instance(Arc::clone(instance)));
                changed |= if notes.kept.contains_key(&key) {
                    notes.clear_before(&key, pass)
                } else {
                    notes.clear_other(projection, instance, pass)
                };
            }
            changed
        });
    }

    /// Notes that looking for work succeeded again.
    pub(crate) fn looked(&self, projections: usize) {
        if self.has_any() {
            self.with(|notes| {
                (0..projections)
                    .fold(false, |changed, projection| notes.clear(&(projection, StandstillSubject::Look)) | changed)
            });
        }
    }

    pub(crate) fn look_failed(&self, projections: impl IntoIterator<Item = usize>, error: &Error) {
        let kind = of_store(error).map_or(StandstillKind::Database, StandstillKind::of);
        let reason = chain(error);
        for projection in projections {
            self.with(|notes| notes.note((projection, StandstillSubject::Look), kind, &reason, 0));
        }
    }

    /// The noted instances, to be looked at again.
    pub(crate) fn instances(&self) -> Vec<(usize, Arc<str>)> {
        let notes = self.notes.lock();
        let instance = |(projection, subject): &StandstillKey| match subject {
            StandstillSubject::Instance(instance) => Some((*projection, Arc::clone(instance))),
            _ => None,
        };
        notes.kept.keys().filter_map(instance).collect()
    }

    /// What the store does not know yet about a projection.
    pub(crate) fn unwritten(&self, projection: usize) -> Vec<Standstill> {
        self.find(projection, |_, kept| !kept.written)
    }

    /// What this process knows about an instance, including what concerns all instances.
    pub(crate) fn of(&self, projection: usize, instance: &str) -> Vec<Standstill> {
        self.find(projection, |subject, _| match subject {
            StandstillSubject::Instance(one) => **one == *instance,
            StandstillSubject::More | StandstillSubject::Command => false,
            _ => true,
        })
    }

    /// True when this process has found rows although this state says that nothing was applied.
    pub(crate) fn is_orphaned(&self, projection: usize, state: &State) -> bool {
        let is_it = |one: &Standstill| one.kind == StandstillKind::Orphaned;
        state.event.is_none() && self.of(projection, &state.instance).iter().any(is_it)
    }

    pub(crate) fn find(
        &self,
        projection: usize,
        is_one: impl Fn(&StandstillSubject, &KnownStandstill) -> bool,
    ) -> Vec<Standstill> {
        if !self.has_any() {
            return Vec::new();
        }
        let (notes, now) = (self.notes.lock(), SystemTime::now());
        let of = notes.kept.iter().filter(|((at, subject), kept)| *at == projection && is_one(subject, kept));
        let told = |(key, kept): (&StandstillKey, &KnownStandstill)| {
            let found = Standstill::new(kept.kind, kept.reason.clone()).since(now.checked_sub(kept.since.elapsed()));
            match &key.1 {
                StandstillSubject::Instance(instance) => found.of(instance.to_string()),
                _ => found,
            }
        };
        of.map(told).collect()
    }
}

/// The error of a store in an error of a look.
pub(crate) fn of_store(error: &Error) -> Option<&StoreError> {
    match error {
        Error::Store(error) | Error::Push(PushError::Store(error)) => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::notes::{MOST, TELL_AGAIN};
    use super::*;

    fn noted(all: &Standstills, instance: &str) {
        let key = (0, StandstillSubject::Instance(instance.into()));
        all.with(|notes| notes.note(key, StandstillKind::Locked, "a lock", 1));
    }

    fn known(all: &Standstills) -> Vec<Option<String>> {
        all.unwritten(0).into_iter().map(|one| one.instance).collect()
    }

    // Contract: L11
    #[test]
    fn a_pass_clears_what_it_did_not_find_again() {
        let all = Standstills::default();
        assert_eq!((all.begin(), all.has_any()), (0, false));
        noted(&all, "a");
        all.passed(0, &["a".into()], 0);
        assert_eq!(known(&all), [Some("a".to_owned())], "it was found in that pass");
        noted(&all, "b");
        let pass = all.begin();
        noted(&all, "b");
        all.passed(0, &["b".into()], pass);
        all.passed(1, &["a".into()], pass);
        assert_eq!(known(&all).len(), 2, "found again, and of another projection");
        let pass = all.begin();
        all.keep(0, [&"a".into()]);
        all.passed(0, &["a".into(), "b".into()], pass);
        assert_eq!(known(&all), [Some("a".to_owned())], "who knows no more keeps what was known");
        let pass = all.begin();
        all.passed(0, &["a".into()], pass);
        assert_eq!(known(&all), []);
        assert!(!all.notes.lock().gone.is_empty(), "it may be written just now");
    }

    // Contract: L11: this holds even when no pass comes, because other processes have done the work.
    #[test]
    fn what_has_a_worker_again_is_not_said_to_have_none() {
        let all = Standstills::default();
        assert!(all.starves(0) && all.starves(1));
        all.has_workers(0);
        assert_eq!((known(&all).len(), all.unwritten(1).len()), (0, 1));
        let error = StoreError::new("testing", crate::error::StoreErrorKind::Full, "no");
        all.failed(1, StandstillSubject::Work, &error);
        all.has_workers(1);
        assert_eq!(all.unwritten(1).len(), 1, "that is another reason");
    }

    // Contract: L9, L11: the count is right whether instances are noted one by one or counted, and in whatever order
    // they are found.
    #[test]
    fn many_are_counted_and_the_count_goes_down() {
        let all = Standstills::default();
        let names: Vec<Arc<str>> = (0..MOST + 5).map(|n| n.to_string().into()).collect();
        for _ in 0..2 {
            let pass = all.begin();
            for name in &names {
                noted(&all, name);
            }
            all.passed(0, &names, pass);
            let found = all.unwritten(0);
            assert_eq!(
                (found.len(), found.last().unwrap().reason.as_str()),
                (MOST + 1, "5 more instances stand still")
            );
        }
        let pass = all.begin();
        all.passed(0, &names[MOST..], pass);
        assert_eq!((known(&all).len(), all.notes.lock().others.len()), (MOST, 0));
        all.passed(0, &names, all.begin());
        assert_eq!(known(&all), []);
    }

    // Contract: L11: each look finds a divergence again, but the log has a line only for a new one.
    #[test]
    fn the_log_says_the_same_once_an_hour() {
        let all = Standstills::default();
        let found = |instance: &str, position, found: &str| {
            let cause = StopCause::HistoryDiverged { found: found.into() };
            let pass = all.begin();
            let is_news = all.stopped(0, &Stopped { instance: instance.into(), position, cause });
            all.passed(0, &[instance.into()], pass);
            is_news
        };
        assert!(found("a", 3, "another event"));
        assert!(!found("a", 3, "another event"));
        assert!(found("a", 3, "the end"), "another reason");
        assert!(!found("a", 3, "the end"));
        assert!(found("a", 4, "the end"), "it moved");
        assert!(!found("a", 4, "the end"));
        let long = "ä".repeat(900);
        assert_eq!([found("b", 1, &long), found("b", 1, &long)], [true, false], "what is kept is bounded");
        all.notes.lock().kept.values_mut().for_each(|kept| kept.told = Instant::now().checked_sub(TELL_AGAIN).unwrap());
        assert_eq!([found("a", 4, "the end"), found("a", 4, "the end")], [true, false], "long ago");
        for n in 0..MOST {
            found(&n.to_string(), 1, "another event");
        }
        assert_eq!([found("z", 1, "another event"), found("z", 1, "another event")], [true, false], "counted");
        all.passed(0, &["a".into()], all.begin());
        assert!(found("a", 4, "the end"), "it went on in between");
        let lost = Stopped { instance: "a".into(), position: 1, cause: StopCause::LeaseLost };
        assert!(all.stopped(0, &lost) && all.stopped(0, &lost), "others decide about what is noted nowhere");
    }

    // Contract: L11: an instance that moved and stands still again has stood still since then.
    #[test]
    fn what_moved_in_between_is_something_new() {
        let all = Standstills::default();
        let stopped = |position| Stopped {
            instance: "a".into(),
            position,
            cause: StopCause::HistoryDiverged { found: "another".into() },
        };
        all.stopped(0, &stopped(3));
        all.notes.lock().kept.values_mut().for_each(|kept| kept.written = true);
        all.stopped(0, &stopped(3));
        assert_eq!(known(&all), [], "that is written");
        all.stopped(0, &stopped(4));
        assert_eq!(known(&all), [Some("a".to_owned())]);
        all.stopped(0, &Stopped { instance: "b".into(), position: 1, cause: StopCause::LeaseLost });
        assert_eq!(known(&all).len(), 1, "that is another one's work");
    }
}
