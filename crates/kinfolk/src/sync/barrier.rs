//! A meeting point.
#![allow(unsafe_code)] // Its memory is made of atomics.

use std::ffi::CStr;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::PARTICIPANTS;
use super::object::{Body, Object};
use super::owner::OwnerWord;
use super::signal::{Naps, Signal};
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::identity::Identity;
use crate::{Error, ErrorKind, Result};

/// Broken: who waits, or comes, gets an error.
const BROKEN: u64 = 1;
/// One more party has arrived.
const ARRIVAL: u64 = 2;
/// One more round has ended; the number of arrivals is below.
const ROUND: u64 = 1 << 32;

/// A point where a number of parties, processes or threads, wait for each other.
///
/// It travels inside values. If a process that takes part in the round dies
/// before the round is complete, the barrier is broken: all who wait, and who
/// come later, get [`BrokenBarrier`] until [`reset`](Barrier::reset). A party
/// that has not arrived takes part if it did in the round before.
///
/// ```
/// use kinfolk::Barrier;
///
/// let barrier = Barrier::new(2)?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| barrier.wait().unwrap());
///     barrier.wait().unwrap();
/// });
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Barrier {
    /// Its memory.
    pub(super) object: Object<BarrierBody>,
}

/// The barrier is broken: a party died, or waited for too long, or
/// [`abort`](Barrier::abort) or [`reset`](Barrier::reset) was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenBarrier;

/// A barrier in shared memory.
pub(super) struct BarrierBody {
    /// Who changes it.
    section: OwnerWord,
    /// Told when a round ends, or the barrier breaks.
    changed: Signal,
    /// The number of parties. Written before others know of it.
    parties: AtomicU64,
    /// The round, the arrivals in it, and whether it is broken: each change is
    /// one store, in the section.
    ///
    /// | change | if killed before | if killed after |
    /// |---|---|---|
    /// | arrival: + `ARRIVAL` | the party has not arrived | it has, and is dead: the barrier breaks |
    /// | the last one: next round, no arrivals | as above | the round is complete; the others wake by themselves |
    /// | break: + `BROKEN`; reset: next round | nothing has happened | the others wake by themselves |
    word: AtomicU64,
    /// By the lowest bits of a round's number: whether a reset ended it.
    resets: AtomicU64,
    /// Who has arrived in the rounds of an even and of an odd number: in this one as
    /// far as they are counted, and all of the last one, unless a reset ended it. A
    /// place is written before the arrival is counted.
    arrived: [[AtomicU64; PARTICIPANTS]; 2],
}

// SAFETY: words; in its first round when they are zero.
unsafe impl Body for BarrierBody {
    const NAME: &'static CStr = c"kinfolk-barrier";
    const KIND: u64 = u64::from_le_bytes(*b"kf barr1");
}

impl Barrier {
    /// Makes a barrier for a number of parties.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for no party, or more than 1,000; or if there
    /// is no memory or no file descriptor for it.
    pub fn new(parties: usize) -> Result<Self> {
        if !(1..=PARTICIPANTS).contains(&parties) {
            let reason = format!("a barrier is for 1 to {PARTICIPANTS} parties, not {parties}");
            return Err(Error::new(ErrorKind::InvalidInput, reason));
        }
        let object = Object::<BarrierBody>::new()?;
        object.body().parties.store(parties as u64, Ordering::Relaxed);
        Ok(Self { object })
    }

    /// Another handle of the same barrier.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { object: self.object.try_clone()? })
    }

    /// Waits until all parties have arrived. Returns a number from 0 up that no
    /// other party of the round gets: the first to arrive gets 0.
    ///
    /// # Errors
    ///
    /// [`BrokenBarrier`]; the death of a party is noticed within 0.1 s.
    pub fn wait(&self) -> Result<usize, BrokenBarrier> {
        self.wait_until(None, || ())
    }

    /// As [`wait`](Barrier::wait), for at most `timeout`; then the barrier breaks.
    ///
    /// # Errors
    ///
    /// As [`wait`](Barrier::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BrokenBarrier> {
        self.wait_until(Instant::now().checked_add(timeout), || ())
    }

    /// As [`wait`](Barrier::wait); the last party to arrive calls its `action`
    /// before any goes on. If it panics or is killed in it, the barrier breaks.
    ///
    /// # Errors
    ///
    /// As [`wait`](Barrier::wait).
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<usize, BrokenBarrier> {
        self.wait_until(None, action)
    }

    /// As [`wait_with`](Barrier::wait_with), for at most `timeout`; then the barrier
    /// breaks.
    ///
    /// # Errors
    ///
    /// As [`wait`](Barrier::wait).
    pub fn wait_timeout_with(
        &self,
        timeout: Duration,
        action: impl FnOnce(),
    ) -> Result<usize, BrokenBarrier> {
        self.wait_until(Instant::now().checked_add(timeout), action)
    }

    /// Breaks the barrier.
    pub fn abort(&self) {
        let body = self.object.body();
        let section = body.section.enter();
        body.word.store(body.word.load(Ordering::Relaxed) | BROKEN, Ordering::Release);
        drop(section);
        body.changed.wake_all();
    }

    /// Makes the barrier as new: who waits gets [`BrokenBarrier`], who comes finds
    /// it whole.
    pub fn reset(&self) {
        let body = self.object.body();
        let section = body.section.enter();
        body.next_round(true);
        for place in body.arrived.iter().flatten() {
            place.store(0, Ordering::Relaxed);
        }
        drop(section);
        body.changed.wake_all();
    }

    /// The number of parties.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.object.body().count_of_parties()
    }

    /// The number of parties that wait, at this moment.
    #[must_use]
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> usize {
        arrivals(self.object.body().word.load(Ordering::Relaxed))
    }

    /// Whether it is broken.
    #[must_use]
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> bool {
        self.object.body().word.load(Ordering::Relaxed) & BROKEN != 0
    }

    /// Arrives, and waits for the others or the deadline.
    fn wait_until(
        &self,
        deadline: Option<Instant>,
        action: impl FnOnce(),
    ) -> Result<usize, BrokenBarrier> {
        let body = self.object.body();
        let (place, round) = loop {
            let section = body.section.enter();
            let word = body.word.load(Ordering::Relaxed);
            if word & BROKEN != 0 {
                return Err(BrokenBarrier);
            }
            let place = arrivals(word);
            if place < body.count_of_parties() {
                body.arrived_in(word / ROUND)[place]
                    .store(Identity::mine().bits(), Ordering::Relaxed);
                body.word.store(word + ARRIVAL, Ordering::Release);
                break (place, word / ROUND);
            }
            // All have arrived, and the last one calls its action.
            drop(section);
            body.sleep(word, Naps::short().next(None).unwrap_or_default());
            body.break_if_a_party_died();
        };
        if place + 1 == body.count_of_parties() {
            return self.complete(place, round, action);
        }
        let mut naps = Naps::short();
        loop {
            let word = body.word.load(Ordering::Acquire);
            if word / ROUND != round {
                let reset = body.resets.load(Ordering::Acquire) >> (round % 64) & 1 != 0;
                return if reset { Err(BrokenBarrier) } else { Ok(place) };
            }
            if word & BROKEN != 0 {
                return Err(BrokenBarrier);
            }
            match naps.next(deadline) {
                Some(nap) => body.sleep(word, nap),
                None => self.abort(),
            }
            body.break_if_a_party_died();
        }
    }

    /// Ends the round, as the last to arrive.
    fn complete(
        &self,
        place: usize,
        round: u64,
        action: impl FnOnce(),
    ) -> Result<usize, BrokenBarrier> {
        /// Breaks the barrier if the action panics.
        struct Abort<'a>(&'a Barrier);
        impl Drop for Abort<'_> {
            fn drop(&mut self) {
                self.0.abort();
            }
        }
        let abort = Abort(self);
        action();
        std::mem::forget(abort);
        let body = self.object.body();
        let section = body.section.enter();
        let word = body.word.load(Ordering::Relaxed);
        if word / ROUND != round || word & BROKEN != 0 {
            return Err(BrokenBarrier);
        }
        body.next_round(false);
        drop(section);
        body.changed.wake_all();
        Ok(place)
    }
}

impl BarrierBody {
    /// Ends the round, in the section.
    fn next_round(&self, reset: bool) {
        let round = self.word.load(Ordering::Relaxed) / ROUND;
        let bit = 1 << (round % 64);
        if reset {
            self.resets.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.resets.fetch_and(!bit, Ordering::Relaxed);
        }
        self.word.store(round.wrapping_add(1).wrapping_mul(ROUND), Ordering::Release);
    }

    /// The number of parties, whatever another process has written.
    fn count_of_parties(&self) -> usize {
        usize::try_from(self.parties.load(Ordering::Relaxed))
            .map_or(1, |n| n.clamp(1, PARTICIPANTS))
    }

    /// Who has arrived in a round: this one, or the last.
    fn arrived_in(&self, round: u64) -> &[AtomicU64; PARTICIPANTS] {
        &self.arrived[(round % 2) as usize]
    }

    /// Sleeps until the word may have changed.
    fn sleep(&self, word: u64, nap: Duration) {
        self.changed.sleep(nap, || self.word.load(Ordering::SeqCst) != word);
    }

    /// Breaks the barrier if a process of this round, or of the last one and not
    /// yet of this, is dead.
    fn break_if_a_party_died(&self) {
        let dead = |place: &AtomicU64| {
            let process = Identity::from_bits(place.load(Ordering::Relaxed));
            process.is_some_and(|process| !process.is_alive())
        };
        let word = self.word.load(Ordering::Acquire);
        if arrivals(word) == 0 || word & BROKEN != 0 {
            return;
        }
        let (round, parties) = (word / ROUND, self.count_of_parties());
        let now = &self.arrived_in(round)[..arrivals(word).min(parties)];
        let before = &self.arrived_in(round.wrapping_sub(1))[..parties];
        if now.iter().chain(before).any(dead) {
            let section = self.section.enter();
            // The round may have ended while the dead were counted.
            if self.word.load(Ordering::Relaxed) / ROUND == round {
                self.word.store(self.word.load(Ordering::Relaxed) | BROKEN, Ordering::Release);
            }
            drop(section);
            self.changed.wake_all();
        }
    }
}

/// The number of arrivals in a word, whatever another process has written.
fn arrivals(word: u64) -> usize {
    ((word % ROUND / ARRIVAL) as usize).min(PARTICIPANTS)
}

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier is broken: a party died or gave up, or it was aborted or reset")
    }
}

impl std::error::Error for BrokenBarrier {}
