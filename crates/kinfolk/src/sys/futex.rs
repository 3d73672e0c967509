//! Sleeping on a word that processes share.
//!
//! Who sleeps here wakes after its limit at the latest and looks again: the
//! kernel's wake-ups only make it sooner. With `--cfg kinfolk_portable` there are
//! none, and all that is built on this works all the same, by sleeping shortly.
#![allow(unsafe_code)] // The half of a word that the kernel looks at.

use std::time::Duration;

#[cfg(not(kinfolk_portable))]
use rustix::thread::futex::{self, Flags, Timespec};

use super::atomic::{AtomicU32, AtomicU64};

/// Sleeps while the word has `value`, for at most `limit`. May end at any time:
/// the caller looks again at what it waits for.
#[cfg(not(kinfolk_portable))]
pub(crate) fn wait(word: &AtomicU32, value: u32, limit: Duration) {
    let limit = Timespec {
        tv_sec: limit.as_secs().cast_signed(),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    let _ = futex::wait(word, Flags::empty(), value, Some(&limit));
}

/// Wakes at most `count` of those who sleep on a word; returns how many.
#[cfg(not(kinfolk_portable))]
pub(crate) fn wake(word: &AtomicU32, count: u32) -> usize {
    futex::wake(word, Flags::empty(), count).unwrap_or(0)
}

/// Sleeps for a moment.
#[cfg(kinfolk_portable)]
pub(crate) fn wait(_word: &AtomicU32, _value: u32, limit: Duration) {
    std::thread::sleep(limit.min(Duration::from_millis(1)));
}

/// Wakes nobody.
#[cfg(kinfolk_portable)]
pub(crate) fn wake(_word: &AtomicU32, _count: u32) -> usize {
    0
}

/// The half of a word with its low 32 bits, for the kernel alone.
pub(crate) fn low_half(word: &AtomicU64) -> &AtomicU32 {
    let place = if cfg!(target_endian = "little") { 0 } else { 1 };
    // SAFETY: inside of the word.
    let half = unsafe { word.as_ptr().cast::<AtomicU32>().add(place) };
    // SAFETY: valid and aligned as the word is. The program accesses the whole
    // word only; the half is given to the kernel, which compares it.
    unsafe { &*half }
}
