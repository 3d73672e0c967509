//! What is held under a lock.

use std::fmt;
use std::ops::Deref;

use bytemuck::Pod;

use super::raw_array::RawArray;
use super::raw_value::RawValue;
use crate::{AnyLock, Error, ErrorKind, RLock, Result};

/// Holds the lock of a [`Value`](crate::Value) or an [`Array`](crate::Array), and
/// releases it when dropped. It is used as the [`RawValue`] or the [`RawArray`] that
/// is locked.
#[must_use = "the lock is released at once if its guard is not kept"]
pub struct SharedGuard<'a, R, L: AnyLock + 'a = RLock> {
    /// What is locked.
    raw: &'a R,
    /// Holds the lock.
    lock: L::Guard<'a>,
}

impl<'a, R, L: AnyLock> SharedGuard<'a, R, L> {
    /// What is locked, by a guard of its lock.
    pub(super) fn new(raw: &'a R, lock: L::Guard<'a>) -> Self {
        Self { raw, lock }
    }

    /// The guard of the lock itself, for instance to wait for a
    /// [`Condition`](crate::Condition) or to leave it held.
    pub fn into_lock_guard(self) -> L::Guard<'a> {
        self.lock
    }
}

impl<T: Pod, L: AnyLock> SharedGuard<'_, RawValue<T>, L> {
    /// Changes the value to what `change` makes of it, and returns that.
    pub fn update(&self, change: impl FnOnce(T) -> T) -> T {
        let new = change(self.raw.get());
        self.raw.set(new);
        new
    }
}

impl<T: Pod, L: AnyLock> SharedGuard<'_, RawArray<T>, L> {
    /// Changes an element to what `change` makes of it, and returns that.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is none at `index`.
    pub fn update(&self, index: usize, change: impl FnOnce(T) -> T) -> Result<T> {
        let old = self.raw.get(index).ok_or_else(|| {
            let reason = format!("an array of {} elements has none at {index}", self.raw.len());
            Error::new(ErrorKind::InvalidInput, reason)
        })?;
        let new = change(old);
        self.raw.set(index, new)?;
        Ok(new)
    }
}

impl<R, L: AnyLock> Deref for SharedGuard<'_, R, L> {
    type Target = R;

    fn deref(&self) -> &R {
        self.raw
    }
}

impl<R: fmt::Debug, L: AnyLock> fmt::Debug for SharedGuard<'_, R, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedGuard").field(self.raw).finish()
    }
}
