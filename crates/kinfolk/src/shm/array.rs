//! An array in shared memory, with a lock.

use std::time::Duration;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use super::guard::SharedGuard;
use super::raw_array::RawArray;
use crate::{Abandoned, AnyLock, RLock, Result};

/// Values of plain data that processes share, of a number that is fixed, with a
/// lock: an [`RLock`], or the one it is given.
///
/// All is done through the guard of the lock, which is used as a [`RawArray`]. What
/// plain data is, how it travels, and what a killed holder leaves, is as with
/// [`Value`](crate::Value): what several elements held may be in part old and in
/// part new, and is the heir's to repair.
///
/// ```standalone_crate
/// use kinfolk::{Array, Process};
///
/// fn double(array: Array<f64>) {
///     let numbers = array.lock().expect("nobody is killed here");
///     for index in 0..numbers.len() {
///         numbers.update(index, |n| 2.0 * n).expect("it is inside");
///     }
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let array = Array::from_slice(&[0.5, 1.5])?;
///     Process::spawn(double, array.try_clone()?)?.join()?;
///     assert_eq!(array.lock().unwrap().to_vec(), [1.0, 3.0]);
///     Ok(())
/// }
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "L: Serialize", deserialize = "T: Pod, L: Deserialize<'de>"))]
#[doc(alias = "SynchronizedArray")]
pub struct Array<T, L = RLock> {
    /// The array.
    raw: RawArray<T>,
    /// Its lock.
    lock: L,
}

/// What is held under the lock, or was left by a dead holder.
type Held<'a, T, L, R> = Result<R, Abandoned<SharedGuard<'a, RawArray<T>, L>>>;

impl<T: Pod> Array<T> {
    /// Makes an array of zeros, and a lock for it. All memory is provided now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if the system has no
    /// memory or no file descriptors for it, or this process may not make files of
    /// this size (`ulimit -f`).
    pub fn new(len: usize) -> Result<Self> {
        Ok(Self::with_lock(RawArray::new(len)?, RLock::new()?))
    }

    /// Makes an array that holds `values`, and a lock for it.
    ///
    /// # Errors
    ///
    /// As [`new`](Array::new).
    pub fn from_slice(values: &[T]) -> Result<Self> {
        Ok(Self::with_lock(RawArray::from_slice(values)?, RLock::new()?))
    }
}

impl<T: Pod, L: AnyLock> Array<T, L> {
    /// Puts a lock beside an array: all who use the array with this lock exclude
    /// each other. The lock may be that of other things too.
    #[must_use]
    #[doc(alias = "synchronized")]
    pub fn with_lock(raw: RawArray<T>, lock: L) -> Self {
        Self { raw, lock }
    }

    /// Another handle of the same array and lock.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor, or no address space for it.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { raw: self.raw.try_clone()?, lock: self.lock.try_clone()? })
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Acquires the lock. Waits while another holds it; its release and its end wake
    /// the waiter.
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if the last holder ended with it: it holds the guard.
    pub fn lock(&self) -> Held<'_, T, L, SharedGuard<'_, RawArray<T>, L>> {
        let guard = |lock| SharedGuard::new(&self.raw, lock);
        self.lock.lock().map(guard).map_err(|abandoned| abandoned.map(guard))
    }

    /// Acquires the lock if that needs no waiting: `None` if another holds it.
    ///
    /// # Errors
    ///
    /// As [`lock`](Array::lock).
    pub fn try_lock(&self) -> Held<'_, T, L, Option<SharedGuard<'_, RawArray<T>, L>>> {
        let guard = |lock| SharedGuard::new(&self.raw, lock);
        self.lock.try_lock().map(|got| got.map(guard)).map_err(|abandoned| abandoned.map(guard))
    }

    /// Acquires the lock, waiting for at most `timeout`: `None` if another held it
    /// all the time.
    ///
    /// # Errors
    ///
    /// As [`lock`](Array::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Held<'_, T, L, Option<SharedGuard<'_, RawArray<T>, L>>> {
        let guard = |lock| SharedGuard::new(&self.raw, lock);
        let got = self.lock.lock_timeout(timeout);
        got.map(|got| got.map(guard)).map_err(|abandoned| abandoned.map(guard))
    }

    /// The array, to be used without the lock.
    #[must_use]
    #[doc(alias = "get_obj")]
    pub fn raw(&self) -> &RawArray<T> {
        &self.raw
    }

    /// Its lock.
    #[must_use]
    pub fn get_lock(&self) -> &L {
        &self.lock
    }
}
