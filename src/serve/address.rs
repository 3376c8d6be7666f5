//! Where a status page listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The prefix of the path of a socket.
const UNIX: &str = "unix:";

/// Where a status page listens: an address of this machine, or a Unix socket. As text it is `127.0.0.1:7878` or
/// `unix:/run/readside.sock`.
///
/// # Examples
/// ```
/// use readside::serve::ServeAddress;
/// let address: ServeAddress = "127.0.0.1:7878".parse()?;
/// assert_eq!(address.tcp().map(|address| address.port()), Some(7878));
/// # #[cfg(unix)] {
/// let socket: ServeAddress = "unix:/run/readside.sock".parse()?;
/// assert_eq!((socket.tcp(), socket.to_string()), (None, "unix:/run/readside.sock".to_owned()));
/// # }
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeAddress {
    /// An address and a port.
    Tcp(SocketAddr),
    /// The path of a socket, which only the user of this process may use.
    #[cfg(unix)]
    Unix(PathBuf),
}

impl ServeAddress {
    /// The address with its port; `None` for a socket.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }

    /// True when other machines can reach it.
    pub(crate) fn is_open(&self) -> bool {
        self.tcp().is_some_and(|address| !address.ip().is_loopback())
    }
}

impl From<SocketAddr> for ServeAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for ServeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl FromStr for ServeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(UNIX) {
            Some(path) => socket(Path::new(path)),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "it is neither an address with a port, such as 127.0.0.1:7878, nor a socket, such as unix:/run/readside.sock".to_owned()
            }),
        }
    }
}

#[cfg(unix)]
fn socket(path: &Path) -> Result<ServeAddress, String> {
    if path.file_name().is_none() {
        return Err("name the file of the socket, for instance unix:/run/readside.sock".to_owned());
    }
    Ok(ServeAddress::Unix(path.to_owned()))
}

#[cfg(not(unix))]
fn socket(_path: &Path) -> Result<ServeAddress, String> {
    Err("this system has no such sockets; name an address with a port".to_owned())
}
