//! Handles readers that see a version which no living engine runs: its code was rolled back, or a newer version was
//! deployed again.
//!
//! Readers then see nothing of what the living engines keep current. With
//! [`auto_switch`](crate::EngineConfig::auto_switch) the version of the newest engine takes the place of the live one,
//! once no engine has run the live version for the length of a lease. So a restart of a process or of the database
//! moves no reader. While any engine runs what readers see, that version stays live, whatever other versions run. If a
//! person went back to a version that no longer moves, that decision stands.

use std::time::{Duration, Instant};

use crate::builds::{Build, Phase};
use crate::command::{AdminCommand, CommandRecord, CommandState, NewCommand, RebuildOptions, Switch};
use crate::engine::run::runner::{Runner, Unfed};
use crate::engine::run::state::Shared;
use crate::error::{OperateError, StoreError, chain};
use crate::failure::By;
use crate::lease::Member;
use crate::remedy::{Act, Subject};

/// The longest wait between two requests for a switch that does not happen.
pub(super) const LONGEST: Duration = Duration::from_hours(1);

/// How many of the last commands are searched for the one that made the live version live.
const LAST: usize = 50;

/// Which engines run what readers see.
enum Feeding {
    /// Nobody knows which engines are alive.
    Unknown,
    Somebody,
    /// The engine of the projection that was started last runs this version.
    Nobody {
        newest: u32,
    },
}

/// What happens to what readers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The version of this engine is being built, and then takes the place of the live one.
    Built,
    /// The version of this engine takes its place without a command of a person.
    Own,
    /// The version of another engine takes its place.
    Newest(u32),
    /// A person has to act.
    Person,
}

impl Shared {
    /// Why readers see nothing new of a projection, although engines run it, and what to do about it.
    pub(crate) fn unfed(&self, projection: &str) -> Option<String> {
        let runner = self.runners.iter().find(|runner| !runner.is_shadow() && runner.name() == projection)?;
        runner.unfed.lock().as_ref().map(|unfed| unfed.reason.clone())
    }

    /// Asks for a tick while no engine runs what readers see: there is something to do even if nothing is pushed.
    pub(crate) fn tick_if_unfed(&self) {
        if self.runners.iter().any(|runner| runner.unfed.lock().is_some()) {
            self.request_tick();
        }
    }

    /// Takes in whether any engine runs what readers see. If it is this engine's turn, it makes its own version live.
    pub(crate) fn mind_readers(&self, runner: &Runner, own: &Build, live: &Build) {
        let feeding = self.feeding(runner, live).unwrap_or_else(|error| {
            log::warn!("{}; the next tick looks again", chain(&error));
            Feeding::Unknown
        });
        let newest = match feeding {
            Feeding::Unknown => return,
            Feeding::Somebody => {
                if runner.unfed.lock().take().is_some() {
                    log::info!(
                        "projection {:?}: an engine keeps the version that readers see current again",
                        runner.name()
                    );
                }
                return;
            }
            Feeding::Nobody { newest } => newest,
        };
        let (now, lease) = (Instant::now(), self.config.lease);
        let before = runner.unfed.lock().clone().filter(|unfed| unfed.live == live.key.version);
        let mut unfed = match before {
            Some(unfed) => unfed,
            None => match self.is_chosen(runner.name()) {
                Ok(Some(chosen)) => Unfed {
                    live: live.key.version,
                    chosen,
                    reason: String::new(),
                    told: None,
                    ask: (now + lease, lease),
                },
                // The next tick knows how it ended.
                Ok(None) => return,
                Err(error) => return log::warn!("{}; the next tick looks again", chain(&error)),
            },
        };
        let way = way(self.config.auto_switch && !unfed.chosen, own, newest);
        unfed.reason = reason(way, own, live);
        if unfed.is_to_tell(now) {
            log::warn!("{}", unfed.reason);
        }
        if way == Way::Own && now >= unfed.ask.0 {
            self.ask_for_readers(runner, own, live);
            let pause = unfed.ask.1;
            unfed.ask = (now + pause, (pause * 2).min(LONGEST.max(lease)));
        }
        *runner.unfed.lock() = Some(unfed);
    }

    /// Judges by the engines that were alive at the last heartbeat. Before it says that none runs the version, it asks
    /// the database, which may know more by now.
    fn feeding(&self, runner: &Runner, live: &Build) -> Result<Feeding, StoreError> {
        if live.key == *runner.key() {
            return Ok(Feeding::Somebody);
        }
        let known = self.feeding_among(&self.fleet.members.lock(), runner, live);
        match known {
            Feeding::Nobody { .. } => Ok(self.feeding_among(&self.stores.models.commands().members()?, runner, live)),
            known => Ok(known),
        }
    }

    /// Process ids grow with the time of their start.
    fn feeding_among(&self, members: &[Member], runner: &Runner, live: &Build) -> Feeding {
        if !members.iter().any(|member| member.process == self.id) {
            return Feeding::Unknown;
        }
        let version = |member: &Member| {
            let mut own = member.projections.iter().filter(|(name, _)| name == runner.name());
            own.next().map(|(_, version)| (member.process, *version))
        };
        let versions: Vec<_> = members.iter().filter_map(version).collect();
        if versions.iter().any(|(_, version)| *version == live.key.version) {
            return Feeding::Somebody;
        }
        versions.into_iter().max().map_or(Feeding::Unknown, |(_, newest)| Feeding::Nobody { newest })
    }

    /// Whether a person decided what readers see. `None` while that is being decided.
    fn is_chosen(&self, projection: &str) -> Result<Option<bool>, StoreError> {
        Ok(chosen(&self.stores.models.commands().commands(Some(projection), LAST)?))
    }

    /// Asks for the switch. All engines of the version may ask, and one of them is heard. The engine that carries it
    /// out checks again which engines are alive.
    fn ask_for_readers(&self, runner: &Runner, own: &Build, live: &Build) {
        let why = format!(
            "readers see version {}, which no living engine runs; version {} is in the code of {}",
            live.key.version, own.key.version, self.config.name
        );
        // The live build stands still, so there is nothing to compare with.
        let options = RebuildOptions { compare: false, unless_live: true, ..RebuildOptions::default() };
        let command = NewCommand {
            projection: runner.name().to_owned(),
            version: Some(own.key.version),
            command: AdminCommand::Rebuild(options),
            by: By::new(ITSELF, why),
        };
        match self.stores.models.commands().ask(&command) {
            Ok(_) => self.request_operation(),
            Err(OperateError::Busy { .. }) => {}
            Err(error) => log::warn!("{}; the engine asks again later", chain(&error)),
        }
    }
}

/// The name under which engines ask for what they do without a person.
pub(crate) const ITSELF: &str = "readside";

/// True when a person decided what readers see: the last of these commands that moved readers allowed a version that no
/// longer moves, or told them to wait for a person. The latest command comes first. A way back moves readers before it is
/// done, so nothing is known while it is under way.
fn chosen(commands: &[CommandRecord]) -> Option<bool> {
    let goes_back = |asked: &CommandRecord| {
        asked.state == CommandState::Taken && matches!(asked.command, AdminCommand::Back { .. })
    };
    if commands.iter().any(goes_back) {
        return None;
    }
    Some(commands.iter().filter(|asked| asked.state == CommandState::Done).find_map(choice).unwrap_or(false))
}

/// Whether a command left it to a person what readers see. `None` when the command moves no reader.
fn choice(asked: &CommandRecord) -> Option<bool> {
    match &asked.command {
        AdminCommand::Back { stale, .. } => Some(*stale),
        AdminCommand::Switch { .. } => Some(false),
        AdminCommand::Rebuild(options) if options.instance.is_none() => {
            Some(options.switch != Switch::CaughtUp && asked.who != ITSELF)
        }
        _ => None,
    }
}

fn way(by_itself: bool, own: &Build, newest: u32) -> Way {
    match own.phase {
        Phase::Kept | Phase::Ready if by_itself && newest == own.key.version => Way::Own,
        Phase::Kept | Phase::Ready if by_itself => Way::Newest(newest),
        Phase::Building if by_itself => Way::Built,
        _ => Way::Person,
    }
}

fn reason(way: Way, own: &Build, live: &Build) -> String {
    let (name, number, seen) = (live.key.projection(), own.key.version, live.key.version);
    let of = Subject { projection: name, version: None, instance: None };
    let [rebuild, switch, back] = [Act::Rebuild, Act::Switch, Act::Back].map(|act| act.on(&of));
    let again = || format!("fix that, then run `{rebuild}`");
    let what = match (way, own.phase) {
        (Way::Person, Phase::Building | Phase::Ready) if own.is_refused() => format!(
            "version {number} waits for a person, because {}: fix that, then run `{switch}`",
            own.trouble.as_deref().unwrap_or_default()
        ),
        (Way::Own | Way::Built, _) if own.is_refused() => format!(
            "version {number} is tried again later, because {}: fix that, or run `{switch}`",
            own.trouble.as_deref().unwrap_or_default()
        ),
        (Way::Built, _) => format!("version {number} takes its place as soon as it has caught up"),
        (Way::Own, _) => match &own.trouble {
            Some(trouble) => format!("version {number} cannot take its place by itself ({trouble}): {}", again()),
            None => format!("version {number}, which is kept current, is about to take its place"),
        },
        (Way::Newest(newest), _) => {
            format!("version {newest}, which the newest engine runs, is about to take its place")
        }
        (Way::Person, Phase::Halted) => {
            let trouble = own.trouble.as_deref().unwrap_or("it does not say why");
            format!("version {number} is halted ({trouble}): {}", again())
        }
        (Way::Person, Phase::Kept) if number < seen => format!(
            "start an engine that does, or have readers see version {number}, which is kept current: \
             run `{back}`"
        ),
        (Way::Person, _) => format!(
            "start an engine that does, or have readers see version {number}{}: run `{switch}`",
            if own.phase == Phase::Building { " once it has caught up" } else { ", which is kept current" }
        ),
    };
    format!("readers see version {seen} of projection {name:?}, which no living engine runs; {what}")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use uuid::Uuid;

    use super::*;
    use crate::state::ProjectionKey;

    fn build(version: u32, phase: Phase) -> Build {
        Build {
            key: ProjectionKey { name: "users".into(), version },
            phase,
            succeeded: true,
            resets: 0,
            trouble: (phase == Phase::Halted).then(|| "disk full".to_owned()),
            command: None,
            aggregate_types: Vec::new(),
            torn: None,
        }
    }

    // Contract: L11
    #[test]
    fn the_log_says_it_at_once_and_then_now_and_then() {
        let start = Instant::now();
        let mut unfed =
            Unfed { live: 2, chosen: false, reason: String::new(), told: None, ask: (start, Duration::ZERO) };
        let told: Vec<u32> =
            (0..200).filter(|ticks| unfed.is_to_tell(start + Duration::from_secs(10) * *ticks)).collect();
        assert_eq!(told, [0, 60, 120, 180]);
    }

    // Contract: L11: what a person decided is not undone between the move of the readers and the end of the command.
    #[test]
    fn nothing_is_chosen_while_a_way_back_is_under_way() {
        let asked = |state, command| CommandRecord {
            id: Uuid::nil(),
            projection: "users".to_owned(),
            version: None,
            command,
            who: "somebody".to_owned(),
            why: "a test".to_owned(),
            state,
            asked_at: SystemTime::now(),
            taken_by: None,
            taken_at: None,
            progress: None,
            answered_at: None,
            answer: None,
        };
        let rebuilt = asked(CommandState::Done, AdminCommand::Rebuild(RebuildOptions::default()));
        let back = |state, stale| asked(state, AdminCommand::Back { stale, within: None });
        assert_eq!(chosen(&[]), Some(false));
        assert_eq!(chosen(&[back(CommandState::Taken, true), rebuilt.clone()]), None);
        assert_eq!(chosen(&[back(CommandState::Done, true), rebuilt.clone()]), Some(true));
        assert_eq!(chosen(&[back(CommandState::Done, false), rebuilt.clone()]), Some(false));
        for state in [CommandState::Asked, CommandState::Failed] {
            assert_eq!(chosen(&[back(state, true), rebuilt.clone()]), Some(false), "it moved nobody");
        }
    }

    // Contract: L11: each case says what happens next, or names the command to run.
    #[test]
    fn every_case_has_its_words() {
        let cases = [
            (true, 1, Phase::Kept, 1, Way::Own, "about to take its place"),
            (true, 3, Phase::Ready, 3, Way::Own, "version 3, which is kept current"),
            (true, 1, Phase::Kept, 3, Way::Newest(3), "version 3, which the newest engine runs"),
            (true, 3, Phase::Building, 3, Way::Built, "as soon as it has caught up"),
            (true, 3, Phase::Halted, 3, Way::Person, "(disk full): fix that, then run `readside rebuild users --why "),
            (false, 1, Phase::Kept, 1, Way::Person, "`readside builds back users --why "),
            (false, 3, Phase::Kept, 3, Way::Person, "`readside builds switch users --why "),
            (
                false,
                3,
                Phase::Building,
                3,
                Way::Person,
                "once it has caught up: run `readside builds switch users --why ",
            ),
        ];
        let live = build(2, Phase::Live);
        for (by_itself, version, phase, newest, wanted, words) in cases {
            let own = build(version, phase);
            let found = way(by_itself, &own, newest);
            let text = reason(found, &own, &live);
            assert_eq!(found, wanted, "{own:?}");
            assert!(
                text.starts_with("readers see version 2 of projection \"users\"") && text.contains(words),
                "{text}"
            );
        }
        let refused = Build { trouble: Some("a view would break".to_owned()), ..build(1, Phase::Kept) };
        let text = reason(way(true, &refused, 1), &refused, &live);
        assert!(text.contains("(a view would break): fix that, then run `readside rebuild users --why "), "{text}");
    }
}
