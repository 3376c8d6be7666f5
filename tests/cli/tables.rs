//! Tables in a terminal of 80 columns, and in a pipe.

use readside::{HandlerConfig, NewEvent, Policy};

use crate::service::{service, users};
use crate::{Place, command, on_both, ran};

const LISTS: [&[&str]; 8] = [
    &["doctor"],
    &["failed", "list"],
    &["status"],
    &["commands"],
    &["operations"],
    &["builds", "list"],
    &["instances", "--projection", "users"],
    &["leases"],
];

/// Pushes events with long names, and makes a failed event, commands and operations.
fn fill(place: &Place) {
    let long = "a-tenant-with-quite-a-long-name";
    place.with(|store| {
        let added = |id: &str, payload: &str| NewEvent::raw(long, "user", id, "user.added").payload_json(payload);
        store.push(&[added("u1", "{}"), added("u2", r#"{"bad":1}"#), added("u2", "{}")]).unwrap();
        let config = HandlerConfig::default().policy(Policy::Park);
        store.handler(users(false), config).trigger(&[long]).unwrap();
    });
    let why = "a reason of many words, which nobody would want to read in one narrow column at night";
    place.run(&["redact", "--instance", long, "--position", "1", "--why", why]).ok();
    assert_eq!(service(place, false, &["failed", "retry", "users", long, "2", "--why", why]).code, 1);
}

fn words(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    words.sort_unstable();
    words.dedup();
    words
}

// Contract: L11: people can see a standstill in any terminal: no line is too long, and no word is broken.
#[test]
fn lists_are_readable_at_80_columns_and_in_a_pipe() {
    on_both(|place| {
        fill(place);
        for list in LISTS {
            let piped = place.run(list).ok();
            assert!(piped.lines().count() > 1, "{list:?}: {piped}");
            let narrow = ran(command().env("COLUMNS", "80").args(["-d", &place.name()]).args(list), "").ok();
            for line in narrow.lines().filter(|line| line.contains(' ')) {
                assert!(line.chars().count() <= 80, "{list:?}: {line}\n{narrow}");
            }
            // Ages change between the two calls, and the narrow form repeats the column names in each row.
            let is_number = |word: &&&str| word.chars().any(|letter| letter.is_ascii_digit()) && word.len() < 20;
            let (wide, narrow_words) = (words(&piped), words(&narrow));
            let lost: Vec<_> = wide.iter().filter(|word| !is_number(word) && !narrow_words.contains(word)).collect();
            // A long text is cut where it would fill a screen, and the last line says how to see the whole.
            let says_cut = narrow.lines().any(|line| line.contains("`readside commands --id ID`"));
            assert!(lost.is_empty() != says_cut, "{list:?}: {lost:?} in {narrow}");
            assert!(
                !piped.contains('…') && !piped.contains("is cut"),
                "{list:?}: nothing is cut for a program: {piped}"
            );
            assert!(!piped.lines().any(|line| line.ends_with(' ')), "{list:?}: nothing pads the last column");
        }
        // For scripts, each row is one line.
        assert_eq!(place.run(&["commands"]).ok().lines().count(), 2);
        assert_eq!(place.run(&["operations"]).ok().lines().count(), 2);
    });
}
