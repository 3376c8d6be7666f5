//! Other processes: the bench's own binary, started again in another role. Also measures what processes cost.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

const ROLE: &str = "READSIDE_BENCH_ROLE";

/// The role of this process with its arguments. `None` in the first process.
pub(crate) fn role() -> Option<Vec<String>> {
    let role = std::env::var(ROLE).ok()?;
    Some(role.split('\n').map(str::to_owned).collect())
}

/// Blocks until the process that started this one ends its input, or has ended.
pub(crate) fn until_told() {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

/// The bench, started again. The process ends with this value.
pub(crate) struct Other {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    pub(crate) fn start(role: &[&str]) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// The next line that the process prints.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().expect("it says something before it ends").unwrap()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The highest memory use of this process so far, in KiB.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// CPU seconds of a process, of its living descendants, and of the ended children that it has waited for. `None` if
/// there is no such process here.
pub(crate) fn cpu_seconds(root: u32) -> Option<f64> {
    let processes: HashMap<u32, (u32, u64)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    processes.get(&root)?;
    let of_root = |pid: &u32| {
        let mut pid = *pid;
        while pid != root {
            match processes.get(&pid) {
                Some((parent, _)) if *parent > 1 => pid = *parent,
                _ => return false,
            }
        }
        true
    };
    let ticks: u64 = processes.iter().filter(|(pid, _)| of_root(pid)).map(|(_, (_, ticks))| ticks).sum();
    Some(ticks as f64 / 100.0)
}

/// CPU seconds of this process alone.
pub(crate) fn own_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: f64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// Parent and CPU time of a process. The time is in hundredths of a second.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((u32::try_from(number(1)?).ok()?, number(11)? + number(12)? + number(13)? + number(14)?))
}
