//! A word of shared memory that at most one process owns.

use std::time::Instant;

use super::LOOKS;
use super::signal::Naps;
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::futex;
use crate::sys::identity::Identity;

/// Somebody may be asleep on the word. Survives every change of owner but the
/// one to nobody.
const WAITERS: u64 = 1 << 31;
/// Held on purpose, by nobody who can die: no identity, for those have an id.
const LEFT: u64 = 1 << 63;

/// The owner, or nobody.
///
/// | state | leaves it by | if killed here |
/// |---|---|---|
/// | 0: free | taker: 0 → its identity | nothing has happened |
/// | an identity: held | owner, or who releases for it: → 0, and wakes one if `WAITERS` | before: the next taker finds the owner dead, and takes over; between the two: a sleeper wakes by itself |
/// | | taker, if the owner is dead: → its identity and `WAITERS` | the next one finds a dead owner again |
/// | | owner: → `LEFT` | held for good, as it wanted |
/// | `LEFT` | who releases it: → 0 | as above |
/// | any but 0 | a sleeper: → with `WAITERS` | one wake too many |
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct OwnerWord(AtomicU64);

/// A short critical section on a word: left when dropped.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    /// The word.
    word: &'a OwnerWord,
    /// Whether the one before died inside: what it began may be half done.
    pub(crate) after_death: bool,
}

impl Drop for Section<'_> {
    #[inline]
    fn drop(&mut self) {
        // It is this process's: nobody releases a section for another.
        if self.word.0.swap(0, Ordering::Release) & WAITERS != 0 {
            self.word.wake_one();
        }
    }
}

/// How a word was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was free.
    Free,
    /// From a dead owner: what the word protects may be half done.
    From(Identity),
}

impl OwnerWord {
    /// Takes the word if it is free, or its owner dead.
    pub(crate) fn try_take(&self) -> Option<Taken> {
        let mine = Identity::mine().bits();
        if self.0.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return Some(Taken::Free);
        }
        self.take_if_possible(self.0.load(Ordering::Relaxed), mine, true)
    }

    /// Takes the word. Waits until it is free or its owner dead; `None` if that
    /// was not before `deadline`.
    #[inline]
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Option<Taken> {
        let mine = Identity::mine().bits();
        match self.0.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Some(Taken::Free),
            Err(_) => self.take_slowly(mine, deadline),
        }
    }

    /// Enters a critical section of the library.
    #[inline]
    pub(crate) fn enter(&self) -> Section<'_> {
        loop {
            if let Some(taken) = self.take(None) {
                return Section { word: self, after_death: taken != Taken::Free };
            }
        }
    }

    /// Takes a word that is not free at this moment.
    #[cold]
    fn take_slowly(&self, mine: u64, deadline: Option<Instant>) -> Option<Taken> {
        let mut naps = Naps::short();
        let mut slept = 0;
        loop {
            for _ in 0..LOOKS {
                let seen = self.0.load(Ordering::Relaxed);
                if let Some(taken) = self.take_if_possible(seen, mine | slept, false) {
                    return Some(taken);
                }
                std::hint::spin_loop();
            }
            let seen = self.0.load(Ordering::Relaxed);
            if let Some(taken) = self.take_if_possible(seen, mine | slept, true) {
                return Some(taken);
            }
            let nap = naps.next(deadline)?;
            let flagged = seen | WAITERS;
            if seen & !WAITERS == 0
                || self
                    .0
                    .compare_exchange(seen, flagged, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            futex::wait(futex::low_half(&self.0), low(flagged), nap);
            // Others may still sleep, and the flag may be gone.
            slept = WAITERS;
        }
    }

    /// Takes the word from nobody, or, if `ask` allows to ask the system, from a
    /// dead owner.
    fn take_if_possible(&self, seen: u64, mine: u64, ask: bool) -> Option<Taken> {
        let (new, taken) = match seen & !WAITERS {
            0 => (mine | seen, Taken::Free),
            held => match Identity::from_bits(held) {
                Some(owner) if ask && !owner.is_alive() => (mine | WAITERS, Taken::From(owner)),
                _ => return None,
            },
        };
        let done = self.0.compare_exchange(seen, new, Ordering::Acquire, Ordering::Relaxed);
        done.is_ok().then_some(taken)
    }

    /// Releases the word if this process owns it. Returns whether it did.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        let mine = Identity::mine().bits();
        let released = self.0.compare_exchange(mine, 0, Ordering::Release, Ordering::Relaxed);
        released.is_ok() || self.leave(|held| held == mine, 0)
    }

    /// Releases the word, whoever owns it. Returns whether anybody did.
    pub(crate) fn release_for_any(&self) -> bool {
        self.leave(|held| held != 0, 0)
    }

    /// Makes the word held for good, if this process owns it: until it is
    /// released for it.
    pub(crate) fn leave_held(&self) -> bool {
        self.leave(|held| held == Identity::mine().bits(), LEFT)
    }

    /// Changes a word whose owner is right, and wakes one who waits for it.
    #[cold]
    fn leave(&self, right: impl Fn(u64) -> bool, new: u64) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if !right(seen & !WAITERS) {
                return false;
            }
            let new = if new == 0 { 0 } else { new | seen & WAITERS };
            match self.0.compare_exchange_weak(seen, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        if new == 0 && seen & WAITERS != 0 {
            self.wake_one();
        }
        true
    }

    /// Wakes one who sleeps on the word.
    #[cold]
    fn wake_one(&self) {
        futex::wake(futex::low_half(&self.0), 1);
    }

    /// Whether this process owns the word.
    #[inline]
    pub(crate) fn is_mine(&self) -> bool {
        self.0.load(Ordering::Relaxed) & !WAITERS == Identity::mine().bits()
    }

    /// Whether the word is held.
    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed) & !WAITERS != 0
    }
}

/// The half that the kernel compares.
fn low(word: u64) -> u32 {
    (word & u64::from(u32::MAX)) as u32
}
