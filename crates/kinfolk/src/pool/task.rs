//! The handle of what a pool does meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::driver::Shared;
use super::job::Batch;
use super::progress::Progress;
use crate::{Error, ErrorKind, Result};

/// What a pool does meanwhile: see [`Pool::apply_async`](super::Pool::apply_async) and
/// [`Pool::map_async`](super::Pool::map_async), whose items are one task together.
///
/// Dropping it lets the task go on; its result is lost.
#[must_use = "the result of a task is in its handle"]
#[doc(alias = "AsyncResult")]
#[doc(alias = "MapResult")]
pub struct Task<R>(Box<dyn Awaited<R>>);

/// What is called with the result of a task.
pub(super) type OnDone<R> = Box<dyn FnOnce(Result<R>) + Send>;

/// What a handle is of.
pub(super) trait Awaited<R>: Send + Sync {
    /// Waits until then, or until it is done; returns whether it is.
    fn wait_until(&self, deadline: Option<Instant>) -> bool;
    /// As [`Task::cancel`].
    fn cancel(&self) -> bool;
    /// As [`Task::successful`].
    fn successful(&self) -> Option<bool>;
    /// Takes the result, once it is done.
    fn take(&self) -> Result<R>;
    /// As [`Task::on_done`].
    fn on_done(&self, callback: OnDone<R>) -> Result<()>;
}

impl<R> Task<R> {
    /// The handle of something.
    pub(super) fn new(awaited: impl Awaited<R> + 'static) -> Self {
        Self(Box::new(awaited))
    }

    /// Whether the task is done: returned, failed, or cancelled. Never blocks.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.wait_timeout(Duration::ZERO)
    }

    /// Waits until the task is done. Its worker's result and its death wake it.
    pub fn wait(&self) {
        while !self.0.wait_until(None) {}
    }

    /// As [`wait`](Task::wait), for at most `timeout`; returns whether it is done.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.0.wait_until(Instant::now().checked_add(timeout))
    }

    /// Cancels the task: what has not begun, never does, and a worker that runs an item
    /// of it is terminated, after 0.5 s killed, with what it started. Returns whether
    /// there was anything to cancel. Another task is not harmed.
    ///
    /// A thread cannot be ended: what a [`ThreadPool`](super::ThreadPool) runs of it goes
    /// on to its end, and nobody waits for it.
    pub fn cancel(&self) -> bool {
        self.0.cancel()
    }

    /// Waits for the result; of many items, for all, in the order of the arguments.
    ///
    /// # Errors
    ///
    /// If the function panicked (message, place and worker are in the error), its
    /// argument or result could not be carried over, its worker died
    /// ([`ErrorKind::Died`]: how, and at which item), the item took too long
    /// ([`ErrorKind::Timeout`]), or it was cancelled ([`ErrorKind::Cancelled`]). Of many
    /// items, the first error, after all have been done.
    pub fn get(self) -> Result<R> {
        self.wait();
        self.0.take()
    }

    /// As [`get`](Task::get), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The handle, if it is not done by then.
    pub fn get_timeout(self, timeout: Duration) -> Result<Result<R>, Self> {
        if self.wait_timeout(timeout) { Ok(self.0.take()) } else { Err(self) }
    }

    /// Whether the task has a result, of all its items; `None` if it is not done. The
    /// result stays.
    #[must_use]
    pub fn successful(&self) -> Option<bool> {
        self.0.successful()
    }

    /// Has `callback` called with the result when the task is done, on a thread of the
    /// pool's, one callback after the other. It may use the pool, also end it. While it
    /// runs, tasks go on only as long as some thread waits for one. Under the start
    /// method `Fork` a pool has no thread: it is never called then, and this is an
    /// error.
    ///
    /// Of a [`ThreadPool`](super::ThreadPool) it is called by the thread that ended the
    /// task, or at once if that is done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] under `Fork`.
    pub fn on_done(self, callback: impl FnOnce(Result<R>) + Send + 'static) -> Result<()> {
        self.0.on_done(Box::new(callback))
    }
}

/// Makes the result of a task of what has come of its items.
pub(super) type Gather<R> = fn(BTreeMap<u64, Batch>) -> Result<R>;

/// A job of a pool of processes, whose items have all been given out.
pub(super) struct PoolTask<R> {
    /// The pool.
    shared: Arc<Shared>,
    /// The job.
    job: u64,
    /// How many items it has.
    total: u64,
    /// How far they have come.
    progress: Progress,
    /// Makes the result.
    gather: Gather<R>,
}

impl<R> PoolTask<R> {
    /// That of a job of so many items.
    pub(super) fn new(
        shared: Arc<Shared>,
        job: u64,
        total: u64,
        progress: Progress,
        gather: Gather<R>,
    ) -> Self {
        Self { shared, job, total, progress, gather }
    }
}

impl<R: 'static> PoolTask<R> {
    /// Waits for the result.
    pub(super) fn get(&self) -> Result<R> {
        while !self.wait_until(None) {}
        self.take()
    }
}

impl<R: 'static> Awaited<R> for PoolTask<R> {
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            let heard = self.shared.drive(deadline, |core| {
                let Some(job) = core.jobs.get(&self.job) else { return Some(None) };
                let stop = job.open == 0 || self.progress.is_behind(job.done);
                stop.then_some(Some((job.done, job.open)))
            });
            match heard {
                Ok(Some(Some((done, open)))) => {
                    self.progress.tell(done, Some(self.total));
                    if open == 0 {
                        return true;
                    }
                }
                Ok(None) => return false,
                // A fork of the pool's process does not wait.
                Ok(Some(None)) | Err(_) => return true,
            }
        }
    }

    fn cancel(&self) -> bool {
        self.shared.change(|core| core.cancel(self.job)).unwrap_or(false)
    }

    fn successful(&self) -> Option<bool> {
        let done = self.shared.change(|core| {
            let job = core.jobs.get(&self.job).filter(|job| job.open == 0)?;
            Some(job.batches.values().all(Batch::is_successful))
        });
        done.ok().flatten()
    }

    fn take(&self) -> Result<R> {
        let job = self.shared.change(|core| core.jobs.remove(&self.job))?;
        (self.gather)(job.map(|job| job.batches).unwrap_or_default())
    }

    fn on_done(&self, callback: OnDone<R>) -> Result<()> {
        let gather = self.gather;
        self.shared.change(|core| {
            if core.settings.method == crate::StartMethod::Fork {
                let reason = "a pool under the start method fork calls nothing back";
                return Err(Error::new(ErrorKind::Unavailable, reason));
            }
            core.call_back(self.job, Box::new(move |batches| callback(gather(batches))));
            Ok(())
        })?
    }
}

/// The result of the only item.
pub(super) fn only<R: DeserializeOwned>(mut batches: BTreeMap<u64, Batch>) -> Result<R> {
    let first = batches.first_entry().and_then(|mut entry| entry.get_mut().next());
    match first {
        Some((_, result)) => result,
        None => Err(Error::new(ErrorKind::Cancelled, "the task has no result")),
    }
}

/// The results of all items, or the first error.
pub(super) fn all<R: DeserializeOwned>(batches: BTreeMap<u64, Batch>) -> Result<Vec<R>> {
    let mut values = Vec::new();
    for mut batch in batches.into_values() {
        values.reserve(batch.count as usize);
        while let Some((_, result)) = batch.next() {
            values.push(result?);
        }
    }
    Ok(values)
}

impl<R> Drop for PoolTask<R> {
    fn drop(&mut self) {
        let _ = self.shared.change(|core| core.forget(self.job, true));
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0.successful() {
            None => "not done",
            Some(true) => "done",
            Some(false) => "failed",
        };
        write!(f, "<Task, {state}>")
    }
}
