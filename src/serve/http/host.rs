//! Which host names this server answers to. It does not answer a foreign page whose own name points here (DNS
//! rebinding).

use std::net::SocketAddr;

use crate::serve::address::ServeAddress;

/// The names that a request may use as its host, each with or without the port.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    names: Vec<String>,
    /// `None` for a socket, which has no port.
    port: Option<u16>,
}

impl Hosts {
    /// The address itself, `localhost` if the address is on this machine, and the given names.
    pub(crate) fn of(address: &ServeAddress, names: &[String]) -> Self {
        let Some(address) = address.tcp() else {
            // A client that reaches the socket is on this machine. A proxy in front of it passes on the name that it
            // was asked for.
            let here = std::iter::once("localhost".to_owned());
            return Self {
                names: here.chain(names.iter().map(|name| name.to_ascii_lowercase())).collect(),
                port: None,
            };
        };
        let ip = |address: SocketAddr| match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        };
        let mut all = vec![ip(address)];
        if address.ip().is_loopback() || address.ip().is_unspecified() {
            all.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        }
        all.extend(names.iter().map(|name| name.to_ascii_lowercase()));
        Self { names: all, port: Some(address.port()) }
    }

    /// Whether it is one of them. A request without a host does not come from a web page.
    pub(crate) fn accepts(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return false };
        let host = host.trim().to_ascii_lowercase();
        let is_known = |name: &str| self.names.iter().any(|known| known == name);
        if is_known(&host) {
            return true;
        }
        // The port follows the last colon, outside of the brackets of an address.
        let split = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        split.is_some_and(|(name, port)| {
            is_known(name) && port.parse::<u16>().is_ok_and(|port| self.port.is_none_or(|own| own == port))
        })
    }
}
