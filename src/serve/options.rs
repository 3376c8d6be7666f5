//! How a status page is served.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::address::ServeAddress;
use super::error::ServeError;
use super::http::password::Password;

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest time between two looks. An older page is of no use.
const LONGEST: Duration = Duration::from_mins(5);

/// Where and how a status page is served. By default only on this machine, on port 7878.
///
/// # Examples
/// ```
/// use readside::serve::ServeOptions;
/// let options = ServeOptions::default();
/// let open = ServeOptions::at("0.0.0.0:7878".parse()?).host("status.example").password("ops", "a long one");
/// # let _ = (options, open);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone)]
#[must_use = "it is what a page is served by"]
pub struct ServeOptions {
    pub(crate) listen: ServeAddress,
    pub(crate) hosts: Vec<String>,
    pub(crate) password: Option<Password>,
    pub(crate) open: bool,
    pub(crate) every: Duration,
    pub(crate) payloads: bool,
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("listen", &self.listen)
            .field("hosts", &self.hosts)
            .field("password", &self.password)
            .finish_non_exhaustive()
    }
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 7878).into())
    }
}

impl ServeOptions {
    /// Listens on this address. Port 0 takes a free one.
    pub fn at(listen: SocketAddr) -> Self {
        Self::on(listen.into())
    }

    /// Listens on this address, or on this socket. A socket needs no password: only the user of this process may use
    /// it. The page removes it at its end, and replaces a former one on which no process listens.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(unix)] {
    /// use readside::serve::ServeOptions;
    /// let options = ServeOptions::on("unix:/run/readside.sock".parse()?);
    /// # let _ = options;
    /// # }
    /// # Ok::<(), String>(())
    /// ```
    pub fn on(listen: ServeAddress) -> Self {
        let (hosts, every) = (Vec::new(), Duration::from_secs(2));
        Self { listen, hosts, password: None, open: false, every, payloads: false }
    }

    /// Also accepts this name as the host of a request. The page refuses a request whose host is neither this nor the
    /// address.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Asks for this name and password. `/health` and `/ready` answer without them, in one word.
    pub fn password(mut self, name: &str, password: &str) -> Self {
        self.password = Some(Password::new(name, password));
        self
    }

    /// Lets other machines see the page without a password.
    pub fn without_password(mut self) -> Self {
        self.open = true;
        self
    }

    /// The time between two looks at the database, whatever the number of readers. It grows where a look takes long.
    /// From 100 ms to 5 minutes. Default: 2 s.
    pub fn every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// Shows payloads and metadata of events. They are hidden by default.
    pub fn show_payloads(mut self) -> Self {
        self.payloads = true;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let wrong = |what: String, why| Err(ServeError::Setting { what, why });
        if !(SHORTEST..=LONGEST).contains(&self.every) {
            let what = format!("the time between two looks, {}", crate::clock::spoken(self.every));
            return wrong(what, "name one from 100 ms to 5 minutes");
        }
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        if let Some(name) = self.hosts.iter().find(|name| !is_name(name)) {
            return wrong(
                format!("the host {name:?}"),
                "name it as it stands in the address, for instance status.example",
            );
        }
        if self.listen.is_open() && self.password.is_none() && !self.open {
            return Err(ServeError::Open { address: self.listen.clone() });
        }
        Ok(())
    }
}
