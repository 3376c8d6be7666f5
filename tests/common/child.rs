//! Processes of a test's own: the test binary, started again to run one of its ignored tests.

use std::io::{BufRead, BufReader};
use std::process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio};

/// A process that runs until its standard input ends, or until it is killed, at the latest with this value.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    stdin: Option<ChildStdin>,
}

impl Child {
    /// Starts it, with these variables, and hands each line that it prints to `hear`.
    pub(crate) fn start(test: &str, env: &[(&str, &str)], hear: impl FnMut(String) + Send + 'static) -> Self {
        Self::spawn(Command::new(std::env::current_exe().unwrap()), test, env, hear)
    }

    /// As [`start`](Self::start), by a shell that first runs `before`.
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
        // What it prints must never block it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(hear));
        let stdin = process.stdin.take();
        Self { process, stdin }
    }

    pub(crate) fn pid(&self) -> i64 {
        i64::from(self.process.id())
    }

    /// A stop is over when no thread runs any more: one that is sent is taken by one thread first.
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

    /// Ends its input and waits; true when it ended well.
    pub(crate) fn end(self) -> bool {
        self.ended().success()
    }

    /// Ends its input and waits.
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

/// Sends a signal to a process, which may have ended by itself.
pub(crate) fn send(signal: &str, pid: i64) {
    Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// Blocks until standard input ends.
pub(crate) fn until_told() {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

/// True when each thread of the process stands still, as Linux tells.
fn is_stopped(pid: i64) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut states = threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).ok());
    states.all(|told| told.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['T', 't'])))
}
