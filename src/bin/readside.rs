//! The `readside` command, without the code of any projection: it looks into any readside database.

use std::process::ExitCode;

fn main() -> ExitCode {
    readside::cli::run(Vec::new())
}
