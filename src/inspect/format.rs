//! Durations in JSON, in seconds; sizes for people.

use std::time::Duration;

use serde::{Serialize, Serializer};

#[expect(clippy::ref_option, reason = "serde's signature")]
pub(super) fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| (duration.as_secs_f64() * 1000.0).round() / 1000.0).serialize(serializer)
}

/// A size for people.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(crate) fn bytes(count: i64) -> String {
    let (mut size, mut units) = (count as f64, ["KiB", "MiB", "GiB", "TiB"].into_iter());
    if size < 1024.0 {
        return format!("{count} bytes");
    }
    let mut unit = "";
    while size >= 1024.0 {
        let Some(next) = units.next() else { break };
        (size, unit) = (size / 1024.0, next);
    }
    format!("{size:.1} {unit}")
}

#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }
}
