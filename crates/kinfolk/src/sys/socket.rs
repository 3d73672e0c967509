//! SEQPACKET sockets: whole messages with file descriptors in them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt,
};

use super::fd::off_the_streams;

/// The most descriptors that the kernel takes in one message.
pub(crate) const MOST_FDS: usize = 253;

/// The send buffer asked for; the system's limit may give less.
const BUFFER: usize = 4 << 20;

/// Makes a connected pair.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    for end in [&a, &b] {
        // With less, larger messages go another way.
        let _ = sockopt::set_socket_send_buffer_size(end, BUFFER);
    }
    Ok((off_the_streams(a)?, off_the_streams(b)?))
}

/// Whether a descriptor is a connected unix SEQPACKET socket.
pub(crate) fn is_seqpacket(fd: BorrowedFd<'_>) -> bool {
    sockopt::socket_type(fd).is_ok_and(|kind| kind == SocketType::SEQPACKET)
        && sockopt::socket_domain(fd).is_ok_and(|family| family == AddressFamily::UNIX)
}

/// The largest message that may be sent on a socket, in bytes.
pub(crate) fn limit(fd: BorrowedFd<'_>) -> usize {
    // The kernel keeps 32 bytes of the buffer.
    sockopt::socket_send_buffer_size(fd).map_or(0, |size| size.saturating_sub(32))
}

/// Sends one message, or nothing. Would it wait without being allowed to, that
/// is the error.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: &[&[u8]],
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<()> {
    let slices = [parts[0], parts.get(1).copied().unwrap_or_default()].map(IoSlice::new);
    let slices = &slices[..parts.len()];
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    loop {
        let sent = if fds.is_empty() && parts.len() == 1 {
            // A plain call takes two thirds of the time of one that gathers.
            rustix::net::send(socket, parts[0], flags)
        } else if fds.is_empty() {
            sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)
        } else {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(Errno::TOOMANYREFS.into());
            }
            sendmsg(socket, slices, &mut control, flags)
        };
        match sent {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What a message looks like while it is still queued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peeked {
    /// Its size in bytes.
    pub(crate) size: usize,
    /// Whether descriptors come with it.
    pub(crate) has_fds: bool,
}

/// Looks at the next message and copies its beginning to `head`; `None` if the
/// other side is gone and nothing is queued.
pub(crate) fn peek(
    socket: BorrowedFd<'_>,
    head: &mut [u8],
    wait: bool,
) -> io::Result<Option<Peeked>> {
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
    let flags = if wait { flags } else { flags | RecvFlags::DONTWAIT };
    let received = loop {
        let mut control = RecvAncillaryBuffer::default();
        match recvmsg(socket, &mut [IoSliceMut::new(head)], &mut control, flags) {
            Ok(received) => break received,
            Err(error) if is_passing(&error.into()) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let has_fds = received.flags.contains(ReturnFlags::CTRUNC);
    Ok((received.bytes > 0).then_some(Peeked { size: received.bytes, has_fds }))
}

/// Whether a receive is to be tried again. A peer that closed without having
/// read all is announced once as ECONNRESET while its messages are still queued:
/// that is no end.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::ECONNRESET))
}

/// Makes sure that this process has `count` free descriptors at this moment.
pub(crate) fn reserve(socket: BorrowedFd<'_>, count: usize) -> io::Result<()> {
    (0..count).map(|_| socket.try_clone_to_owned()).collect::<io::Result<Vec<_>>>().map(drop)
}
