//! Why a status page cannot be served.

use super::address::ServeAddress;
use crate::plain::{listed, plain};

/// Why a status page is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The server cannot listen on the address.
    #[error("the status page cannot listen on {}; name a free address of this machine, or end what holds it", plain(&address.to_string()))]
    Listen {
        /// The address.
        address: ServeAddress,
        /// What the system says.
        source: std::io::Error,
    },
    /// Other machines could reach the address, and no option allows that.
    #[error(
        "the status page would be open to other machines on {} without a password; set one, or say that it needs none",
        plain(&address.to_string())
    )]
    Open {
        /// The address.
        address: ServeAddress,
    },
    /// A setting cannot be used.
    #[error("the status page: {} cannot be used: {why}", plain(what))]
    Setting {
        /// The setting.
        what: String,
        /// Why not, and what to write instead.
        why: &'static str,
    },
    /// A thread could not be started.
    #[error("the thread {} of the status page cannot be started; see how many the system allows", plain(name))]
    Thread {
        /// Its name.
        name: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Threads did not end in time.
    #[error("threads of the status page did not end in time: {}", listed(names, ", "))]
    StillRunning {
        /// Their names.
        names: Vec<String>,
    },
}
