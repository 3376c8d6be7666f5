//! The exact text of the help.

use crate::run;

#[test]
fn every_help_reads_well() {
    let commands = [
        "",
        "status",
        "serve",
        "instances",
        "events",
        "push",
        "export",
        "import",
        "failed",
        "failed list",
        "failed show",
        "failed retry",
        "failed discard",
        "pause",
        "resume",
        "leases",
        "setup",
        "backup",
        "rebuild",
        "builds",
        "builds list",
        "builds switch",
        "builds back",
        "builds drop-old",
        "builds abandon",
        "reset",
        "verify",
        "explain",
        "commands",
        "redact",
        "projections",
        "projections remove",
        "remove-instance",
        "reopen-instance",
        "archive",
        "operations",
        "bench",
        "doctor",
        "completions",
    ];
    for name in commands {
        let mut args: Vec<&str> = name.split_whitespace().collect();
        args.push("--help");
        let help = run(&args).ok();
        insta::assert_snapshot!(format!("help {name}").trim().replace(' ', "-"), help);
        args.pop();
        args.push("-h");
        assert!(!run(&args).ok().is_empty());
    }
}

#[test]
fn completions_are_scripts() {
    for (shell, word) in [
        ("bash", "complete "),
        ("zsh", "#compdef readside"),
        ("fish", "complete -c readside"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = run(&["completions", shell]).ok();
        assert!(script.contains(word), "{shell}: {script}");
        assert!(script.contains("instances"), "{shell}");
    }
}

#[test]
fn the_environment_is_not_printed() {
    let out =
        crate::ran(crate::command().env("READSIDE_DATABASE_URL", "postgres://ada:secret@nowhere/db").arg("--help"), "")
            .ok();
    assert!(out.contains("READSIDE_DATABASE_URL"));
    assert!(!out.contains("secret"));
}
