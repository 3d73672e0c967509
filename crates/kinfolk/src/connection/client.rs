//! Connecting to a listener.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Instant;

use super::address::resolve;
use super::challenge::{Role, refuse};
use super::handshake::Handshake;
use super::pending::Pending;
use super::{Address, Connection, ConnectionOptions};
use crate::sys::fork_guard::PrivateFd;
use crate::sys::stream::{self, Place};
use crate::sys::tcp;
use crate::wire::frame::Wait;
use crate::{Error, ErrorKind, Result};

/// Connects to a [`Listener`](crate::Listener), of this library or of Python's
/// `multiprocessing`. There is an example there.
#[derive(Debug)]
pub enum Client {}

impl Client {
    /// Connects, proves to the listener that this process knows the key, and has it
    /// prove the same. Blocks until both are convinced, at most for the option
    /// [`deadline`](ConnectionOptions::deadline); only the system's search for the name
    /// of a machine may take longer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if nobody listens at the address;
    /// [`ErrorKind::Authentication`] if one side does not convince the other;
    /// [`ErrorKind::Timeout`] if the listener is too slow, or does not accept.
    pub fn connect<S, R>(
        address: impl Into<Address>,
        options: &ConnectionOptions,
    ) -> Result<Connection<S, R>> {
        let address = address.into();
        let wait = Wait::of(options.deadline);
        let key = options.key_for(address.is_tcp())?;
        let mut pending = Pending::new(open(&address, options, wait.deadline())?);
        if let Some(key) = key {
            let mut first = Vec::new();
            let encrypted = options.encrypts(address.is_tcp());
            let handshake =
                Handshake::begin(Role::Client, &key, options.legacy, encrypted, &mut first)?;
            pending.begin(handshake, &first)?;
            if !pending.go_on(wait)? {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!("the listener at {address} has not accepted this client in time"),
                ));
            }
        }
        let stream = pending.into_stream(options.limit).with_codec(options.codec);
        Ok(Connection::from_stream(stream))
    }
}

/// Connects to an address.
fn open(
    address: &Address,
    options: &ConnectionOptions,
    deadline: Option<Instant>,
) -> Result<PrivateFd> {
    let connecting = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Error::new(ErrorKind::NotFound, format!("nobody listens at {address}"))
        }
        io::ErrorKind::TimedOut => Error::new(
            ErrorKind::Timeout,
            format!("nobody at {address} has let this client connect in time"),
        ),
        _ => Error::io(error, format!("connecting to {address}")),
    };
    match address {
        Address::Unix(path) => {
            let socket = stream::connect(Place::Unix(path), deadline).map_err(connecting)?;
            check_user(socket.as_fd(), options)?;
            Ok(socket)
        }
        Address::Tcp { host, port } => {
            let mut last = None;
            let places = resolve(host, *port)?;
            for (number, place) in places.iter().enumerate() {
                let until = share(deadline, places.len() - number);
                match stream::connect(Place::Tcp(*place), until) {
                    Ok(socket) => {
                        tcp::tune(socket.as_fd(), options.silence).map_err(connecting)?;
                        return Ok(socket);
                    }
                    Err(error) => last = Some(error),
                }
            }
            Err(connecting(last.unwrap_or_else(|| io::ErrorKind::NotFound.into())))
        }
    }
}

/// The end of one of `places` tries, each of which gets as much of the time that is left: one
/// that is not answered leaves some to the others.
fn share(deadline: Option<Instant>, places: usize) -> Option<Instant> {
    let now = Instant::now();
    let left = deadline?.saturating_duration_since(now);
    Some(now + left / u32::try_from(places).unwrap_or(u32::MAX).max(1))
}

/// Checks who is at the other end of a unix socket.
pub(super) fn check_user(socket: BorrowedFd<'_>, options: &ConnectionOptions) -> Result<()> {
    if options.any_user {
        return Ok(());
    }
    let uid = stream::peer_uid(socket)
        .map_err(|error| Error::io(error, "asking who is at the other end"))?;
    if uid == 0 || uid == stream::own_uid() {
        return Ok(());
    }
    Err(refuse(&format!("it is of another user (uid {uid}): the option `any_user` allows that")))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::share;

    #[test]
    fn each_place_gets_its_share_of_the_time_that_is_left() {
        let end = Instant::now() + Duration::from_secs(3600);
        assert_eq!(share(None, 3), None);
        assert!(share(Some(end), 3).unwrap() < end - Duration::from_secs(2000));
        let last = share(Some(end), 1).unwrap();
        assert!(last <= end && last + Duration::from_secs(1) > end);
        // Of a time that is over there is none to share.
        assert!(share(Some(Instant::now()), 3).unwrap() <= Instant::now());
    }
}
