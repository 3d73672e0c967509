//! What was asked for in one call.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::core::Core;
use super::super::driver::Shared;
use super::super::job::{Chunk, Failure};
use super::result::ByteBatch;
use crate::sync::interrupt;
use crate::{ErrorKind, Result};

/// How long one waits before one asks whether to be interrupted.
const NAP: Duration = Duration::from_millis(50);

/// What is asked of a [`BytePool`](super::BytePool) in one call: items for one function,
/// which are given to it in chunks.
///
/// Dropping it lets what was given go on, and loses the results.
pub struct ByteJob {
    /// The pool.
    shared: Arc<Shared>,
    /// Which of its jobs.
    number: u64,
    /// The function.
    function: Arc<[u8]>,
    /// Whether its chunks may wait at busy workers.
    ahead: bool,
    /// How many items it was given.
    given: AtomicU64,
}

/// Consecutive items of a job.
#[derive(Debug)]
pub struct ByteChunk {
    /// The chunk; its place in the job is not known yet.
    inner: Chunk,
}

/// What one waits for at a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// That all items that were given are done.
    All,
    /// The results from this item on.
    From(u64),
    /// Any results.
    Any,
}

/// What has come of waiting.
#[derive(Debug)]
pub enum Waited {
    /// Results.
    Batch(ByteBatch),
    /// All items that were given are done, and there are no such results.
    Done,
    /// The time is over, or the wait was interrupted.
    Timeout,
}

impl ByteJob {
    /// A job that was begun.
    pub(super) fn new(shared: Arc<Shared>, number: u64, function: &[u8], ahead: bool) -> Self {
        Self { shared, number, function: function.into(), ahead, given: AtomicU64::new(0) }
    }

    /// Its number, as [`BytePool::serve`](super::BytePool::serve) tells it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many items it was given.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// An empty chunk.
    #[must_use]
    pub fn chunk(&self) -> ByteChunk {
        ByteChunk { inner: Chunk::of_bytes(self.number, 0, &self.function, self.ahead) }
    }

    /// Gives a chunk to the workers. Never waits: it is the caller's to give no more than
    /// is good for the memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotOwner`] in a fork of the process that made the pool.
    pub fn submit(&self, chunk: ByteChunk) -> Result<()> {
        let ByteChunk { inner: mut chunk } = chunk;
        if chunk.count == 0 {
            return Ok(());
        }
        chunk.first = self.given.fetch_add(chunk.count.into(), Ordering::Relaxed);
        self.shared.change(|core| core.submit(chunk))
    }

    /// Gives an item that could not be made bytes: its result is an error of kind
    /// [`ErrorKind::Serialize`]. Returns its number.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn refuse(&self, reason: &str) -> Result<u64> {
        let item = self.given.fetch_add(1, Ordering::Relaxed);
        let failure = Failure::new(ErrorKind::Serialize, reason);
        self.shared.change(|core| core.refuse(self.number, item, failure))?;
        Ok(item)
    }

    /// Has [`BytePool::serve`](super::BytePool::serve) tell when it is done: for when all
    /// items have been given.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn tell(&self) -> Result<()> {
        self.shared.change(|core| {
            let Some(job) = core.jobs.get_mut(&self.number) else { return };
            job.to_tell = true;
            if job.open == 0 {
                core.told.push_back(self.number);
            }
        })
    }

    /// Waits for at most `timeout`. The results of the workers wake it, and their ends
    /// as far as the host has told of them; it may be [interrupted](crate::set_interrupt).
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn wait(&self, wanted: Wanted, timeout: Duration) -> Result<Waited> {
        let waited = drive(&self.shared, timeout, |core| {
            let Some(job) = core.jobs.get_mut(&self.number) else { return Some(Waited::Done) };
            let batch = match wanted {
                Wanted::All => None,
                Wanted::From(number) => job.batches.remove(&number),
                Wanted::Any => job.batches.pop_first().map(|(_, batch)| batch),
            };
            match batch {
                Some(batch) => Some(Waited::Batch(ByteBatch::new(batch))),
                None => (job.open == 0).then_some(Waited::Done),
            }
        })?;
        Ok(waited.unwrap_or(Waited::Timeout))
    }

    /// Whether all that was given is done, and how many items that is, at this moment.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn done(&self) -> Result<(bool, u64)> {
        let done = |core: &mut Core| {
            core.collect();
            core.dispatch();
            core.jobs.get(&self.number).map_or((true, 0), |job| (job.open == 0, job.done))
        };
        self.shared.change(done)
    }

    /// Cancels it: what was not begun is not, and who is at it is ended. Returns whether
    /// there was anything to cancel.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn cancel(&self) -> Result<bool> {
        self.shared.change(|core| core.cancel(self.number))
    }
}

impl ByteChunk {
    /// Adds an item, which `write` appends to what there is. What it returns as an error
    /// comes back, and nothing is added then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLong`] if it is larger than 1 GiB.
    pub fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<(), E>> {
        self.inner.push_with(write)
    }

    /// How many items it has.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.inner.count
    }

    /// How many bytes it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.inner.message.len()
    }
}

impl Drop for ByteJob {
    fn drop(&mut self) {
        let _ = self.shared.change(|core| core.forget(self.number, true));
    }
}

impl fmt::Debug for ByteJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<ByteJob {}, {} items given>", self.number, self.given())
    }
}

/// Waits until `done` says something: `None` after `timeout`, or if interrupted.
pub(super) fn drive<T>(
    shared: &Arc<Shared>,
    timeout: Duration,
    mut done: impl FnMut(&mut Core) -> Option<T>,
) -> Result<Option<T>> {
    let now = Instant::now();
    let deadline = now.checked_add(timeout).unwrap_or(now);
    loop {
        let nap = deadline.min(Instant::now() + NAP);
        let result = shared.drive(Some(nap), &mut done)?;
        if result.is_some() || nap == deadline || interrupt::is_wanted() {
            return Ok(result);
        }
    }
}
