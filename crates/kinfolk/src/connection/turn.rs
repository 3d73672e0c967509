//! A value that the threads of a process use one after the other.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::wire::frame::Wait;

/// A lock that can be waited for until a deadline, and held across system calls.
#[derive(Debug)]
pub(super) struct Turn<T> {
    /// The value, while nobody has it.
    value: Mutex<Option<T>>,
    /// That it is back.
    back: Condvar,
}

impl<T> Turn<T> {
    /// A value that nobody has.
    pub(super) fn new(value: T) -> Self {
        Self { value: Mutex::new(Some(value)), back: Condvar::new() }
    }

    /// Takes the value when it is there; `None` if that was not in time.
    pub(super) fn take(&self, wait: Wait) -> Option<Taken<'_, T>> {
        let mut place = self.lock();
        loop {
            if let Some(value) = place.take() {
                return Some(Taken { value: Some(value), turn: self });
            }
            place = match wait {
                Wait::Forever => self.back.wait(place).unwrap_or_else(PoisonError::into_inner),
                Wait::Until(deadline) => {
                    let left = deadline.checked_duration_since(Instant::now())?;
                    let waited = self.back.wait_timeout(place, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Locks the place of the value, for a moment.
    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of a [`Turn`], until this is dropped.
#[derive(Debug)]
pub(super) struct Taken<'a, T> {
    /// The value; only drop takes it.
    value: Option<T>,
    /// Where it belongs.
    turn: &'a Turn<T>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("only drop takes it")
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("only drop takes it")
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        *self.turn.lock() = self.value.take();
        self.turn.back.notify_one();
    }
}
