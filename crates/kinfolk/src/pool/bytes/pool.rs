//! The pool, as its host has it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::super::body::Body;
use super::super::builder::Settings;
use super::super::core::{Core, Starts};
use super::super::driver::Shared;
use super::super::host::Asked;
use super::super::lane::{Lane, Share};
use super::super::slate::Slate;
use super::super::stats::{Statistics, WorkerStatistics};
use super::job::ByteJob;
use crate::queue::{ByteQueue, Options};
use crate::{Error, ErrorKind, ExitStatus, Result, StartMethod};

/// The most bytes on their way to a worker, and from it.
const BYTES: usize = 1 << 30;
/// The most chunks on their way to a worker, and results from it.
const MESSAGES: usize = 1024;

/// A pool whose items and results are bytes, and whose workers its host starts.
///
/// A worker that dies costs the item that it was running, as in a [`Pool`](crate::Pool):
/// all else that it had goes to others, and the host is asked for another.
///
/// Dropping it ends nothing: [`terminate`](Self::terminate) does.
pub struct BytePool {
    /// What its threads share.
    pub(super) shared: Arc<Shared>,
    /// Readable when the host is to look.
    bell: OwnedFd,
}

impl BytePool {
    /// Makes a pool of so many workers, each replaced after so many chunks. With `limited`
    /// errors say of a worker that died that it may have been at its limit of memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] without workers; or if this process has no free file
    /// descriptor.
    pub fn new(workers: usize, chunks: Option<u64>, limited: bool) -> Result<Self> {
        if workers == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "a pool has at least one worker"));
        }
        let settings = Settings {
            workers,
            // Of no meaning where the host starts them, but for the thread that it lends.
            method: StartMethod::Spawn,
            share: chunks.map_or(Share::All, Share::Chunks),
            memory_limit: limited.then_some(0),
            timeout: None,
            start_timeout: None,
            retries: 0,
            queue_bound: usize::MAX,
            largest_message: BYTES,
            name: String::new(),
        };
        let asked = Asked::new()?;
        let bell = asked.bell()?;
        let mut core = Core::new(settings, Starts::Host(asked));
        core.has_thread = true;
        core.dispatch();
        Ok(Self { shared: Shared::new(core)?, bell })
    }

    /// The numbers of the workers that the host is to start and was not told of yet. Each
    /// is to be answered by [`hand_in`](Self::hand_in) or [`start_failed`](Self::start_failed).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotOwner`] in a fork of the process that made the pool, as all.
    pub fn asked(&self) -> Result<Vec<u64>> {
        self.shared.change(Core::take_asked)
    }

    /// Hands in a worker that was started. Returns whether it is still wanted: if not, the
    /// host ends it.
    ///
    /// # Errors
    ///
    /// As [`asked`](Self::asked).
    pub fn hand_in(&self, worker: NewWorker, name: &str, pid: u32, pidfd: OwnedFd) -> Result<bool> {
        let NewWorker { number, requests, results, slate } = worker;
        let body = Body::Hosted { name: name.to_owned(), pid, pidfd };
        let ends = (requests.into_sides().0, results.into_sides().1);
        let lane = Lane::new(number, body, ends, slate);
        self.shared.change(|core| core.hand_in(lane))
    }

    /// Says why a worker could not be started. If there is no other, that fails all tasks
    /// after three times in a row.
    ///
    /// # Errors
    ///
    /// As [`asked`](Self::asked).
    pub fn start_failed(&self, number: u64, reason: &str) -> Result<()> {
        self.shared.change(|core| core.start_failed(number, reason))
    }

    /// Says how a worker ended.
    ///
    /// # Errors
    ///
    /// As [`asked`](Self::asked).
    pub fn ended(&self, number: u64, status: ExitStatus) -> Result<()> {
        self.shared.change(|core| core.ended_at_host(number, status))?;
        self.shared.work.notify_all();
        Ok(())
    }

    /// Waits for the workers whenever nobody else does, and returns the number of a job
    /// that is done and was to be [told](ByteJob::tell): `None` when the pool has ended.
    /// For a thread that does nothing else.
    ///
    /// # Errors
    ///
    /// As [`asked`](Self::asked).
    pub fn serve(&self) -> Result<Option<u64>> {
        self.shared.serve()
    }

    /// Begins a job: `function` travels with each of its chunks. It goes on while nobody
    /// waits for it, with `background`. An item may take `timeout`, then its worker is
    /// ended; one whose worker died is tried again `retries` times.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the pool is closed, [`ErrorKind::Cancelled`] if it is
    /// terminated; and as [`asked`](Self::asked).
    pub fn begin(
        &self,
        function: &[u8],
        background: bool,
        timeout: Option<Duration>,
        retries: u32,
    ) -> Result<ByteJob> {
        let number = self.shared.change(|core| {
            let number = core.begin_job(background)?;
            if let Some(job) = core.jobs.get_mut(&number) {
                (job.timeout, job.retries) = (timeout, retries);
            }
            Ok::<_, Error>(number)
        })??;
        Ok(ByteJob::new(Arc::clone(&self.shared), number, function, timeout.is_none()))
    }

    /// Takes no more jobs. What there is, is done; then the workers end.
    ///
    /// # Errors
    ///
    /// As [`asked`](Self::asked).
    pub fn close(&self) -> Result<()> {
        self.shared.change(Core::close)?;
        self.shared.work.notify_all();
        Ok(())
    }

    /// Kills all workers, and what they started. What is not done fails with
    /// [`ErrorKind::Cancelled`], when the host has told of their ends.
    ///
    /// # Errors
    ///
    /// As [`asked`](Self::asked).
    pub fn terminate(&self) -> Result<()> {
        self.shared.change(|core| {
            core.terminate();
            core.ask_no_more();
        })?;
        self.shared.work.notify_all();
        Ok(())
    }

    /// Waits, for at most `timeout`, until a closed or terminated pool has done all it had
    /// and its workers have ended; returns whether that is so. The caller may be
    /// [interrupted](crate::set_interrupt).
    ///
    /// # Errors
    ///
    /// As [`asked`](Self::asked).
    pub fn join(&self, timeout: Duration) -> Result<bool> {
        let over = super::job::drive(&self.shared, timeout, |core| core.is_over().then_some(()));
        Ok(over?.is_some())
    }

    /// What the pool has done, at this moment.
    ///
    /// # Errors
    ///
    /// As [`asked`](Self::asked).
    pub fn statistics(&self) -> Result<Statistics> {
        self.shared.change(|core| Statistics {
            workers: core.lanes.iter().map(WorkerStatistics::of).collect(),
            finished: core.tally.finished,
            queued: core.queue.iter().map(|chunk| u64::from(chunk.count)).sum(),
            ended: core.tally.ended,
            deaths: core.tally.deaths,
            busy_of_ended: core.tally.busy,
        })
    }
}

/// To wait for: readable when the host is to look at [`BytePool::asked`].
impl AsFd for BytePool {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl fmt::Debug for BytePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BytePool").finish_non_exhaustive()
    }
}

/// A worker that is to be started: what it and the pool talk by.
#[derive(Debug)]
pub struct NewWorker {
    /// Which of the workers of its pool, ever.
    number: u64,
    /// Where chunks go.
    requests: ByteQueue,
    /// Where results come from.
    results: ByteQueue,
    /// Where its last results are if it dies.
    slate: Slate,
}

impl NewWorker {
    /// Makes what the worker of this number talks by.
    ///
    /// # Errors
    ///
    /// If there is no memory or no file descriptor for it.
    pub fn new(number: u64) -> Result<Self> {
        let queue = || ByteQueue::new(Options::new(MESSAGES).bytes(BYTES));
        Ok(Self { number, requests: queue()?, results: queue()?, slate: Slate::new()? })
    }

    /// What its process makes a [`ByteWorker`](super::ByteWorker) of.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 5] {
        let ([memory, bell], [other, other_bell]) = (self.requests.fds(), self.results.fds());
        [memory, bell, other, other_bell, self.slate.fd()]
    }
}
