//! The service's own rows refer to rows of a tenant that is removed: Contract: K3, O1.

use readside::error::RetentionError;
use readside::retention::{Removed, TableRows};

use readside::{EventStore, error};

use crate::{ADA, BOB, Place, Store, add, catch_up, rename, store, users};

/// Two tenants with read rows, and a table of the service that refers to these rows.
fn filled<P: Place>(place: &P, on_delete: &str) -> P::Store {
    let store = store(place, &[&users(1)]);
    store.push(&[add("a", "u1", ADA), add("a", "u2", ADA), add("b", "u1", BOB)]).unwrap();
    catch_up(&store, users(1), &["a", "b"]);
    place.sql(&format!(
        "CREATE TABLE orders (instance_id text, buyer text, CONSTRAINT known FOREIGN KEY (instance_id, buyer) \
         REFERENCES users_1 (instance_id, id) {on_delete}); \
         INSERT INTO orders VALUES ('a', 'u1'), ('a', 'u2'), ('b', 'u1'), ('a', NULL)"
    ));
    store
}

fn orders<P: Place>(place: &P) -> usize {
    place.dump().iter().filter(|(table, _)| table.ends_with("orders")).count()
}

#[track_caller]
fn assert_refused(refused: Result<Removed, RetentionError>, is_begun: bool, words: &str) {
    let refused = refused.unwrap_err();
    let text = error::chain(&refused);
    assert!(
        matches!(&refused, RetentionError::Referred { instance, begun, .. } if instance == "a" && *begun == is_begun),
        "{text}"
    );
    assert!(text.contains(words) && text.contains("orders") && text.contains("remove the instance again"), "{text}");
}

// Contract: K3, O1
both!(rows_that_hold_on_to_a_tenant_are_named_before);
pub(crate) fn rows_that_hold_on_to_a_tenant_are_named_before<P: Place>(place: &P) {
    let store = filled(place, "");
    let before = place.dump();
    assert_refused(store.remove_dry_run("a"), false, "2 rows by foreign key");
    assert_refused(store.remove("a", &mut |_| ()), false, "is not removed");
    assert_eq!(place.dump(), before, "nothing is removed, closed or on record");
    place.sql("DELETE FROM orders WHERE instance_id = 'a' AND buyer IS NOT NULL");
    store.remove("a", &mut |_| ()).unwrap();
    assert_eq!(store.names(&users(1)), [format!("b/u1={BOB}")]);
    assert_eq!(orders(place), 2, "those that refer to nothing, or to another tenant, stay");
}

// Contract: K3, O1: a foreign key that deletes its rows along says that they may go.
both!(rows_that_go_along_hold_on_to_nothing);
pub(crate) fn rows_that_go_along_hold_on_to_nothing<P: Place>(place: &P) {
    let store = filled(place, "ON DELETE CASCADE");
    store.remove("a", &mut |_| ()).unwrap();
    assert_eq!(orders(place), 2);
}

// Contract: K3, O1
both!(a_row_that_comes_half_way_is_named);
pub(crate) fn a_row_that_comes_half_way_is_named<P: Place>(place: &P) {
    let store = filled(place, "");
    store.push(&[rename("a", "u1", ADA)]).unwrap();
    place.sql("DELETE FROM orders WHERE instance_id = 'a'");
    let mut steps = 0;
    let mut meanwhile = |_: &TableRows| {
        steps += 1;
        if steps == 1 {
            place.sql("INSERT INTO orders VALUES ('a', 'u1')");
        }
    };
    assert_refused(store.remove("a", &mut meanwhile), true, "is removed in part, and what is gone stays so");
    place.sql("DELETE FROM orders WHERE instance_id = 'a'");
    store.remove("a", &mut |_| ()).unwrap();
    assert_eq!(place.traces(ADA), [""; 0]);
}
