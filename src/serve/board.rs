//! The last picture of everything, which all pages show, and the thread that takes it.
//!
//! Showing a page costs the database nothing, whatever the number of readers: one thread reads it for all of them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::place::Place;
use super::series::Series;
use super::thread::Stop;
use crate::command::CommandRecord;
use crate::error::{StoreError, chain};
use crate::inspect::{Status, Survey};
use crate::sync::{Condvar, Mutex};

/// How many of the latest commands are read; a page shows those that are not finished.
const COMMANDS: usize = 200;

/// For so long after the start a view waits for the first look.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(3);

/// A look takes this share of the time at most, so that a large database is not looked at all the time.
pub(super) const SHARE: u32 = 5;

/// How everything was doing at one moment.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) status: Status,
    /// Commands that are not finished.
    pub(crate) commands: Vec<CommandRecord>,
    /// When it was taken, by this process.
    pub(crate) taken: Instant,
    /// How long that took.
    pub(crate) took: Duration,
}

impl Picture {
    /// How old the oldest of its numbers is.
    pub(crate) fn age(&self) -> Duration {
        let counted = self.status.at.duration_since(self.status.counted_from).unwrap_or_default();
        self.taken.elapsed().saturating_add(counted)
    }
}

/// Why there is no newer picture.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) since: SystemTime,
    pub(crate) error: String,
}

/// What pages show. With neither of both the first look goes on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) picture: Option<Arc<Picture>>,
    pub(crate) trouble: Option<Trouble>,
    /// For how long the first look goes on already.
    pub(crate) looking: Duration,
}

#[derive(Debug)]
pub(crate) struct Board {
    shown: Mutex<Shown>,
    changed: Condvar,
    pub(crate) series: Mutex<Series>,
    began: Instant,
}

impl Board {
    /// One whose first look begins now.
    pub(crate) fn new() -> Self {
        Self { shown: Mutex::default(), changed: Condvar::new(), series: Mutex::default(), began: Instant::now() }
    }

    /// The last picture. Nobody waits for a look that takes long: only in the first moments is the first one waited for, so that
    /// a small database is shown at once.
    pub(crate) fn now(&self) -> Shown {
        let deadline = self.began + FIRST_LOOK;
        let mut shown = self.shown.lock();
        while shown.picture.is_none() && shown.trouble.is_none() {
            shown.looking = self.began.elapsed();
            if self.changed.wait_until(&mut shown, deadline).timed_out() {
                break;
            }
        }
        shown.clone()
    }

    fn put(&self, look: Result<Picture, StoreError>) {
        let mut shown = self.shown.lock();
        match look {
            Ok(picture) => {
                if shown.trouble.is_some() {
                    log::info!("the status page: the database answers again");
                }
                self.series.lock().take(&picture.status);
                (shown.picture, shown.trouble) = (Some(Arc::new(picture)), None);
            }
            Err(error) => {
                let since = shown.trouble.as_ref().map(|trouble| trouble.since);
                if since.is_none() {
                    log::warn!("the status page: {}; it shows the last picture and looks again", chain(&error));
                }
                let since = since.unwrap_or_else(SystemTime::now);
                shown.trouble = Some(Trouble { since, error: chain(&error) });
            }
        }
        drop(shown);
        self.changed.notify_all();
    }

    /// Takes picture after picture.
    pub(crate) fn keep(&self, place: &Place, every: Duration, stop: &Stop) {
        let mut survey = Survey::default();
        while !stop.is_set() {
            let began = Instant::now();
            self.put(look(place, &mut survey, began));
            stop.wait(every.max(began.elapsed() * SHARE));
        }
    }
}

fn look(place: &Place, survey: &mut Survey, began: Instant) -> Result<Picture, StoreError> {
    let status = place.look(survey)?;
    let mut commands = place.models.commands().commands(None, COMMANDS)?;
    commands.retain(|asked| !asked.state.is_over());
    Ok(Picture { status, commands, taken: Instant::now(), took: began.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: S3: nobody waits for a look that takes long, and how long it goes on already is told.
    #[test]
    fn only_in_the_first_moments_a_view_waits_for_the_first_look() {
        let began = Instant::now().checked_sub(Duration::from_secs(7)).unwrap();
        let board = Board { began, ..Board::new() };
        // Nobody ends this look, and a wait that were not over long ago would not end either.
        let shown = board.now();
        assert!(shown.picture.is_none() && shown.trouble.is_none());
        assert!(shown.looking >= Duration::from_secs(7), "{shown:?}");
    }
}
