//! What pages show, and what they never do.

use readside::failure::{By, FailureQuery};
use readside::prelude::*;
use readside::{Engine, EventStore, NewEvent};

use crate::client::address;
use crate::common::{LONG, eventually};
use crate::{Client, EVIL, Place, count, counts, options, serve, served, start};

const PATHS: [&str; 6] = ["/", "/failures", "/instances", "/activity", "/lineage", "/database"];

/// An engine with hostile names everywhere, and a failure.
fn evil<P: Place>(place: &P) -> Engine {
    let engine = start(place.open(), [counts("counts", 1)]);
    let events = [
        NewEvent::raw(EVIL, "thing", "good", EVIL),
        NewEvent::raw(EVIL, "thing", "bad one", EVIL),
        NewEvent::raw(EVIL, "thing", "bad one", EVIL),
    ];
    let pushed = engine.push(&events).unwrap();
    engine.await_pushed("counts", &pushed[..1], LONG).unwrap();
    engine.admin().pause("counts", Some(EVIL), &By::new(EVIL, EVIL)).unwrap();
    eventually("the failure", || engine.admin().failed_events("counts", &FailureQuery::all()).unwrap().len() == 2);
    engine
}

fn all_pages() -> Vec<String> {
    let of = [("projection", "counts"), ("instance", EVIL), ("position", "2"), ("type", EVIL)];
    let named = [
        address("/projection", &of[..1]),
        address("/failure", &of[..3]),
        address("/instance", &of[1..2]),
        address("/instances", &[("prefix", EVIL)]),
        address("/failures", &of),
        address("/lineage", &of[3..]),
        address("/lineage", &[("type", "<script>alert('none')</script>")]),
        address("/instances", &[("prefix", "<script>alert('none')</script>")]),
        address("/projection", &[("projection", EVIL)]),
        address("/instance", &[("instance", "<script>alert('none')</script>")]),
        address("/explain", &[of[0], of[1], ("table", EVIL), ("key", EVIL)]),
    ];
    PATHS.iter().map(|path| (*path).to_owned()).chain(named).collect()
}

// Contract: S2
both!(text_of_others_stays_text);
fn text_of_others_stays_text<P: Place>(place: &P) {
    let engine = evil(place);
    let (_server, client) = serve(&engine);
    eventually("the picture", || client.get("/index.json").page()["projections"][0]["parked"] == 1);
    for path in all_pages() {
        let answer = client.get(&path);
        let policy = answer.head.lines().find(|line| line.starts_with("Content-Security-Policy: ")).unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let body = &answer.body;
        assert_eq!(body.matches("<script").count(), 1, "{path}: {body}");
        assert!(!body.contains("<img") && !body.contains(" onerror=alert(1)>"), "{path}: {body}");
        assert!(!body.contains(" style=") && !body.contains(" onclick=") && !body.contains("javascript:"), "{path}");
        // The only scripts and styles are our own. The policy names their hashes.
        assert_eq!((body.matches("<style>").count(), policy.matches("'sha256-").count()), (1, 2));
    }
    let page = client.get(&address("/failures", &[("projection", "counts")])).body;
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"), "{page}");
}

// Contract: S2: each page has a twin in JSON with the same facts.
both!(each_page_has_a_twin_of_the_same_facts);
fn each_page_has_a_twin_of_the_same_facts<P: Place>(place: &P) {
    let engine = evil(place);
    let (_server, client) = serve(&engine);
    eventually("the picture", || client.get("/index.json").page()["projections"][0]["parked"] == 1);
    let page = |path: &str, pairs: &[(&str, &str)]| client.get(&address(path, pairs)).page();
    let whole = &client.get("/index.json").page()["whole"];
    assert_eq!((&whole["verdict"], &whole["projection"]), (&"failing".into(), &"counts".into()));
    let groups = &client.get("/failures.json").page()["groups"];
    let group = &groups["groups"][0];
    assert_eq!((&groups["counted"], &groups["complete"]), (&1.into(), &true.into()), "one waits behind");
    assert_eq!(
        (&group["event_type"], &group["class"], &group["instances"]),
        (&EVIL.into(), &"reducer".into(), &1.into())
    );
    let one = page("/failure.json", &[("projection", "counts"), ("instance", EVIL), ("position", "2")]);
    assert_eq!(
        (&one["failure"]["state"], &one["behind"], &one["payload"]),
        (&"parked".into(), &serde_json::json!([3]), &serde_json::Value::Null)
    );
    let instance = page("/instance.json", &[("instance", EVIL)]);
    assert_eq!((&instance["head"]["head"], &instance["checkpoints"][0]["held"]), (&3.into(), &true.into()));
    assert_eq!(instance["events"][0]["position"], 3, "the last one first");
    let activity = client.get("/activity.json").page();
    let act = &activity["activity"][0];
    assert_eq!((&act["what"], &act["by"]["who"], &act["instance"]), (&"pause".into(), &EVIL.into(), &EVIL.into()));
    let lineage = &client.get("/lineage.json").page()["lineage"][0];
    assert_eq!(lineage["events"], serde_json::json!([["thing", [EVIL, "thing.counted"]]]));
    assert_eq!(lineage["tables"][0]["columns"], serde_json::json!([["n", "integer"], ["thing", "text"]]));
    let seen = &lineage["seen"];
    assert_eq!(
        (&seen["events"][0]["event_type"], &seen["events"][0]["events"], &seen["events"][0]["tables"], &seen["more"]),
        (&EVIL.into(), &1.into(), &serde_json::json!(["counts"]), &false.into()),
        "the one that was applied: {seen}"
    );
    let of_type = page("/lineage.json", &[("type", EVIL)]);
    assert_eq!(of_type["lineage"].as_array().unwrap().len(), 1);
    eventually("the examination", || client.get("/database.json").status == 200);
    let database = client.get("/database.json").page();
    assert!(database["findings"].as_array().unwrap().iter().any(|one| one["check"] == "schema"), "{database}");
    for (path, status) in
        [("/projection.json", 400), ("/projection.json?projection=none", 404), ("/instance.json?instance=none", 404)]
    {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.json()["page"]["error"].is_string()), (status, true), "{path}");
    }
}

// Contract: S2, L11: the page of a projection says how often a statement met no row.
both!(statements_that_met_no_row_are_shown);
fn statements_that_met_no_row_are_shown<P: Place>(place: &P) {
    let table = Table::new("counts").column(text("thing")).primary_key(["thing"]);
    let projection = Projection::new("counts", 1)
        .table(table)
        .on_raw("thing", "thing.counted", |_| update([set("thing", "x")], [eq("thing", "nobody")]));
    let engine = start(place.open(), [projection]);
    let (_server, client) = serve(&engine);
    let of = |path: &str| client.get(&address(path, &[("projection", "counts")]));
    let shown = |met: &str| {
        of("/projection").body.contains(&format!("<dt>Updates that met no row</dt><dd class=\"\">{met}</dd>"))
    };
    eventually("the page", || shown("0"));
    let pushed = engine.push(&[count("a", "x"), count("a", "y")]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    eventually("what was met", || shown("2"));
    eventually("its twin", || of("/projection.json").page()["status"]["missed"] == 2);
}

// Contract: S2, O4
both!(payloads_are_shown_only_where_that_was_asked_for);
fn payloads_are_shown_only_where_that_was_asked_for<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1)]);
    engine.push(&[count("a", "bad").payload(&serde_json::json!({ "secret": "hunter2" }))]).unwrap();
    eventually("the failure", || engine.admin().failed_events("counts", &FailureQuery::all()).unwrap().len() == 1);
    let (_server, closed) = serve(&engine);
    let (_other, open) = served(&engine, options().show_payloads());
    let of_instance = address("/instance", &[("instance", "a")]);
    let of_failure = address("/failure", &[("projection", "counts"), ("instance", "a"), ("position", "1")]);
    for path in [of_instance, of_failure] {
        for path in [path.clone(), path.replace('?', ".json?")] {
            assert!(!closed.get(&path).body.contains("hunter2"), "{path}");
            assert!(open.get(&path).body.contains("hunter2"), "{path}");
        }
    }
}

// Contract: S2, S3, O4: the events are applied again where no reader sees it, and rows are shown only if payloads may
// be shown.
both!(a_row_is_explained_where_its_code_is);
fn a_row_is_explained_where_its_code_is<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1)]);
    let pushed = engine.push(&[count("a", "x"), count("a", "y"), count("a", "x")]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let (_server, closed) = serve(&engine);
    let (_other, open) = served(&engine, options().show_payloads());
    let of = [("projection", "counts"), ("instance", "a"), ("table", "counts"), ("key", "x")];
    let asked = address("/explain.json", &of);
    let told = open.get(&asked).page();
    let steps = told["explanation"]["steps"].as_array().unwrap();
    let seen: Vec<_> = steps.iter().map(|step| (step["position"].clone(), step["row"]["n"].clone())).collect();
    assert_eq!(seen, [(1.into(), 1.into()), (3.into(), 2.into())], "{told}");
    assert_eq!((&told["explanation"]["differs"], &told["refused"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(told["tables"], serde_json::json!([{ "table": "counts", "columns": ["thing"] }]));
    let withheld = closed.get(&asked).page();
    assert!(withheld["explanation"].is_null() && withheld["refused"].as_str().unwrap().contains("--show-payloads"));
    let form = open.get(&address("/explain", &of[..2])).body;
    assert!(form.contains("name=\"key\"") && form.contains("value=\"counts\""), "{form}");
    let page = open.get(&address("/instance", &of[1..2])).body;
    assert!(page.contains("/explain?projection=counts&amp;instance=a"), "{page}");
    for (wrong, why) in [(("instance", "none"), "none"), (("projection", "none"), "its code makes the rows")] {
        let pairs: Vec<_> = of.iter().map(|pair| if pair.0 == wrong.0 { wrong } else { *pair }).collect();
        let told = open.get(&address("/explain.json", &pairs)).page();
        assert!(told["refused"].as_str().unwrap().contains(why), "{told}");
    }
    engine.shutdown(LONG).unwrap();
    let over = open.get(&asked).page();
    assert!(over["refused"].is_string() && over["explanation"].is_null(), "{over}");
}

/// Follows the pages of a list. Returns what `of` finds on each page.
fn walk(client: Client, first: &str, of: impl Fn(&serde_json::Value) -> Vec<String>) -> Vec<Vec<String>> {
    let (mut next, mut found) = (Some(first.to_owned()), Vec::new());
    while let Some(path) = next {
        let page = client.get(&path.replacen('?', ".json?", 1)).page();
        found.push(of(&page));
        next = ["next", "earlier"].iter().find_map(|name| page[name].as_str()).map(str::to_owned);
    }
    found
}

// Contract: S3: each page has a fixed number of rows, and no row is shown twice or never.
both!(lists_come_in_pages);
fn lists_come_in_pages<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1)]);
    let instance = |number: usize| format!("tenant {number:03}");
    let events: Vec<NewEvent> = (0..120).map(|number| count(&instance(number), "bad")).collect();
    engine.push(&events).unwrap();
    eventually("the failures", || engine.admin().failed_events("counts", &FailureQuery::all()).unwrap().len() == 120);
    for number in 0..60 {
        engine.admin().pause("counts", Some(&instance(number)), &By::new("ada", "a test")).unwrap();
    }
    let (_server, client) = serve(&engine);
    let names = |list: &'static str, name: &'static str| {
        move |page: &serde_json::Value| -> Vec<String> {
            page[list].as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
        }
    };
    let all: Vec<String> = (0..120).map(instance).collect();
    let lists = walk(client, "/instances?prefix=tenant+", names("instances", "instance"));
    assert_eq!((lists.len(), lists.concat()), (3, all.clone()));
    assert_eq!(walk(client, "/instances?prefix=tenant+11", names("instances", "instance")).concat(), all[110..]);
    let lists = walk(client, "/failures?projection=counts", names("failures", "instance"));
    assert_eq!((lists.len(), lists.concat()), (3, all.clone()));
    let mut paused: Vec<String> = all[..60].to_vec();
    paused.reverse();
    let lists = walk(client, "/activity?x", names("activity", "instance"));
    assert_eq!((lists.len(), lists.concat()), (2, paused));
    let groups = client.get("/failures.json").page()["groups"].clone();
    assert_eq!((&groups["groups"][0]["events"], &groups["groups"][0]["instances"]), (&120.into(), &120.into()));
}

// Contract: S3
both!(the_worst_come_first);
fn the_worst_come_first<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), [counts("counts", 1)]);
    engine.push(&[count("a", "x"), count("b", "x"), count("c", "x")]).unwrap();
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    engine.shutdown(LONG).unwrap();
    for (instance, events) in [("a", 2), ("b", 5), ("c", 1)] {
        store.push(&(0..events).map(|_| count(instance, "y")).collect::<Vec<_>>()).unwrap();
    }
    let (_server, client) = serve(&engine);
    let page = || client.get("/projection.json?projection=counts").page();
    eventually("the lag", || page()["status"]["lag_events"] == 8);
    let found = page();
    let worst: Vec<(&str, i64)> = found["most_behind"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["instance"].as_str().unwrap(), one["lag"].as_i64().unwrap()))
        .collect();
    assert_eq!(worst, [("b", 5), ("a", 2), ("c", 1)]);
    assert_eq!(client.get("/index.json").page()["whole"]["verdict"], "behind");
}
