//! State that callers wait at.
//!
//! Who waits is a thread of the server, for a client that may die meanwhile: then
//! [`Hangups`](super::hangups::Hangups) marks the caller as gone and wakes the thread, which
//! leaves the line. So nothing is ever given to a caller that is known to be dead.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use super::caller::Caller;
use crate::{Error, ErrorKind, Result};

/// How long a caller waits for what it asks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// For as long as it takes.
    Forever,
    /// Until then.
    Until(Instant),
}

impl Patience {
    /// For at most this long, from now on; `None` for as long as it takes.
    pub(crate) fn of(timeout: Option<Duration>) -> Self {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        end.map_or(Self::Forever, Self::Until)
    }

    /// Whether it is over.
    fn is_over(self) -> bool {
        matches!(self, Self::Until(end) if end <= Instant::now())
    }

    /// Sleeps until this thread is woken, or it is over.
    fn sleep(self) {
        match self {
            Self::Forever => thread::park(),
            Self::Until(end) => {
                thread::park_timeout(end.saturating_duration_since(Instant::now()));
            }
        }
    }
}

/// State that callers wait at.
#[derive(Debug, Default)]
pub(crate) struct Gate<T> {
    /// The state, with the lines of those who wait.
    state: Mutex<T>,
}

/// Those who wait for one thing, the longest first. Only the first may take it; when it has,
/// or gives up, the next one is woken to look.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The threads.
    waiting: VecDeque<Thread>,
}

impl<T> Gate<T> {
    /// A gate with a state.
    pub(crate) fn new(state: T) -> Self {
        Self { state: Mutex::new(state) }
    }

    /// The state. Nothing panics while it is locked but what a value's own comparison does;
    /// that leaves the state whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits in a line until `attempt` is successful; `None` if it was not in time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the caller is gone: nothing was taken for it.
    pub(crate) fn wait<R>(
        &self,
        caller: &Arc<Caller>,
        patience: Patience,
        line: impl Fn(&mut T) -> &mut Line,
        mut attempt: impl FnMut(&mut T) -> Option<R>,
    ) -> Result<Option<R>> {
        let mut state = self.lock();
        if line(&mut state).waiting.is_empty()
            && let Some(done) = attempt(&mut state)
        {
            return Ok(Some(done));
        }
        if patience.is_over() {
            return Ok(None);
        }
        let me = thread::current();
        line(&mut state).waiting.push_back(me.clone());
        let is_first =
            |state: &mut T| line(state).waiting.front().is_some_and(|first| first.id() == me.id());
        let (mut state, done) = self.sleep(state, caller, patience, |state| {
            if is_first(state) { attempt(state) } else { None }
        });
        line(&mut state).leave(me.id());
        done
    }

    /// Sleeps until `check` has something, looking each time that the thread is woken; `None`
    /// if it had nothing in time. The state is locked again then.
    pub(crate) fn sleep<'a, R>(
        &'a self,
        mut state: MutexGuard<'a, T>,
        caller: &Arc<Caller>,
        patience: Patience,
        mut check: impl FnMut(&mut T) -> Option<R>,
    ) -> (MutexGuard<'a, T>, Result<Option<R>>) {
        let done = loop {
            if caller.is_gone() {
                break Err(gone());
            }
            if let Some(done) = check(&mut state) {
                break Ok(Some(done));
            }
            if patience.is_over() {
                break Ok(None);
            }
            drop(state);
            patience.sleep();
            state = self.lock();
        };
        (state, done)
    }
}

impl Line {
    /// Wakes the first, to look whether there is now what it waits for.
    pub(crate) fn wake(&self) {
        if let Some(first) = self.waiting.front() {
            first.unpark();
        }
    }

    /// Takes one who waited out of the line. What it leaves may be the next one's.
    fn leave(&mut self, who: ThreadId) {
        self.waiting.retain(|thread| thread.id() != who);
        self.wake();
    }
}

/// The error of a caller that is gone: nobody will read it.
fn gone() -> Error {
    Error::new(ErrorKind::Disconnected, "the client is gone, or the manager ends")
}

/// Those who wait to be told something, the longest first.
#[derive(Debug, Default)]
pub(crate) struct Sleepers {
    /// Who was not told yet.
    waiting: VecDeque<Arc<Sleeper>>,
}

/// One who waits to be told something.
#[derive(Debug)]
pub(crate) struct Sleeper {
    /// Its thread.
    thread: Thread,
    /// What it was told, or 0. Written once, by whoever takes it out of the list, under the
    /// gate's lock; private to the process, so a kill leaves nothing.
    told: AtomicU8,
}

impl Sleepers {
    /// Becomes one.
    pub(crate) fn enlist(&mut self) -> Arc<Sleeper> {
        let me = Arc::new(Sleeper { thread: thread::current(), told: AtomicU8::new(0) });
        self.waiting.push_back(Arc::clone(&me));
        me
    }

    /// Tells `word` to at most `count`, and wakes them.
    pub(crate) fn tell(&mut self, count: usize, word: u8) {
        let count = count.min(self.waiting.len());
        for sleeper in self.waiting.drain(..count) {
            sleeper.told.store(word, Ordering::Relaxed);
            sleeper.thread.unpark();
        }
    }

    /// Takes one out who waits no longer.
    pub(crate) fn leave(&mut self, sleeper: &Arc<Sleeper>) {
        self.waiting.retain(|waiting| !Arc::ptr_eq(waiting, sleeper));
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Sleeper {
    /// What it was told.
    pub(crate) fn told(&self) -> Option<u8> {
        Some(self.told.load(Ordering::Relaxed)).filter(|word| *word != 0)
    }
}
