//! Messages out of a stream.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::{poll, stream};
use crate::wire::frame::Wait;
use crate::wire::stream::{Head, read_header};
use crate::{Error, ErrorKind, Result};

/// The most that is made room for before any of it has come, in bytes: what a message
/// says of its length is not believed beyond.
const STEP: usize = 1 << 20;

/// The most memory that is kept for the next message, in bytes.
const KEPT: usize = 64 << 10;

/// The receiving direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The most bytes that a message may have.
    limit: usize,
    /// The header of the next message, as far as it has come.
    header: Vec<u8>,
    /// Its payload, likewise.
    body: Vec<u8>,
    /// The length of its payload, when the header has come.
    length: Option<usize>,
    /// Whether nothing more can come: the end was met, or what came makes no sense.
    closed: bool,
}

impl Reader {
    /// Reads messages of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Sets another limit.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether the connection is of no more use.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
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
            return Err(gone());
        }
        let filled = self.go_on(socket, maximum, wait);
        self.closed = match &filled {
            Ok(_) => false,
            Err(error) => match error.kind() {
                ErrorKind::TooLong => self.length.is_none(),
                kind => kind != ErrorKind::Exhausted,
            },
        };
        filled
    }

    /// Reads on.
    fn go_on(&mut self, socket: BorrowedFd<'_>, maximum: usize, wait: Wait) -> Result<bool> {
        let length = loop {
            if let Some(length) = self.length {
                break length;
            }
            match read_header(&self.header)? {
                Head::Length(length) => self.length = Some(self.check(length)?),
                Head::Needs(size) => {
                    let most = size - self.header.len();
                    match receive(socket, &mut self.header, most, wait)? {
                        None => return Ok(false),
                        Some(0) if self.header.is_empty() => return Err(gone()),
                        Some(0) => return Err(cut()),
                        Some(_) => {}
                    }
                }
            }
        };
        if length > maximum {
            return Err(Error::new(
                ErrorKind::TooLong,
                format!(
                    "the next message has {length} bytes, more than the maximum of {maximum}; it \
                     stays in the queue"
                ),
            ));
        }
        while self.body.len() < length {
            let most = (length - self.body.len()).min(self.body.len().max(STEP));
            match receive(socket, &mut self.body, most, wait)? {
                None => return Ok(false),
                Some(0) => return Err(cut()),
                Some(_) => {}
            }
        }
        Ok(true)
    }

    /// Checks the length of a message.
    fn check(&self, length: u64) -> Result<usize> {
        match usize::try_from(length) {
            Ok(length) if length <= self.limit => Ok(length),
            _ => Err(Error::new(
                ErrorKind::TooLong,
                format!(
                    "the other side sends a message of {length} bytes, more than the limit of {}: \
                     the connection is closed; the option `max_message` raises the limit",
                    self.limit
                ),
            )),
        }
    }
}

/// Receives some bytes; `None` if none came in time.
fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut Vec<u8>,
    most: usize,
    wait: Wait,
) -> Result<Option<usize>> {
    loop {
        let error = match stream::recv(socket, bytes, most, matches!(wait, Wait::Forever)) {
            Ok(received) => return Ok(Some(received)),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::WouldBlock => {}
            io::ErrorKind::OutOfMemory => {
                return Err(Error::new(ErrorKind::Exhausted, "no memory for the next message"));
            }
            // The end of a side that had not read all.
            io::ErrorKind::ConnectionReset => return Ok(Some(0)),
            _ => return Err(Error::io(error, "receiving a message")),
        }
        if !poll::ready(socket, wait.deadline())
            .map_err(|error| Error::io(error, "waiting for a message"))?
        {
            return Ok(None);
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

/// The end in the wrong place.
fn cut() -> Error {
    Error::new(
        ErrorKind::Truncated,
        "the other side of the connection ended in the middle of a message: the connection is \
         closed",
    )
}
