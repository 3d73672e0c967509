//! Stream sockets: unix and TCP.
#![allow(unsafe_code)] // A vector's spare capacity is received into.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, sockopt,
};

use super::fd::off_the_streams;
use super::fork_guard::PrivateFd;
use super::poll;

/// The longest single wait of a socket.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a socket is bound or connected.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// A path.
    Unix(&'a Path),
    /// A machine and a port.
    Tcp(SocketAddr),
}

/// Makes a socket that does not block.
fn socket(place: Place<'_>) -> io::Result<OwnedFd> {
    let family = match place {
        Place::Unix(_) => AddressFamily::UNIX,
        Place::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
        Place::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    off_the_streams(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

/// Makes a socket that is bound; nobody can connect to it yet.
pub(crate) fn bind(place: Place<'_>) -> io::Result<PrivateFd> {
    let socket = PrivateFd::new(socket(place)?);
    match place {
        Place::Unix(path) => rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?,
        Place::Tcp(address) => {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, &address)?;
        }
    }
    Ok(socket)
}

/// Makes a connected pair, for tests.
#[cfg(any(fuzzing, test))]
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Lets others connect to a bound socket, this many before they are accepted.
pub(crate) fn listen(socket: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    Ok(rustix::net::listen(socket, i32::try_from(backlog).unwrap_or(i32::MAX))?)
}

/// A descriptor of the file at a path, and not of what it leads to: for a socket's.
pub(crate) fn open_path(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    off_the_streams(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Accepts a client, if there is one.
pub(crate) fn accept(socket: BorrowedFd<'_>) -> io::Result<Option<PrivateFd>> {
    loop {
        match rustix::net::accept_with(socket, SocketFlags::CLOEXEC) {
            Ok(client) => return off_the_streams(client).map(|fd| Some(PrivateFd::stream(fd))),
            Err(Errno::AGAIN) => return Ok(None),
            // A client that is gone again.
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Connects. The socket blocks afterwards.
///
/// # Errors
///
/// `TimedOut` at the deadline.
pub(crate) fn connect(place: Place<'_>, deadline: Option<Instant>) -> io::Result<PrivateFd> {
    // Guarded from the start: a fork would hold what the other side takes for this process.
    let socket = PrivateFd::stream(socket(place)?);
    match place {
        Place::Unix(path) => {
            // Nothing tells when a full backlog has room again, but a blocking call.
            rustix::io::ioctl_fionbio(&socket, false)?;
            connect_unix(socket.as_fd(), &SocketAddrUnix::new(path)?, deadline)?;
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
        }
        Place::Tcp(address) => {
            match rustix::net::connect(&socket, &address) {
                Ok(()) => {}
                Err(Errno::INPROGRESS | Errno::INTR) => {
                    if !poll::writable(socket.as_fd(), deadline)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    sockopt::socket_error(&socket)??;
                }
                Err(error) => return Err(error.into()),
            }
            rustix::io::ioctl_fionbio(&socket, false)?;
        }
    }
    Ok(socket)
}

/// Connects a unix socket that blocks.
fn connect_unix(
    socket: BorrowedFd<'_>,
    address: &SocketAddrUnix,
    deadline: Option<Instant>,
) -> io::Result<()> {
    loop {
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            // Zero would be no limit.
            let left = left.clamp(Duration::from_micros(1), LONGEST);
            sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, Some(left))?;
        }
        match rustix::net::connect(socket, address) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether somebody listens at a path, as far as a connection attempt tells.
pub(crate) fn is_listened_to(path: &Path) -> io::Result<bool> {
    let socket = PrivateFd::new(socket(Place::Unix(path))?);
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => Ok(false),
        // A full backlog is somebody's.
        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The machine and port that a TCP socket is bound to.
pub(crate) fn local(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(socket)?)?)
}

/// The machine and port that a TCP socket is connected to.
pub(crate) fn remote(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address = rustix::net::getpeername(socket)?.ok_or(Errno::NOTCONN)?;
    Ok(SocketAddr::try_from(address)?)
}

/// The user who made the other end of a unix connection.
pub(crate) fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(sockopt::socket_peercred(socket)?.uid.as_raw())
}

/// The user of this process.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Sends as much as there is room for of two parts, the second after the first.
/// Is there none without waiting, and waiting is not allowed, that is the error.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    first: &[u8],
    second: &[u8],
    wait: bool,
) -> io::Result<usize> {
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    loop {
        let sent = match (first, second) {
            ([], part) | (part, []) => rustix::net::send(socket, part, flags),
            _ => {
                let parts = [IoSlice::new(first), IoSlice::new(second)];
                rustix::net::sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), flags)
            }
        };
        match sent {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// How long a call that receives may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// Until there are some bytes.
    Some,
    /// Until there are all that were asked for.
    All,
}

/// Appends at most `most` bytes to `bytes`; returns how many. None are the end.
/// Would it block without being allowed to, that is the error.
pub(crate) fn recv(
    socket: BorrowedFd<'_>,
    bytes: &mut Vec<u8>,
    most: usize,
    blocking: Option<Blocking>,
) -> io::Result<usize> {
    bytes.try_reserve(most)?;
    let flags = match blocking {
        None => RecvFlags::DONTWAIT,
        Some(Blocking::Some) => RecvFlags::empty(),
        Some(Blocking::All) => RecvFlags::WAITALL,
    };
    loop {
        let room = &mut bytes.spare_capacity_mut()[..most];
        match rustix::net::recv(socket, room, flags) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(((filled, _), _)) => {
                let filled = filled.len();
                // SAFETY: the kernel has filled as much of the spare capacity.
                unsafe { bytes.set_len(bytes.len() + filled) };
                return Ok(filled);
            }
        }
    }
}

/// Ends both directions of a connection, for its other side as well.
pub(crate) fn shutdown(socket: BorrowedFd<'_>) {
    // Fails if it has ended already.
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}
