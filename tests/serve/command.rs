//! `readside serve` and `readside status --probe`, run as processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use readside::EventStore;
use readside::builds::Phase;
use readside::failure::{By, FailureQuery};
use readside::store::{ProjectionKey, ProjectionStore};

use crate::changes::Listening;
use crate::client::address;
use crate::common::{LONG, child, eventually};
use crate::{Client, EVIL, Place, count, counts, serve, start};

fn command(place: &impl Place) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("readside"));
    command.env_remove("READSIDE_EVENTS_URL").env_remove("READSIDE_SERVE_PASSWORD").env_remove("RUST_LOG");
    command.env("READSIDE_DATABASE_URL", place.address());
    command
}

/// A running `serve`. It is killed with this value, if it still runs.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serving(command: &mut Command) -> (Serving, Client) {
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let serving = Serving(process);
    let told: serde_json::Value = serde_json::from_str(&line).expect(&line);
    (serving, Client::of(told["address"].as_str().unwrap().parse().unwrap()))
}

// Contract: S1
both!(the_command_serves_any_database_until_a_signal);
fn the_command_serves_any_database_until_a_signal<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1)]);
    let pushed = engine.push(&[count("a", "x")]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let args = ["serve", "--json", "--listen", "127.0.0.1:0", "--every", "100ms"];
    let (mut process, client) = serving(command(place).args(args));
    eventually("the page", || client.get("/index.json").page()["projections"][0]["handled"] == 1);
    eventually("ready", || client.get("/ready").status == 200);
    assert_eq!([client.get("/").status, client.get("/health").status], [200; 2]);
    for path in ["/projection?projection=counts", "/failures", "/instances", "/activity", "/lineage", "/database"] {
        eventually(path, || client.get(path).status == 200);
    }
    let metrics = client.get("/metrics").body;
    assert!(metrics.contains("readside_lag_events{projection=\"counts\"} 0\n"), "{metrics}");
    assert!(!metrics.contains("readside_batch"), "what an engine measures is its process's");
    child::send("-TERM", process.0.id().into());
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}

// Contract: S6: whoever watches what somebody removes is told so.
both!(a_stream_of_a_removed_projection_ends_with_the_reason);
fn a_stream_of_a_removed_projection_ends_with_the_reason<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1)]);
    let pushed = engine.push(&[count("a", "x")]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    let (_process, client) =
        serving(command(place).args(["serve", "--json", "--listen", "127.0.0.1:0", "--every", "100ms"]));
    let target = "/changes?projection=counts&instance=a";
    let mut listening = Listening::to(client, target, "");
    assert_eq!(listening.told(), ("begin".to_owned(), serde_json::json!({ "position": 1 })));
    let by = ["--who", "ada", "--why", "a test"];
    let out = command(place).args(["projections", "remove", "counts"]).args(by).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    // Its checkpoints may go first, so that a look in between finds all rows to be read anew.
    let (name, data) = std::iter::repeat_with(|| listening.told()).find(|(name, _)| name != "anew").unwrap();
    assert_eq!(name, "end");
    assert!(data["reason"].as_str().unwrap().contains("was removed"), "{data}");
    assert_eq!(listening.rest(), "", "nothing comes behind it");
    assert_eq!(client.get(target).status, 404);
}

// Contract: S6: without an engine the checkpoints tell, up to which position.
both!(the_command_tells_of_changes_by_position);
fn the_command_tells_of_changes_by_position<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1)]);
    let (_process, client) =
        serving(command(place).args(["serve", "--json", "--listen", "127.0.0.1:0", "--every", "100ms"]));
    let mut listening = Listening::to(client, "/changes?projection=counts&instance=a", "");
    for position in 0..3 {
        let name = if position == 0 { "begin" } else { "anew" };
        assert_eq!(listening.told(), (name.to_owned(), serde_json::json!({ "position": position })));
        engine.push(&[count("a", "x")]).unwrap();
    }
}

// Contract: S1, O4
#[test]
fn other_machines_need_a_password_or_a_word() {
    let place = crate::common::file::File::new();
    place.open().setup().unwrap();
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let open = ["serve", "--listen", "0.0.0.0:0", "--json"];
    let (code, said) = run(command(&place).args(open));
    assert!(code == Some(1) && said.contains("without a password"), "{said}");
    let (code, said) = run(command(&place).args(open).env("READSIDE_SERVE_PASSWORD", ""));
    assert!(code == Some(1) && said.contains("is empty"), "{said}");
    let file = place.at("password");
    std::fs::write(&file, "s3cret\nrest").unwrap();
    let port = serving(command(&place).args(open).args(["--host", "here", "--password-file"]).arg(&file));
    let here = Client::of(([127, 0, 0, 1], port.1.address().port()).into());
    let with = |login: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: here\r\nAuthorization: Basic {login}\r\n\r\n");
        here.say(head.as_bytes()).status
    };
    assert_eq!([with("cmVhZHNpZGU6czNjcmV0"), with("cmVhZHNpZGU6d3Jvbmc=")], [200, 401]);
}

// Contract: S5
both!(the_probe_tells_stuck_from_behind);
fn the_probe_tells_stuck_from_behind<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), [counts("counts", 1)]);
    let pushed = engine.push(&[count("a", "x")]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let probe = |more: &[&str]| {
        let output = command(place).args(["status", "--probe"]).args(more).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    eventually("idle", || probe(&[]) == (0, "ok: idle\n".to_owned()));
    engine.shutdown(LONG).unwrap();
    store.push(&[count("a", "x")]).unwrap();
    assert_eq!(probe(&[]), (0, "ok: behind\n".to_owned()), "its event is new");
    store
        .builds()
        .enter(&ProjectionKey { name: "counts".into(), version: 1 }, &[Phase::Live], Phase::Live, Some("a trouble"))
        .unwrap();
    let (code, said) = probe(&[]);
    let (json_code, json) = probe(&["--json"]);
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, told["healthy"].as_bool()), (json_code, Some(code == 0)), "{said}");
    assert_eq!(said.starts_with("stuck: counts: "), code == 4, "{said}");
}

// Contract: S1
#[test]
fn the_command_serves_on_a_socket_and_takes_it_away() {
    let place = crate::common::file::File::new();
    place.open().setup().unwrap();
    let socket = place.at("page.sock");
    let address = format!("unix:{}", socket.display());
    let mut process =
        command(&place).args(["serve", "--json", "--listen", &address]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut process = Serving(process);
    let told: serde_json::Value = serde_json::from_str(&line).expect(&line);
    assert_eq!((&told["address"], &told["url"]), (&address.into(), &serde_json::Value::Null));
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
    child::send("-TERM", process.0.id().into());
    assert_eq!((process.0.wait().unwrap().code(), socket.exists()), (Some(0), false));
}

/// The commands that a page shows, as a reader copies them.
fn shown(body: &str) -> Vec<String> {
    let texts =
        body.split("<code").skip(1).map(|rest| rest.split_once('>').unwrap().1.split("</code>").next().unwrap());
    let texts = texts.map(|text| text.replace("<span>", "").replace("</span>", ""));
    let copied = |text: &str| {
        let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        plain.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    texts.filter(|text| text.starts_with("readside ")).map(|text| copied(&text)).collect()
}

// Contract: S3: a shell takes each command of a page, and no argument is missing.
both!(each_command_on_a_page_is_whole);
fn each_command_on_a_page_is_whole<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1), counts("others", 1)]);
    let pushed = engine.push(&[count(EVIL, "x"), count(EVIL, "bad"), count("b", "x")]).unwrap();
    engine.await_pushed("counts", &pushed[..1], LONG).unwrap();
    engine.admin().pause("others", Some(EVIL), &By::new("ada", "a test")).unwrap();
    eventually("the failure", || engine.admin().failed_events("counts", &FailureQuery::all()).unwrap().len() == 1);
    engine.shutdown(LONG).unwrap();
    let store = place.open();
    store.push(&[count("b", "x")]).unwrap();
    let key = ProjectionKey { name: "others".into(), version: 1 };
    store.builds().enter(&key, &[Phase::Live], Phase::Live, Some("the switch was refused: no")).unwrap();
    let (_server, client) = serve(&engine);
    let of = |name| {
        client.get("/index.json").page()["projections"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == name)
            .cloned()
    };
    eventually("the picture", || of("others").is_some_and(|one| one["verdict"] == "stuck"));
    eventually("the examination", || client.get("/database").status == 200);
    let pair = ("projection", "counts");
    let paths = [
        "/".to_owned(),
        "/database".to_owned(),
        address("/projection", &[pair]),
        address("/projection", &[("projection", "others")]),
        address("/failure", &[pair, ("instance", EVIL), ("position", "2")]),
        address("/instance", &[("instance", EVIL)]),
        address("/explain", &[pair, ("instance", EVIL)]),
    ];
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(assert_cmd::cargo::cargo_bin!("readside"), folder.path().join("readside")).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut all: Vec<String> = paths.iter().flat_map(|path| shown(&client.get(path).body)).collect();
    all.sort();
    all.dedup();
    assert!(all.len() > 8, "{all:?}");
    for text in all {
        // Wrong arguments end with 2. Right ones meet a database that is not there.
        let mut shell = Command::new("sh");
        shell.args(["-c", &text]).env("PATH", &path).env("READSIDE_DATABASE_URL", folder.path().join("no/test.db"));
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("no/test.db"), "{text}: {said}");
    }
}
