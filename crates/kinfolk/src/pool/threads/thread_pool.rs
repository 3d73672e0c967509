//! A pool of threads.

use std::fmt;
use std::sync::Arc;

use super::super::stats::Statistics;
use super::super::task::Task;
use super::super::tasks::{Stateful, Stateless};
use super::builder::ThreadPoolBuilder;
use super::crew::Crew;
use super::tasks::ThreadTasks;
use crate::Result;

/// A pool of threads of this process, with the operations of a [`Pool`](super::super::Pool).
///
/// Nothing is copied between processes, so functions may be closures that capture, and
/// arguments and results need not be serialisable. What only processes can have, threads
/// have not: an item cannot be ended from outside (no timeout; a cancelled one that has
/// begun goes on to its end), and what crashes, takes this process with it. A panic is
/// the error of its item, as there.
///
/// An item that waits for another of the same pool waits for ever if all threads do so.
///
/// Dropping a pool terminates it: what has not begun fails, threads end after the item
/// that they run, and nobody waits for them. [`close`](ThreadPool::close) and
/// [`join`](ThreadPool::join) it to have all tasks done. A fork of this process has no
/// threads: there each operation is an error.
///
/// ```
/// use kinfolk::ThreadPool;
///
/// # fn main() -> kinfolk::Result<()> {
/// let pool = ThreadPool::new()?;
/// let base = String::from("item ");
/// let name = move |n: u64| format!("{base}{n}");
/// assert_eq!(pool.map(name, 1..=3)?, ["item 1", "item 2", "item 3"]);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "ThreadPoolExecutor")]
pub struct ThreadPool<S = ()> {
    /// What its threads share.
    crew: Arc<Crew<S>>,
}

impl ThreadPool {
    /// Makes a pool of as many threads as this process may use processors.
    ///
    /// # Errors
    ///
    /// As [`ThreadPoolBuilder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Returns a builder for a pool with options.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }
}

impl<S: 'static> ThreadPool<S> {
    /// Wraps threads.
    pub(super) fn of(crew: Arc<Crew<S>>) -> Self {
        Self { crew }
    }

    /// The threads.
    pub(super) fn crew(&self) -> &Arc<Crew<S>> {
        &self.crew
    }

    /// Calls `function` with `argument` in a thread, and waits for the result.
    ///
    /// # Errors
    ///
    /// If the function panicked, or the pool is closed or terminated.
    pub fn apply<A, R>(
        &self,
        function: impl Fn(A) -> R + Send + Sync + 'static,
        argument: A,
    ) -> Result<R>
    where
        A: Send + 'static,
        R: Send + 'static,
    {
        self.tasks().apply(function, argument)
    }

    /// Calls `function` with `argument` in a thread, meanwhile. Waits only if as many
    /// tasks wait as [`ThreadPoolBuilder::queue_bound`] allows.
    ///
    /// # Errors
    ///
    /// If the pool is closed or terminated.
    pub fn apply_async<A, R>(
        &self,
        function: impl Fn(A) -> R + Send + Sync + 'static,
        argument: A,
    ) -> Result<Task<R>>
    where
        A: Send + 'static,
        R: Send + 'static,
    {
        self.tasks().apply_async(function, argument)
    }

    /// Calls `function` for each of `items`, and returns all results in order.
    ///
    /// # Errors
    ///
    /// The first error, after all items have been done.
    pub fn map<A, R>(
        &self,
        function: impl Fn(A) -> R + Send + Sync + 'static,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>>
    where
        A: Send + 'static,
        R: Send + 'static,
    {
        self.tasks().map(function, items)
    }

    /// As [`map`](ThreadPool::map), meanwhile. All items are taken at once.
    ///
    /// # Errors
    ///
    /// If the pool is closed or terminated.
    pub fn map_async<A, R>(
        &self,
        function: impl Fn(A) -> R + Send + Sync + 'static,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Task<Vec<R>>>
    where
        A: Send + 'static,
        R: Send + 'static,
    {
        self.tasks().map_async(function, items)
    }

    /// Calls `function` for each of `items`, and returns an iterator of the results, in
    /// order, each of which may be an error. Items are taken as results are asked for,
    /// a few chunks for each thread ahead: an endless iterator takes a bounded amount of
    /// memory. A panic of `items` is that of the call that asked for the result.
    ///
    /// # Errors
    ///
    /// If the pool is closed or terminated.
    pub fn imap<A, R, F, I>(
        &self,
        function: F,
        items: I,
    ) -> Result<impl Iterator<Item = Result<R>> + use<S, A, R, F, I>>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: Fn(A) -> R + Send + Sync + 'static,
        I: IntoIterator<Item = A>,
    {
        self.tasks().imap(function, items)
    }

    /// As [`imap`](ThreadPool::imap), with the results as they come, and the number of
    /// the item of each.
    ///
    /// # Errors
    ///
    /// As [`imap`](ThreadPool::imap).
    pub fn imap_unordered<A, R, F, I>(
        &self,
        function: F,
        items: I,
    ) -> Result<impl Iterator<Item = (u64, Result<R>)> + use<S, A, R, F, I>>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: Fn(A) -> R + Send + Sync + 'static,
        I: IntoIterator<Item = A>,
    {
        self.tasks().imap_unordered(function, items)
    }

    /// The same operations with functions that get the thread's state, which its
    /// initializer made.
    #[must_use]
    pub fn stateful(&self) -> ThreadTasks<'_, S, Stateful> {
        ThreadTasks::new(self)
    }

    /// The maps with chunks of a fixed size; unless told otherwise, as many items as take
    /// a few milliseconds.
    #[must_use]
    #[doc(alias = "chunksize")]
    pub fn chunked(&self, size: usize) -> ThreadTasks<'_, S> {
        self.tasks().chunked(size)
    }

    /// The maps with a report of how far they have come: as
    /// [`Pool::progress`](super::super::Pool::progress).
    #[must_use]
    pub fn progress(
        &self,
        report: impl Fn(u64, Option<u64>) + Send + Sync + 'static,
    ) -> ThreadTasks<'_, S> {
        self.tasks().progress(report)
    }

    /// The maps with a bar that shows how far they have come: as
    /// [`Pool::progress_bar`](super::super::Pool::progress_bar).
    #[cfg(feature = "indicatif")]
    #[must_use]
    pub fn progress_bar(&self, bar: &indicatif::ProgressBar) -> ThreadTasks<'_, S> {
        self.tasks().progress_bar(bar)
    }

    /// The operations, with nothing chosen.
    fn tasks(&self) -> ThreadTasks<'_, S, Stateless> {
        ThreadTasks::new(self)
    }

    /// Takes no more tasks. Those that there are, are done; then the threads end.
    pub fn close(&self) {
        self.crew.close();
    }

    /// Fails the tasks that have not begun, with
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled). Threads end after the item
    /// that they run.
    pub fn terminate(&self) {
        self.crew.terminate();
    }

    /// Waits until all tasks are done and all threads have ended, after
    /// [`close`](ThreadPool::close) or [`terminate`](ThreadPool::terminate).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the pool is open,
    /// or on a thread of the pool: it would wait for ever.
    pub fn join(&self) -> Result<()> {
        self.crew.join()
    }

    /// What the pool has done, at this moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotOwner`](crate::ErrorKind::NotOwner) in a fork of the process that
    /// made the pool.
    pub fn statistics(&self) -> Result<Statistics> {
        self.crew.statistics()
    }
}

impl<S> Drop for ThreadPool<S> {
    fn drop(&mut self) {
        self.crew.terminate();
    }
}

impl<S> fmt::Debug for ThreadPool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<ThreadPool of {} threads>", self.crew.settings.workers)
    }
}
