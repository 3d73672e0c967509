//! Mapping an iterator, lazily.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::chunk_size::ChunkSize;
use super::core::{Core, Phase, terminated};
use super::driver::Shared;
use super::job::{Batch, Chunk, Failure};
use super::lane::Share;
use super::progress::{Progress, Report};
use super::worker::Call;
use crate::Result;

/// How many bytes of arguments fill a chunk: what a processor keeps near.
const FULL: usize = 1 << 17;
/// How many chunks are under way for each worker.
pub(super) const UNDER_WAY: u64 = 4;

/// The most chunks under way: so many for each worker, but no more than wait for one
/// and each has one.
pub(super) fn most_under_way(workers: usize, each: u64, queue_bound: usize) -> u64 {
    let workers = workers as u64;
    workers.saturating_mul(each).min(workers.saturating_add(queue_bound as u64))
}

/// What is chosen for a map.
#[derive(Clone, Default)]
pub(super) struct MapOptions {
    /// How many items a chunk has, if that is fixed.
    pub(super) chunk: Option<usize>,
    /// What is told how far it has come.
    pub(super) report: Option<Report>,
}

/// Gives out the items of an iterator in chunks, as there is room for them.
pub(super) struct Feed<I: Iterator> {
    /// The pool.
    pub(super) shared: Arc<Shared>,
    /// The job.
    pub(super) job: u64,
    /// What is called for each item.
    call: Call,
    /// The items; `None` when there are no more.
    items: Option<I>,
    /// How many have been given out.
    given: u64,
    /// How many results have been taken.
    taken: u64,
    /// How many items a chunk has.
    size: ChunkSize,
    /// The most chunks under way.
    most: u64,
    /// How far it has come.
    progress: Progress,
    /// Whether the job is not this feed's any more.
    left: bool,
}

impl<I: Iterator> Feed<I>
where
    I::Item: Serialize,
{
    /// Begins a job for an iterator.
    ///
    /// # Errors
    ///
    /// If the pool takes none any more.
    pub(super) fn new(
        shared: Arc<Shared>,
        call: Call,
        items: I,
        options: &MapOptions,
        in_background: bool,
    ) -> Result<Self> {
        let (job, settings) = shared.change(|core| {
            core.begin_job(in_background).map(|job| (job, core.settings.clone()))
        })??;
        // A limit for each item needs to know when each begins.
        let fixed = if settings.timeout.is_some() { Some(1) } else { options.chunk };
        let share = match settings.share {
            Share::Items(items) => Some(items),
            Share::All | Share::Chunks(_) => None,
        };
        let size = ChunkSize::new(fixed, share);
        // Small chunks are many, so that a worker need not wait for each.
        let small = fixed.is_some_and(|items| items < 64) && settings.timeout.is_none();
        let each = if small { UNDER_WAY * 16 } else { UNDER_WAY };
        let most = most_under_way(settings.workers, each, settings.queue_bound);
        let items = Some(items);
        Ok(Self {
            shared,
            job,
            call,
            items,
            given: 0,
            taken: 0,
            size,
            most,
            progress: Progress::new(options.report.clone()),
            left: false,
        })
    }

    /// Gives out chunks until enough are under way, or all with `all`.
    pub(super) fn give(&mut self, all: bool) -> Result<()> {
        let job = self.job;
        let look = |core: &mut Core, given| {
            if core.phase == Phase::Terminated {
                // So the results end, with an error, whatever the items do.
                core.refuse(job, given, terminated());
                return None;
            }
            let workers = core.settings.workers as u64;
            let ahead = core.settings.timeout.is_none();
            core.jobs.get(&job).map(|job| (job.item_nanos, workers, ahead))
        };
        if self.items.is_none() {
            return Ok(());
        }
        let first = self.shared.change(|core| look(core, self.given));
        let mut known = first.inspect_err(|_| self.items = None)?;
        while self.items.is_some() {
            let Some((nanos, workers, ahead)) = known else {
                self.items = None;
                self.given += 1;
                return Ok(());
            };
            let left = self.items.as_ref().and_then(|items| items.size_hint().1);
            let size = self.size.next(nanos, workers, left);
            // What has come and was not asked for takes memory as well.
            let under_way = self.given - self.taken;
            if !all && under_way > 0 && under_way.div_ceil(u64::from(size)) >= self.most {
                return Ok(());
            }
            let chunk = self.chunk(size, ahead);
            self.size.made(size);
            let (given, more) = (self.given, self.items.is_some());
            known = self.shared.change(|core| {
                match chunk {
                    Ok(chunk) if chunk.count > 0 => core.submit(chunk),
                    Ok(_) => {}
                    Err((number, failure)) => core.refuse(job, number, failure),
                }
                if more { look(core, given) } else { None }
            })?;
        }
        Ok(())
    }

    /// The next chunk, or what keeps its only item from being one. A panic of the
    /// iterator ends the items.
    fn chunk(&mut self, size: u32, ahead: bool) -> Result<Chunk, (u64, Failure)> {
        let mut chunk = Chunk::new(self.job, self.call, self.given, ahead);
        let Some(mut items) = self.items.take() else { return Ok(chunk) };
        let mut over = false;
        let mut refused = None;
        while chunk.count < size && chunk.message.len() < FULL {
            let Some(item) = items.next() else {
                over = true;
                break;
            };
            self.given += 1;
            if let Err(error) = chunk.push(&item) {
                refused = Some((self.given - 1, Failure::new(error.kind(), error.to_string())));
                break;
            }
        }
        if !over {
            self.items = Some(items);
        }
        match refused {
            None => Ok(chunk),
            Some(refused) if chunk.count == 0 => Err(refused),
            Some((number, failure)) => {
                // What is before it goes first.
                let job = self.job;
                let _ = self.shared.change(|core| core.refuse(job, number, failure));
                Ok(chunk)
            }
        }
    }

    /// Leaves the job to itself, and returns it, how many items it has, and how far it
    /// has come.
    pub(super) fn leave(mut self) -> (u64, u64, Progress) {
        self.left = true;
        (self.job, self.given, std::mem::take(&mut self.progress))
    }

    /// Waits for what `take` takes of the results that have come, and tells meanwhile
    /// how far the job has come. `None` at the end.
    ///
    /// # Errors
    ///
    /// In a fork of the process that made the pool.
    fn wait<T>(
        &mut self,
        take: impl Fn(&mut BTreeMap<u64, Batch>) -> Option<T>,
    ) -> Result<Option<T>> {
        loop {
            self.give(false)?;
            let (job, over) = (self.job, self.items.is_none());
            let heard = self.shared.drive(None, |core| {
                let Some(job) = core.jobs.get_mut(&job) else { return Some((None, None)) };
                let taken = take(&mut job.batches);
                let ended = over && job.open == 0;
                let stop = taken.is_some() || ended || self.progress.is_behind(job.done);
                stop.then_some((taken, Some((job.done, ended))))
            })?;
            let Some((taken, come)) = heard else { return Ok(None) };
            if let Some((done, _)) = come {
                self.progress.tell(done, self.total());
            }
            if taken.is_some() || come.is_none_or(|(_, ended)| ended) {
                return Ok(taken);
            }
        }
    }

    /// How many items there are, if the iterator knows.
    fn total(&self) -> Option<u64> {
        let Some(items) = &self.items else { return Some(self.given) };
        let (least, most) = items.size_hint();
        (most == Some(least)).then(|| self.given.saturating_add(least as u64))
    }
}

/// The results of a pool for the items of an iterator, in order: see
/// [`Pool::imap`](super::Pool::imap).
///
/// Dropping it gives out no more items; those that workers run are done.
pub struct Map<I: Iterator, R> {
    /// Where items go.
    feed: Feed<I>,
    /// What has come and is next.
    batch: Option<Batch>,
    /// The type of the results.
    result: PhantomData<fn() -> R>,
}

impl<I: Iterator, R> Map<I, R> {
    /// Maps the items of a feed.
    pub(super) fn new(feed: Feed<I>) -> Self {
        Self { feed, batch: None, result: PhantomData }
    }

    /// Waits for the next results; `None` if there are no more.
    fn next_batch(&mut self) -> Option<Result<Batch>>
    where
        I::Item: Serialize,
    {
        if self.feed.left {
            return None;
        }
        let next = self.feed.taken;
        let batch = self.feed.wait(|batches| batches.remove(&next));
        // In a fork there is no pool, and no more comes.
        self.feed.left |= batch.is_err();
        batch.transpose()
    }
}

impl<I: Iterator, R: DeserializeOwned> Iterator for Map<I, R>
where
    I::Item: Serialize,
{
    type Item = Result<R>;

    #[inline]
    fn next(&mut self) -> Option<Result<R>> {
        loop {
            if let Some((_, result)) = self.batch.as_mut().and_then(Batch::next) {
                self.feed.taken += 1;
                return Some(result);
            }
            match self.next_batch()? {
                Ok(batch) => self.batch = Some(batch),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    // A batch at a time takes less than a result at a time.
    fn fold<B, F: FnMut(B, Result<R>) -> B>(mut self, init: B, mut fold: F) -> B {
        let mut folded = init;
        let mut batch = self.batch.take().map(Ok);
        while let Some(next) = batch.or_else(|| self.next_batch()) {
            folded = match next {
                Ok(batch) => {
                    self.feed.taken += u64::from(batch.count);
                    batch.fold(folded, &mut fold)
                }
                Err(error) => fold(folded, Err(error)),
            };
            batch = None;
        }
        folded
    }
}

/// The results of a pool for the items of an iterator, with the items' numbers, as
/// they come: see [`Pool::imap_unordered`](super::Pool::imap_unordered).
///
/// Dropping it gives out no more items; those that workers run are done.
pub struct MapUnordered<I: Iterator, R> {
    /// Where items go.
    feed: Feed<I>,
    /// What has come.
    batches: VecDeque<Batch>,
    /// The type of the results.
    result: PhantomData<fn() -> R>,
}

impl<I: Iterator, R> MapUnordered<I, R> {
    /// Maps the items of a feed.
    pub(super) fn new(feed: Feed<I>) -> Self {
        Self { feed, batches: VecDeque::new(), result: PhantomData }
    }
}

impl<I: Iterator, R: DeserializeOwned> Iterator for MapUnordered<I, R>
where
    I::Item: Serialize,
{
    type Item = (u64, Result<R>);

    fn next(&mut self) -> Option<(u64, Result<R>)> {
        loop {
            while let Some(batch) = self.batches.front_mut() {
                if let Some(next) = batch.next() {
                    self.feed.taken += 1;
                    return Some(next);
                }
                self.batches.pop_front();
            }
            // In a fork there is no pool, and nothing comes.
            let batches = self.feed.wait(|batches| {
                (!batches.is_empty()).then(|| std::mem::take(batches).into_values())
            });
            self.batches.extend(batches.ok().flatten()?);
        }
    }
}

impl<I: Iterator> Drop for Feed<I> {
    fn drop(&mut self) {
        if !self.left {
            let job = self.job;
            let _ = self.shared.change(|core| core.forget(job, false));
        }
    }
}

impl<I: Iterator, R> fmt::Debug for Map<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Map, {} items given out>", self.feed.given)
    }
}

impl<I: Iterator, R> fmt::Debug for MapUnordered<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<MapUnordered, {} items given out>", self.feed.given)
    }
}
