//! Handshakes of sockets that are not the library's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use super::challenge::Role;
use super::handshake::Handshake;
use super::pending::Pending;
#[cfg(doc)]
use crate::ErrorKind;
use crate::Result;
use crate::process::AuthKey;
use crate::sys::fork_guard::PrivateFd;
use crate::wire::frame::Wait;

/// The handshake by which a [`Listener`](crate::Listener) and a
/// [`Client`](crate::Client) prove to each other that they know a key, on a stream socket
/// that is used otherwise afterwards: for bindings, whose connections are their own.
///
/// It never waits: look whether the socket is ready meanwhile, and for how long. It reads
/// nothing of what follows. Dropping it leaves the other duplicates of the socket open.
///
/// ```
/// use std::os::fd::OwnedFd;
/// use std::os::unix::net::UnixStream;
/// use kinfolk::{AuthKey, Challenges};
///
/// let (a, b) = UnixStream::pair()?;
/// let key = AuthKey::random()?;
/// let mut listener = Challenges::of_listener(OwnedFd::from(a.try_clone()?), &key, false)?;
/// let mut client = Challenges::of_client(OwnedFd::from(b.try_clone()?), &key, false)?;
/// assert!(!client.go_on()?, "it has answered");
/// assert!(!listener.go_on()?, "it is convinced, and has answered");
/// assert!(client.go_on()? && listener.go_on()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Challenges {
    /// Where it stands.
    pending: Pending,
}

impl Challenges {
    /// Begins as the side that has accepted. `legacy` allows answers by MD5, which Python
    /// before 3.12 gives.
    ///
    /// # Errors
    ///
    /// If the other side is gone.
    pub fn of_listener(socket: OwnedFd, key: &AuthKey, legacy: bool) -> Result<Self> {
        Self::begin(Role::Listener, socket, key, legacy)
    }

    /// Begins as the side that has connected, as [`of_listener`](Self::of_listener) does as
    /// the other one.
    ///
    /// # Errors
    ///
    /// If the other side is gone.
    pub fn of_client(socket: OwnedFd, key: &AuthKey, legacy: bool) -> Result<Self> {
        Self::begin(Role::Client, socket, key, legacy)
    }

    /// Begins.
    fn begin(role: Role, socket: OwnedFd, key: &AuthKey, legacy: bool) -> Result<Self> {
        let mut pending = Pending::new(PrivateFd::stream(socket));
        let mut first = Vec::new();
        let handshake = Handshake::begin(role, key, legacy, false, &mut first)?;
        pending.begin(handshake, &first)?;
        Ok(Self { pending })
    }

    /// Goes on as far as the other side has answered; returns whether both have proved
    /// themselves.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Authentication`] if they have not: nothing else of the other side may
    /// be looked at. [`ErrorKind::Disconnected`] and [`ErrorKind::Truncated`] if it is
    /// gone; [`ErrorKind::TooLong`] and [`ErrorKind::Protocol`] if it does not speak this.
    pub fn go_on(&mut self) -> Result<bool> {
        self.pending.advance(Wait::Until(Instant::now()))
    }
}

impl AsFd for Challenges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pending.as_fd()
    }
}
