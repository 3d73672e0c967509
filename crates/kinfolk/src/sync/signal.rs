//! Sleeping until something in shared memory has changed.

use std::sync::atomic::{AtomicU32, Ordering, compiler_fence, fence};
use std::time::{Duration, Instant};

use crate::sys::futex;

/// A word to sleep on, beside the state that one waits for.
///
/// | state | leaves it by | if killed here |
/// |---|---|---|
/// | 0: nobody sleeps | a sleeper: → 1, and then looks at the state once more | one wake too many |
/// | 1: somebody may sleep | who changed the state: → 0, and then wakes; → 1 again if more may sleep | the sleepers' own limit ends their sleep |
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Signal(AtomicU32);

impl Signal {
    /// Sleeps for at most `limit`, unless `changed`. The caller looks again.
    pub(crate) fn sleep(&self, limit: Duration, changed: impl FnOnce() -> bool) {
        self.0.store(1, Ordering::SeqCst);
        if !changed() {
            futex::wait(&self.0, 1, limit);
        }
    }

    /// Wakes one who sleeps. The caller has changed the state, and released a
    /// word since.
    #[inline]
    pub(crate) fn wake_one(&self) {
        after_release();
        if self.0.load(Ordering::SeqCst) != 0 {
            self.wake_one_slowly();
        }
    }

    /// Wakes one who may sleep, and remembers that more may.
    #[cold]
    fn wake_one_slowly(&self) {
        if self.0.swap(0, Ordering::SeqCst) != 0 && futex::wake(&self.0, 1) > 0 {
            self.0.store(1, Ordering::SeqCst);
        }
    }

    /// Wakes all who sleep, as [`wake_one`](Self::wake_one) wakes one.
    pub(crate) fn wake_all(&self) {
        if self.0.swap(0, Ordering::SeqCst) != 0 {
            futex::wake(&self.0, u32::MAX >> 1);
        }
    }
}

/// Orders what was written before a word was released before what is read now.
#[inline]
fn after_release() {
    // Releasing is a locked instruction, which does so on x86.
    if cfg!(target_arch = "x86_64") {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// The lengths of a waiter's sleeps: each twice the one before. What a kill has
/// kept from waking it, it notices after one of them.
#[derive(Debug)]
pub(crate) struct Naps {
    /// The next one.
    next: Duration,
    /// The longest.
    longest: Duration,
}

impl Naps {
    /// For who waits for a holder that may die.
    pub(crate) fn short() -> Self {
        Self { next: Duration::from_millis(1), longest: Duration::from_millis(32) }
    }

    /// For who waits for an event: wakes itself only for the wake that a kill
    /// prevented.
    pub(crate) fn long() -> Self {
        Self { next: Duration::from_millis(20), longest: Duration::from_millis(90) }
    }

    /// The next length, as far as the deadline allows; `None` if it has passed.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Option<Duration> {
        let nap = self.next;
        self.next = self.longest.min(nap * 2);
        match deadline {
            None => Some(nap),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                (!left.is_zero()).then(|| left.min(nap))
            }
        }
    }
}
