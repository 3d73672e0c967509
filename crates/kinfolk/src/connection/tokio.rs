//! Connections in tokio programs.
#![allow(unsafe_code)] // Registering a descriptor is a promise to keep it open.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Connection;
use crate::{Error, ErrorKind, Result};

/// A [`Connection`] whose operations are awaited.
///
/// Dropping the future of an operation before it is done loses no message: it
/// was sent or received as a whole, or not at all.
#[derive(Debug)]
pub struct AsyncConnection<S, R> {
    /// The connection, known to the runtime.
    inner: AsyncFd<Connection<S, R>>,
}

impl<S, R> Connection<S, R> {
    /// Makes the connection awaitable.
    ///
    /// # Errors
    ///
    /// If the runtime cannot watch it; [`ErrorKind::InvalidInput`] of a connection that
    /// is no pipe: in the middle of a message a future cannot be dropped.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled.
    pub fn into_async(self) -> Result<AsyncConnection<S, R>> {
        if !self.is_pipe() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a connection of a Listener or Client cannot be awaited: use it in a thread",
            ));
        }
        let both = Interest::READABLE | Interest::WRITABLE;
        // SAFETY: a connection owns its descriptor, always the same, until it is
        // dropped; that it is disconnected at exit closes no number.
        let inner = unsafe { AsyncFd::register_with_interest(self, both) };
        let inner = inner.map_err(|error| {
            Error::io(error.into_parts().1, "registering a connection with tokio")
        })?;
        Ok(AsyncConnection { inner })
    }
}

impl<S, R> AsyncConnection<S, R> {
    /// Makes the connection blocking again.
    #[must_use]
    pub fn into_inner(self) -> Connection<S, R> {
        self.inner.into_inner()
    }
}

impl<S: Serialize, R> AsyncConnection<S, R> {
    /// Sends a value: see [`Connection::send`].
    ///
    /// # Errors
    ///
    /// As [`Connection::send`].
    pub async fn send(&self, value: &S) -> Result<()> {
        loop {
            let ready = self.inner.writable().await;
            let mut ready = ready.map_err(|error| Error::io(error, "waiting to send"))?;
            if self.inner.get_ref().send_timeout(value, Duration::ZERO)? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }
}

impl<S, R: DeserializeOwned> AsyncConnection<S, R> {
    /// Receives a value: see [`Connection::recv`].
    ///
    /// # Errors
    ///
    /// As [`Connection::recv`].
    pub async fn recv(&self) -> Result<R> {
        loop {
            let ready = self.inner.readable().await;
            let mut ready = ready.map_err(|error| Error::io(error, "waiting for a message"))?;
            if let Some(value) = self.inner.get_ref().try_recv()? {
                return Ok(value);
            }
            ready.clear_ready();
        }
    }
}
