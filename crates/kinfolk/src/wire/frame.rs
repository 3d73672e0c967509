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

use std::cell::Cell;
use std::ops::Deref;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::sys::memory::{self, Map};
use crate::sys::poll;
use crate::sys::receive::{self, Received};
use crate::sys::socket::{self, MOST_FDS};
use crate::{Error, ErrorKind, Result};

/// The most handles in one message: the memory file may need one more.
pub(crate) const MOST_HANDLES: usize = MOST_FDS - 1;

/// The size of a frame's header.
pub(crate) const HEADER: usize = 4;
/// The size of a frame whose payload is in a memory file.
const SPILLED: usize = HEADER + 8;

/// The largest payload for which the socket is tried, in bytes; its own limit
/// may be lower.
const LARGEST_INLINE: usize = (4 << 20) - 64;

/// The largest payload that is copied behind its header, in bytes: that costs less
/// than a system call that gathers the two.
const COPIED: usize = 1024;

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

impl Wait {
    /// For this long.
    pub(crate) fn of(timeout: Duration) -> Self {
        Instant::now().checked_add(timeout).map_or(Self::Forever, Self::Until)
    }

    /// When it ends, if ever.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Forever => None,
            Self::Until(deadline) => Some(deadline),
        }
    }
}

/// How carefully to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// With one system call. A message with descriptors is lost if this process
    /// has no free one.
    Fast,
    /// Looks first: what cannot be received now stays in the queue.
    Keep {
        /// The most bytes that a message may have.
        maximum: usize,
    },
}

impl Care {
    /// Keeps what cannot be received, of any size.
    pub(crate) const KEEP: Self = Self::Keep { maximum: usize::MAX };

    /// What values of type `T` need: one without a destructor has no descriptor
    /// in it, and is no large one either.
    pub(crate) const fn of<T>() -> Self {
        if std::mem::needs_drop::<T>() { Self::KEEP } else { Self::Fast }
    }

    /// The most bytes that a message may have.
    pub(crate) const fn maximum(self) -> usize {
        match self {
            Self::Fast => usize::MAX,
            Self::Keep { maximum } => maximum,
        }
    }
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
    /// As received.
    Inline(Vec<u8>),
    /// In a memory file.
    Map(Map),
}

impl Payload {
    /// The bytes as a vector. `None` if there is no memory for them.
    pub(crate) fn into_vec(self) -> Option<Vec<u8>> {
        match self {
            Self::Inline(bytes) => Some(bytes),
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
            Self::Inline(bytes) => bytes,
            Self::Map(map) => map,
        }
    }
}

impl Zeroize for Payload {
    fn zeroize(&mut self) {
        if let Self::Inline(bytes) = self {
            bytes.zeroize();
        }
    }
}

/// Where a message that was received into a buffer is.
#[derive(Debug)]
pub(crate) enum Placed {
    /// In the buffer, of this size in bytes.
    Inside(usize),
    /// Here: it did not fit.
    Beside(Payload),
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
    if payload.len() <= COPIED {
        let mut frame = [0; HEADER + COPIED];
        let frame = &mut frame[..HEADER + payload.len()];
        frame[HEADER..].copy_from_slice(payload);
        return send_framed(fd, frame, handles, wait);
    }
    let header = header(INLINE, handles.len())?;
    send_parts(fd, &[&header, payload], payload, handles, wait)
}

/// As [`send`], of a payload that stands in `frame` behind room for its header.
///
/// # Errors
///
/// As [`send`].
pub(crate) fn send_framed(
    fd: BorrowedFd<'_>,
    frame: &mut [u8],
    handles: &[OwnedFd],
    wait: Wait,
) -> Result<bool> {
    frame[..HEADER].copy_from_slice(&header(INLINE, handles.len())?);
    send_parts(fd, &[frame], &frame[HEADER..], handles, wait)
}

/// Sends a message of these parts, or its payload in a memory file.
fn send_parts(
    fd: BorrowedFd<'_>,
    parts: &[&[u8]],
    payload: &[u8],
    handles: &[OwnedFd],
    wait: Wait,
) -> Result<bool> {
    let mut fds: Vec<BorrowedFd<'_>> = handles.iter().map(|handle| handle.as_fd()).collect();
    if payload.len() <= LARGEST_INLINE {
        match send_packet(fd, parts, &fds, wait) {
            // Over this socket's limit.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS)) => {}
            other => return other.map_err(sending),
        }
    }
    let memory = memory::sealed(&[payload]).map_err(sending)?;
    fds.insert(0, memory.as_fd());
    let header = header(MEMORY, handles.len())?;
    let length = (payload.len() as u64).to_le_bytes();
    send_packet(fd, &[&header, &length], &fds, wait).map_err(sending)
}

/// The header of a message.
fn header(kind: u8, handles: usize) -> Result<[u8; HEADER]> {
    if handles > MOST_HANDLES {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "a message can carry {MOST_HANDLES} handles, not {handles}: send several messages"
            ),
        ));
    }
    let count = (handles as u16).to_le_bytes();
    Ok([kind, 0, count[0], count[1]])
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
                if Instant::now() >= deadline {
                    return Ok(false);
                }
                // It may be for less than this message.
                poll::writable(fd, Some(deadline))?;
            }
        }
    }
}

/// Receives a message; `None` if none came in time.
///
/// # Errors
///
/// [`ErrorKind::Disconnected`] if the other side is gone and nothing is queued;
/// with [`Care::Keep`], [`ErrorKind::TooLong`] and [`ErrorKind::Exhausted`]
/// leave the message queued; [`ErrorKind::Protocol`] if it is not a frame: it is
/// dropped.
pub(crate) fn recv(fd: BorrowedFd<'_>, care: Care, wait: Wait) -> Result<Option<Message>> {
    thread_local! {
        /// The size of the last message of this thread: the next one's, at a guess.
        static GUESS: Cell<usize> = const { Cell::new(0) };
    }
    let (size, maximum) = match care {
        Care::Fast => (GUESS.try_with(Cell::get).unwrap_or(0), usize::MAX),
        Care::Keep { maximum } => match look(fd, maximum, wait)? {
            Some(size) => (size, maximum),
            None => return Ok(None),
        },
    };
    let mut body = Vec::new();
    if body.try_reserve_exact(size).is_err() {
        return Err(Error::new(
            ErrorKind::Exhausted,
            "no memory for the next message; it stays in the queue",
        ));
    }
    let mut header = [0; HEADER];
    let received =
        wait_for(fd, wait, |block| receive::recv_vec(fd, &mut header, &mut body, block))?;
    let Some(received) = received else { return Ok(None) };
    let _ = GUESS.try_with(|guess| guess.set(body.len()));
    // A guess that was far too large is given back.
    if body.len() < body.capacity() / 2 {
        body.shrink_to_fit();
    }
    check(&received)?;
    unpack(header, body, received.fds, maximum).map(Some)
}

/// Receives a message of few bytes and no handles with one plain system call, and
/// hands its payload to `work`; `None` if none came in time. Handles that come all
/// the same are closed by the system.
///
/// # Errors
///
/// [`ErrorKind::Disconnected`] as [`recv`]; [`ErrorKind::Protocol`] of any other
/// message: it is dropped.
pub(crate) fn recv_plain<T>(
    fd: BorrowedFd<'_>,
    wait: Wait,
    work: impl Fn(&[u8]) -> Result<T>,
) -> Result<Option<T>> {
    let receive = |block| {
        receive::recv_plain(fd, block, |frame, cut| unpack_plain(frame, cut).and_then(&work))
    };
    wait_for(fd, wait, receive)?.transpose()
}

/// The payload of a frame that has no handles.
fn unpack_plain(frame: &[u8], cut: bool) -> Result<&[u8]> {
    match frame {
        [] => Err(gone()),
        _ if cut => Err(refuse("it is larger than any of the library's")),
        [INLINE, 0, 0, 0, payload @ ..] => Ok(payload),
        _ => Err(refuse("it is none of the few bytes that were to come")),
    }
}

/// Receives a message into `buffer` if it fits, without a copy, and beside it
/// if it does not; `None` if none came in time.
///
/// # Errors
///
/// As [`recv`] with [`Care::Fast`].
pub(crate) fn recv_into(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    wait: Wait,
) -> Result<Option<Placed>> {
    let mut header = [0; HEADER];
    let attempt = |block| receive::recv(fd, &mut header, buffer, block);
    let Some((received, mut rest)) = wait_for(fd, wait, attempt)? else { return Ok(None) };
    check(&received)?;
    let size = received.size - HEADER;
    if header[0] == INLINE && size <= buffer.len() {
        unpack(header, Vec::new(), received.fds, usize::MAX)?;
        return Ok(Some(Placed::Inside(size)));
    }
    rest.splice(..0, buffer[..size - rest.len()].iter().copied());
    Ok(Some(Placed::Beside(unpack(header, rest, received.fds, usize::MAX)?.payload)))
}

/// Waits for a message and makes sure that it can be received: the size of its
/// payload in the queue, or `None` if none came in time.
fn look(fd: BorrowedFd<'_>, maximum: usize, wait: Wait) -> Result<Option<usize>> {
    let mut head = [0; SPILLED];
    let Some(peeked) = wait_for(fd, wait, |block| socket::peek(fd, &mut head, block))? else {
        return Ok(None);
    };
    // The end: receiving says so.
    let Some(peeked) = peeked else { return Ok(Some(0)) };
    let length = announced(&head, peeked.size);
    if length > maximum as u64 {
        return Err(Error::new(
            ErrorKind::TooLong,
            format!(
                "the next message has {length} bytes, more than the maximum of {maximum}; it stays in the queue"
            ),
        ));
    }
    if peeked.has_fds {
        let count =
            usize::from(u16::from_le_bytes([head[2], head[3]])) + usize::from(head[0] == MEMORY);
        socket::reserve(fd, count.clamp(1, MOST_FDS)).map_err(|error| {
            Error::io(error, "receiving a message with handles; it stays in the queue")
        })?;
    }
    Ok(Some(peeked.size.saturating_sub(HEADER)))
}

/// Checks that a whole message came.
fn check(received: &Received) -> Result<()> {
    match received {
        Received { size: 0, .. } => Err(gone()),
        Received { lost_fds: true, .. } => Err(Error::new(
            ErrorKind::Exhausted,
            "a message came with handles, and is lost, because this process has no free file \
             descriptor",
        )),
        Received { cut: true, .. } => Err(refuse("it is larger than any of the library's")),
        Received { size: 1..HEADER, .. } => Err(refuse("it is too short")),
        _ => Ok(()),
    }
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
        if wait.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(None);
        }
        poll::ready(fd, wait.deadline())
            .map_err(|error| Error::io(error, "waiting for a message"))?;
    }
}

/// The length of the payload that a frame's beginning announces.
fn announced(head: &[u8; SPILLED], size: usize) -> u64 {
    let length = |bytes: &[u8]| bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
    if head[0] == MEMORY { length(&head[HEADER..]) } else { size.saturating_sub(HEADER) as u64 }
}

/// Takes a frame apart. Everything in it is the peer's word until checked.
pub(crate) fn unpack(
    header: [u8; HEADER],
    body: Vec<u8>,
    mut fds: Vec<OwnedFd>,
    maximum: usize,
) -> Result<Message> {
    let [kind @ (INLINE | MEMORY), 0, count @ ..] = header else {
        return Err(refuse("it does not begin as the library's do"));
    };
    let spilled = kind == MEMORY;
    if fds.len() != usize::from(u16::from_le_bytes(count)) + usize::from(spilled) {
        return Err(refuse("it has another number of handles than it says"));
    }
    let payload = if spilled {
        let map = Map::open(fds.remove(0))
            .map_err(|error| refuse(&format!("its memory cannot be used: {error}")))?;
        if body != (map.len() as u64).to_le_bytes() {
            return Err(refuse("its memory has another size than it says"));
        }
        Payload::Map(map)
    } else {
        Payload::Inline(body)
    };
    if payload.len() > maximum {
        return Err(Error::new(ErrorKind::TooLong, "the message is longer than the maximum"));
    }
    Ok(Message { payload, handles: fds })
}

/// The end.
fn gone() -> Error {
    Error::new(
        ErrorKind::Disconnected,
        "the other side of the connection is gone, and all that it sent has been received",
    )
}

/// A message that is not as the library makes them.
fn refuse(reason: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("refused a message: {reason}"))
}

/// What the system said about sending.
fn sending(error: std::io::Error) -> Error {
    Error::io(error, "sending a message")
}
