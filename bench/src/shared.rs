//! Memory that the floors share between processes.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::AtomicU32;

use kinfolk::SharedMemory;
use serde::{Deserialize, Serialize};

use crate::bench::Result;

/// What can be in memory that processes share.
///
/// # Safety
///
/// Zeros are a value of it, it can be shared between threads, it is made of words
/// that may change while it is borrowed, and it needs no alignment beyond a page's.
pub(crate) unsafe trait Body: Sync {}

/// A body, in every process that was given it.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub(crate) struct InMemory<T> {
    /// Where it is.
    memory: SharedMemory,
    /// What is there.
    types: PhantomData<fn() -> T>,
}

impl<T: Body> InMemory<T> {
    /// Makes one of zeros.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { memory: SharedMemory::new(size_of::<T>())?, types: PhantomData })
    }

    /// The same one once more.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self { memory: self.memory.try_clone()?, types: PhantomData })
    }
}

impl<T: Body> Deref for InMemory<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `new` made the memory of this size, of zeros, which are a value;
        // this program alone hands it on, as what it is. Pages are aligned, and stay
        // mapped as long as `self` lives. Only what changes inside ever changes.
        unsafe { &*self.memory.as_ptr().cast::<T>() }
    }
}

impl<T> fmt::Debug for InMemory<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InMemory({:?})", self.memory)
    }
}

/// Something on lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

// SAFETY: what is inside is one, and 128 is less than a page.
unsafe impl<T: Body> Body for Line<T> {}

// SAFETY: an atomic word.
unsafe impl Body for AtomicU32 {}

// SAFETY: bodies one after the other.
unsafe impl<T: Body, const N: usize> Body for [T; N] {}

/// How often one looks before the processor is given to others.
const LOOKS: u32 = 1000;

/// Looks until there is something to see.
#[inline]
pub(crate) fn spin<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        for _ in 0..LOOKS {
            if let Some(seen) = look() {
                return seen;
            }
            std::hint::spin_loop();
        }
        std::thread::yield_now();
    }
}

/// Sleeps while the word is as expected. The caller looks again.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32) {
    // SAFETY: the word is mapped for the whole call, and no time limit is given.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            std::ptr::null::<libc::timespec>(),
        )
    };
}

/// Wakes one who sleeps on the word.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is mapped for the whole call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}
