//! Threads that push, roll back, hold transactions open, and meet faults.

use std::sync::atomic::Ordering;
use std::time::Duration;

use readside::error::{PushError, chain};
use readside::{Event, EventStore, Expected, NewEvent};

use crate::Tally;
use crate::chance::Chance;
use crate::fault::Kind;
use crate::heard;
use crate::place::Place;
use crate::work::{Changed, Poison, Removed};

const INSTANCES: u64 = 60;
const ITEMS: u64 = 8;

pub(crate) fn until_stopped<P: Place>(place: &P, store: &P::Store, number: u16, mut chance: Chance, tally: &Tally) {
    let (mut pushes, begun) = (0_u64, heard::now());
    while !tally.stop.load(Ordering::SeqCst) {
        pushes += 1;
        let commands = commands(&mut chance, tally);
        match chance.below(40) {
            0 => slowly(place, store, &commands, &mut chance, tally),
            1 => conflict(store, commands, tally),
            _ => surely(store, commands, &format!("{begun}-{number}-{pushes}"), tally),
        }
        std::thread::sleep(Duration::from_millis(chance.below(8)));
    }
}

/// One to five events of one or two tenants. A few tenants get most of them. In a soak with restores, all tenants get
/// some, so that many of them have an event on its way.
fn commands(chance: &mut Chance, tally: &Tally) -> Vec<NewEvent> {
    let count = 1 + chance.below(5);
    (0..count)
        .map(|_| {
            let tenants = if tally.speaks || chance.once_in(3) { INSTANCES } else { 5 };
            let (instance, item) =
                (format!("tenant-{}", chance.below(tenants)), format!("item-{}", chance.below(ITEMS)));
            if chance.once_in(12) {
                return NewEvent::new(&instance, &item, &Removed {});
            }
            let poison = if tally.speaks { Poison::None } else { poison(chance) };
            if poison != Poison::None {
                tally.faults.add(Kind::Poison);
            }
            NewEvent::new(&instance, &item, &Changed { by: 1, poison })
        })
        .collect()
}

fn poison(chance: &mut Chance) -> Poison {
    if chance.once_in(4000) {
        return Poison::Kills;
    }
    match chance.below(600) {
        0 => Poison::Refused,
        1 => Poison::Panics,
        2 => Poison::BreaksConstraint,
        _ => Poison::None,
    }
}

/// Repeats a push with its key until its outcome is known.
fn surely<S: EventStore>(store: &S, commands: Vec<NewEvent>, key: &str, tally: &Tally) {
    let commands: Vec<NewEvent> = commands.into_iter().map(|command| command.push_key(key)).collect();
    loop {
        let began = heard::now();
        match store.push(&commands) {
            Ok(events) => return acknowledge(began, &events, tally),
            Err(error) => refuse(began, &error, tally),
        }
        if tally.speaks && tally.stop.load(Ordering::SeqCst) {
            return;
        }
        tally.faults.add(Kind::RepeatedPush);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn acknowledge(began: u64, events: &[Event], tally: &Tally) {
    tally.pushed.fetch_add(events.len() as u64, Ordering::SeqCst);
    if tally.speaks {
        heard::say_pushed(began, events);
    }
}

fn refuse(began: u64, error: &PushError, tally: &Tally) {
    log::info!("a push is repeated: {error}");
    if tally.speaks && !matches!(error, PushError::Busy { .. }) {
        heard::say_refused(began, &chain(error));
    }
}

/// Pushes in a slow transaction. Its outcome may stay unknown, but the log shows it later.
fn slowly<P: Place>(place: &P, store: &P::Store, commands: &[NewEvent], chance: &mut Chance, tally: &Tally) {
    let (open, commit) = (Duration::from_millis(chance.below(60)), chance.once_in(2));
    tally.faults.add(if commit { Kind::HeldOpen } else { Kind::RolledBack });
    let began = heard::now();
    match place.push_slowly(store, commands, open, commit) {
        Ok(events) if commit => acknowledge(began, &events, tally),
        Ok(_) => {}
        Err(error) => log::info!("a slow push failed: {error}"),
    }
}

/// Makes a push that the store has to refuse.
fn conflict<S: EventStore>(store: &S, commands: Vec<NewEvent>, tally: &Tally) {
    let expected: Vec<NewEvent> =
        commands.into_iter().map(|command| command.expect(Expected::Version(i64::MAX / 2))).collect();
    match store.push(&expected) {
        Err(PushError::Conflict { .. }) => tally.faults.add(Kind::Conflict),
        Err(error) => log::info!("a push that should conflict failed otherwise: {error}"),
        Ok(events) => log::error!("{} events were pushed in spite of a conflict", events.len()),
    }
}
