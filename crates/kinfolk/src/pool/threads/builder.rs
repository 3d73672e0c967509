//! Options of a pool of threads, and its start.

use std::fmt;

use super::crew::{Crew, Settings};
use super::thread_pool::ThreadPool;
use crate::{Error, ErrorKind, Result, cpu_count};

/// Options of a pool of threads to start: see [`ThreadPool::builder`].
///
/// ```
/// use kinfolk::ThreadPool;
///
/// # fn main() -> kinfolk::Result<()> {
/// // Each thread begins with a state, which its tasks may use and change.
/// let pool = ThreadPool::builder().workers(2).initializer(|base: u64| base, 100).build()?;
/// let sums = pool.stateful().map(|base: &mut u64, n: u64| *base + n, 1..=3)?;
/// assert_eq!(sums, [101, 102, 103]);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder starts nothing until `build`"]
pub struct ThreadPoolBuilder<S = ()>(Settings<S>);

impl ThreadPoolBuilder {
    /// A builder with the defaults.
    pub(super) fn new() -> Self {
        Self(Settings {
            workers: cpu_count().get(),
            queue_bound: usize::MAX,
            name: "ThreadPool".to_owned(),
            initializer: Box::new(|| ()),
            finalizer: None,
        })
    }

    /// Has each thread begin by calling `initializer` with `argument`. What it returns
    /// is the thread's state, which stays in it: tasks started by
    /// [`stateful`](ThreadPool::stateful) get it.
    ///
    /// If `initializer` panics three times in a row, all tasks fail with the reason.
    pub fn initializer<S, I>(
        self,
        initializer: impl Fn(I) -> S + Send + Sync + 'static,
        argument: I,
    ) -> ThreadPoolBuilder<S>
    where
        I: Clone + Send + Sync + 'static,
    {
        let Settings { workers, queue_bound, name, .. } = self.0;
        let initializer = Box::new(move || initializer(argument.clone()));
        ThreadPoolBuilder(Settings { workers, queue_bound, name, initializer, finalizer: None })
    }
}

impl<S: 'static> ThreadPoolBuilder<S> {
    /// Sets how many threads there are; as many as processors, unless told otherwise.
    pub fn workers(mut self, workers: usize) -> Self {
        self.0.workers = workers;
        self
    }

    /// Has each thread that ends call `finalizer` with its state.
    pub fn finalizer(mut self, finalizer: impl Fn(S) + Send + Sync + 'static) -> Self {
        self.0.finalizer = Some(Box::new(finalizer));
        self
    }

    /// Limits how many tasks wait for a thread: starting one more waits.
    pub fn queue_bound(mut self, tasks: usize) -> Self {
        self.0.queue_bound = tasks.max(1);
        self
    }

    /// Names the threads: `ThreadPool-1` and so on, unless told otherwise.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// If there are to be none, the name has a NUL in it, or the system gives no more.
    pub fn build(self) -> Result<ThreadPool<S>> {
        let invalid = |reason| Err(Error::new(ErrorKind::InvalidInput, reason));
        if self.0.workers == 0 {
            return invalid("a pool has at least one worker");
        }
        if self.0.name.contains('\0') {
            return invalid("the name of a thread has no NUL in it");
        }
        Crew::start(self.0).map(ThreadPool::of)
    }
}

impl<S> fmt::Debug for ThreadPoolBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { workers, name, .. } = &self.0;
        write!(f, "<ThreadPoolBuilder of {workers} threads called {name:?}>")
    }
}
