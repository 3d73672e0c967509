//! Messages out of a stream.

use std::io;
use std::os::fd::BorrowedFd;

use super::encryption::Opener;
use crate::sys::{stream, tcp};
use crate::wire::frame::Wait;
use crate::wire::stream::{Head, read_header};
use crate::{Error, ErrorKind, Result};

/// The most that is made room for before any of it has come, in bytes: what a message
/// says of its length is not believed beyond.
const STEP: usize = 1 << 20;

/// The most that is read ahead, in bytes.
const AHEAD: usize = 4 << 10;

/// The most memory that is kept for the next message, in bytes.
const KEPT: usize = 64 << 10;

/// The receiving direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The most bytes that a message may have.
    limit: usize,
    /// What opens it, if it is sealed.
    opener: Option<Box<Opener>>,
    /// The header of the next message, as far as it has come; a sealed one has none.
    header: Vec<u8>,
    /// The length of its payload, when that is known.
    length: Option<usize>,
    /// Its payload, as far as it has come.
    body: Vec<u8>,
    /// What was read beyond what was asked for; `None` if nothing may be.
    ahead: Option<Ahead>,
    /// Whether nothing more can come: the end was met, or what came makes no sense.
    closed: bool,
}

/// What was read beyond what was asked for.
#[derive(Debug, Default)]
struct Ahead {
    /// It, and what was before.
    bytes: Vec<u8>,
    /// How much was before.
    taken: usize,
}

impl Reader {
    /// Reads messages of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The same, for what comes after the handshake.
    pub(super) fn after_handshake(self, limit: usize, opener: Option<Opener>) -> Self {
        Self { limit, opener: opener.map(Box::new), ..self }
    }

    /// Reads as much as has come, and not a header first: one system call for a small
    /// message. Whether something can be received, the socket alone tells no longer.
    pub(super) fn read_ahead(&mut self) {
        self.ahead.get_or_insert_default();
    }

    /// Whether the connection is of no more use.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a part of a message is here.
    fn is_begun(&self) -> bool {
        let sealed = self.opener.as_ref().is_some_and(|opener| opener.is_begun());
        sealed || !self.header.is_empty() || !self.body.is_empty()
    }

    /// Whether a whole message is here.
    pub(super) fn is_whole(&self) -> bool {
        self.length == Some(self.body.len())
    }

    /// Takes the message that is here.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.length = None;
        self.header.clear();
        std::mem::take(&mut self.body)
    }

    /// Gives the memory of a message back for the next one.
    pub(super) fn reuse(&mut self, mut body: Vec<u8>) {
        if body.capacity() <= KEPT {
            body.clear();
            self.body = body;
        }
    }

    /// Reads until a whole message is here; `false` if that was not in time.
    ///
    /// # Errors
    ///
    /// As [`Stream::recv`](super::stream::Stream::recv).
    pub(super) fn fill(
        &mut self,
        socket: BorrowedFd<'_>,
        maximum: usize,
        wait: Wait,
    ) -> Result<bool> {
        if self.closed {
            return Err(over());
        }
        let mut filled = self.go_on(socket, maximum, wait);
        if self.is_begun() && filled.as_ref().is_err_and(Error::is_disconnected) {
            filled = Err(cut());
        }
        self.closed |= filled
            .as_ref()
            .is_err_and(|error| !matches!(error.kind(), ErrorKind::TooLong | ErrorKind::Exhausted));
        filled
    }

    /// Reads on.
    fn go_on(&mut self, socket: BorrowedFd<'_>, maximum: usize, wait: Wait) -> Result<bool> {
        if self.opener.is_some() {
            return self.open(socket, maximum, wait);
        }
        let length = loop {
            if let Some(length) = self.length {
                break length;
            }
            match read_header(&self.header)? {
                Head::Length(length) => self.length = Some(self.check(length)?),
                Head::Needs(size) => {
                    let most = size - self.header.len();
                    match next(&mut self.ahead, socket, &mut self.header, most, wait)? {
                        None => return Ok(false),
                        Some(0) if self.header.is_empty() => return Err(gone()),
                        Some(0) => return Err(cut()),
                        Some(_) => {}
                    }
                }
            }
        };
        if length > maximum {
            return Err(too_long(length, maximum));
        }
        while self.body.len() < length {
            let most = (length - self.body.len()).min(self.body.len().max(STEP));
            match next(&mut self.ahead, socket, &mut self.body, most, wait)? {
                None => return Ok(false),
                Some(0) => return Err(cut()),
                Some(_) => {}
            }
        }
        Ok(true)
    }

    /// Reads on what is sealed: how long a message is, its end tells.
    fn open(&mut self, socket: BorrowedFd<'_>, maximum: usize, wait: Wait) -> Result<bool> {
        loop {
            self.check(self.body.len() as u64)?;
            if self.body.len() > maximum {
                return Err(too_long(self.body.len(), maximum));
            }
            if self.is_whole() {
                return Ok(true);
            }
            let Some(opener) = &mut self.opener else { return Ok(false) };
            match opener.next(socket, &mut self.body, wait)? {
                None => return Ok(false),
                Some(false) => {}
                Some(true) => self.length = Some(self.body.len()),
            }
        }
    }

    /// Checks the length of a message.
    fn check(&mut self, length: u64) -> Result<usize> {
        match usize::try_from(length) {
            Ok(length) if length <= self.limit => return Ok(length),
            _ => self.closed = true,
        }
        Err(Error::new(
            ErrorKind::TooLong,
            format!(
                "the other side sends a message of {length} bytes, more than the limit of {}: the \
                 connection is closed; the option `max_message` raises the limit",
                self.limit
            ),
        ))
    }
}

/// A message is longer than a call allows.
fn too_long(length: usize, maximum: usize) -> Error {
    Error::new(
        ErrorKind::TooLong,
        format!(
            "the next message has {length} bytes, more than the maximum of {maximum}; it stays in \
             the queue"
        ),
    )
}

/// Takes some bytes from what was read ahead, or receives some; `None` if none came in time.
fn next(
    ahead: &mut Option<Ahead>,
    socket: BorrowedFd<'_>,
    bytes: &mut Vec<u8>,
    most: usize,
    wait: Wait,
) -> Result<Option<usize>> {
    let Some(ahead) = ahead else { return receive(socket, bytes, most, wait) };
    if ahead.taken == ahead.bytes.len() {
        if most > AHEAD {
            return receive(socket, bytes, most, wait);
        }
        ahead.bytes.clear();
        ahead.taken = 0;
        let some = matches!(wait, Wait::Forever).then_some(stream::Blocking::Some);
        match receive_with(socket, &mut ahead.bytes, AHEAD, wait, some)? {
            None => return Ok(None),
            Some(0) => return Ok(Some(0)),
            Some(_) => {}
        }
    }
    let rest = &ahead.bytes[ahead.taken..];
    let count = most.min(rest.len());
    bytes.extend_from_slice(&rest[..count]);
    ahead.taken += count;
    Ok(Some(count))
}

/// Receives some bytes, all that are asked for if it may wait; `None` if none came in time.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut Vec<u8>,
    most: usize,
    wait: Wait,
) -> Result<Option<usize>> {
    let all = matches!(wait, Wait::Forever).then_some(stream::Blocking::All);
    receive_with(socket, bytes, most, wait, all)
}

/// Receives some bytes, blocking in the call that does so, or before it.
fn receive_with(
    socket: BorrowedFd<'_>,
    bytes: &mut Vec<u8>,
    most: usize,
    wait: Wait,
    blocking: Option<stream::Blocking>,
) -> Result<Option<usize>> {
    loop {
        let error = match stream::recv(socket, bytes, most, blocking) {
            Ok(received) => return Ok(Some(received)),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::WouldBlock => {}
            io::ErrorKind::OutOfMemory => {
                return Err(Error::new(ErrorKind::Exhausted, "no memory for the next message"));
            }
            // The end of a side that had not read all. What it sent is here; on TCP it may not be.
            io::ErrorKind::ConnectionReset if !tcp::is_tcp(socket) => return Ok(Some(0)),
            _ => return Err(lost(error)),
        }
        match wait {
            // Back from a call that blocked, to look.
            Wait::Forever => tcp::check(socket).map_err(lost)?,
            Wait::Until(_) if tcp::ready(socket, wait.deadline()).map_err(lost)? => {}
            Wait::Until(_) => return Ok(None),
        }
    }
}

/// The end.
fn gone() -> Error {
    Error::new(
        ErrorKind::Disconnected,
        "the other side of the connection is gone, and all that it sent has been received",
    )
}

/// An end that the other side did not bring about in order, or another failure.
fn lost(error: io::Error) -> Error {
    let error = Error::io(error, "receiving a message");
    if !error.is_disconnected() {
        return error;
    }
    let message = format!("{error}, and what it sent last may be lost");
    Error::new(ErrorKind::Disconnected, message)
}

/// What comes after the end.
pub(super) fn over() -> Error {
    Error::new(
        ErrorKind::Disconnected,
        "the connection has ended: the first error of this end said how",
    )
}

/// The end in the wrong place.
pub(super) fn cut() -> Error {
    Error::new(
        ErrorKind::Truncated,
        "the other side of the connection ended in the middle of a message: the connection is \
         closed",
    )
}
