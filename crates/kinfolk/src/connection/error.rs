//! Errors that give something back.

use std::fmt;

use crate::Error;

/// A message that did not fit into the buffer, and is here instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferTooShort(pub(super) Vec<u8>);

impl BufferTooShort {
    /// The message.
    #[must_use]
    pub fn into_inner(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Display for BufferTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the message has {} bytes, more than the buffer; the error holds it",
            self.0.len()
        )
    }
}

impl std::error::Error for BufferTooShort {}

/// Why [`Connection::recv_bytes_into`](super::Connection::recv_bytes_into) filled no buffer.
#[derive(Debug)]
pub enum RecvIntoError {
    /// The buffer is too short; the message is inside.
    BufferTooShort(BufferTooShort),
    /// Nothing was received.
    Failed(Error),
}

impl fmt::Display for RecvIntoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooShort(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RecvIntoError {}

impl From<Error> for RecvIntoError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
