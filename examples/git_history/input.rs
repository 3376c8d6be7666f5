//! Where a history comes from: a git checkout, a file, or standard input. All of them are read as streams.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use flate2::read::MultiGzDecoder;

use super::Failure;

/// A history that can be read.
pub(crate) struct Input {
    /// The name for the instance, if there is one.
    pub(crate) name: Option<String>,
    /// The number of commits, if it is known.
    pub(crate) commits: Option<u64>,
    pub(crate) reader: Box<dyn BufRead>,
}

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Overrides settings of the user that would change what git prints.
const SETTINGS: [&str; 5] = [
    "core.quotePath=false",
    "diff.relative=false",
    "i18n.logOutputEncoding=UTF-8",
    "log.showRoot=true",
    "log.showSignature=false",
];

/// How many bytes of git's error output are kept.
const COMPLAINTS: u64 = 16 << 10;

/// Reads a file, plain or gzip, or standard input for `-`.
pub(crate) fn log(path: &Path) -> Result<Input, Failure> {
    let failed = |source| Failure::NoFile { path: path.to_owned(), source };
    let (name, raw): (_, Box<dyn Read>) = if path.as_os_str() == "-" {
        (Some("stdin".to_owned()), Box::new(io::stdin()))
    } else {
        let name = path.file_name().map(OsStr::to_string_lossy);
        let plain = |name: &str| {
            let name = name.strip_suffix(".gz").unwrap_or(name);
            name.strip_suffix(".log").unwrap_or(name).to_owned()
        };
        (name.as_deref().map(plain), Box::new(File::open(path).map_err(failed)?))
    };
    Ok(Input { name, commits: None, reader: unpacked(raw).map_err(failed)? })
}

/// Unpacks gzip, which begins with two known bytes.
fn unpacked(mut raw: Box<dyn Read>) -> io::Result<Box<dyn BufRead>> {
    let mut magic = Vec::new();
    raw.by_ref().take(2).read_to_end(&mut magic)?;
    let is_gzip = magic == GZIP;
    let whole = io::Cursor::new(magic).chain(raw);
    Ok(if is_gzip {
        Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(whole))))
    } else {
        Box::new(BufReader::new(whole))
    })
}

/// Runs `git log` in a checkout.
pub(crate) fn checkout(path: &Path) -> Result<Input, Failure> {
    let top = ask(path, &["rev-parse", "--show-toplevel"])?;
    let folder = match top {
        Ok(top) => top.into(),
        // A bare repository has no work tree. This question too refuses everything that is no repository.
        Err(_) => match ask(path, &["rev-parse", "--git-dir"])? {
            Ok(_) => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
            Err(said) => return Err(Failure::NoCheckout { path: path.to_owned(), said }),
        },
    };
    let commits = ask(path, &["rev-list", "--count", "HEAD", "--"])?
        .map_err(|said| Failure::NoHistory { path: path.to_owned(), said })?;
    let mut log = git(path);
    log.args(["log", "--reverse", "--topo-order", "--numstat", "-M", "--no-color"]);
    log.args(["--format=commit%x1f%H%x1f%at%x1f%aN%x1f%s", "HEAD", "--"]);
    Ok(Input {
        name: folder.file_name().map(|name| name.to_string_lossy().into_owned()),
        commits: commits.parse().ok(),
        reader: Box::new(BufReader::with_capacity(64 << 10, Git::start(log)?)),
    })
}

fn git(path: &Path) -> Command {
    let mut command = Command::new("git");
    // Inside a hook, these variables name the hook's own repository.
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    command.arg("-C").arg(path).arg("--no-pager");
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command
}

/// Asks git for one line: its answer, or its error message.
fn ask(path: &Path, question: &[&str]) -> Result<Result<String, String>, Failure> {
    let output = git(path).args(question).output().map_err(Failure::NoGit)?;
    let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() { Ok(line(&output.stdout)) } else { Err(line(&output.stderr)) })
}

/// The output of a running git. Reading ends without an error only if git succeeds: half a history is an error, not a
/// short history.
struct Git {
    child: Child,
    stdout: ChildStdout,
    complaints: Option<JoinHandle<String>>,
}

impl Git {
    fn start(mut command: Command) -> Result<Self, Failure> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Failure::NoGit)?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        let (stdout, mut stderr) = pipes.ok_or_else(|| Failure::NoGit(io::ErrorKind::BrokenPipe.into()))?;
        let complaints = thread::spawn(move || {
            let mut kept = Vec::new();
            // A failed read here does not matter, because git's exit code decides.
            let _ = stderr.by_ref().take(COMPLAINTS).read_to_end(&mut kept);
            let _ = io::copy(&mut stderr, &mut io::sink());
            String::from_utf8_lossy(&kept).trim().to_owned()
        });
        Ok(Self { child, stdout, complaints: Some(complaints) })
    }

    /// Waits for git to end.
    fn end(&mut self) -> io::Result<()> {
        let status = self.child.wait()?;
        let said = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("git log failed ({status}): {said}"))) }
    }
}

impl Read for Git {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stdout.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.end()?;
        }
        Ok(count)
    }
}

/// If the reading ends early, kills git.
impl Drop for Git {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
