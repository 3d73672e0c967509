//! What was asked of threads in one call, and what has come of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::core::cancelled;
use super::super::job::Failure;
use super::super::progress::Progress;
use super::super::task::{Awaited, OnDone};
use crate::sys::fork_guard;
use crate::{Error, ErrorKind, Result};

/// Results of consecutive items, by the number of the first.
pub(super) type Results<R> = BTreeMap<u64, Vec<Result<R>>>;

/// What is called when a job is done, with all that has come of it.
type Callback<R> = Box<dyn FnOnce(Results<R>) + Send>;

/// What was asked for in one call.
pub(super) struct Job<R> {
    /// The state.
    state: Mutex<State<R>>,
    /// Told when something has come.
    changed: Condvar,
    /// Whether nobody wants it any more.
    cancelled: AtomicBool,
    /// The process whose threads do it: a fork of it does not wait.
    owner: u32,
}

/// The state of a job.
pub(super) struct State<R> {
    /// What has come and was not taken.
    pub(super) results: Results<R>,
    /// How many items were given out and are not done.
    pub(super) open: u64,
    /// How many are done.
    pub(super) done: u64,
    /// How long an item takes, in nanoseconds, by the last that came.
    pub(super) nanos: Option<f64>,
    /// What is called at its end.
    callback: Option<Callback<R>>,
}

impl<R> Job<R> {
    /// A job of so many items.
    pub(super) fn new(open: u64) -> Arc<Self> {
        let state = State { results: BTreeMap::new(), open, done: 0, nanos: None, callback: None };
        let owner = fork_guard::process_id();
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Arc::new(Self { state, changed, cancelled: AtomicBool::new(false), owner })
    }

    /// Locks the state; `None` in a fork of the pool's process.
    fn lock(&self) -> Option<MutexGuard<'_, State<R>>> {
        let owned = self.owner == fork_guard::process_id();
        owned.then(|| self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State<R>) -> T) -> Option<T> {
        self.lock().map(|mut state| change(&mut state))
    }

    /// Whether nobody wants it any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Lets what has not begun be, for nobody wants it any more.
    pub(super) fn abandon(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Adds what has come of consecutive items, which took so long,
    /// if they were run.
    pub(super) fn add(&self, first: u64, results: Vec<Result<R>>, took: Option<Duration>) {
        let Some(mut state) = self.lock() else { return };
        if self.is_cancelled() {
            return;
        }
        let count = results.len() as u64;
        if let Some(took) = took {
            let each = took.as_nanos() as f64 / count.max(1) as f64;
            state.nanos = Some(state.nanos.map_or(each, |before| before.midpoint(each)));
        }
        state.open = state.open.saturating_sub(count);
        state.done += count;
        state.results.insert(first, results);
        self.settle(state);
    }

    /// Adds that consecutive items are not done, and why.
    pub(super) fn fail(&self, first: u64, count: u64, failure: &Failure) {
        let results = (0..count).map(|_| Err(failure.to_error())).collect();
        self.add(first, results, None);
    }

    /// Tells who waits, and calls what is to be called if the job is done.
    fn settle(&self, mut state: MutexGuard<'_, State<R>>) {
        let callback = if state.open == 0 { state.callback.take() } else { None };
        let called = callback.map(|callback| (callback, std::mem::take(&mut state.results)));
        drop(state);
        self.changed.notify_all();
        if let Some((callback, results)) = called {
            // Its panic is its own affair.
            let _ = crate::process::catch(|| callback(results));
        }
    }

    /// Waits until `take` takes something, or the deadline: then `None`. A fork of the
    /// pool's process does not wait.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut take: impl FnMut(&mut State<R>) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock()?;
        loop {
            if let Some(taken) = take(&mut state) {
                return Some(taken);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            let left = left.unwrap_or(Duration::from_secs(60));
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A job whose items have all been given out.
pub(super) struct ThreadTask<R, T> {
    /// The job.
    pub(super) job: Arc<Job<R>>,
    /// How many items it has.
    pub(super) total: u64,
    /// How far they have come.
    pub(super) progress: Progress,
    /// Makes the result.
    pub(super) gather: fn(Results<R>) -> Result<T>,
}

impl<R: Send + 'static, T: 'static> Awaited<T> for ThreadTask<R, T> {
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            let heard = self.job.wait(deadline, |state| {
                let stop = state.open == 0 || self.progress.is_behind(state.done);
                stop.then_some((state.done, state.open))
            });
            // A fork of the pool's process does not wait.
            let Some((done, open)) = heard else { return self.job.lock().is_none() };
            self.progress.tell(done, Some(self.total));
            if open == 0 {
                return true;
            }
        }
    }

    fn cancel(&self) -> bool {
        let Some(mut state) = self.job.lock() else { return false };
        if state.open == 0 {
            return false;
        }
        self.job.abandon();
        state.open = 0;
        state.results = BTreeMap::from([(0, vec![Err(cancelled().to_error())])]);
        self.job.settle(state);
        true
    }

    fn successful(&self) -> Option<bool> {
        self.job.change(|state| {
            (state.open == 0).then(|| state.results.values().flatten().all(Result::is_ok))
        })?
    }

    fn take(&self) -> Result<T> {
        let fork = || Error::new(ErrorKind::NotOwner, "the task is of another process's threads");
        let results = self.job.change(|state| std::mem::take(&mut state.results));
        (self.gather)(results.ok_or_else(fork)?)
    }

    fn on_done(&self, callback: OnDone<T>) -> Result<()> {
        let gather = self.gather;
        if let Some(mut state) = self.job.lock() {
            state.callback = Some(Box::new(move |results| callback(gather(results))));
            self.job.settle(state);
        }
        Ok(())
    }
}

/// The result of the only item.
pub(super) fn only<R>(results: Results<R>) -> Result<R> {
    let none = || Err(Error::new(ErrorKind::Cancelled, "the task has no result"));
    results.into_values().flatten().next().unwrap_or_else(none)
}

/// The results of all items, or the first error.
pub(super) fn all<R>(results: Results<R>) -> Result<Vec<R>> {
    results.into_values().flatten().collect()
}
