//! Handles of what a pool does meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::driver::Shared;
use super::job::Batch;
use super::progress::Progress;
use crate::{Error, ErrorKind, Result};

/// A task of a pool: see [`Pool::apply_async`](super::Pool::apply_async).
///
/// Dropping it lets the task go on; its result is lost.
#[must_use = "the result of a task is in its handle"]
#[doc(alias = "AsyncResult")]
pub struct Task<R> {
    /// The pool.
    shared: Arc<Shared>,
    /// The job.
    job: u64,
    /// The type of the result.
    result: PhantomData<fn() -> R>,
}

impl<R> Task<R> {
    /// The handle of a job of one item.
    pub(super) fn new(shared: Arc<Shared>, job: u64) -> Self {
        Self { shared, job, result: PhantomData }
    }

    /// Whether the task is done: returned, failed, or cancelled. Never blocks.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.wait_timeout(Duration::ZERO)
    }

    /// Waits until the task is done. Its worker's result and its death wake it.
    pub fn wait(&self) {
        while !self.wait_until(None) {}
    }

    /// As [`wait`](Task::wait), for at most `timeout`; returns whether it is done.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Cancels the task: if it has not begun, it never does, and a worker that runs it
    /// is terminated, after 0.5 s killed, with what it started. Returns whether there
    /// was anything to cancel. Another task is not harmed.
    pub fn cancel(&self) -> bool {
        self.shared.change(|core| core.cancel(self.job)).unwrap_or(false)
    }

    /// Waits until then; a fork of the pool's process does not wait.
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let job = self.job;
        let done = self.shared.drive(deadline, |core| {
            core.jobs.get(&job).is_none_or(|job| job.open == 0).then_some(())
        });
        !matches!(done, Ok(None))
    }
}

impl<R: DeserializeOwned> Task<R> {
    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// If the function panicked (message, place and worker are in the error), its
    /// argument or result could not be carried over, its worker died
    /// ([`ErrorKind::Died`]: how, and at which item), the item took too long
    /// ([`ErrorKind::Timeout`]), or it was cancelled ([`ErrorKind::Cancelled`]).
    pub fn get(self) -> Result<R> {
        self.wait();
        self.take()
    }

    /// As [`get`](Task::get), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The handle, if it is not done by then.
    pub fn get_timeout(self, timeout: Duration) -> Result<Result<R>, Self> {
        if self.wait_timeout(timeout) { Ok(self.take()) } else { Err(self) }
    }

    /// Whether the task has a result; `None` if it is not done. The result stays.
    #[must_use]
    pub fn successful(&self) -> Option<bool> {
        let done = self.shared.change(|core| {
            let job = core.jobs.get(&self.job).filter(|job| job.open == 0)?;
            Some(job.batches.values().all(Batch::is_successful))
        });
        done.ok().flatten()
    }

    /// Has `callback` called with the result when the task is done, on a thread of the
    /// pool's, one callback after the other. It may use the pool, also end it. While it
    /// runs, tasks go on only as long as some thread waits for one. Under the start
    /// method `Fork` a pool has no thread: it is never called then, and this is an
    /// error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] under `Fork`.
    pub fn on_done(self, callback: impl FnOnce(Result<R>) + Send + 'static) -> Result<()> {
        let job = self.job;
        self.shared.change(|core| {
            if core.settings.method == crate::StartMethod::Fork {
                let reason = "a pool under the start method fork calls nothing back";
                return Err(Error::new(ErrorKind::Unavailable, reason));
            }
            core.call_back(job, Box::new(move |batches| callback(only(batches))));
            Ok(())
        })?
    }

    /// Takes the result of a task that is done.
    fn take(&self) -> Result<R> {
        let job = self.shared.change(|core| core.jobs.remove(&self.job))?;
        only(job.map(|job| job.batches).unwrap_or_default())
    }
}

/// The only result of a job.
fn only<R: DeserializeOwned>(mut batches: BTreeMap<u64, Batch>) -> Result<R> {
    let first = batches.first_entry().and_then(|mut entry| entry.get_mut().next());
    match first {
        Some((_, result)) => result,
        None => Err(Error::new(ErrorKind::Cancelled, "the task has no result")),
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        let _ = self.shared.change(|core| core.forget(self.job, true));
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Task {}>", self.job)
    }
}

/// Many tasks of a pool: see [`Pool::map_async`](super::Pool::map_async).
///
/// Dropping it lets them go on; their results are lost.
#[must_use = "the results are in the handle"]
pub struct MapTask<R> {
    /// As one.
    task: Task<R>,
    /// How many there are.
    total: u64,
    /// How far they have come.
    progress: Progress,
}

impl<R> MapTask<R> {
    /// The handle of a job of many items.
    pub(super) fn new(shared: Arc<Shared>, job: u64, total: u64, progress: Progress) -> Self {
        Self { task: Task::new(shared, job), total, progress }
    }

    /// As [`Task::ready`], of all.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.wait_timeout(Duration::ZERO)
    }

    /// As [`Task::wait`], for all.
    pub fn wait(&self) {
        while !self.wait_until(None) {}
    }

    /// As [`Task::wait_timeout`], for all.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// As [`Task::cancel`], of all.
    pub fn cancel(&self) -> bool {
        self.task.cancel()
    }

    /// Waits until then, and tells meanwhile how far they have come.
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let number = self.task.job;
        loop {
            let heard = self.task.shared.drive(deadline, |core| {
                let Some(job) = core.jobs.get(&number) else { return Some(None) };
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
}

impl<R: DeserializeOwned> MapTask<R> {
    /// Waits for all results, in the order of the arguments.
    ///
    /// # Errors
    ///
    /// The first error, after all have been done; as of [`Task::get`].
    pub fn get(self) -> Result<Vec<R>> {
        self.wait();
        let job = self.task.shared.change(|core| core.jobs.remove(&self.task.job))?;
        let mut values = Vec::new();
        for mut batch in job.map(|job| job.batches).unwrap_or_default().into_values() {
            values.reserve(batch.count as usize);
            while let Some((_, result)) = batch.next() {
                values.push(result?);
            }
        }
        Ok(values)
    }
}

impl<R> fmt::Debug for MapTask<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<MapTask {}>", self.task.job)
    }
}
