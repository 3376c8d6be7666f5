//! `completions`: completion scripts for shells.

use clap::CommandFactory;

use super::options::{CompletionsArgs, Options};
use super::output::Output;
use super::{Ended, Outcome};

pub(super) fn run(args: &CompletionsArgs, mut out: Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Options::command(), "readside", &mut script);
    out.raw(&script)?;
    out.flush()?;
    Ok(Ended::Fine)
}
