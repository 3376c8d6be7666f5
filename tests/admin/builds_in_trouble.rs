//! Rebuilds on a database that fails meanwhile: a full disk, a commit whose answer is lost.
//!
//! Contract: O1

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use readside::admin::{AdminCommand, CommandState};
use readside::builds::Phase;
use readside::error::{OperateError, StoreError, StoreErrorKind};
use readside::store::ProjectionStore;
use readside::testing::{Answer, Call, Faults, FaultyStore};
use readside::{Engine, EngineStore};

use crate::builds::{options, phases};
use crate::{LONG, Place, by, count, eager, eventually, fill, lawful, seen, start, tenant};

/// The first exchange takes effect, but its answer is lost.
#[derive(Debug, Default)]
struct CutOff(std::sync::atomic::AtomicUsize);

impl Faults for CutOff {
    fn after(&self, call: &Call, answer: Answer<'_>) -> Result<(), StoreError> {
        let has_arrived = call.name == "BuildStore::exchange" && matches!(answer, Answer::Done);
        if has_arrived && self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(StoreError::new("committing", StoreErrorKind::CommitUnknown, "cut off on purpose"));
        }
        Ok(())
    }
}

// Contract: L6
both!(an_exchange_that_arrived_is_not_done_twice);
pub(crate) fn an_exchange_that_arrived_is_not_done_twice<P: Place>(place: &P) {
    let cut_off = Arc::new(CutOff::default());
    let engine = start(FaultyStore::new(place.open(), cut_off.clone()), eager());
    fill(&engine, 2, 5);
    place.sql("UPDATE counts_1 SET n = n + 1000 WHERE thing = 'x1'");
    let one = options().instance(tenant(1));
    assert!(engine.admin().rebuild("counts", one, &by(), |_| {}).unwrap().switched);
    assert_eq!(cut_off.0.load(Ordering::SeqCst), 1);
    assert!(engine.admin().verify("counts", Some(&tenant(1))).unwrap().is_clean());
    assert_eq!(phases(place), [("counts".to_owned(), Phase::Live)]);
}

/// The live tables refuse every write.
struct LiveIsFull;

impl Faults for LiveIsFull {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        let is_live = call.projection.as_ref().is_some_and(|key| key.mark().is_none());
        if call.name != "ProjectionTransaction::apply" || !is_live {
            return Ok(());
        }
        Err(StoreError::new("writing rows", StoreErrorKind::Full, "no space left on device"))
    }
}

// Contract: O2: a finished rebuild holds the whole log, however far the live build is.
both!(a_live_one_that_lags_is_no_measure);
pub(crate) fn a_live_one_that_lags_is_no_measure<P: Place>(place: &P) {
    let in_small_pages = crate::handler().bulk_limit(1);
    let store = FaultyStore::new(place.open(), Arc::new(LiveIsFull));
    let builder = Engine::builder(store).projection_with(crate::counts(1), in_small_pages);
    let engine = builder.config(eager()).start().unwrap();
    engine.push(&(0..300).map(|_| count("a", "x", 1)).collect::<Vec<_>>()).unwrap();
    let built = engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap();
    assert!(built.switched && built.left_out.is_empty(), "{built:?}");
    assert_eq!(seen(place), ["a/x=300"]);
}

/// A disk that is full for shadows only.
#[derive(Debug)]
struct Disk {
    is_full: AtomicBool,
}

impl Faults for Disk {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        let applies = call.name == "ProjectionTransaction::apply";
        let is_shadow = call.projection.as_ref().is_some_and(|key| key.mark().is_some());
        if !applies || !is_shadow || !self.is_full.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(StoreError::new("writing rows", StoreErrorKind::Full, "no space left on device"))
    }
}

fn start_on<S: EngineStore>(inner: S, disk: &Arc<Disk>) -> Engine {
    let (backoff_base, backoff_cap) = (std::time::Duration::from_millis(50), std::time::Duration::from_millis(200));
    let soon = crate::handler().backoff_base(backoff_base).backoff_cap(backoff_cap);
    let builder = Engine::builder(FaultyStore::new(inner, disk.clone())).projection_with(crate::counts(1), soon);
    builder.config(eager()).start().unwrap()
}

// Contract: L4, L11: the live build goes on, and people see the reason. Once there is room, the shadow goes on
// without help: in the engine that had to stop, and in one that starts later.
both!(a_full_disk_keeps_only_the_build_waiting);
pub(crate) fn a_full_disk_keeps_only_the_build_waiting<P: Place>(place: &P) {
    let disk = Arc::new(Disk { is_full: AtomicBool::new(true) });
    let mut engine = start_on(place.open(), &disk);
    // More events than the switch itself can catch up with.
    fill(&engine, 1, 1050);
    for restart in [false, true] {
        disk.is_full.store(true, Ordering::SeqCst);
        let id = engine.admin().ask("counts", AdminCommand::Rebuild(options()), &by()).unwrap();
        let told = || engine.admin().commands(None, 1).unwrap().remove(0);
        let waits = || told().progress.is_some_and(|told| told["waits_for"].to_string().contains("no space left"));
        eventually("the reason", || waits() || told().state.is_over());
        assert_eq!(told().state, CommandState::Taken, "{:?}", told().answer);
        let next = || place.open().builds().builds().unwrap().remove(1);
        assert!(next().phase == Phase::Building && next().trouble.unwrap().contains("no space left"), "{:?}", next());
        let pushed = engine.push(&[count("tenant-000", "live", 1)]).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
        if restart {
            engine.shutdown(LONG).unwrap();
            disk.is_full.store(false, Ordering::SeqCst);
            engine = start_on(place.open(), &disk);
        }
        disk.is_full.store(false, Ordering::SeqCst);
        let report = engine.admin().answer(id, std::time::Duration::MAX).unwrap();
        assert_eq!((&report["switched"], report["waits_for"].is_null()), (&true.into(), true), "{report}");
        let builds = place.open().builds().builds().unwrap();
        assert!(builds.iter().all(|build| build.trouble.is_none()), "{builds:?}");
        lawful(place);
    }
}

// Contract: L11: a build that a person gave up is not tried again.
both!(a_build_that_waits_for_room_can_be_given_up);
pub(crate) fn a_build_that_waits_for_room_can_be_given_up<P: Place>(place: &P) {
    let disk = Arc::new(Disk { is_full: AtomicBool::new(true) });
    let engine = start_on(place.open(), &disk);
    fill(&engine, 1, 1050);
    let id = engine.admin().ask("counts", AdminCommand::Rebuild(options()), &by()).unwrap();
    let trouble = || place.open().builds().builds().unwrap().get(1).and_then(|next| next.trouble.clone());
    eventually("the reason", || trouble().is_some());
    engine.admin().abandon("counts", &by()).unwrap();
    assert!(matches!(engine.admin().answer(id, std::time::Duration::MAX), Err(OperateError::Answered { .. })));
    disk.is_full.store(false, Ordering::SeqCst);
    assert_eq!(phases(place), [("counts".to_owned(), Phase::Live)]);
    assert!(engine.admin().rebuild("counts", options(), &by(), |_| {}).unwrap().switched);
    lawful(place);
}
