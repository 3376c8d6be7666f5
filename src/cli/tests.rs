//! Commands that the library names are commands of this command line.
#![cfg(feature = "sqlite")]

use clap::{CommandFactory, FromArgMatches};

use super::options::{BuildsCommand, Command, FailedCommand, Options, ProjectionsCommand};
use crate::admin::Doctor;
use crate::builds::Phase;
use crate::db::Backend;
use crate::error::StoreError;
use crate::inspect::{Inspect, ProjectionStatus};
use crate::remedy::{Part, Remedy};
use crate::sqlite::tests::crowded;
use crate::standing::Verdict;
use crate::standstill::{Standstill, StandstillKind};

/// The command as a shell and the parser read it.
fn read(command: &str) -> Command {
    let script = format!("readside() {{ printf '%s\\0' \"$@\"; }}\n{command}");
    let told = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(told.status.success(), "{command}: {}", String::from_utf8_lossy(&told.stderr));
    let told = String::from_utf8(told.stdout).unwrap();
    let words = std::iter::once("readside").chain(told.trim_end_matches('\0').split('\0'));
    let found = Options::command().try_get_matches_from(words).and_then(|found| Options::from_arg_matches(&found));
    found.unwrap_or_else(|error| panic!("{command}: {error}")).command
}

/// The projection and the instance that a command names.
fn named(command: Command) -> (Option<String>, Option<String>) {
    match command {
        Command::Status(args) => (args.projection, None),
        Command::Leases(args) => (args.projection, None),
        Command::Commands(args) => (args.projection, None),
        Command::Rebuild(args) => (Some(args.projection), args.instance),
        Command::Reset(args) => (Some(args.projection), args.instance),
        Command::Resume(args) => (Some(args.projection), args.instance),
        Command::Failed(args) => match args.command {
            FailedCommand::List(args) => (args.projection, None),
            FailedCommand::Retry(args) => (Some(args.projection), args.instance),
            other => panic!("{other:?}"),
        },
        Command::Builds(args) => match args.command {
            BuildsCommand::List => (None, None),
            BuildsCommand::Switch(args) => (Some(args.change.projection), None),
            BuildsCommand::Back(args) => (Some(args.switch.change.projection), None),
            BuildsCommand::DropOld(args) | BuildsCommand::Abandon(args) => (Some(args.projection), None),
        },
        Command::Projections(args) => match args.command {
            ProjectionsCommand::Remove(args) => (Some(args.projection), None),
        },
        Command::Doctor(_) | Command::Setup(_) => (None, None),
        other => panic!("{other:?}"),
    }
}

fn commands(remedy: &Remedy) -> impl Iterator<Item = String> {
    remedy.0.iter().filter_map(|part| match part {
        Part::Command(command) => Some(command.to_string()),
        Part::Words(_) => None,
    })
}

/// A projection, as it is on record.
fn projection() -> ProjectionStatus {
    crowded(1, 1, 1).1.status(false).unwrap().projections.remove(0)
}

const PHASES: [Phase; 5] = [Phase::Building, Phase::Ready, Phase::Live, Phase::Kept, Phase::Halted];

// Contract: S3: each command of a remedy is whole, and names what it is about.
#[test]
fn each_command_of_a_remedy_is_whole() {
    let mut projection = projection();
    for name in ["users", "it's", "-x", "a\u{202e}b `c`"] {
        for instance in [None, Some("acme"), Some(""), Some("-i"), Some("a b"), Some("`x`\n$y")] {
            for phase in PHASES {
                (projection.name, projection.phase) = (name.to_owned(), phase);
                let of = |kind| Standstill { instance: instance.map(str::to_owned), ..Standstill::new(kind, "") };
                let mut found = 0;
                for remedy in StandstillKind::ALL.map(|kind| projection.remedy(&of(kind))) {
                    for command in commands(&remedy) {
                        let (of, within) = named(read(&command));
                        assert!(of.is_none_or(|of| of == name), "{command}");
                        assert!(within.is_none() || within.as_deref() == instance, "{command}");
                        found += 1;
                    }
                }
                assert!(found > 15, "{found}");
            }
        }
    }
}

// Contract: S3: a person resets one instance alone, where only that one is concerned.
#[test]
fn a_remedy_names_the_instance_where_it_is_known() {
    let mut projection = projection();
    projection.name = "users".to_owned();
    let of = |kind, instance: Option<&str>, phase| {
        let one = Standstill { instance: instance.map(str::to_owned), ..Standstill::new(kind, "") };
        commands(&ProjectionStatus { phase, ..projection.clone() }.remedy(&one)).collect::<Vec<_>>()
    };
    for kind in [StandstillKind::Diverged, StandstillKind::Orphaned] {
        let (one, all) = (of(kind, Some("a b"), Phase::Live), of(kind, None, Phase::Live));
        let reset = "readside reset users --instance 'a b' --why 'it stands still'".to_owned();
        assert!(one.contains(&reset), "{one:?}");
        let reset = "readside reset users --why 'it stands still'".to_owned();
        assert!(one.contains(&reset) && all.contains(&reset) && all.len() == one.len() - 1, "{one:?}, {all:?}");
    }
    let kept = of(StandstillKind::Diverged, Some("a"), Phase::Kept);
    assert_eq!(kept, ["readside builds drop-old users --why 'it stands still'"], "what readers see stays as it is");
}

// Contract: S3: no verdict that asks for a person is without a command.
#[test]
fn each_verdict_has_a_command() {
    use crate::serve::remedy;
    let mut projection = projection();
    for phase in PHASES {
        projection.phase = phase;
        for verdict in [Verdict::Building, Verdict::Failing, Verdict::Behind] {
            projection.verdict = verdict;
            let found: Vec<String> = commands(&remedy(&projection).unwrap()).collect();
            assert!(!found.is_empty());
            for command in found {
                named(read(&command));
            }
        }
    }
    // What is behind without an engine gets no nearer.
    projection.standstills = vec![Standstill::new(StandstillKind::NoEngine, "")];
    assert!(remedy(&projection).unwrap().to_string().starts_with("start the service"));
}

// Contract: S3: what the doctor names, too.
#[test]
fn each_command_of_the_doctor_is_whole() {
    let (_folder, store) = crowded(2, 3, 3);
    let all = "UPDATE readside_projection_states SET position = 99 WHERE instance_id = 'i000002'";
    let set: Result<(), StoreError> = store.backend().write("testing", |conn| conn.batch(all));
    set.unwrap();
    let mut found = 0;
    for finding in Doctor::default().examine(&store) {
        let remedy = finding.remedy.unwrap_or_default();
        for command in remedy.split('`').skip(1).step_by(2).filter(|text| text.starts_with("readside ")) {
            read(command);
            found += 1;
        }
    }
    assert!(found > 6, "{found}");
}
