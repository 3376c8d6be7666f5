//! Any bytes as a history: commits or an error, and what is read does not depend on how the bytes come.
#![no_main]

use std::io::BufReader;

use libfuzzer_sys::fuzz_target;

#[path = "../../examples/git_history/parse.rs"]
mod parse;

fn read(bytes: &[u8], buffer: usize) -> (Vec<parse::Commit>, Option<String>) {
    let (mut commits, mut failed) = (Vec::new(), None);
    for item in parse::Commits::new(BufReader::with_capacity(buffer, bytes)) {
        assert!(failed.is_none(), "nothing comes after an error");
        match item {
            Ok(commit) => commits.push(commit),
            Err(error) => failed = Some(error.to_string()),
        }
    }
    (commits, failed)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, 1 << 16);
    assert_eq!(whole, read(bytes, 1));
    for commit in &whole.0 {
        assert!(!commit.hash.is_empty());
        assert!(commit.files.iter().all(|file| !file.path.is_empty() && file.added >= 0 && file.removed >= 0));
    }
});
