//! Conditions on JSON documents, and copies of several rows onto one key. Both databases give the same results.

use readside::prelude::*;

use readside::error;
use serde_json::value::RawValue;

use crate::Fixture;

/// Applies the statement of one event. A failing statement leaves nothing behind.
fn apply(fixture: &Fixture, projection: &Projection, statement: Reduced) -> Result<(), error::StoreError> {
    let statement = statement.unwrap();
    fixture.models().transaction(&mut |tx| tx.apply_one(projection, "a", &statement))
}

fn copies() -> Projection {
    Projection::new("copies", 1)
        .table(
            Table::new("copies")
                .column(text("id"))
                .column(text("name").nullable())
                .column(integer("n"))
                .primary_key(["id"])
                .unique(["name"]),
        )
        .on_raw("thing", "thing.copied", |_| noop())
}

// Contract: B2: which of several rows stays would be chance, so the copy is refused.
both!(rows_copied_onto_one_key_are_refused);
pub(crate) fn rows_copied_onto_one_key_are_refused(fixture: &Fixture) {
    let projection = copies();
    fixture.store.setup(&[&projection]).unwrap();
    for (id, name, n) in [("x", Some("ada"), 1), ("y", None, 2), ("z", None, 2)] {
        apply(fixture, &projection, create([set("id", id), set("name", name), set("n", n)])).unwrap();
    }
    let all = || [ge("n", 0)];
    for several in [
        copy(["id"], ["id", "n"], [source_value("new"), source_column("n")], all()),
        copy(["id"], ["id", "n"], [source_value("x"), source_column("n")], all()),
        copy(
            ["id"],
            ["id", "name", "n"],
            [source_value("new"), source_column("id"), source_column("n").added()],
            all(),
        ),
    ] {
        let refused = apply(fixture, &projection, several).unwrap_err();
        assert_eq!((refused.kind(), refused.is_statements_fault()), (error::StoreErrorKind::Data, true), "{refused}");
    }
    let rows = || {
        let number = |row: &Vec<(String, Value)>| (row[1].1.clone(), row[3].1.clone());
        fixture.read_rows(&projection, "copies").iter().map(number).collect::<Vec<_>>()
    };
    let row = |id: &str, n: i64| (Value::from(id), Value::from(n));
    assert_eq!(rows(), [row("x", 1), row("y", 2), row("z", 2)]);
    // There is one row for each key. NULL matches nothing.
    for one_each in [
        copy(["id"], ["id", "n"], [source_column("id"), source_value(7)], [gt("n", 1)]),
        copy(["id"], ["id", "n"], [source_value("new"), source_column("n")], [eq("name", "ada")]),
        copy(["id"], ["id", "n"], [source_value("none"), source_column("n")], [gt("n", 100)]),
    ] {
        apply(fixture, &projection, one_each).unwrap();
    }
    assert_eq!(rows(), [row("new", 1), row("x", 1), row("y", 7), row("z", 7)]);
}

#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod alike {
    use super::*;
    use crate::common::random::{Random, seed};

    fn docs() -> Projection {
        Projection::new("docs", 1)
            .table(
                Table::new("docs")
                    .column(text("id"))
                    .column(json("j").nullable())
                    .column(text_array("hits").nullable())
                    .primary_key(["id"]),
            )
            .on_raw("thing", "thing.told", |_| noop())
    }

    /// A document of few parts, so that many are equal. It is written in many spellings.
    fn any_json(random: &mut Random, depth: usize) -> String {
        const LEAVES: [&str; 23] = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "-0.0",
            "0e5",
            "1",
            "1.0",
            "1e0",
            "10E-1",
            "1e400",
            "10e399",
            "-1e400",
            "1e-400",
            "0.1234567890123456789",
            "0.12345678901234567891",
            "12345678901234567890123",
            "12345678901234567890124",
            "\"1\"",
            "\"\\u00fc\"",
            "\"ü\"",
            "\"null\"",
        ];
        const KEYS: [&str; 4] = ["a", "\\u0061", "b", ""];
        let space = |random: &mut Random| [" ", "", "\n"][random.below(3)];
        let kind = if depth == 0 { 0 } else { random.below(3) };
        let count = random.below(3);
        let parts: Vec<String> = (0..count).map(|_| any_json(random, depth.saturating_sub(1))).collect();
        match kind {
            0 => LEAVES[random.below(LEAVES.len())].to_owned(),
            1 => format!("[{}{}]", space(random), parts.join(&format!(",{}", space(random)))),
            _ => {
                let field = |part: &String| {
                    format!("\"{}\":{}{part}", KEYS[random.below(KEYS.len())], " ".repeat(part.len() % 2))
                };
                let fields: Vec<String> = parts.iter().map(field).collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }

    fn condition(random: &mut Random, documents: &[String]) -> Condition {
        let any = |random: &mut Random| match random.below(2) {
            0 => documents[random.below(documents.len())].clone(),
            _ => any_json(random, 2),
        };
        let (one, other) = (any(random), any(random));
        let document = |text: String| Value::Json(text);
        match random.below(6) {
            0 => eq("j", document(one)),
            1 => ne("j", document(one)),
            2 => is_in("j", [document(one), document(other)]),
            3 => not(eq("j", document(one))),
            4 => not(json_contains("j", &RawValue::from_string(one).unwrap())),
            _ => json_contains("j", &RawValue::from_string(one).unwrap()),
        }
    }

    // Contract: B3: documents are compared by their meaning, however they are spelled.
    #[test]
    fn conditions_on_documents_mean_the_same_on_both_databases() {
        let stores = [crate::sqlite(), crate::postgres()];
        let projection = docs();
        let mut random = Random::new(seed());
        let documents: Vec<String> = (0..150).map(|_| any_json(&mut random, 2)).collect();
        let conditions: Vec<Condition> = (0..200).map(|_| condition(&mut random, &documents)).collect();
        let found = stores.each_ref().map(|fixture| {
            fixture.store.setup(&[&projection]).unwrap();
            for (n, document) in documents.iter().enumerate() {
                let row = create([set("id", format!("{n:03}")), set("j", Value::Json(document.clone()))]);
                apply(fixture, &projection, row).unwrap();
            }
            apply(fixture, &projection, create([set("id", "none"), set("j", Value::Null)])).unwrap();
            for (n, condition) in conditions.iter().enumerate() {
                let hit = update([array_append("hits", n.to_string())], [condition.clone()]);
                apply(fixture, &projection, hit).unwrap();
            }
            let rows = fixture.read_rows(&projection, "docs");
            rows.into_iter().map(|mut row| row.remove(3).1).collect::<Vec<_>>()
        });
        let [sqlite, postgres] = found;
        let hits = sqlite.iter().filter(|hits| !hits.is_null()).count();
        assert!(hits > 100, "{hits} documents met a condition");
        for ((document, sqlite), postgres) in documents.iter().zip(&sqlite).zip(&postgres) {
            assert_eq!(sqlite, postgres, "{document}: {conditions:?}");
        }
        assert_eq!(sqlite, postgres);
    }
}
