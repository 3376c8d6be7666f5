//! How often the work of a command is tried again, and how long readers may notice it.

use std::time::{Duration, Instant};

use crate::engine::Control;
use crate::error::{OperateError, SetupError, StoreErrorKind, SwitchError, chain};

/// The first wait between two looks, and the longest one.
pub(super) const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How long readers may have to wait in one try of a switch. This is less than the second after which a server looks
/// for deadlocks.
const PATIENCE: Duration = Duration::from_millis(250);

/// After this time a switch is given up, unless the command says otherwise.
const GIVE_UP: Duration = Duration::from_mins(10);

/// Repeats the work as long as the database's error says that this may help.
pub(super) fn insist<T>(
    control: &dyn Control,
    mut act: impl FnMut() -> Result<T, OperateError>,
) -> Result<T, OperateError> {
    let mut pause = LOOK_AGAIN.0;
    loop {
        match act() {
            Err(
                OperateError::Store(error)
                | OperateError::Setup(SetupError::Store(error))
                | OperateError::Switch(SwitchError::Store(error) | SwitchError::Setup(SetupError::Store(error))),
            ) if error.passes() => {
                log::warn!("{}; trying again", chain(&error));
            }
            other => return other,
        }
        if !control.wait(pause) {
            return Err(OperateError::ShutDown);
        }
        pause = (pause * 2).min(LOOK_AGAIN.1);
    }
}

/// How a switch waits for its moment.
pub(super) struct Tries {
    start: Instant,
    within: Duration,
    made: u32,
    pause: Duration,
    asked: Duration,
}

impl Tries {
    pub(super) fn new(within: Option<Duration>) -> Self {
        let within = within.unwrap_or(GIVE_UP);
        Self { start: Instant::now(), within, made: 0, pause: LOOK_AGAIN.0, asked: Duration::ZERO }
    }

    /// How long readers may have to wait in one try.
    pub(super) fn patience(&self) -> Duration {
        (Duration::from_millis(50) * (self.made + 1)).min(PATIENCE)
    }

    /// Waits until the next try. Returns the error if other transactions have held the tables for too long.
    pub(super) fn again(&mut self, error: SwitchError, control: &dyn Control) -> Result<(), OperateError> {
        let pause = self.pause_after(error, self.start.elapsed())?;
        if control.wait(pause) { Ok(()) } else { Err(OperateError::ShutDown) }
    }

    /// Pauses twenty times as long as readers had to wait in this try, so that they hardly notice.
    fn pause_after(&mut self, error: SwitchError, spent: Duration) -> Result<Duration, SwitchError> {
        let asked = match &error {
            SwitchError::Held { asked, .. } => Some(*asked),
            SwitchError::Store(error) if error.kind() == StoreErrorKind::Timeout => Some(self.patience()),
            _ => None,
        };
        self.asked = self.asked.saturating_add(asked.unwrap_or_default());
        if asked.is_some() && spent >= self.within {
            return Err(match error {
                SwitchError::Held { projection, holders, .. } => {
                    SwitchError::Held { projection, holders, asked: self.asked, gave_up: Some(spent) }
                }
                other => other,
            });
        }
        self.made = self.made.saturating_add(1).min(100);
        let rest = self.pause;
        self.pause = (self.pause * 2).min(LOOK_AGAIN.1);
        // The last try happens when the time is over, unless readers need a longer pause.
        let left = if asked.is_some() { self.within.saturating_sub(spent) } else { Duration::MAX };
        Ok(rest.min(left).max(asked.unwrap_or_default() * 20))
    }
}

/// True if a later try may succeed: others held locks, the disk was full, or an event was refused, which engines then
/// find and record.
pub(super) fn may_succeed_later(error: &SwitchError) -> bool {
    use StoreErrorKind as K;
    error.is_transient()
        || matches!(error, SwitchError::Store(error) if matches!(error.kind(), K::Constraint | K::Data | K::Full))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn held(asked: Duration) -> SwitchError {
        SwitchError::Held { projection: "users".to_owned(), holders: Vec::new(), asked, gave_up: None }
    }

    // Contract: O1: while a switch waits, readers lose a twentieth of the time at most.
    #[test]
    fn a_switch_rests_twenty_times_as_long_as_readers_waited() {
        let (mut tries, mut spent, mut all) = (Tries::new(None), Duration::ZERO, Duration::ZERO);
        let given_up = loop {
            let asked = tries.patience();
            assert!(asked <= PATIENCE);
            (spent, all) = (spent + asked, all + asked);
            match tries.pause_after(held(asked), spent) {
                Ok(pause) => {
                    assert!(pause >= asked * 20, "{pause:?} after {asked:?}");
                    spent += pause;
                }
                Err(error) => break error,
            }
        };
        assert!(spent >= GIVE_UP && all * 20 <= spent, "{all:?} of {spent:?}");
        let SwitchError::Held { asked, gave_up, .. } = given_up else { panic!("{given_up:?}") };
        assert_eq!((asked, gave_up), (all, Some(spent)));
    }

    // Contract: O1
    #[test]
    fn only_others_who_hold_the_tables_end_a_switch() {
        let mut tries = Tries::new(Some(Duration::ZERO));
        let behind = SwitchError::NotCaughtUp {
            projection: "users".to_owned(),
            build: "the new build".to_owned(),
            behind: 1,
            instance: "a".to_owned(),
            from: 1,
            to: 2,
        };
        assert!(tries.pause_after(behind, GIVE_UP).unwrap() >= LOOK_AGAIN.0);
        assert!(tries.pause_after(held(Duration::ZERO), Duration::ZERO).is_err());
        assert!(Tries::new(Some(Duration::MAX)).pause_after(held(Duration::ZERO), GIVE_UP * 100).is_ok());
    }
}
