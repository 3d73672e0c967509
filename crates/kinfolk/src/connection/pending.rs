//! A client that is authenticating.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::challenge::{LARGEST, refuse};
use super::encryption::Keys;
use super::handshake::{Handshake, Progress};
use super::reader::Reader;
use super::stream::Stream;
use super::writer::{Sent, Writer, send_all};
use crate::sys::fork_guard::PrivateFd;
use crate::wire::frame::Wait;
use crate::{Error, ErrorKind, Result};

/// A connection whose handshake is under way, at either side.
#[derive(Debug)]
pub(super) struct Pending {
    /// The socket.
    socket: PrivateFd,
    /// What comes in.
    reader: Reader,
    /// What was said; none when it is over.
    handshake: Option<Handshake>,
    /// The keys that came of it.
    keys: Option<Keys>,
}

impl Pending {
    /// A connection without a handshake.
    pub(super) fn new(socket: PrivateFd) -> Self {
        Self { socket, reader: Reader::new(LARGEST), handshake: None, keys: None }
    }

    /// Begins a handshake, and sends what it begins with.
    pub(super) fn begin(&mut self, handshake: Handshake, first: &[u8]) -> Result<()> {
        self.handshake = Some(handshake);
        self.send(first)
    }

    /// Goes on with the handshake, for as long as there are messages; returns whether it
    /// is over.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Authentication`] and others: it has failed.
    pub(super) fn go_on(&mut self, wait: Wait) -> Result<bool> {
        self.advance(wait).map_err(explain)
    }

    /// As [`go_on`](Self::go_on), but for the errors of an end and of what is no message,
    /// which are what they are.
    pub(super) fn advance(&mut self, wait: Wait) -> Result<bool> {
        loop {
            let Some(handshake) = &mut self.handshake else { return Ok(true) };
            if !self.reader.fill(self.socket.as_fd(), LARGEST, wait)? {
                return Ok(false);
            }
            let message = self.reader.take();
            let mut out = Vec::new();
            let received = handshake.receive(&message, &mut out);
            let sent = self.send(&out);
            if let Progress::Done(keys) = received? {
                self.handshake = None;
                self.keys = keys;
            }
            sent?;
        }
    }

    /// The connection, whose messages have at most `limit` bytes.
    pub(super) fn into_stream(self, limit: usize) -> Stream {
        let (opener, sealer) = self.keys.map(Keys::split).unzip();
        let reader = self.reader.after_handshake(limit, opener);
        Stream::new(self.socket, reader, Writer::new(sealer))
    }

    /// Sends messages of the handshake, for which there is always room: they are few and
    /// small.
    fn send(&self, messages: &[u8]) -> Result<()> {
        match send_all(self.as_fd(), messages, &[], Wait::Until(Instant::now())) {
            Ok(Sent::Whole) => Ok(()),
            Ok(_) => Err(refuse("it does not read what it is sent")),
            Err(error) => Err(Error::io(error, "authenticating")),
        }
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What an error means in a handshake.
fn explain(error: Error) -> Error {
    match error.kind() {
        ErrorKind::TooLong => refuse("its message is longer than any of a handshake"),
        ErrorKind::Protocol => refuse("it does not speak the handshake"),
        ErrorKind::Disconnected | ErrorKind::Truncated => {
            refuse("it ended the connection in the middle of the handshake")
        }
        _ => error,
    }
}
