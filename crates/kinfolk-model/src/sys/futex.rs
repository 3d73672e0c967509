//! Sleeping on a word that processes share.
//!
//! As long as nobody has died, nobody wakes without being woken: so a wake that is
//! lost without a kill is found, for its sleeper sleeps for ever. After a death
//! all sleeps end, as their limits make them in the library.

use std::time::Duration;

use super::atomic::{AtomicU32, AtomicU64};
use crate::machine;

/// Sleeps while the word has `value`.
pub(crate) fn wait(word: &AtomicU32, value: u32, _limit: Duration) {
    machine::sleep(word.number(), value);
}

/// Wakes at most `count` of those who sleep on a word; returns how many.
pub(crate) fn wake(word: &AtomicU32, count: u32) -> usize {
    machine::wake(word.number(), count as usize)
}

/// The half of a word with its low 32 bits.
pub(crate) fn low_half(word: &AtomicU64) -> &AtomicU32 {
    word.low_half()
}
