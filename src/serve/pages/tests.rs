use std::time::{Duration, Instant};

use super::*;
use crate::SqliteStore;
use crate::inspect::{Inspect, Survey};
use crate::serve::series;
use crate::sqlite::tests::{cost, crowded};

/// All pages but that of the examination, which another thread makes, and that of an explanation, which needs an engine.
const ALL: [(&str, &str); 9] = [
    ("/", ""),
    ("/failures", ""),
    ("/failures", "projection=p000001"),
    ("/failure", "projection=p000001&instance=i000001&position=1"),
    ("/instances", ""),
    ("/instance", "instance=i000001"),
    ("/activity", ""),
    ("/lineage", ""),
    ("/projection", "projection=p000001"),
];

/// The pages of a store, and what they show of it.
fn shown(store: &SqliteStore) -> (Pages, Shown) {
    let store = Arc::new(store.clone());
    let place = Place {
        models: Arc::clone(&store) as _,
        events: Some(Arc::clone(&store) as _),
        log: None,
        has_two_databases: false,
        engine: None,
        examine: Box::new(Vec::new),
    };
    let status = store.look(false, &mut Survey::default()).unwrap();
    let picture = Picture { status, commands: Vec::new(), taken: Instant::now(), took: Duration::ZERO };
    let shown = Shown { picture: Some(Arc::new(picture)), ..Shown::default() };
    let pages = Pages::new(Arc::new(place), Arc::new(Board::new()), Arc::default(), &ServeOptions::default());
    (pages, shown)
}

fn answer(pages: &Pages, shown: &Shown, path: &str, query: &str) -> String {
    // A page shows again what was found for the same picture. So each page here gets a new picture.
    let picture = shown.picture.as_deref().unwrap();
    let picture =
        Picture { status: picture.status.clone(), commands: Vec::new(), taken: Instant::now(), took: Duration::ZERO };
    let shown = Shown { picture: Some(Arc::new(picture)), ..Shown::default() };
    let reply = pages.answer(path, &Query::read(query).unwrap(), &shown);
    assert_eq!(reply.status, 200, "{path}?{query}: {}", reply.body);
    reply.body
}

// Contract: S3: a page and its twin ask as little of a large database as of a small one.
#[test]
fn a_page_asks_no_more_where_there_is_more() {
    let (_few, few) = crowded(3, 5, 5);
    let (_many, many) = crowded(30, 50, 50);
    let (few_pages, of_few) = shown(&few);
    let (many_pages, of_many) = shown(&many);
    for (path, query) in ALL {
        let twin = if path == "/" { "/index.json".to_owned() } else { format!("{path}.json") };
        let asked = |store, pages: &Pages, shown: &Shown, path: &str| {
            cost(store, |_| drop(answer(pages, shown, path, query))).0
        };
        let small = asked(&few, &few_pages, &of_few, path);
        assert!(small <= 8, "{path}?{query} runs {small} statements");
        for path in [path, twin.as_str()] {
            assert_eq!(asked(&many, &many_pages, &of_many, path), small, "{path}?{query}");
        }
    }
}

// Contract: S3: the overview stays small, however many builds there are and however long they are watched.
#[test]
fn the_overview_has_a_bounded_size() {
    let (_many, many) = crowded(300, 2, 1);
    let (pages, shown) = shown(&many);
    let status = &shown.picture.as_ref().unwrap().status;
    for step in 0..400 {
        let mut later = status.clone();
        later.at += series::STEP * step;
        pages.sources.board.series.lock().take(&later);
    }
    let index: serde_json::Value = serde_json::from_str(&answer(&pages, &shown, "/index.json", "")).unwrap();
    let rows = index["page"]["projections"].as_array().unwrap();
    let points: usize = rows.iter().map(|row| row["hour"].as_array().unwrap().len()).sum();
    assert_eq!(rows.len(), 300);
    assert!((5_000..=10_000).contains(&points), "{points} points");
    let bytes = [answer(&pages, &shown, "/index.json", ""), answer(&pages, &shown, "/", "")].map(|body| body.len());
    assert!(bytes.iter().all(|bytes| *bytes < 2_000_000), "{bytes:?}");
    println!("/index.json and / of 300 builds: {bytes:?} bytes");
    // The ends of the hour are kept.
    let hour = pages.sources.board.series.lock().of(&series::id(&status.projections[0]));
    let told = rows.iter().find(|row| row["name"] == "p000001").unwrap()["hour"].as_array().unwrap().clone();
    let at = |point: &series::Point| serde_json::to_value(point).unwrap();
    assert_eq!((hour.len(), told.first()), (361, Some(&at(&hour[0]))));
    assert_eq!(told.last(), Some(&at(&hour[360])));
}
