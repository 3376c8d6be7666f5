//! URIs of SQLite files. A parameter of a URI may be a key.

use std::borrow::Cow;

/// Parameters whose values are never secret. Other parameters belong to extensions, and may be keys.
const HARMLESS: [&str; 7] = ["mode", "cache", "immutable", "nolock", "psow", "vfs", "modeof"];

/// A database's place as messages show it: the URI of a file without possible secrets, anything else unchanged.
pub(crate) fn shown(place: &str) -> Cow<'_, str> {
    let Some(rest) = place.strip_prefix("file:") else { return place.into() };
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let host = path.strip_prefix("//").and_then(|path| path.split_once('/')).filter(|(host, _)| host.contains('@'));
    let path = host.map_or_else(|| path.into(), |(_, path)| Cow::from(format!("//***/{path}")));
    let Some(query) = query else { return format!("file:{path}").into() };
    let shown: Vec<String> = query.split(['&', ';']).map(parameter).collect();
    format!("file:{path}?{}", shown.join("&")).into()
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, _)) if HARMLESS.contains(&name) => text.to_owned(),
        Some((name, _)) => format!("{name}=***"),
        // A parameter without a value may be a part of a secret value.
        None if HARMLESS.contains(&text) || text.is_empty() => text.to_owned(),
        None => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: O4
    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        for (place, wanted) in [
            ("file:x.db", "file:x.db"),
            ("file:/a/x.db?mode=ro&immutable=1", "file:/a/x.db?mode=ro&immutable=1"),
            ("file:x.db?key=supersecret", "file:x.db?key=***"),
            ("file:x.db?mode=ro&hexkey=supersecret&cache=shared", "file:x.db?mode=ro&hexkey=***&cache=shared"),
            ("file:x.db?key=super&secret", "file:x.db?key=***&***"),
            ("file:x.db?key=super?secret=x", "file:x.db?key=***"),
            ("file:x.db?supersecret", "file:x.db?***"),
            ("file:x.db?MODE=supersecret", "file:x.db?MODE=***"),
            ("file://ada:supersecret@host/x.db?mode=ro", "file://***/x.db?mode=ro"),
            ("x.db?key=shown", "x.db?key=shown"),
        ] {
            assert_eq!(shown(place), wanted);
        }
    }
}
