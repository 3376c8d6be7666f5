//! Read tables that somebody drops or renames beneath their checkpoints.

use readside::error::{SetupError, full};
use readside::*;

use crate::versions::{live, start_doubled};
use crate::{LONG, Place, counts, eager, eventually, fill, lawful, seen, start};

fn is_there<P: Place>(place: &P, name: &str) -> bool {
    let catalog =
        if place.address().starts_with("postgres") { "pg_class WHERE relname" } else { "sqlite_master WHERE name" };
    place.query(&format!("SELECT count(*) FROM {catalog} = '{name}'")) != ["0"]
}

/// Who starts and who looks are told the table, and what helps; nothing is made.
fn refused<P: Place>(place: &P, gone: &str) {
    let store = place.open();
    for outcome in [ProjectionStore::setup(&store, &[&counts(1)]), ProjectionStore::verify(&store, &[&counts(1)])] {
        match outcome {
            Err(error @ SetupError::TableGone { .. }) => {
                let text = full(&error);
                for word in ["\"counts\"", gone, "rename it back", "raise the version"] {
                    assert!(text.contains(word), "{word}: {text}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!is_there(place, gone), "nothing is made");
}

fn filled<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 2, 20);
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    engine.shutdown(LONG).unwrap();
}

// SPEC L2: a checkpoint never stands above rows that are not there.
pub(crate) fn a_dropped_table_is_not_made_anew_beneath_its_checkpoint<P: Place>(place: &P) {
    filled(place);
    place.sql("DROP VIEW counts_log; DROP TABLE counts_log_1");
    refused(place, "counts_log_1");
    place.sql("DROP VIEW counts; DROP TABLE counts_1");
    refused(place, "counts_1");
    // The way out that the error names.
    let engine = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    fill(&engine, 1, 1);
    assert_eq!(place.query("SELECT sum(times) FROM counts"), ["41"]);
}

// SPEC L2
pub(crate) fn a_renamed_table_is_missed_until_it_is_back<P: Place>(place: &P) {
    filled(place);
    let before = seen(place);
    place.sql("ALTER TABLE counts_1 RENAME TO counts_old");
    refused(place, "counts_1");
    place.sql("ALTER TABLE counts_old RENAME TO counts_1");
    assert_eq!(seen(place), before);
    let engine = start(place.open(), eager());
    fill(&engine, 1, 1);
    lawful(place);
}

// SPEC L2: where nothing was applied yet, nothing is lost.
pub(crate) fn a_table_that_was_never_filled_is_made_again<P: Place>(place: &P) {
    ProjectionStore::setup(&place.open(), &[&counts(1)]).unwrap();
    place.sql("DROP VIEW counts_log; DROP TABLE counts_log_1");
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    lawful(place);
}

// SPEC L2: readers would see old rows for ever.
pub(crate) fn a_view_on_another_table_is_refused<P: Place>(place: &P) {
    filled(place);
    place.sql(
        "ALTER TABLE counts_log_1 RENAME TO counts_old; \
         CREATE TABLE counts_kept AS SELECT * FROM counts_old",
    );
    place.sql("DROP VIEW counts_log; CREATE VIEW counts_log AS SELECT * FROM counts_kept");
    place.sql("ALTER TABLE counts_old RENAME TO counts_log_1");
    let store = place.open();
    for outcome in [ProjectionStore::setup(&store, &[&counts(1)]), ProjectionStore::verify(&store, &[&counts(1)])] {
        match outcome {
            Err(error @ SetupError::ViewElsewhere { .. }) => {
                let text = full(&error);
                for word in ["\"counts\"", "\"counts_log\"", "\"counts_log_1\"", "DROP VIEW"] {
                    assert!(text.contains(word), "{word}: {text}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
    // The way out that the error names.
    place.sql("DROP VIEW counts_log");
    ProjectionStore::setup(&store, &[&counts(1)]).unwrap();
    place.sql("DELETE FROM counts_kept");
    assert_eq!(place.query("SELECT count(*) FROM counts_log"), ["40"]);
}
