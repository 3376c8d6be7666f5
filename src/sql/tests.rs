//! Golden tests: what statements look like on both databases.

use super::{Dialect, create_tables, create_view, render};
use crate::projection::Projection;
use crate::statement::*;
use crate::table::{Table, float, integer, json, text, text_array};
use crate::value::Value;

fn projection() -> Projection {
    let table = Table::new("t")
        .column(text("id"))
        .column(integer("n").nullable().default(7))
        .column(float("f").nullable())
        .column(json("j").nullable())
        .column(text_array("tags").nullable())
        .primary_key(["id"])
        .index(["n"]);
    let other =
        Table::suffix("o\"dd").column(text("id")).column(text("x")).primary_key(["id", "x"]).references_primary(["id"]);
    Projection::new("p", 3).table(table).table(other).on_raw("a", "e", |_| noop())
}

/// The PostgreSQL text and its values, then SQLite's text; values are the same on both.
fn both(statement: Reduced) -> (Vec<String>, Vec<Value>) {
    let statement = statement.expect("it is built");
    let projection = projection();
    statement.check(projection.tables(), &|name| projection.own_sql(name)).expect("it fits");
    let mut texts = Vec::new();
    let mut params = Vec::new();
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let rendered = render(dialect, &projection, "i", &statement).expect("it is rendered");
        params = rendered.iter().flat_map(|sql| sql.params.clone()).collect();
        texts.extend(rendered.into_iter().map(|sql| sql.text));
    }
    texts.dedup();
    (texts, params)
}

fn words(made: Vec<super::Making>) -> Vec<String> {
    made.into_iter().map(|made| made.sql).collect()
}

fn one(statement: Reduced) -> String {
    let (texts, _) = both(statement);
    assert_eq!(texts.len(), 1, "the same on both databases: {texts:?}");
    texts.into_iter().next().unwrap()
}

// Contract: B2, B4
#[test]
fn statements_are_rendered_with_bound_values_and_the_instance() {
    assert_eq!(
        one(create([set("id", "x'; DROP"), set("n", None::<i64>), set_json("j", &[1])])),
        r#"INSERT INTO "t_3" ("instance_id", "id", "n", "j") VALUES ($1, $2, NULL, $3)"#
    );
    assert_eq!(
        one(upsert(["id"], [set("id", "x"), increment("n", 2), set_on_insert("f", 1.0)])),
        r#"INSERT INTO "t_3" AS t ("instance_id", "id", "n", "f") VALUES ($1, $2, $3, $4) ON CONFLICT ("instance_id", "id") DO UPDATE SET "n" = t."n" + excluded."n""#
    );
    assert_eq!(
        one(upsert(["id"], [set("id", "x"), set_if("n", 2, gt("n", 2))])),
        r#"INSERT INTO "t_3" AS t ("instance_id", "id", "n") VALUES ($1, $2, $3) ON CONFLICT ("instance_id", "id") DO UPDATE SET "n" = CASE WHEN t."n" > $4 THEN excluded."n" ELSE t."n" END"#
    );
    assert_eq!(
        one(update([decrement("n", 1), set("f", 2), copy_column("tags", "tags")], [eq("id", "x"), not(is_null("n"))])),
        r#"UPDATE "t_3" SET "n" = "n" + $2, "f" = $3, "tags" = "tags" WHERE "instance_id" = $1 AND ("id" = $4) AND (NOT ("n" IS NULL))"#
    );
    assert_eq!(one(delete([le("n", 1)])), r#"DELETE FROM "t_3" WHERE "instance_id" = $1 AND ("n" <= $2)"#);
    assert_eq!(
        one(in_table("o\"dd", create([set("id", "x"), set("x", "y")]))),
        r#"INSERT INTO "t_o""dd_3" ("instance_id", "id", "x") VALUES ($1, $2, $3)"#
    );
}

// Contract: B3: both refuse what overflows, one of them without a check of this library.
#[test]
fn a_float_is_added_to_by_a_function_where_the_sum_could_be_infinite() {
    let (texts, params) = both(update([decrement("f", 2), greatest("n", 3)], [eq("id", "x")]));
    let rest =
        r#""n" = CASE WHEN "n" IS NULL OR "n" < $3 THEN $3 ELSE "n" END WHERE "instance_id" = $1 AND ("id" = $4)"#;
    assert_eq!(
        texts,
        [
            format!(r#"UPDATE "t_3" SET "f" = "f" + $2, {rest}"#),
            format!(r#"UPDATE "t_3" SET "f" = readside_plus("f", $2), {rest}"#)
        ]
    );
    assert_eq!(params[1..3], [Value::Float(-2.0), Value::Integer(3)]);
}

// Contract: B2: a conflict writes what was selected, under the name of the column that is written.
#[test]
fn copies_name_their_targets() {
    let (texts, _) = both(copy(
        ["id"],
        ["id", "n", "f"],
        [source_value("new"), source_column("n").added(), source_column("f")],
        [eq("id", "old")],
    ));
    assert_eq!(
        texts,
        [
            r#"INSERT INTO "t_3" AS t ("instance_id", "id", "n", "f") SELECT c."instance_id", $2, c."n", c."f" FROM "t_3" AS c WHERE c."instance_id" = $1 AND (c."id" = $3) ON CONFLICT ("instance_id", "id") DO UPDATE SET "n" = t."n" + excluded."n", "f" = excluded."f""#,
            r#"INSERT INTO "t_3" AS t ("instance_id", "id", "n", "f") SELECT CASE WHEN count(*) OVER (PARTITION BY c."instance_id", $2) > 1 AND $2 IS NOT NULL THEN readside_twice() ELSE c."instance_id" END, $2, c."n", c."f" FROM "t_3" AS c WHERE c."instance_id" = $1 AND (c."id" = $3) ON CONFLICT ("instance_id", "id") DO UPDATE SET "n" = t."n" + excluded."n", "f" = excluded."f""#,
        ]
    );
    // Keys that come from other keys conflict with nothing.
    assert_eq!(
        one(copy(["id"], ["id", "n"], [source_column("id"), source_value(1)], [ge("n", 0)])),
        r#"INSERT INTO "t_3" AS t ("instance_id", "id", "n") SELECT c."instance_id", c."id", $2 FROM "t_3" AS c WHERE c."instance_id" = $1 AND (c."n" >= $3) ON CONFLICT ("instance_id", "id") DO UPDATE SET "n" = excluded."n""#
    );
}

// Contract: B3: NULL never shifts the numbering.
#[test]
fn nulls_take_no_placeholder() {
    let (texts, params) =
        both(delete([eq("n", None::<i64>), ne("f", None::<f64>), is_in("id", ["a", "b"]), lt("n", 4)]));
    assert_eq!(
        texts,
        [
            r#"DELETE FROM "t_3" WHERE "instance_id" = $1 AND ("n" IS NULL) AND ("f" IS NOT NULL) AND ("id" IN ($2, $3)) AND ("n" < $4)"#
        ]
    );
    assert_eq!(params, ["i".into(), "a".into(), "b".into(), Value::from(4)]);
    assert_eq!(
        one(delete([is_in("id", Vec::<String>::new())])),
        r#"DELETE FROM "t_3" WHERE "instance_id" = $1 AND (FALSE)"#
    );
}

// Contract: B3
#[test]
fn arrays_and_documents_differ_by_database() {
    let (texts, _) = both(update([array_append("tags", "x")], [contains("tags", "y"), json_contains("j", &1)]));
    assert_eq!(
        texts,
        [
            r#"UPDATE "t_3" SET "tags" = array_append("tags", $2) WHERE "instance_id" = $1 AND ($3 = ANY("tags")) AND ("j" @> $4)"#,
            r#"UPDATE "t_3" SET "tags" = json_insert(coalesce("tags", '[]'), '$[#]', $2) WHERE "instance_id" = $1 AND (CASE WHEN "tags" IS NULL THEN NULL ELSE EXISTS (SELECT 1 FROM json_each("tags") j WHERE j.value = $3) END) AND (readside_json_contains("j", $4))"#,
        ]
    );
}

// Contract: B1, I1
#[test]
fn tables_carry_the_instance_in_front() {
    assert_eq!(
        words(create_tables(Dialect::Postgres, &projection(), None)),
        [
            r#"CREATE TABLE IF NOT EXISTS "t_3" ("instance_id" text COLLATE "C" NOT NULL, "id" text COLLATE "C" NOT NULL, "n" bigint DEFAULT 7, "f" double precision, "j" jsonb, "tags" text[], PRIMARY KEY ("instance_id", "id"))"#,
            r#"CREATE TABLE IF NOT EXISTS "t_o""dd_3" ("instance_id" text COLLATE "C" NOT NULL, "id" text COLLATE "C" NOT NULL, "x" text COLLATE "C" NOT NULL, PRIMARY KEY ("instance_id", "id", "x"), FOREIGN KEY ("instance_id", "id") REFERENCES "t_3" ("instance_id", "id") ON DELETE CASCADE)"#,
            r#"CREATE INDEX IF NOT EXISTS "t_3_n_idx" ON "t_3" ("instance_id", "n")"#,
        ]
    );
    let placed = projection().placed(Some("app".into()));
    let sql = words(create_tables(Dialect::Postgres, &placed, None));
    assert!(sql.iter().all(|sql| !sql.contains("SCHEMA") && sql.contains(r#" "app"."t_"#)), "{sql:?}");
    assert!(sql.iter().any(|sql| sql.contains(r#"REFERENCES "app"."t_3""#)), "{sql:?}");
    let schema = projection().schema("crm").placed(Some("app".into()));
    let first = schema.tables().first().unwrap().clone();
    let names = ["instance_id", "id", "n", "f", "j", "tags"].map(str::to_owned);
    assert_eq!(
        create_view(Dialect::Postgres, Some("crm"), &first.name, &schema.key(), &names),
        r#"CREATE VIEW "crm"."t" AS SELECT "instance_id", "id", "n", "f", "j", "tags" FROM "crm"."t_3", (SELECT) AS "readside writes the table, nobody writes to the view""#
    );
    assert!(
        create_view(Dialect::Sqlite, Some("crm"), &first.name, &schema.key(), &names)
            .starts_with(r#"CREATE VIEW "crm_t" AS"#)
    );
}
