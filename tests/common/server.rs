//! A test's own PostgreSQL server, which the test may kill, stop, and restore to an earlier state.

use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use readside::postgres_driver::{Client, NoTls};

#[derive(Debug)]
pub(crate) struct Server {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    /// The user that the server runs as, if it is not the user of the test. A server refuses to run as root.
    user: Option<(u32, u32)>,
    port: u16,
    durable: bool,
    process: Child,
}

impl Server {
    /// Makes a cluster and starts a server on it, without fsync. Its writes survive the end of the process, because
    /// fsync only guards against the end of the machine.
    pub(crate) fn start() -> Self {
        Self::start_with(false)
    }

    /// A server that flushes its commits to the disk.
    pub(crate) fn durable() -> Self {
        Self::start_with(true)
    }

    fn start_with(durable: bool) -> Self {
        let init = ["-D", "data", "-A", "trust", "-U", "tester", "-E", "UTF8", "--no-locale", "--no-sync"];
        Self::start_on("initdb", &init, "", durable)
    }

    /// A server on the data folder that this program makes, with these lines after the settings that it came with.
    pub(super) fn start_on(program: &str, arguments: &[&str], settings: &str, durable: bool) -> Self {
        let (folder, binaries, user) = (tempfile::tempdir().unwrap(), binaries(), user());
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut maker = run_as(user, &binary(&binaries, program));
        let made = maker.current_dir(&folder).args(arguments).output().unwrap();
        assert!(made.status.success(), "{program}: {}", String::from_utf8_lossy(&made.stderr));
        let file = std::fs::File::options().append(true).open(folder.path().join("data/postgresql.auto.conf"));
        file.unwrap().write_all(settings.as_bytes()).unwrap();
        let process = launch(user, &binaries, &folder, port, durable);
        let mut server = Self { folder, binaries, user, port, durable, process };
        server.wait();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://tester@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A program that comes with the server. A program of the same name from elsewhere may behave differently.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        binary(&self.binaries, name)
    }

    /// The folder of the server's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file into the data folder that only the server may read.
    pub(crate) fn give(&self, name: &str, text: &str) {
        let path = self.folder.path().join("data").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        if let Some((uid, gid)) = self.user {
            chown(&path, Some(uid), Some(gid)).unwrap();
        }
    }

    pub(crate) fn client(&self) -> Option<Client> {
        Client::connect(&self.url(), NoTls).ok()
    }

    /// Kills the server with -9 and starts it again.
    pub(crate) fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = launch(self.user, &self.binaries, &self.folder, self.port, self.durable);
        self.wait();
    }

    /// Ends the server and its backends at once and for good.
    pub(crate) fn kill(&mut self) {
        // If the server has ended, its process number may belong to another process by now.
        if let Ok(None) = self.process.try_wait() {
            signal("-QUIT", &self.process);
            let _ = self.process.wait();
        }
    }

    /// Shuts the server down in order. Its connections are closed.
    pub(crate) fn stop(&mut self) {
        signal("-INT", &self.process);
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the server does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the server again on its data folder.
    pub(crate) fn start_again(&mut self) {
        self.process = launch(self.user, &self.binaries, &self.folder, self.port, self.durable);
        self.wait();
    }

    /// As [`start_again`](Self::start_again), with another way to ask whether the server answers.
    pub(crate) fn start_again_by(&mut self, answers: impl Fn(&Self) -> bool) {
        self.process = launch(self.user, &self.binaries, &self.folder, self.port, self.durable);
        self.wait_by(answers);
    }

    /// Stops the server, copies its data folder, and starts it again.
    pub(crate) fn keep(&mut self) {
        self.stop();
        self.copy("data", "kept");
        self.start_again();
    }

    /// Stops the server, replaces its data folder with the copy, and starts it again.
    pub(crate) fn put_back(&mut self) {
        self.stop();
        self.copy("kept", "data");
        self.start_again();
    }

    fn copy(&self, from: &str, to: &str) {
        let target = self.folder.path().join(to);
        if target.exists() {
            std::fs::remove_dir_all(&target).unwrap();
        }
        let copied = Command::new("cp").arg("-a").arg(self.folder.path().join(from)).arg(&target).output().unwrap();
        assert!(copied.status.success(), "cp: {}", String::from_utf8_lossy(&copied.stderr));
    }

    /// Runs `pg_ctl` on the data folder.
    pub(super) fn control(&self, arguments: &[&str]) {
        let mut command = run_as(self.user, &self.binaries.join("pg_ctl"));
        let done = command.current_dir(&self.folder).args(["-D", "data"]).args(arguments).output().unwrap();
        assert!(done.status.success(), "pg_ctl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Waits until the server answers. A new server refuses to start while backends of the dead one still run.
    fn wait(&mut self) {
        self.wait_by(|server| server.client().is_some());
    }

    fn wait_by(&mut self, answers: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !answers(self) {
            assert!(Instant::now() < deadline, "the server does not answer:\n{}", self.log());
            if self.process.try_wait().unwrap().is_some() {
                self.process = launch(self.user, &self.binaries, &self.folder, self.port, self.durable);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the server wrote into its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(signal: &str, process: &Child) {
    let _ = Command::new("kill").args([signal, &process.id().to_string()]).stderr(Stdio::null()).status();
}

fn launch(
    user: Option<(u32, u32)>,
    binaries: &std::path::Path,
    folder: &tempfile::TempDir,
    port: u16,
    durable: bool,
) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    let mut server = run_as(user, &binaries.join("postgres"));
    server.current_dir(folder).args(["-D", "data", "-k", ".", "-p", &port.to_string()]);
    let fsync = if durable { "fsync=on" } else { "fsync=off" };
    for setting in ["listen_addresses=127.0.0.1", fsync, "max_connections=100"] {
        server.args(["-c", setting]);
    }
    server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

pub(super) fn run_as(user: Option<(u32, u32)>, binary: &std::path::Path) -> Command {
    let mut command = Command::new(binary);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

pub(super) fn user() -> Option<(u32, u32)> {
    let number = |arguments: &[&str]| said("id", arguments)?.parse::<u32>().ok();
    if number(&["-u"]) != Some(0) {
        return None;
    }
    let of = |name: &str| Some((number(&["-u", name])?, number(&["-g", name])?));
    of("postgres").or_else(|| of("nobody"))
}

/// A program among the server's, or else of another version: a server that was fetched brings few others. The search
/// path comes last, as what a distribution has there may be a script that wants a version's name, or a home.
fn binary(binaries: &std::path::Path, name: &str) -> PathBuf {
    let mut folders = std::iter::once(binaries.to_owned()).chain(installed());
    folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.exists())).unwrap_or_else(|| name.into())
}

/// The folder of the server's binaries, found as in `tests/run`.
fn binaries() -> PathBuf {
    let mut candidates = std::env::var_os("PG_BIN").map(PathBuf::from).into_iter().chain(installed());
    let usable = |folder: &PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
    candidates.find(usable).unwrap_or_else(|| {
        panic!("there are no server binaries of PostgreSQL here: install them, or set PG_BIN to their folder")
    })
}

/// The folders of what is installed on this machine, the newest version first.
fn installed() -> Vec<PathBuf> {
    let folders = ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt", "/usr/local/opt"];
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> =
        entries.filter_map(|entry| Some((version(&entry.file_name())?, entry.path().join("bin")))).collect();
    found.sort();
    let newest_first = found.into_iter().rev().map(|(_, folder)| folder);
    newest_first.chain(said("pg_config", &["--bindir"]).map(PathBuf::from)).collect()
}

/// The number in `17`, `pgsql-17` or `postgresql@17`.
fn version(folder: &std::ffi::OsStr) -> Option<u32> {
    let name = folder.to_str()?;
    name.trim_start_matches("pgsql-").trim_start_matches("postgresql@").parse().ok()
}
