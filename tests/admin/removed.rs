//! Builds in a database where the removal of a tenant was cut off.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use readside::admin::RebuildOptions;

use readside::{Engine, admin};

use crate::{Place, by, eager, fill, seen, start, tenant};

/// Begins to remove a tenant, and dies after the first step.
fn remove_in_part<P: Place>(place: &P, instance: &str) {
    let cut_off = || place.remove_tenant(instance, &mut |_| resume_unwind(Box::new(())));
    assert!(catch_unwind(AssertUnwindSafe(cut_off)).is_err(), "there was no step");
}

/// What the doctor says about operations.
fn told<P: Place>(place: &P) -> Vec<String> {
    let findings = admin::Doctor::default().examine(&place.open());
    findings.into_iter().filter(|finding| finding.check == "operations").map(|finding| finding.found).collect()
}

fn rebuilt(engine: &Engine) -> admin::RebuildReport {
    engine
        .admin()
        .rebuild("counts", RebuildOptions::default(), &by(), |progress| {
            let waits = progress.waits_for.as_deref().unwrap_or_default();
            assert!(!waits.contains("not as far"), "nobody will ever bring it as far: {waits}");
        })
        .unwrap()
}

// Contract: O1, O2, K3: a removal that was cut off blocks no build, and everybody is told about it.
both!(a_removal_that_was_cut_off_holds_no_rebuild_up);
pub(crate) fn a_removal_that_was_cut_off_holds_no_rebuild_up<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 2, 3);
    let of_first = seen(place).into_iter().filter(|row| row.starts_with(&tenant(0))).collect::<Vec<_>>();
    assert_eq!(told(place), [""; 0]);
    remove_in_part(place, &tenant(1));
    let report = rebuilt(&engine);
    assert!(report.switched, "{report:?}");
    assert_eq!((report.left_out.standing, report.left_out.reasons.len()), (1, 1), "{report:?}");
    assert!(report.left_out.reasons[0].contains("\"tenant-001\" was removed in part"), "{report:?}");
    assert_eq!(seen(place), of_first);
    assert!(told(place)[0].contains("remove of instance \"tenant-001\", begun by \"ada\""), "{:?}", told(place));
    place.remove_tenant(&tenant(1), &mut |_| ());
    assert!(rebuilt(&engine).left_out.is_empty());
    assert_eq!((seen(place), told(place)), (of_first, Vec::new()));
}
