//! A connection between a manager and a client: whole messages, one after the other.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::connection::Parts;
use crate::sys::fork_guard::PrivateFd;
use crate::sys::stream;
use crate::wire::frame::Wait;
use crate::{Connection, Error, ErrorKind, Result};

/// One end, in the hands of one thread.
#[derive(Debug)]
pub(crate) struct Link(Parts);

impl Link {
    /// Of an authenticated connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if it is a pipe.
    pub(super) fn new(connection: Connection<(), ()>) -> Result<Self> {
        let parts = connection.into_parts();
        parts.map(Self).ok_or_else(|| Error::new(ErrorKind::Protocol, "a pipe leads to no manager"))
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<()> {
        self.0.send(message)
    }

    /// Receives a message of at most `longest` bytes.
    pub(super) fn recv(&mut self, longest: usize) -> Result<Vec<u8>> {
        loop {
            if let Some(message) = self.0.recv(longest, Wait::Forever)? {
                return Ok(message);
            }
        }
    }

    /// As [`recv`](Self::recv), unless nothing comes in time.
    pub(super) fn recv_within(&mut self, longest: usize, wait: Wait) -> Result<Option<Vec<u8>>> {
        self.0.recv(longest, wait)
    }

    /// Gives the memory of a message back for the next one.
    pub(super) fn reuse(&mut self, message: Vec<u8>) {
        self.0.reuse(message);
    }

    /// What others may end it by.
    pub(super) fn plug(&self) -> Plug {
        Plug(Arc::clone(self.0.socket()))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What ends a connection that another thread uses.
#[derive(Debug)]
pub(super) struct Plug(Arc<PrivateFd>);

impl Plug {
    /// Ends the connection for both sides: who receives finds the end.
    pub(super) fn pull(&self) {
        stream::shutdown(self.0.as_fd());
    }
}

impl AsFd for Plug {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
