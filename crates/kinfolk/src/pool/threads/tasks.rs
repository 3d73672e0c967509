//! A thread pool's operations, with options, for functions of either kind.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::super::map::MapOptions;
#[cfg(feature = "indicatif")]
use super::super::progress;
use super::super::progress::Progress;
use super::super::task::Task;
use super::super::tasks::{Stateful, Stateless, collect};
use super::job::{Job, ThreadTask, only};
use super::map::{ThreadMap, work};
use super::thread_pool::ThreadPool;
use crate::Result;

/// A function of the kind `K` that threads with the state `S` can call: `Fn(A) -> R`, or
/// `Fn(&mut S, A) -> R` where it is [`Stateful`].
pub trait ThreadFunction<K, S, A, R>: Send + Sync + 'static {
    /// Calls it.
    fn call(&self, state: &mut S, item: A) -> R;
}

impl<F: Fn(A) -> R + Send + Sync + 'static, S, A, R> ThreadFunction<Stateless, S, A, R> for F {
    fn call(&self, _: &mut S, item: A) -> R {
        self(item)
    }
}

impl<F, S, A, R> ThreadFunction<Stateful, S, A, R> for F
where
    F: Fn(&mut S, A) -> R + Send + Sync + 'static,
{
    fn call(&self, state: &mut S, item: A) -> R {
        self(state, item)
    }
}

/// The operations of a [`ThreadPool`] with options, for functions of one kind: see
/// [`ThreadPool::stateful`], [`ThreadPool::chunked`] and [`ThreadPool::progress`].
pub struct ThreadTasks<'a, S, K = Stateless> {
    /// The pool.
    pool: &'a ThreadPool<S>,
    /// What is chosen for maps.
    options: MapOptions,
    /// What functions it takes.
    kind: PhantomData<K>,
}

impl<'a, S: 'static, K: 'static> ThreadTasks<'a, S, K> {
    /// Those of a pool.
    pub(super) fn new(pool: &'a ThreadPool<S>) -> Self {
        Self { pool, options: MapOptions::default(), kind: PhantomData }
    }

    /// As [`ThreadPool::chunked`].
    #[must_use]
    pub fn chunked(mut self, size: usize) -> Self {
        self.options.chunk = Some(size);
        self
    }

    /// As [`ThreadPool::progress`].
    #[must_use]
    pub fn progress(mut self, report: impl Fn(u64, Option<u64>) + Send + Sync + 'static) -> Self {
        self.options.report = Some(Arc::new(report));
        self
    }

    /// As [`ThreadPool::progress_bar`].
    #[cfg(feature = "indicatif")]
    #[must_use]
    pub fn progress_bar(mut self, bar: &indicatif::ProgressBar) -> Self {
        self.options.report = Some(progress::on_bar(bar));
        self
    }

    /// As [`ThreadPool::apply`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::apply`].
    pub fn apply<A, R>(&self, function: impl ThreadFunction<K, S, A, R>, argument: A) -> Result<R>
    where
        A: Send + 'static,
        R: Send + 'static,
    {
        self.apply_async(function, argument)?.get()
    }

    /// As [`ThreadPool::apply_async`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::apply_async`].
    pub fn apply_async<A, R>(
        &self,
        function: impl ThreadFunction<K, S, A, R>,
        argument: A,
    ) -> Result<Task<R>>
    where
        A: Send + 'static,
        R: Send + 'static,
    {
        let job = Job::new(1);
        let work = work(Arc::clone(&job), Arc::new(function), 0, vec![argument]);
        self.pool.crew().submit(1, work, true)?;
        Ok(Task::new(ThreadTask { job, total: 1, progress: Progress::default(), gather: only }))
    }

    /// As [`ThreadPool::map`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::map`].
    pub fn map<A, R>(
        &self,
        function: impl ThreadFunction<K, S, A, R>,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>>
    where
        A: Send + 'static,
        R: Send + 'static,
    {
        let items = items.into_iter();
        let least = items.size_hint().0;
        collect(self.imap(function, items)?, least)
    }

    /// As [`ThreadPool::map_async`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::map_async`].
    pub fn map_async<A, R>(
        &self,
        function: impl ThreadFunction<K, S, A, R>,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Task<Vec<R>>>
    where
        A: Send + 'static,
        R: Send + 'static,
    {
        let items = items.into_iter();
        let map = ThreadMap::new(self.pool.crew(), function, items, &self.options, true)?;
        Ok(Task::new(map.into_task()))
    }

    /// As [`ThreadPool::imap`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::imap`].
    pub fn imap<A, R, F, I>(
        &self,
        function: F,
        items: I,
    ) -> Result<impl Iterator<Item = Result<R>> + use<S, K, A, R, F, I>>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: ThreadFunction<K, S, A, R>,
        I: IntoIterator<Item = A>,
    {
        let items = items.into_iter();
        let map = ThreadMap::new(self.pool.crew(), function, items, &self.options, true)?;
        Ok(map.map(|(_, result)| result))
    }

    /// As [`ThreadPool::imap_unordered`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::imap`].
    pub fn imap_unordered<A, R, F, I>(
        &self,
        function: F,
        items: I,
    ) -> Result<impl Iterator<Item = (u64, Result<R>)> + use<S, K, A, R, F, I>>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: ThreadFunction<K, S, A, R>,
        I: IntoIterator<Item = A>,
    {
        ThreadMap::new(self.pool.crew(), function, items.into_iter(), &self.options, false)
    }
}

impl<S, K> fmt::Debug for ThreadTasks<'_, S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<ThreadTasks of {:?}>", self.pool)
    }
}
