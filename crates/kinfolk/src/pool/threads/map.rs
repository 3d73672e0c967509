//! Mapping an iterator by threads, lazily.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::super::chunk_size::ChunkSize;
use super::super::core::cancelled;
use super::super::job::{Failure, panicked};
use super::super::map::{MapOptions, UNDER_WAY, most_under_way};
use super::super::progress::Progress;
use super::super::protocol::Panic;
use super::crew::{Crew, Work};
use super::job::{Job, ThreadTask, all};
use super::tasks::ThreadFunction;
use crate::Result;
use crate::process::{catch, take_backtrace};

/// Gives out the items of an iterator as results are asked for.
pub(super) struct ThreadMap<S, K, F, I, R> {
    /// The threads.
    crew: Arc<Crew<S>>,
    /// What is called for each item.
    function: Arc<F>,
    /// The items; `None` when there are no more.
    items: Option<I>,
    /// The job.
    job: Arc<Job<R>>,
    /// How many items have been given out.
    given: u64,
    /// How many results have been taken.
    taken: u64,
    /// How many items a chunk has.
    size: ChunkSize,
    /// The most chunks under way.
    most: u64,
    /// Whether results are wanted in order.
    ordered: bool,
    /// What has come and is next.
    ready: VecDeque<(u64, Result<R>)>,
    /// How far it has come.
    progress: Progress,
    /// Whether the job is not this map's any more.
    left: bool,
    /// What kind of function it is.
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<S, K, F, I, R> ThreadMap<S, K, F, I, R>
where
    S: 'static,
    K: 'static,
    F: ThreadFunction<K, S, I::Item, R>,
    I: Iterator,
    I::Item: Send + 'static,
    R: Send + 'static,
{
    /// Maps nothing yet.
    ///
    /// # Errors
    ///
    /// If the pool takes none any more.
    pub(super) fn new(
        crew: &Arc<Crew<S>>,
        function: F,
        items: I,
        options: &MapOptions,
        ordered: bool,
    ) -> Result<Self> {
        crew.is_open()?;
        let settings = &crew.settings;
        let most = most_under_way(settings.workers, UNDER_WAY, settings.queue_bound);
        Ok(Self {
            crew: Arc::clone(crew),
            function: Arc::new(function),
            items: Some(items),
            job: Job::new(0),
            given: 0,
            taken: 0,
            size: ChunkSize::new(options.chunk, None),
            most,
            ordered,
            ready: VecDeque::new(),
            progress: Progress::new(options.report.clone()),
            left: false,
            kind: std::marker::PhantomData,
        })
    }

    /// Gives out all items, and leaves them to a task.
    pub(super) fn into_task(mut self) -> ThreadTask<R, Vec<R>> {
        self.give(true);
        self.left = true;
        let (job, total) = (Arc::clone(&self.job), self.given);
        ThreadTask { job, total, progress: std::mem::take(&mut self.progress), gather: all }
    }

    /// Gives out chunks until enough are under way, or all with `every`.
    fn give(&mut self, every: bool) {
        let workers = self.crew.settings.workers as u64;
        // A panic of the items ends them.
        while let Some(mut items) = self.items.take() {
            let nanos = self.job.change(|state| state.nanos).flatten();
            let size = self.size.next(nanos, workers, items.size_hint().1);
            let under_way = self.given - self.taken;
            if !every && under_way > 0 && under_way.div_ceil(u64::from(size)) >= self.most {
                self.items = Some(items);
                return;
            }
            let chunk: Vec<I::Item> = items.by_ref().take(size as usize).collect();
            if chunk.len() == size as usize {
                self.items = Some(items);
            }
            self.size.made(size);
            self.submit(chunk);
        }
    }

    /// Gives out a chunk. What a pool that has ended does not take has failed.
    fn submit(&mut self, chunk: Vec<I::Item>) {
        let (first, count) = (self.given, chunk.len() as u64);
        if count == 0 {
            return;
        }
        self.given += count;
        self.job.change(|state| state.open += count);
        let work = work(Arc::clone(&self.job), Arc::clone(&self.function), first, chunk);
        if let Err(error) = self.crew.submit(count, work, false) {
            self.items = None;
            self.job.fail(first, count, &Failure::new(error.kind(), error.to_string()));
        }
    }

    /// How many items there are, if the iterator knows.
    fn total(&self) -> Option<u64> {
        let Some(items) = &self.items else { return Some(self.given) };
        let (least, most) = items.size_hint();
        (most == Some(least)).then(|| self.given.saturating_add(least as u64))
    }

    /// Waits for more results. Returns whether there are.
    fn hear(&mut self) -> bool {
        loop {
            self.give(false);
            let (next, over) = (self.taken, self.items.is_none());
            let heard = self.job.wait(None, |state| {
                let come = if self.ordered {
                    state.results.remove_entry(&next)
                } else {
                    state.results.pop_first()
                };
                let ended = over && state.open == 0;
                let stop = come.is_some() || ended || self.progress.is_behind(state.done);
                stop.then_some((come, state.done, ended))
            });
            // A fork of the pool's process has no threads, and nothing comes.
            let Some((come, done, ended)) = heard else { return false };
            self.progress.tell(done, self.total());
            if let Some((first, results)) = come {
                self.ready.extend((first..).zip(results));
                return true;
            }
            if ended {
                return false;
            }
        }
    }
}

impl<S, K, F, I, R> Iterator for ThreadMap<S, K, F, I, R>
where
    S: 'static,
    K: 'static,
    F: ThreadFunction<K, S, I::Item, R>,
    I: Iterator,
    I::Item: Send + 'static,
    R: Send + 'static,
{
    type Item = (u64, Result<R>);

    fn next(&mut self) -> Option<(u64, Result<R>)> {
        while self.ready.is_empty() {
            if !self.hear() {
                return None;
            }
        }
        self.taken += 1;
        self.ready.pop_front()
    }
}

impl<S, K, F, I, R> Drop for ThreadMap<S, K, F, I, R> {
    fn drop(&mut self) {
        if !self.left {
            self.job.abandon();
        }
    }
}

/// Work that runs consecutive items of a job.
pub(super) fn work<S, K, F, A, R>(
    job: Arc<Job<R>>,
    function: Arc<F>,
    first: u64,
    items: Vec<A>,
) -> Work<S>
where
    S: 'static,
    K: 'static,
    F: ThreadFunction<K, S, A, R>,
    A: Send + 'static,
    R: Send + 'static,
{
    Box::new(move |state| {
        let state = match state {
            Ok(state) => state,
            Err(failure) => return job.fail(first, items.len() as u64, failure),
        };
        let began = Instant::now();
        let run = |(number, item)| {
            if job.is_cancelled() {
                return Err(cancelled().to_error());
            }
            catch(|| function.call(state, item)).map_err(|(message, location)| {
                let thread = std::thread::current();
                let worker = format!("worker `{}`", thread.name().unwrap_or_default());
                let backtrace = take_backtrace();
                panicked(&worker, number, Panic { message, location, backtrace })
            })
        };
        let results = (first..).zip(items).map(run).collect();
        job.add(first, results, Some(began.elapsed()));
    })
}
