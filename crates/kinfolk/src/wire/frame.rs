//! Messages on a SEQPACKET socket.
//!
//! A frame is one packet: the kernel has taken all of it or nothing, whenever
//! its sender is killed.
//!
//! | bytes | |
//! |---|---|
//! | 0 | kind: 0, the payload follows; 1, it is in a memory file, the first descriptor |
//! | 1 | 0 |
//! | 2, 3 | the number of handles, little-endian, the memory file not counted |
//! | 4 .. | the payload; of kind 1 its length, 8 bytes, little-endian |
//!
//! A payload over the socket's limit goes into a memory file, sealed so that it
//! cannot change, in the same message.

use std::cell::RefCell;
use std::io::IoSliceMut;
use std::ops::Deref;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use zeroize::Zeroize;

use crate::sys::memory::{self, Map};
use crate::sys::poll;
use crate::sys::socket::{self, MOST_FDS};
use crate::{Error, ErrorKind, Result};

/// The most handles in one message: the memory file may need one more.
pub(crate) const MOST_HANDLES: usize = MOST_FDS - 1;

/// The size of a frame's header.
const HEADER: usize = 4;
/// The size of a frame whose payload is in a memory file.
const SPILLED: usize = HEADER + 8;

/// Kind: the payload follows.
const INLINE: u8 = 0;
/// Kind: the payload is in a memory file.
const MEMORY: u8 = 1;

/// How long an operation may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    /// For as long as it takes.
    Forever,
    /// Until then.
    Until(Instant),
}

/// A received message.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its bytes.
    pub(crate) payload: Payload,
    /// The handles that came with it.
    pub(crate) handles: Vec<OwnedFd>,
}

/// The bytes of a message.
#[derive(Debug)]
pub(crate) enum Payload {
    /// As received, behind the header.
    Inline(Vec<u8>),
    /// In a memory file.
    Map(Map),
}

impl Payload {
    /// The bytes as a vector. `None` if there is no memory for them.
    pub(crate) fn into_vec(self) -> Option<Vec<u8>> {
        match self {
            Self::Inline(mut frame) => {
                frame.drain(..HEADER);
                Some(frame)
            }
            Self::Map(map) => {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(map.len()).ok()?;
                bytes.extend_from_slice(&map);
                Some(bytes)
            }
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline(frame) => &frame[HEADER..],
            Self::Map(map) => map,
        }
    }
}

impl Zeroize for Payload {
    fn zeroize(&mut self) {
        if let Self::Inline(frame) = self {
            // The header stays, so that the payload is empty and not missing.
            frame.as_mut_slice().zeroize();
        }
    }
}

/// Sends a message. Returns `false`, with nothing sent, if the receiver made no
/// room in time.
///
/// # Errors
///
/// [`ErrorKind::Disconnected`] if the other side is gone.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    payload: &[u8],
    handles: &[OwnedFd],
    wait: Wait,
) -> Result<bool> {
    let Ok(count) = u16::try_from(handles.len()).map(u16::to_le_bytes) else {
        return Err(too_many(handles.len()));
    };
    if handles.len() > MOST_HANDLES {
        return Err(too_many(handles.len()));
    }
    let mut fds: Vec<BorrowedFd<'_>> = handles.iter().map(|handle| handle.as_fd()).collect();
    // Small ones are below every socket's limit; for others it is asked.
    if payload.len() <= 4096 || payload.len() + HEADER <= socket::limit(fd) {
        let header = [INLINE, 0, count[0], count[1]];
        match send_packet(fd, &[&header, payload], &fds, wait) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS)) => {}
            other => return other.map_err(sending),
        }
    }
    let memory = memory::sealed(&[payload]).map_err(sending)?;
    fds.insert(0, memory.as_fd());
    let header = [MEMORY, 0, count[0], count[1]];
    let length = (payload.len() as u64).to_le_bytes();
    send_packet(fd, &[&header, &length], &fds, wait).map_err(sending)
}

/// Sends one packet, waiting as allowed.
fn send_packet(
    fd: BorrowedFd<'_>,
    parts: &[&[u8]],
    fds: &[BorrowedFd<'_>],
    wait: Wait,
) -> std::io::Result<bool> {
    loop {
        match (socket::send(fd, parts, fds, matches!(wait, Wait::Forever)), wait) {
            (Ok(()), _) => return Ok(true),
            (Err(error), _) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error),
            // Another owner of the socket has made it non-blocking.
            (Err(_), Wait::Forever) => {
                poll::writable(fd, None)?;
            }
            (Err(_), Wait::Until(deadline)) => {
                if !poll::writable(fd, Some(deadline))? {
                    return Ok(false);
                }
                if Instant::now() >= deadline {
                    // Writable, but for less than this message.
                    return match socket::send(fd, parts, fds, false) {
                        Ok(()) => Ok(true),
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
                        Err(error) => Err(error),
                    };
                }
            }
        }
    }
}

/// Receives a message of at most `maximum` bytes; `None` if none came in time.
///
/// # Errors
///
/// [`ErrorKind::Disconnected`] if the other side is gone and nothing is queued;
/// [`ErrorKind::TooLong`] and [`ErrorKind::Exhausted`] leave the message queued;
/// [`ErrorKind::Protocol`] if it is not a frame: it is dropped.
pub(crate) fn recv(
    fd: BorrowedFd<'_>,
    maximum: Option<usize>,
    wait: Wait,
) -> Result<Option<Message>> {
    let mut head = [0; SPILLED];
    let Some(peeked) = wait_for(fd, wait, |block| socket::peek(fd, &mut head, block))? else {
        return Ok(None);
    };
    let Some(peeked) = peeked else {
        return Err(Error::new(
            ErrorKind::Disconnected,
            "the other side of the connection is gone, and all that it sent has been received",
        ));
    };
    if let Some(maximum) = maximum {
        let length = announced(&head, peeked.size);
        if length > maximum as u64 {
            return Err(Error::new(
                ErrorKind::TooLong,
                format!(
                    "the next message has {length} bytes, more than the maximum of {maximum}; it stays in the queue"
                ),
            ));
        }
    }
    if peeked.has_fds {
        let count =
            usize::from(u16::from_le_bytes([head[2], head[3]])) + usize::from(head[0] == MEMORY);
        socket::reserve(fd, count.clamp(1, MOST_FDS)).map_err(|error| {
            Error::io(error, "receiving a message with handles; it stays in the queue")
        })?;
    }
    let mut frame = Vec::new();
    if frame.try_reserve_exact(peeked.size).is_err() {
        return Err(Error::new(
            ErrorKind::Exhausted,
            "no memory for the next message; it stays in the queue",
        ));
    }
    frame.resize(peeked.size, 0);
    let received = wait_for(fd, wait, |block| take(fd, &mut frame, block))?;
    let Some(received) = received else { return Ok(None) };
    if received.size == 0 {
        return Err(Error::new(
            ErrorKind::Disconnected,
            "the other side of the connection is gone",
        ));
    }
    frame.truncate(received.size);
    unpack(frame, received.fds, received.lost_fds, maximum).map(Some)
}

/// Receives the next packet into `frame`, which grows if another reader took
/// the one that it was made for and this one is larger.
fn take(fd: BorrowedFd<'_>, frame: &mut Vec<u8>, block: bool) -> std::io::Result<socket::Received> {
    thread_local! {
        /// Room for the rest of such a packet; untouched pages cost nothing.
        static REST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let mut take = |rest: &mut Vec<u8>| {
        if rest.is_empty() {
            // All that a packet can have; the system gives zeros without touching them.
            *rest = vec![0; socket::limit(fd).max(8 << 20)];
        }
        let size = frame.len();
        let received =
            socket::recv(fd, &mut [IoSliceMut::new(frame), IoSliceMut::new(rest)], block)?;
        if received.size > size {
            frame.extend_from_slice(rest.get(..received.size - size).unwrap_or(rest));
        }
        Ok(received)
    };
    // An exit handler runs when this thread's own is gone.
    let mut rest = REST.try_with(RefCell::take).unwrap_or_default();
    let received = take(&mut rest);
    let _ = REST.try_with(|kept| kept.replace(rest));
    received
}

/// Tries until it need not wait or may not wait any longer.
fn wait_for<T>(
    fd: BorrowedFd<'_>,
    wait: Wait,
    mut attempt: impl FnMut(bool) -> std::io::Result<T>,
) -> Result<Option<T>> {
    loop {
        let error = match attempt(matches!(wait, Wait::Forever)) {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error,
        };
        if error.kind() != std::io::ErrorKind::WouldBlock {
            return Err(Error::io(error, "receiving a message"));
        }
        let deadline = match wait {
            Wait::Forever => None,
            Wait::Until(deadline) => Some(deadline),
        };
        let ready =
            poll::ready(fd, deadline).map_err(|error| Error::io(error, "waiting for a message"))?;
        if !ready {
            return Ok(None);
        }
    }
}

/// The length of the payload that a frame's beginning announces.
fn announced(head: &[u8; SPILLED], size: usize) -> u64 {
    let length = |bytes: &[u8]| bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
    if head[0] == MEMORY { length(&head[HEADER..]) } else { size.saturating_sub(HEADER) as u64 }
}

/// Takes a frame apart. Everything in it is the peer's word until checked.
pub(crate) fn unpack(
    frame: Vec<u8>,
    mut fds: Vec<OwnedFd>,
    lost_fds: bool,
    maximum: Option<usize>,
) -> Result<Message> {
    let refuse =
        |reason: &str| Error::new(ErrorKind::Protocol, format!("refused a message: {reason}"));
    if lost_fds {
        return Err(refuse(
            "its handles were lost, because this process had no free file descriptor",
        ));
    }
    let Some(header) = frame.first_chunk::<HEADER>() else {
        return Err(refuse("it is too short"));
    };
    let spilled = header[0] == MEMORY;
    if header[0] > MEMORY || header[1] != 0 {
        return Err(refuse("it does not begin as the library's do"));
    }
    let handles = usize::from(u16::from_le_bytes([header[2], header[3]]));
    if fds.len() != handles + usize::from(spilled) {
        return Err(refuse("it has another number of handles than it says"));
    }
    if !spilled {
        return Ok(Message { payload: Payload::Inline(frame), handles: fds });
    }
    let length =
        frame.get(HEADER..).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let map = Map::open(fds.remove(0))
        .map_err(|error| refuse(&format!("its memory cannot be used: {error}")))?;
    if length != Some(map.len() as u64) {
        return Err(refuse("its memory has another size than it says"));
    }
    if maximum.is_some_and(|maximum| map.len() > maximum) {
        return Err(Error::new(ErrorKind::TooLong, "the message is longer than the maximum"));
    }
    Ok(Message { payload: Payload::Map(map), handles: fds })
}

/// Too many handles in one message.
fn too_many(count: usize) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("a message can carry {MOST_HANDLES} handles, not {count}: send several messages"),
    )
}

/// What the system said about sending.
fn sending(error: std::io::Error) -> Error {
    Error::io(error, "sending a message")
}
