//! A test's own processes: the test binary, started again to run one of its ignored tests.

use std::io::{BufRead, BufReader};
use std::process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio};

/// A process that runs until its standard input ends, or until it is killed. It is killed at the latest with this
/// value.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    stdin: Option<ChildStdin>,
}

impl Child {
    /// Starts a process with these environment variables, and passes each line that it prints to `hear`.
    pub(crate) fn start(test: &str, env: &[(&str, &str)], hear: impl FnMut(String) + Send + 'static) -> Self {
        Self::spawn(Command::new(std::env::current_exe().unwrap()), test, env, hear)
    }

    /// As [`start`](Self::start), but through a shell that first runs `before`.
    pub(crate) fn start_after(before: &str, test: &str, env: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]).arg(std::env::current_exe().unwrap());
        Self::spawn(shell, test, env, |_| {})
    }

    fn spawn(
        mut command: Command,
        test: &str,
        env: &[(&str, &str)],
        hear: impl FnMut(String) + Send + 'static,
    ) -> Self {
        let mut process = command
            .args(["--exact", test, "--ignored", "--nocapture", "--test-threads", "1"])
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // Reads all output, so that the process never blocks while it prints.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(hear));
        let stdin = process.stdin.take();
        Self { process, stdin }
    }

    pub(crate) fn pid(&self) -> i64 {
        i64::from(self.process.id())
    }

    /// Sends a signal. One thread receives a stop first, so this waits until no thread of the process runs any more.
    pub(crate) fn signal(&self, signal: &str) {
        send(signal, self.pid());
        if cfg!(target_os = "linux") && signal == "-STOP" {
            super::eventually("the stop of all threads", || is_stopped(self.pid()));
        }
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ends the input of the process and waits. True if the process succeeded.
    pub(crate) fn end(self) -> bool {
        self.ended().success()
    }

    /// Ends the input of the process and waits for its exit.
    pub(crate) fn ended(mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.process.wait().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a signal to a process, which may have ended already.
pub(crate) fn send(signal: &str, pid: i64) {
    Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// Blocks until standard input ends.
pub(crate) fn until_told() {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

/// True if each thread of the process is stopped, according to Linux.
fn is_stopped(pid: i64) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut states = threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).ok());
    states.all(|told| told.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['T', 't'])))
}
