//! Whether read tables are as the code declares them, and what stands in the way of their next rebuild.

use super::wording::{SHOWN, unreadable};
use crate::error::StoreError;
use crate::inspect::{Finding, Hanging, Lacking};
use crate::remedy::{Act, Subject};

/// Lists the objects on read tables that would make a rebuild or a removal fail, before anybody tries.
pub(super) fn objects(found: Result<Vec<Hanging>, StoreError>) -> Vec<Finding> {
    let check = "objects";
    let found = match found {
        Ok(found) => found,
        Err(error) => return vec![unreadable(check, &error)],
    };
    let named = |which: &dyn Fn(&Hanging) -> bool| -> Vec<String> {
        let which: Vec<&Hanging> = found.iter().filter(|one| which(one)).collect();
        let mut words: Vec<String> =
            which.iter().take(SHOWN).map(|one| format!("{} on table {:?}", one.what, one.table)).collect();
        if which.len() > SHOWN {
            words.push(format!("and {} more", which.len() - SHOWN));
        }
        words
    };
    let (moved, fixed, left) =
        (named(&|one| one.is_live && one.moves), named(&|one| one.is_live && !one.moves), named(&|one| !one.is_live));
    let mut findings = Vec::new();
    // The command for the first of them.
    let first = |act: Act, which: &dyn Fn(&Hanging) -> bool| {
        let of = found.iter().find(|one| which(one)).map_or("", |one| one.projection.as_str());
        act.on(&Subject { projection: of, version: None, instance: None })
    };
    if !fixed.is_empty() {
        let rebuild = first(Act::Rebuild, &|one| one.is_live && !one.moves).flag("--accept-loss");
        findings.push(Finding::warn(
            check,
            format!("a rebuild is refused, because it cannot move {}", fixed.join("; ")),
            format!(
                "let it use the view that readers use, which follows each switch; or drop it before a rebuild and make it \
                 again afterwards; or leave it on the former table by `{rebuild}`"
            ),
        ));
    }
    if !left.is_empty() {
        let remove = first(Act::DropOld, &|one| !one.is_live);
        findings.push(Finding::warn(
            check,
            format!("not what readers see, and its build cannot be removed: {}", left.join("; ")),
            format!("drop it, or let it use the view that readers use; then remove the build by `{remove}`"),
        ));
    }
    if findings.is_empty() {
        let text = if moved.is_empty() {
            "no view, foreign key or other object of the service depends on read tables".to_owned()
        } else {
            format!("a rebuild moves what depends on read tables: {}", moved.join("; "))
        };
        findings.push(Finding::ok(check, text));
    } else if !moved.is_empty() {
        findings.push(Finding::ok(check, format!("a rebuild moves {}", moved.join("; "))));
    }
    findings
}

/// Checks whether readers see what engines write.
pub(super) fn tables(found: Result<Vec<String>, StoreError>) -> Option<Finding> {
    let check = "tables";
    match found {
        Ok(found) if found.is_empty() => None,
        Ok(found) => Some(Finding::fail(
            check,
            found.join("; "),
            "start the service again, which makes a view again and says what to do about a table; a view of another table's has \
             to be dropped first",
        )),
        Err(error) => Some(unreadable(check, &error)),
    }
}

/// What the code declares for read tables and the database lacks.
pub(super) fn declared(found: Result<Vec<Lacking>, StoreError>) -> Option<Finding> {
    let check = "declared";
    let found = match found {
        Ok(found) if found.is_empty() => return None,
        Ok(found) => found,
        Err(error) => return Some(unreadable(check, &error)),
    };
    let describe = |one: &Lacking| format!("{} on table {:?} of {:?}", one.what, one.table, one.projection);
    let mut words: Vec<String> = found.iter().take(SHOWN).map(describe).collect();
    if found.len() > SHOWN {
        words.push(format!("and {} more", found.len() - SHOWN));
    }
    let of = found.first().map_or("", |one| one.projection.as_str());
    let rebuild = Act::Rebuild.on(&Subject { projection: of, version: None, instance: None });
    Some(Finding::warn(
        check,
        format!("the code declares and the database lacks: {}", words.join("; ")),
        format!(
            "make the tables again as the code declares them, by `{rebuild}`; comments, grants and isolation come back with \
             the next set-up, too, by the owner of the tables"
        ),
    ))
}
