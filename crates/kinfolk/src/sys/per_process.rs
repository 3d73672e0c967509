//! State that belongs to one process, and not to a fork of it.
#![allow(unsafe_code)] // What a fork's memory has of its parent's is left alone for good.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fork_guard;

/// A locked value that each process has for itself.
///
/// A fork begins with a new one. The copy of its parent's is neither used nor
/// dropped: what it stands for is not the fork's, and its lock may seem held for
/// ever, by a thread that the fork does not have.
#[derive(Debug)]
pub(crate) struct PerProcess<T: 'static> {
    /// The value of this process, or of one that it is a fork of; null before the first
    /// use. Only ever replaced as a whole, and never freed.
    current: AtomicPtr<Owned<T>>,
    /// Makes the first value of a process.
    make: fn() -> T,
}

/// A value and whose it is.
#[derive(Debug)]
struct Owned<T> {
    /// What [`fork_guard::forks`] says in its process.
    forks: u32,
    /// The value.
    value: Mutex<T>,
}

impl<T: Send> PerProcess<T> {
    /// A value that `make` makes at its first use in a process.
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()), make }
    }

    /// Locks the value of this process.
    pub(crate) fn lock(&self) -> MutexGuard<'static, T> {
        let forks = fork_guard::forks();
        loop {
            let known = self.current.load(Ordering::Acquire);
            // SAFETY: null, or stored below: leaked, so never freed and never changed.
            if let Some(owned) = unsafe { known.as_ref::<'static>() }
                && owned.forks == forks
            {
                return owned.value.lock().unwrap_or_else(PoisonError::into_inner);
            }
            let value = Mutex::new((self.make)());
            let new = Box::into_raw(Box::new(Owned { forks, value }));
            let order = Ordering::AcqRel;
            if self.current.compare_exchange(known, new, order, Ordering::Acquire).is_err() {
                // SAFETY: made above, and not stored: nobody else knows it.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
}
