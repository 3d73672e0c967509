//! Sleeping until something in shared memory has changed.

use std::time::{Duration, Instant};

use super::interrupt;
use crate::sys::atomic::{AtomicU32, Ordering, compiler_fence, fence};
use crate::sys::futex;

/// A word to sleep on, beside the state that one waits for.
///
/// | state | leaves it by | if killed here |
/// |---|---|---|
/// | even: nobody sleeps | a sleeper: → the odd number above, and then looks at the state once more | one wake too many |
/// | odd: somebody may sleep | who changed the state and wakes all: → the even number above, and then does so | the sleepers' own limit ends their sleep |
/// | | who wakes one: → the odd number above, and then does so | likewise |
/// | | if none slept: → the even number above, and then wakes all, for one may have begun to | likewise |
///
/// The number only grows: who has found the state unchanged does not fall asleep
/// over a wake that came since, though others have said since that they may sleep.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Signal(AtomicU32);

impl Signal {
    /// Sleeps for at most `limit`, unless `changed`. The caller looks again.
    pub(crate) fn sleep(&self, limit: Duration, changed: impl FnOnce() -> bool) {
        let odd = self.0.fetch_or(1, Ordering::SeqCst) | 1;
        if !changed() {
            futex::wait(&self.0, odd, limit);
        }
    }

    /// Wakes one who sleeps. The caller has changed the state, and released a
    /// word since.
    #[inline]
    pub(crate) fn wake_one(&self) {
        if self.may_have_sleepers() {
            self.wake_one_slowly();
        }
    }

    /// Wakes one who may sleep. More may, and the one that is woken may be the first
    /// to wake another: so it is noted that nobody sleeps only if nobody did.
    #[cold]
    fn wake_one_slowly(&self) {
        let Some(odd) = self.advance(2) else { return };
        let order = Ordering::SeqCst;
        if futex::wake(&self.0, 1) == 0
            && self.0.compare_exchange(odd, odd.wrapping_add(1), order, order).is_ok()
        {
            futex::wake(&self.0, u32::MAX >> 1);
        }
    }

    /// Wakes all who sleep, as [`wake_one`](Self::wake_one) wakes one.
    pub(crate) fn wake_all(&self) {
        if self.may_have_sleepers() && self.advance(1).is_some() {
            futex::wake(&self.0, u32::MAX >> 1);
        }
    }

    /// Whether somebody may sleep who has not seen the change of the state.
    #[inline]
    fn may_have_sleepers(&self) -> bool {
        after_release();
        self.0.load(Ordering::SeqCst) & 1 != 0
    }

    /// Adds to the number if it is odd, and returns the sum; `None` if another has
    /// noted that nobody sleeps.
    fn advance(&self, by: u32) -> Option<u32> {
        let mut seen = self.0.load(Ordering::SeqCst);
        while seen & 1 != 0 {
            let new = seen.wrapping_add(by);
            match self.0.compare_exchange(seen, new, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Some(new),
                Err(now) => seen = now,
            }
        }
        None
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

/// The lengths of a waiter's sleeps. What a kill has kept from waking it, it
/// notices after one of them.
#[derive(Debug)]
pub(crate) struct Naps {
    /// The first, which is the shortest, and the longest.
    limits: (Duration, Duration),
    /// Of how much sleep so far the next one is a part.
    slept: Duration,
    /// Which part.
    part: u32,
}

impl Naps {
    /// For who waits for a holder that may die: looks often at first, then less,
    /// so that it is late by a small part of what it has waited.
    pub(crate) fn short() -> Self {
        let limits = (Duration::from_millis(1), Duration::from_millis(32));
        Self { limits, slept: Duration::ZERO, part: 64 }
    }

    /// For who waits for an event: wakes itself only for the wake that a kill
    /// prevented.
    pub(crate) fn long() -> Self {
        let limits = (Duration::from_millis(20), Duration::from_millis(90));
        Self { limits, slept: Duration::ZERO, part: 1 }
    }

    /// The next length, as far as the deadline allows; `None` if it has passed, or
    /// if a wait with one is to end before.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Option<Duration> {
        let (shortest, longest) = self.limits;
        let nap = (self.slept / self.part).clamp(shortest, longest);
        self.slept += nap;
        match deadline {
            None => Some(nap),
            Some(_) if interrupt::is_wanted() => None,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                (!left.is_zero()).then(|| left.min(nap))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Naps;

    #[test]
    fn naps_grow_to_their_limit_and_end_at_the_deadline() {
        for (mut naps, first, longest) in [(Naps::short(), 1, 32), (Naps::long(), 20, 90)] {
            assert_eq!(naps.next(None), Some(Duration::from_millis(first)));
            let mut last = Duration::ZERO;
            for _ in 0..1000 {
                let nap = naps.next(None).unwrap();
                assert!(nap >= last);
                last = nap;
            }
            assert_eq!(last, Duration::from_millis(longest));
            assert_eq!(naps.next(Some(Instant::now())), None);
            let soon = Instant::now() + Duration::from_millis(5);
            assert!(naps.next(Some(soon)).is_none_or(|nap| nap <= Duration::from_millis(5)));
        }
    }
}
