use super::*;
use crate::table::{integer, text};

fn tables() -> Vec<Table> {
    let items = Table::new("items").column(text("id")).column(integer("n")).column(text("items")).primary_key(["id"]);
    vec![items, Table::new("items_tags").column(text("id")).primary_key(["id"])]
}

fn read(texts: Dialects) -> Result<OwnSql, String> {
    let own = OwnSql::new(texts);
    own.check(&tables(), Some("crm")).map(|()| own).map_err(|(dialect, what)| format!("{dialect:?}: {what}"))
}

fn filled(dialect: Dialect, texts: Dialects) -> String {
    let own = read(texts).unwrap();
    own.of(dialect).unwrap().fill(|name| format!("<{name}>"), |name| format!("\"{name}\""))
}

// Contract: B2
#[test]
fn tables_are_filled_in_where_braces_are_sql() {
    let everywhere = "UPDATE {items} AS i SET n = $2, {items.items} = '{items} items_1' -- {items} don't\n \
                      WHERE i.instance_id = $1 /* {x */ AND \"n\" IN (SELECT n FROM {tags}) AND '$9' <> '?'';';";
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        assert_eq!(
            filled(dialect, everywhere.into()),
            "UPDATE <items> AS i SET n = $2, \"items\" = '{items} items_1' -- {items} don't\n \
             WHERE i.instance_id = $1 /* {x */ AND \"n\" IN (SELECT n FROM <tags>) AND '$9' <> '?'';';"
        );
        assert_eq!(read(everywhere.into()).unwrap().values(), 1);
    }
    for postgres in [
        r"UPDATE {items} SET j = E'\'{x} $7' WHERE instance_id = $1 AND j ? 'a' AND a[1:2] @> '{1,2}'",
        "UPDATE {items} SET j = $$ {x} ' $7 $$ || $a$ items $$ {x} $a$ WHERE instance_id = $1 AND j::text = ''",
        "/* /* {x} */ items */ SELECT items(1), $1 /* $5 */",
    ] {
        let text = filled(Dialect::Postgres, Dialects::postgres(postgres));
        assert_eq!(text, postgres.replace("{items}", "<items>"));
    }
    let sqlite = "DELETE FROM {items} WHERE [n] = `n` AND instance_id = $1";
    assert_eq!(filled(Dialect::Sqlite, Dialects::sqlite(sqlite)), sqlite.replace("{items}", "<items>"));
    assert!(read(Dialects::sqlite(sqlite)).unwrap().of(Dialect::Postgres).is_none());
}

// Contract: B2: a plain name would mean the live build, whichever build is written.
#[test]
fn the_name_of_a_table_of_the_projection_is_refused() {
    for text in [
        "UPDATE items SET n = 1 WHERE instance_id = $1",
        "UPDATE {items} SET n = (SELECT max(n) FROM \"Items\") WHERE instance_id = $1",
        "UPDATE {items} SET n = 1 FROM public.items_tags WHERE instance_id = $1",
        "UPDATE {items} SET n = 1 FROM items_1 WHERE instance_id = $1",
        "UPDATE {items} SET n = 1 FROM \"items_12#a\" WHERE instance_id = $1",
        "INSERT INTO crm_items_tags_3 (instance_id, id) VALUES ($1, 'a')",
        "INSERT INTO public.items (instance_id, id) VALUES ($1, 'a')",
        "INSERT INTO 'items' (instance_id, id) VALUES ($1, 'a')",
        "SELECT 1 FROM {items} AS items WHERE $1 = ''",
        "UPDATE {items} SET items = 'a' WHERE instance_id = $1",
    ] {
        let error = read(text.into()).unwrap_err();
        assert!(error.contains("names ") && error.contains("write {items"), "{text}: {error}");
    }
    for other in ["items_of", "items_1_old", "my_items", "crm_item", "tags"] {
        assert!(read(Dialects::both(Box::leak(format!("DELETE FROM {other} WHERE a = $1").into_boxed_str()))).is_ok());
    }
}

// Contract: B2, B3
#[test]
fn what_cannot_be_filled_in_or_bound_is_refused() {
    for (text, wanted) in [
        ("UPDATE {item} SET n = 1 WHERE instance_id = $1", "has no table \"item\""),
        ("UPDATE {items} SET {items.m} = 1 WHERE instance_id = $1", "no such column"),
        ("UPDATE {} SET n = 1 WHERE instance_id = $1", "has no table \"\""),
        ("UPDATE {items SET n = 1 WHERE instance_id = $1", "a { without a }"),
        ("UPDATE items} SET n = 1 WHERE instance_id = $1", "a } without a {"),
        ("UPDATE {items} SET n = ?1 WHERE instance_id = ?2", "has ?1; values are $2"),
        ("UPDATE {items} SET n = $3 WHERE instance_id = $1", "has $3, but no $2"),
        ("UPDATE {items} SET n = $n WHERE instance_id = $1", "has $n; values are $2"),
        ("UPDATE {items} SET n = $0 WHERE instance_id = $1", "has $0; values are $2"),
        ("UPDATE {items} SET n = 1", "has no $1"),
        ("UPDATE {items} SET n = 1 WHERE instance_id = $1; DELETE FROM {items}", "more than one statement"),
        ("UPDATE {items} SET n = 1 WHERE instance_id = $1 RETURNING n", "leave RETURNING out"),
        ("SELECT $1", "leave SELECT out"),
        ("UPDATE U&\"item\\0073\" SET n = 1 WHERE instance_id = $1", "a name with escapes"),
        (" COMMIT", "begins with COMMIT"),
        ("SELECT 'a", "a quote without an end"),
        ("SELECT 1 /* a", "a comment without an end"),
        (" -- nothing", "is empty"),
    ] {
        let error = read(text.into()).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    for text in ["SELECT ?", "SELECT :a", "SELECT @a", "SELECT $$a$$"] {
        let error = read(Dialects::sqlite(text)).unwrap_err();
        assert!(error.contains("values are $2"), "{text}: {error}");
    }
    let error = read(Dialects::each("DELETE FROM a WHERE b IN ($1, $2)", "DELETE FROM a WHERE b = $1")).unwrap_err();
    assert!(error.contains("takes 0 values, the text for the other database 1"), "{error}");
}
