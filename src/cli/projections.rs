//! Finds a projection by its name, in the database and in the code of this process.

use anyhow::bail;

use super::Session;
use super::format::clean;
use crate::builds::{Build, Phase};
use crate::inspect::ProjectionStatus;
use crate::query::HeadsRequest;

/// `users@3`, or `users@3 (next)` for the shadow of this build.
pub(super) fn shown(projection: &str, version: u32, mark: Option<&str>) -> String {
    let mark = mark.map_or(String::new(), |mark| format!(" ({})", clean(mark)));
    format!("{}@{version}{mark}", clean(projection))
}

/// The same for a build. One that is kept for the way back is no next one, whatever its mark.
pub(super) fn shown_build(build: &Build) -> String {
    shown(build.key.projection(), build.key.version, build.key.mark().map(|mark| in_phase(mark, build.phase)))
}

/// The same for the status of a build.
pub(super) fn shown_status(found: &ProjectionStatus) -> String {
    shown(&found.name, found.version, found.build.as_deref().map(|mark| in_phase(mark, found.phase)))
}

fn in_phase(mark: &str, phase: Phase) -> &str {
    if phase == Phase::Kept { "kept" } else { mark }
}

impl Session<'_> {
    /// All builds of all projections.
    pub(super) fn builds(&self) -> anyhow::Result<Vec<Build>> {
        Ok(self.store.builds().builds()?)
    }

    /// The build of a projection that readers see, or the build of the given version.
    pub(super) fn build(&self, name: &str, version: Option<u32>) -> anyhow::Result<Build> {
        let all = self.builds()?;
        let of_name: Vec<&Build> = all.iter().filter(|build| build.key.projection() == name).collect();
        let wanted = |build: &&&Build| version.is_none_or(|version| build.key.version == version);
        // The live build comes first, then the highest version, then the build with the plain name.
        let rank = |build: &&&Build| (build.phase == Phase::Live, build.key.version, build.key.mark().is_none());
        if let Some(found) = of_name.iter().filter(wanted).max_by_key(rank) {
            return Ok((**found).clone());
        }
        if let (Some(version), false) = (version, of_name.is_empty()) {
            let known: Vec<String> = of_name.iter().map(|build| build.key.version.to_string()).collect();
            bail!("projection {name:?} has no version {version} here, but {}", known.join(", "));
        }
        let mut known: Vec<String> = all.iter().map(|build| clean(build.key.projection())).collect();
        known.dedup();
        if known.is_empty() {
            bail!(
                "there is no projection {name:?} here, nor any other; the service registers its projections when it starts"
            );
        }
        bail!("there is no projection {name:?} here; there are: {}", known.join(", "))
    }

    /// Refuses an instance that has no event.
    pub(super) fn check_instance(&self, instance: &str) -> anyhow::Result<()> {
        let request = HeadsRequest { instances: vec![instance.into()], limit: 1, ..HeadsRequest::default() };
        if self.events.heads(&request)?.is_empty() {
            bail!("there is no instance {instance:?} here; see `readside instances`");
        }
        Ok(())
    }
}
