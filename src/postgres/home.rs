//! The schema of the engine's own tables.
//!
//! The code writes SQL with the default name, `readside`. If the tables are in another schema, this module replaces
//! that name in each statement of the engine. So only one place knows the schema.

use std::borrow::Cow;

use crate::sql::quote;

/// The default schema.
pub(super) const USUAL: &str = "readside";

/// The relations of the engine that SQL names in that schema.
const RELATIONS: [&str; 20] = [
    "all_events",
    "commands",
    "database_id",
    "events",
    "events_archive",
    "heads",
    "held_events",
    "index_ids",
    "instances",
    "interventions",
    "members",
    "operations",
    "pauses",
    "projection_states",
    "projection_tables",
    "projections",
    "schema_migrations",
    "standstills",
    "store",
    "unique_constraints",
];

/// The schema of the engine's own tables.
#[derive(Debug, Clone)]
pub(super) struct Home {
    name: String,
    /// The quoted name, as SQL needs it. `None` for the default schema.
    quoted: Option<String>,
}

impl Home {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), quoted: (name != USUAL).then(|| quote(name)) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A statement with this schema in place of the default one, before the engine's relations.
    pub(super) fn sql<'s>(&self, sql: &'s str) -> Cow<'s, str> {
        match &self.quoted {
            Some(quoted) if sql.contains(USUAL) => Cow::Owned(exchanged(sql, quoted, false)),
            _ => Cow::Borrowed(sql),
        }
    }

    /// As [`sql`](Self::sql), for the engine's scripts: it also replaces the schema itself and everything else inside
    /// it.
    pub(super) fn script<'s>(&self, sql: &'s str) -> Cow<'s, str> {
        match &self.quoted {
            Some(quoted) => Cow::Owned(exchanged(sql, quoted, true)),
            None => Cow::Borrowed(sql),
        }
    }
}

/// Replaces the schema. Text in quotes or behind `--` is no name of the engine, and stays.
fn exchanged(sql: &str, quoted: &str, is_script: bool) -> String {
    let mut done = String::with_capacity(sql.len() + 64);
    let mut rest = sql;
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$');
    while let Some(at) = rest.find(|letter: char| is_part(letter) || matches!(letter, '\'' | '"' | '-')) {
        let (before, from) = rest.split_at(at);
        done.push_str(before);
        let first = from.chars().next().unwrap_or_default();
        let end = match first {
            '-' if from.starts_with("--") => from.find('\n').unwrap_or(from.len()),
            '-' => 1,
            '\'' | '"' => from.get(1..).and_then(|inside| inside.find(first)).map_or(from.len(), |end| end + 2),
            _ => from.find(|letter| !is_part(letter)).unwrap_or(from.len()),
        };
        let (word, behind) = from.split_at(end);
        let is_qualified = done.ends_with('.');
        let names_relation = || {
            let name = behind.strip_prefix('.').unwrap_or_default();
            let name = name.get(..name.find(|letter| !is_part(letter)).unwrap_or(name.len()));
            name.is_some_and(|name| RELATIONS.contains(&name))
        };
        done.push_str(if word == USUAL && !is_qualified && (is_script || names_relation()) { quoted } else { word });
        rest = behind;
    }
    done.push_str(rest);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_names_are_exchanged_and_no_others() {
        let home = Home::new("other");
        for (sql, wanted) in [
            ("SELECT 1 FROM readside.events e", "SELECT 1 FROM \"other\".events e"),
            ("SELECT readside.events.position", "SELECT \"other\".events.position"),
            (
                "UPDATE readside.instances t SET x = 'readside.events'",
                "UPDATE \"other\".instances t SET x = 'readside.events'",
            ),
            ("SELECT \"readside.events\", \"readside\".events", "SELECT \"readside.events\", \"readside\".events"),
            ("SELECT 'it''s' FROM readside.heads", "SELECT 'it''s' FROM \"other\".heads"),
            ("SELECT db.readside.events, my_readside.events", "SELECT db.readside.events, my_readside.events"),
            ("SELECT readside.name FROM people readside", "SELECT readside.name FROM people readside"),
            ("SAVEPOINT readside_push", "SAVEPOINT readside_push"),
            ("SELECT 'readside.events", "SELECT 'readside.events"),
            ("SELECT 1 - 2 -- it's\nFROM readside.store", "SELECT 1 - 2 -- it's\nFROM \"other\".store"),
            ("SELECT 1", "SELECT 1"),
        ] {
            assert_eq!(home.sql(sql), wanted);
            assert_eq!(Home::new(USUAL).sql(sql), sql);
        }
        let made = home.script("CREATE SCHEMA IF NOT EXISTS readside; LISTEN readside; DROP INDEX readside.x");
        assert_eq!(made, "CREATE SCHEMA IF NOT EXISTS \"other\"; LISTEN \"other\"; DROP INDEX \"other\".x");
    }

    // `RELATIONS` has every table of the scripts, so no statement keeps the default schema.
    #[test]
    fn no_script_names_the_usual_schema_afterwards() {
        let home = Home::new("other");
        for script in super::super::MIGRATIONS {
            let exchanged = home.script(script);
            let code: String = exchanged.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
            assert!(!code.contains(USUAL), "{exchanged}");
            for made in ["CREATE TABLE ", "CREATE VIEW ", "CREATE OR REPLACE VIEW "] {
                for (at, _) in script.match_indices(made) {
                    let name = &script[at + made.len()..];
                    let name = name[..name.find([' ', '(', '\n']).unwrap()].strip_prefix("readside.").unwrap();
                    assert!(RELATIONS.contains(&name), "{name}: add it to RELATIONS");
                }
            }
        }
    }
}
