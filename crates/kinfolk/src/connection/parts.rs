//! A stream in the hands of one thread, without turns to wait for.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::reader::{self, Reader};
use super::writer::Writer;
use crate::sys::fork_guard::PrivateFd;
use crate::sys::stream;
use crate::wire::frame::Wait;
use crate::{Error, Result};

/// The two directions of a stream, used by one thread. Small messages are received by one
/// system call: whether one is here, the socket alone does not tell.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The socket, which blocks.
    socket: Arc<PrivateFd>,
    /// What comes in.
    reader: Option<Reader>,
    /// What goes out.
    writer: Option<Writer>,
}

impl Parts {
    /// Of the parts of a stream; without one of them it has ended.
    pub(super) fn new(
        socket: PrivateFd,
        mut reader: Option<Reader>,
        writer: Option<Writer>,
    ) -> Self {
        if let Some(reader) = &mut reader {
            reader.read_ahead();
        }
        Self { socket: Arc::new(socket), reader, writer }
    }

    /// The socket, for others to look at and to end.
    pub(crate) fn socket(&self) -> &Arc<PrivateFd> {
        &self.socket
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`](crate::ErrorKind::Disconnected) if the other side is gone.
    pub(crate) fn send(&mut self, message: &[u8]) -> Result<()> {
        let writer = self.writer.as_mut().ok_or_else(reader::over)?;
        let sent = writer.send_bytes(self.socket.as_fd(), message, Wait::Forever);
        sent.map(drop).map_err(|error| {
            stream::shutdown(self.socket.as_fd());
            Error::io(error, "sending a message")
        })
    }

    /// Receives a message of at most `maximum` bytes; `None` if it was not whole in time.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_bytes_max`](super::Connection::recv_bytes_max).
    pub(crate) fn recv(&mut self, maximum: usize, wait: Wait) -> Result<Option<Vec<u8>>> {
        let reader = self.reader.as_mut().ok_or_else(reader::over)?;
        let whole = reader.fill(self.socket.as_fd(), maximum, wait)?;
        Ok(whole.then(|| reader.take()))
    }

    /// Gives the memory of a message back for the next one.
    pub(crate) fn reuse(&mut self, message: Vec<u8>) {
        if let Some(reader) = &mut self.reader {
            reader.reuse(message);
        }
    }
}

impl AsFd for Parts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
