//! A value that the threads of a process use one after the other.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::wire::frame::Wait;

/// A lock that can be waited for until a deadline, and held across system calls.
#[derive(Debug)]
pub(super) struct Turn<T> {
    /// Where the value is while nobody has it.
    place: Mutex<Place<T>>,
    /// That it is back.
    back: Condvar,
}

/// Where a value is while nobody has it.
#[derive(Debug)]
struct Place<T> {
    /// The value.
    value: Option<T>,
    /// How many wait for it. Waking costs a system call, also where nobody waits.
    waiting: usize,
}

impl<T> Turn<T> {
    /// A value that nobody has.
    pub(super) fn new(value: T) -> Self {
        let place = Place { value: Some(value), waiting: 0 };
        Self { place: Mutex::new(place), back: Condvar::new() }
    }

    /// The value of a turn that nobody else has.
    pub(super) fn into_inner(self) -> Option<T> {
        self.place.into_inner().unwrap_or_else(PoisonError::into_inner).value
    }

    /// Takes the value when it is there; `None` if that was not in time.
    pub(super) fn take(&self, wait: Wait) -> Option<Taken<'_, T>> {
        let mut place = self.lock();
        loop {
            if let Some(value) = place.value.take() {
                return Some(Taken { value: Some(value), turn: self });
            }
            let left = match wait {
                Wait::Forever => None,
                Wait::Until(deadline) => Some(deadline.checked_duration_since(Instant::now())?),
            };
            place.waiting += 1;
            place = match left {
                None => self.back.wait(place).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.back.wait_timeout(place, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            place.waiting -= 1;
        }
    }

    /// Locks the place of the value, for a moment.
    fn lock(&self) -> MutexGuard<'_, Place<T>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut place = self.turn.lock();
        place.value = self.value.take();
        if place.waiting > 0 {
            drop(place);
            self.turn.back.notify_one();
        }
    }
}
