//! What the processes of a soak write down, where no kill loses it.

#![allow(unsafe_code)] // Numbers in shared memory.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use kinfolk::SharedMemory;
use kinfolk_testkit::Numbers;
use serde::{Deserialize, Serialize};

/// Atomic numbers in shared memory, all of them 0 at first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Words(SharedMemory);

impl Words {
    /// Makes this many numbers of 8 bytes.
    pub(crate) fn new(count: usize) -> Self {
        Self(SharedMemory::new(count * size_of::<u64>()).unwrap())
    }

    /// Another handle of the same.
    pub(crate) fn try_clone(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    /// A number of 8 bytes.
    pub(crate) fn at(&self, place: usize) -> &AtomicU64 {
        self.cast(place)
    }

    /// A number of 4 bytes.
    pub(crate) fn half(&self, place: usize) -> &AtomicU32 {
        self.cast(place)
    }

    /// A number of 1 byte.
    pub(crate) fn byte(&self, place: usize) -> &AtomicU8 {
        self.cast(place)
    }

    /// The number at a place, counted in its own size.
    fn cast<T>(&self, place: usize) -> &T {
        assert!((place + 1) * size_of::<T>() <= self.0.size(), "the soak has no room for more");
        // SAFETY: inside of the mapping, as asserted.
        let number = unsafe { self.0.as_ptr().cast::<T>().add(place) };
        // SAFETY: mapped as long as `self` lives, aligned as a page and whole
        // numbers are; all who use it do so as atomics of the same size.
        unsafe { &*number }
    }
}

/// Numbers of a process's own, by what tells it from others.
pub(crate) fn numbers(seed: u64) -> Numbers {
    Numbers::new(mixed(seed) | 1)
}

/// A number of which each bit depends on all bits of another.
pub(crate) fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ number >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}
