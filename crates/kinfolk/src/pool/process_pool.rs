//! A pool of worker processes.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::builder::PoolBuilder;
use super::core::Phase;
use super::driver::Shared;
use super::job::Chunk;
use super::map::{Feed, Map, MapOptions, MapUnordered};
use super::progress::Progress;
use super::stats::{Statistics, WorkerStatistics};
use super::task::{Gather, PoolTask, Task};
use super::tasks::{Stateful, Tasks};
use super::worker::Call;
use crate::{Error, ErrorKind, Result};

/// A pool of worker processes, which call functions for it.
///
/// A function is a `fn` item or a closure that captures nothing; a tuple carries
/// several arguments (so there is no `starmap`). Arguments and results are anything
/// that serde can carry, except file descriptors: give such to the workers' initializer
/// ([`PoolBuilder::initializer`]).
///
/// A worker that dies, killed or not, costs the item that it was running: that item is
/// an error of kind [`ErrorKind::Died`] that says how and at which item, or is tried
/// again ([`PoolBuilder::retries`]). All else that it had goes to others, and another
/// worker takes its place. One that dies idle costs nothing. So any worker can be
/// killed at any time: a task that takes too long is ([`PoolBuilder::timeout`]), and one
/// that is cancelled ([`Task::cancel`]).
///
/// Workers leave Ctrl-C to this process. They are daemons, and may have children and
/// pools of their own, which end with them.
///
/// Dropping a pool terminates it: [`close`](Pool::close) and [`join`](Pool::join) it
/// to have all tasks done. The end of this process, also by SIGKILL, ends its workers.
///
/// # What workers tell `tracing`
///
/// With the feature `tracing`, spans and events of workers reach the subscriber that is
/// this thread's when the pool is built, if there is one then: with level, target, place,
/// fields and the spans around them, outermost a span `worker` with its `name` and `pid`.
/// What no level of this process's subscribers wanted when the worker was started is not
/// sent. A span is closed when its last handle there is dropped, or its worker has ended.
/// Entries and exits stay in the worker: here spans are entered while something in them is
/// handed over.
///
/// What a worker told before it was killed is not lost. Who waits for a result hands over
/// what was told before it, before it returns, unless its deadline has passed, or another
/// thread is at it for longer than a second. While nobody waits, 1,024 records stay with
/// their worker. One that finds no room waits for up to a second; then it and others are
/// left out until there is room, and a warning says how many were. Of more than 8 KiB of
/// text in a record the rest is cut, and `…` says so.
///
/// The subscriber may use the pool; what that makes workers tell comes later. Its panic
/// costs what it was told. A worker may use subscribers of its own by `with_default`; one
/// for all its threads is set already. Only where it is a fork of a process that had one,
/// threads beside its main one tell that. Records of the crate `log` come as well if the
/// initializer installs the `LogTracer` of `tracing-log`.
///
/// ```standalone_crate
/// use kinfolk::Pool;
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let pool = Pool::new()?;
///     assert_eq!(pool.apply(square, 7)?, 49);
///     assert_eq!(pool.map(square, 1..=4)?, [1, 4, 9, 16]);
///     // Lazily: an endless iterator takes no more memory than a short one.
///     let first = pool.imap(square, 1..)?.take(3).collect::<kinfolk::Result<Vec<_>>>()?;
///     assert_eq!(first, [1, 4, 9]);
///     Ok(())
/// }
/// ```
#[doc(alias = "ProcessPoolExecutor")]
pub struct Pool<S = ()> {
    /// What its threads share.
    shared: Arc<Shared>,
    /// The workers' state.
    state: PhantomData<fn(&mut S)>,
}

impl Pool {
    /// Makes a pool of as many workers as this process may use processors.
    ///
    /// # Errors
    ///
    /// As [`PoolBuilder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Returns a builder for a pool with options.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }
}

impl<S> Pool<S> {
    /// Wraps a pool that was started.
    pub(super) fn new_started(shared: Arc<Shared>) -> Self {
        Self { shared, state: PhantomData }
    }

    /// Calls `function` with `argument` in a worker, and waits for the result.
    ///
    /// # Errors
    ///
    /// As [`Task::get`]; or if the pool is closed.
    pub fn apply<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.tasks().apply(function, argument)
    }

    /// Calls `function` with `argument` in a worker, meanwhile. Waits only if as many
    /// tasks wait as [`PoolBuilder::queue_bound`] allows.
    ///
    /// # Errors
    ///
    /// If the argument cannot be serialised, or the pool is closed.
    pub fn apply_async<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.tasks().apply_async(function, argument)
    }

    /// Calls `function` for each of `items`, and returns all results in order.
    ///
    /// Chunks of items go to the workers, as many items in each as take a few
    /// milliseconds.
    ///
    /// # Errors
    ///
    /// The first error, after all items have been done; as of [`Task::get`].
    pub fn map<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.tasks().map(function, items)
    }

    /// As [`map`](Pool::map), meanwhile. All items are taken at once.
    ///
    /// # Errors
    ///
    /// If the pool is closed.
    pub fn map_async<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Task<Vec<R>>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.tasks().map_async(function, items)
    }

    /// Calls `function` for each of `items`, and returns an iterator of the results, in
    /// order, each of which may be an error.
    ///
    /// Items are taken as results are asked for, a few chunks for each worker ahead: an
    /// endless iterator takes a bounded amount of memory. A panic of `items` is that of
    /// the call that asked for the result.
    ///
    /// # Errors
    ///
    /// If the pool is closed.
    pub fn imap<A, R, I>(&self, function: fn(A) -> R, items: I) -> Result<Map<I::IntoIter, R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.tasks().imap(function, items)
    }

    /// As [`imap`](Pool::imap), with the results as they come, and the number of the
    /// item of each.
    ///
    /// # Errors
    ///
    /// As [`imap`](Pool::imap).
    pub fn imap_unordered<A, R, I>(
        &self,
        function: fn(A) -> R,
        items: I,
    ) -> Result<MapUnordered<I::IntoIter, R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.tasks().imap_unordered(function, items)
    }

    /// The same operations with functions that get the worker's state, which its
    /// initializer made.
    #[must_use]
    pub fn stateful(&self) -> Tasks<'_, S, Stateful> {
        Tasks::new(self)
    }

    /// The maps with chunks of a fixed size.
    #[must_use]
    #[doc(alias = "chunksize")]
    pub fn chunked(&self, size: usize) -> Tasks<'_, S> {
        self.tasks().chunked(size)
    }

    /// The maps with a report of how far they have come: `report` is called with how
    /// many items are done, failed ones included, and of how many, if the iterator
    /// knows that (by its size hint) or has ended. At the end both are the same.
    ///
    /// It is called on the thread that waits for the results, as they are heard, and
    /// may use the pool. Its panic is that of the call that waits. Of
    /// [`map_async`](Pool::map_async) it is called while a thread waits for it, or asks
    /// whether it is ready.
    ///
    /// ```standalone_crate
    /// use kinfolk::Pool;
    ///
    /// fn main() -> kinfolk::Result<()> {
    ///     let _family = kinfolk::init();
    ///     let pool = Pool::new()?;
    ///     let report = |done, total| eprintln!("{done} of {total:?}");
    ///     let squares = pool.progress(report).map(|n: u64| n * n, 1..=4)?;
    ///     assert_eq!(squares, [1, 4, 9, 16]);
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn progress(
        &self,
        report: impl Fn(u64, Option<u64>) + Send + Sync + 'static,
    ) -> Tasks<'_, S> {
        self.tasks().progress(report)
    }

    /// The maps with a bar that shows how far they have come: as
    /// [`progress`](Pool::progress). The bar gets the number of items as its length, if
    /// that is known, and is finished at the end as its style says.
    #[cfg(feature = "indicatif")]
    #[must_use]
    pub fn progress_bar(&self, bar: &indicatif::ProgressBar) -> Tasks<'_, S> {
        self.tasks().progress_bar(bar)
    }

    /// The operations, with nothing chosen.
    fn tasks(&self) -> Tasks<'_, S> {
        Tasks::new(self)
    }

    /// Takes no more tasks. Those that there are, are done; then the workers end.
    pub fn close(&self) {
        let _ = self.shared.change(|core| core.close());
    }

    /// Ends all workers at once, by SIGKILL, and what they started. Tasks that are not
    /// done fail with [`ErrorKind::Cancelled`].
    pub fn terminate(&self) {
        let _ = self.shared.change(|core| core.terminate());
    }

    /// Waits until all tasks are done and all workers have ended, after
    /// [`close`](Pool::close) or [`terminate`](Pool::terminate).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the pool is open: it would wait for ever.
    pub fn join(&self) -> Result<()> {
        let joined = self.shared.drive(None, |core| match core.phase {
            Phase::Open => Some(false),
            _ => (core.lanes.is_empty() && core.queue.is_empty()).then_some(true),
        })?;
        if joined == Some(true) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            "joining an open pool: close or terminate it first",
        ))
    }

    /// What the pool has done, at this moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotOwner`] in a fork of the process that made the pool.
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

    /// Starts a task.
    pub(super) fn start<A: Serialize, R>(
        &self,
        call: Call,
        argument: &A,
        wait: bool,
        gather: Gather<R>,
    ) -> Result<PoolTask<R>> {
        let mut chunk = Chunk::new(0, call, 0, false);
        chunk.push(argument)?;
        let bounded = |core: &mut super::core::Core| {
            let full = core.queue.len() >= core.settings.queue_bound && core.phase == Phase::Open;
            (!full).then_some(())
        };
        if self.shared.change(|core| bounded(core).is_none())? {
            self.shared.drive(None, bounded)?;
        }
        let job = self.shared.change(|core| {
            let job = core.begin_job(!wait)?;
            chunk.job = job;
            core.submit(chunk);
            Ok::<_, Error>(job)
        })??;
        Ok(PoolTask::new(Arc::clone(&self.shared), job, 1, Progress::default(), gather))
    }

    /// Starts tasks for all items.
    pub(super) fn start_all<I, R>(
        &self,
        call: Call,
        items: I,
        options: &MapOptions,
        gather: Gather<R>,
    ) -> Result<PoolTask<R>>
    where
        I: Iterator,
        I::Item: Serialize,
    {
        let mut feed = Feed::new(Arc::clone(&self.shared), call, items, options, true)?;
        feed.give(true)?;
        let (job, total, progress) = feed.leave();
        Ok(PoolTask::new(Arc::clone(&self.shared), job, total, progress, gather))
    }

    /// Begins to give out items.
    pub(super) fn feed<I>(&self, call: Call, items: I, options: &MapOptions) -> Result<Feed<I>>
    where
        I: Iterator,
        I::Item: Serialize,
    {
        Feed::new(Arc::clone(&self.shared), call, items, options, false)
    }
}

impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        if self.shared.is_owned() {
            self.shared.end();
        }
    }
}

impl<S> fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let described = self.shared.change(|core| {
            format!("<Pool of {} workers, {:?}>", core.settings.workers, core.phase)
        });
        f.write_str(described.as_deref().unwrap_or("<Pool of another process>"))
    }
}
