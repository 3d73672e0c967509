//! A worker's side.
#![allow(unsafe_code)] // Memory that its pool reads when it is dead.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::super::output::Output;
use super::super::protocol::{self, LARGEST, Status};
use super::super::slate::Slate;
use crate::queue::ByteQueue;
use crate::queue::Sender;
use crate::{Error, ErrorKind, Result};

/// The largest result, in bytes: it may follow others that are kept back.
const MOST: usize = LARGEST - (1 << 17);

/// A worker of a [`BytePool`](super::BytePool), in its process.
///
/// What it has answered and its pool has not heard of is not lost when it is killed.
pub struct ByteWorker {
    /// Where chunks come from.
    requests: ByteQueue,
    /// Where results go.
    results: Sender<()>,
    /// Where they are until then.
    slate: Slate,
}

/// What has come of waiting for a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// A chunk was done.
    Chunk,
    /// None came in time, or the wait was interrupted.
    Nothing,
    /// The pool wants no more of this worker.
    Dismissed,
}

impl ByteWorker {
    /// Makes the worker of what [`NewWorker::fds`](super::NewWorker::fds) gave to this
    /// process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if they are something else, or of another pid namespace.
    ///
    /// # Safety
    ///
    /// This process is the one that the worker is, of all that have these descriptors, and
    /// it does this once.
    pub unsafe fn from_fds(fds: [OwnedFd; 5]) -> Result<Self> {
        let [memory, bell, other, other_bell, slate] = fds;
        Ok(Self {
            requests: ByteQueue::from_fds([memory, bell])?,
            results: ByteQueue::from_fds([other, other_bell])?.into_sides().0,
            slate: Slate::from_fd(slate)?,
        })
    }

    /// Says that it takes chunks.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub fn begin(&self) -> Result<()> {
        self.results.send_bytes(&[protocol::READY])
    }

    /// Says why it cannot begin: its process is to end.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    pub fn fail(&self, reason: &str) -> Result<()> {
        self.results.send_bytes(&[&[protocol::FAILED], reason.as_bytes()].concat())
    }

    /// Waits for a chunk, for at most `timeout`, and has it done.
    ///
    /// # Errors
    ///
    /// What `serve` returns; or if the pool sent what no pool sends, or there is no memory
    /// for the results. Its process is to end then.
    pub fn serve(
        &mut self,
        timeout: Duration,
        serve: impl FnOnce(&mut ByteWork<'_, '_>) -> Result<()>,
    ) -> Result<Served> {
        let Some(chunk) = self.requests.recv_timeout(timeout)? else { return Ok(Served::Nothing) };
        // SAFETY: who made this worker promises that it is the only one that writes on the
        // slate; it does so in here alone, and `self` is borrowed mutably.
        let page = unsafe { self.slate.open() };
        let broken = || Error::new(ErrorKind::Protocol, "a chunk is not as pools make them");
        let mut output = Output::new(&self.results, page.ok_or_else(broken)?, MOST);
        // SAFETY: the pool has written the chunk before it sent it, and writes to it again
        // only when the view is dropped.
        let mut rest = unsafe { chunk.as_slice() };
        if rest.is_empty() {
            return Ok(Served::Dismissed);
        }
        let job = protocol::take_u64(&mut rest).ok_or_else(broken)?;
        let length = protocol::take_u64(&mut rest).ok_or_else(broken)?;
        let first = protocol::take_u32(&mut rest).ok_or_else(broken)?;
        let count = protocol::take_u32(&mut rest).ok_or_else(broken)?;
        let length = usize::try_from(length).map_err(|_| broken())?;
        let (function, items) = rest.split_at_checked(length).ok_or_else(broken)?;
        output.begin(first, count);
        serve(&mut ByteWork { job, function, items, output: &mut output })?;
        // Its room is free before the pool hears of its end and needs it for another.
        drop(chunk);
        output.send()?;
        Ok(Served::Chunk)
    }
}

impl fmt::Debug for ByteWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteWorker").finish_non_exhaustive()
    }
}

/// A chunk that a worker does: each item is taken, and answered before the next.
pub struct ByteWork<'a, 'b> {
    /// Which job it is of.
    job: u64,
    /// The function.
    function: &'a [u8],
    /// The items that are left.
    items: &'a [u8],
    /// Where the results go.
    output: &'a mut Output<'b>,
}

impl<'a> ByteWork<'a, '_> {
    /// Which of its pool's jobs it is of.
    #[must_use]
    pub fn job(&self) -> u64 {
        self.job
    }

    /// The function that is to be called for each item.
    #[must_use]
    pub fn function(&self) -> &'a [u8] {
        self.function
    }

    /// Takes the next item.
    pub fn take_item(&mut self) -> Option<&'a [u8]> {
        protocol::take_item(&mut self.items).map(|(_, item)| item)
    }

    /// Answers the item that was taken last: with what the function has returned, or,
    /// with `raised`, with what it raised. A kill from now on does not cost it.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub fn answer(&mut self, answer: &[u8], raised: bool) -> Result<()> {
        if answer.len() > MOST {
            let text = format!("it has {} bytes, where a pool takes {MOST}", answer.len());
            return self.output.add(Status::BadResult, text.as_bytes());
        }
        let status = if raised { Status::Panicked } else { Status::Done };
        self.output.add(status, answer)
    }
}

impl fmt::Debug for ByteWork<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteWork").field("job", &self.job).finish_non_exhaustive()
    }
}
