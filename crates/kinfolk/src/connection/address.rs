//! Where a listener is.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};

/// The address of a [`Listener`](crate::Listener): a path of this machine, or a
/// TCP port of any.
///
/// As text it is a path, with a `/` in it, or `host:port`:
///
/// ```
/// use kinfolk::Address;
///
/// let path: Address = "/run/family.sock".parse()?;
/// assert_eq!(path, Address::unix("/run/family.sock"));
/// let port: Address = "[::1]:5000".parse()?;
/// assert_eq!(port, Address::tcp("::1", 5000));
/// assert_eq!(port.to_string(), "[::1]:5000");
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A unix socket at this path.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// The name or number of the machine.
        host: String,
        /// The port; 0 to listen at a free one.
        port: u16,
    },
}

impl Address {
    /// A unix socket at this path.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix(path.into())
    }

    /// A TCP port of the machine of this name or number.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp { host: host.into(), port }
    }

    /// Whether it is a TCP port.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }

    /// The path of a unix socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp { .. } => None,
        }
    }
}

/// Asks the system for the numbers of a machine.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if nobody knows it.
pub(super) fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let unknown =
        || Error::new(ErrorKind::NotFound, format!("there is no machine of the name `{host}`"));
    let found: Vec<_> = (host, port).to_socket_addrs().map_err(|_| unknown())?.collect();
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) if path.as_os_str().as_encoded_bytes().contains(&b'/') => {
                path.display().fmt(f)
            }
            Self::Unix(path) => write!(f, "./{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.contains('/') {
            return Ok(Self::unix(text));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(address.into());
        }
        let parts = text
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty() && !host.contains([':', '[', ']']));
        match parts.map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => Ok(Self::tcp(host, port)),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("`{text}` is no address: give a path with a `/` in it, or host:port"),
            )),
        }
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::unix(path)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        // With the scope that an address of one link has.
        let host = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
            _ => address.ip().to_string(),
        };
        Self::tcp(host, address.port())
    }
}

impl From<(IpAddr, u16)> for Address {
    fn from((host, port): (IpAddr, u16)) -> Self {
        Self::tcp(host.to_string(), port)
    }
}

impl From<(&str, u16)> for Address {
    fn from((host, port): (&str, u16)) -> Self {
        Self::tcp(host, port)
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn text_and_address_are_the_same() {
        for text in ["/a/b", "./b", "localhost:1", "127.0.0.1:65535", "[::1]:0"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!(Address::unix("b").to_string(), "./b");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "b", "b:", ":1", "b:65536", "::1:5", "[::1]", "[b]:1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
