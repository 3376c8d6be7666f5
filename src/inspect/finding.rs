//! What an examination finds.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well.
    Ok,
    /// It works, but slowly, or not for long.
    Warn,
    /// It does not work.
    Fail,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, one or two words.
    pub check: &'static str,
    /// How bad it is.
    pub verdict: Severity,
    /// What was found.
    pub found: String,
    /// What to do, unless all is well.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Severity::Ok, found: found.into(), remedy: None }
    }

    /// Something that a person should watch.
    pub fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Severity::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Something that a person has to repair.
    pub fn fail(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Severity::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// The finding of one check of the doctor, or the error of the store.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) type Examined = Result<Finding, crate::error::StoreError>;
