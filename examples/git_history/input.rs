//! Where the log comes from: a checkout, a file, or standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use flate2::read::MultiGzDecoder;

use super::{Options, Outcome};

/// The fields that the parser reads, oldest commit first.
const LOG: [&str; 6] =
    ["log", "--reverse", "--topo-order", "--numstat", "-M", "--format=commit%x1f%H%x1f%at%x1f%aN%x1f%s"];

/// An open log.
pub(crate) struct Input {
    pub(crate) reader: Box<dyn BufRead>,
    /// The name that the instance gets unless it is given one.
    pub(crate) name: String,
    /// Number of commits, where that is known beforehand.
    pub(crate) commits: Option<u64>,
    git: Option<Child>,
}

impl Input {
    pub(crate) fn open(options: &Options) -> Outcome<Self> {
        match &options.log {
            None => checkout(&options.checkout),
            Some(path) if path.as_os_str() == "-" => Ok(Self::of(decoded(io::stdin())?, "stdin".to_owned())),
            Some(path) => {
                let file = File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let name = name.trim_end_matches(".gz").trim_end_matches(".log");
                Ok(Self::of(decoded(file)?, name.to_owned()))
            }
        }
    }

    fn of(reader: Box<dyn BufRead>, name: String) -> Self {
        Self { reader, name, commits: None, git: None }
    }

    /// Tells whether git ended well, once everything is read.
    pub(crate) fn close(self) -> Outcome<()> {
        drop(self.reader);
        let Some(mut git) = self.git else { return Ok(()) };
        let status = git.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("'git log' ended with {status}; what it printed before is stored").into())
        }
    }
}

/// Unpacks what begins with the two bytes of gzip.
fn decoded(input: impl Read + 'static) -> Outcome<Box<dyn BufRead>> {
    let mut reader = BufReader::with_capacity(1 << 16, input);
    let packed = reader.fill_buf().map_err(|error| format!("cannot read the log: {error}"))?.starts_with(&[0x1f, 0x8b]);
    if packed {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(reader))));
    }
    Ok(Box::new(reader))
}

fn checkout(path: &Path) -> Outcome<Input> {
    let root = git(path, &["rev-parse", "--show-toplevel"]).map_err(|error| {
        format!("{} is no git checkout that can be read ({error}); name one, or a log by --log", path.display())
    })?;
    let commits = git(path, &["rev-list", "--count", "HEAD"])
        .map_err(|error| format!("{} has no commits yet ({error})", path.display()))?;
    let mut child =
        command(path, &LOG).stdout(Stdio::piped()).spawn().map_err(|error| format!("cannot start git: {error}"))?;
    let stdout = child.stdout.take().ok_or("git has no output")?;
    let name = Path::new(&root).file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Input { reader: Box::new(BufReader::new(stdout)), name, commits: commits.parse().ok(), git: Some(child) })
}

fn command(path: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(path).args(arguments).stdin(Stdio::null());
    command
}

fn git(path: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = command(path, arguments).output().map_err(|error| format!("cannot start git: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
