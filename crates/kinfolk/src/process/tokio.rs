//! Ends of processes in tokio programs.
#![allow(unsafe_code)] // Registering a descriptor is a promise to keep it open.

use std::os::fd::AsFd as _;
use std::time::Instant;

use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::child::Child;
use super::handle::Process;
use super::status::ExitStatus;
use crate::{Error, Result};

impl Child {
    /// Waits until the process has ended: see [`Child::wait`].
    ///
    /// # Errors
    ///
    /// As [`Child::wait`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn wait_async(&self) -> Result<ExitStatus> {
        // SAFETY: the borrow keeps the child's pidfd open as long as it is registered.
        let sentinel = unsafe { AsyncFd::register_with_interest(self.as_fd(), Interest::READABLE) };
        let sentinel = sentinel
            .map_err(|error| Error::io(error.into_parts().1, "registering a process with tokio"))?;
        loop {
            // Also ends a process that has not begun in time.
            if let Some(status) = self.wait_until(Some(Instant::now()))? {
                return Ok(status);
            }
            let begin = self.begin.0.into();
            let ready = match self.begin_deadline() {
                Some(_) => match tokio::time::timeout_at(begin, sentinel.readable()).await {
                    Ok(ready) => ready,
                    Err(_) => continue,
                },
                None => sentinel.readable().await,
            };
            ready.map_err(|error| Error::io(error, "waiting for a process"))?.clear_ready();
        }
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Waits until the process has ended, and returns the function's result:
    /// see [`Process::join`].
    ///
    /// # Errors
    ///
    /// As [`Process::join`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn join_async(self) -> Result<R> {
        self.wait_async().await?;
        self.join()
    }
}
