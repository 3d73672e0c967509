//! A flag to wait for.
#![allow(unsafe_code)] // Its memory is made of atomics.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::object::{Body, Object};
use super::signal::Naps;
use crate::Result;
use crate::sys::atomic::{AtomicU32, Ordering};
use crate::sys::futex;

/// The flag.
const SET: u32 = 1;
/// Somebody may sleep.
const WAITERS: u32 = 2;
/// One more setting.
const SETTING: u32 = 4;

/// A flag that processes share: waiting for it ends when it is set.
///
/// It travels inside values. If the process that sets it is killed, it is set
/// or not; if it is set, all who wait go on, within 0.1 s if the kill came
/// between setting and waking.
///
/// ```
/// use kinfolk::Event;
///
/// let event = Event::new()?;
/// assert!(!event.is_set());
/// event.set();
/// event.wait();
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Event {
    /// Its memory.
    pub(super) object: Object<EventBody>,
}

/// An event in shared memory.
///
/// | `word` | leaves it by | if killed here |
/// |---|---|---|
/// | without `SET` | setter: → `SET`, the next number, no `WAITERS`, in one step, and then wakes all | between the two: the sleepers wake by themselves |
/// | | sleeper: → `WAITERS` | one wake too many |
/// | with `SET` | clearer: → without `SET`, same number | nothing to do |
pub(super) struct EventBody {
    /// `SET`, `WAITERS`, and the number of settings.
    word: AtomicU32,
}

// SAFETY: a word, not set when it is zero.
unsafe impl Body for EventBody {
    const NAME: &'static CStr = c"kinfolk-event";
    const KIND: u64 = u64::from_le_bytes(*b"kf evnt1");
}

impl Event {
    /// Makes an event that is not set.
    ///
    /// # Errors
    ///
    /// If there is no memory or no file descriptor for it.
    pub fn new() -> Result<Self> {
        Ok(Self { object: Object::new()? })
    }

    /// Another handle of the same event.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { object: self.object.try_clone()? })
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.word().load(Ordering::Acquire) & SET != 0
    }

    /// Sets it, and wakes all who wait for it. All of them go on, also if it is
    /// cleared at once.
    pub fn set(&self) {
        let mut seen = self.word().load(Ordering::Relaxed);
        while seen & SET == 0 {
            let new = (seen & !WAITERS).wrapping_add(SETTING) | SET;
            match self.word().compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) if seen & WAITERS != 0 => {
                    futex::wake(self.word(), u32::MAX >> 1);
                    return;
                }
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Makes it not set.
    pub fn clear(&self) {
        self.word().fetch_and(!SET, Ordering::AcqRel);
    }

    /// Waits until it is set.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits until it is set, for at most `timeout`; returns whether it was.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Waits until it is set or the deadline has passed.
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let first = self.word().load(Ordering::Acquire);
        let mut naps = Naps::long();
        loop {
            let seen = self.word().load(Ordering::Acquire);
            if seen & SET != 0 || seen / SETTING != first / SETTING {
                return true;
            }
            let Some(nap) = naps.next(deadline) else { return false };
            let flagged = seen | WAITERS;
            let flag =
                self.word().compare_exchange(seen, flagged, Ordering::Relaxed, Ordering::Relaxed);
            if flag.is_ok() {
                futex::wait(self.word(), flagged, nap);
            }
        }
    }

    /// Its word.
    fn word(&self) -> &AtomicU32 {
        &self.object.body().word
    }
}
