//! One value in shared memory, with a lock.

use std::time::Duration;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use super::guard::SharedGuard;
use super::raw_value::RawValue;
use crate::{Abandoned, AnyLock, RLock, Result};

/// One value of plain data that processes share, with a lock: an [`RLock`], or the
/// one it is given.
///
/// Plain data is what [`bytemuck::Pod`](crate::Pod) says: numbers, arrays of them,
/// and types for which it is derived; not `bool`, which is not any byte. It travels inside values as a handle: a copy
/// in another process is the same value, with the same lock. There are no
/// references into it, as other processes could change what they point to.
///
/// If a process ends while it holds the lock, killed or not, the next one gets it
/// and is told by [`Abandoned`], which holds the guard. The value is then what it
/// was before, or after, or, if its size is not 1, 2, 4 or 8 bytes, in part both:
/// the heir's to repair.
///
/// ```standalone_crate
/// use kinfolk::{Process, Value};
///
/// fn count(value: Value<u64>) {
///     for _ in 0..1000 {
///         value.update(|n| n + 1).expect("nobody is killed here");
///     }
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let value = Value::new(0)?;
///     let one = Process::spawn(count, value.try_clone()?)?;
///     let two = Process::spawn(count, value.try_clone()?)?;
///     one.join()?;
///     two.join()?;
///     assert_eq!(value.get().unwrap(), 2000);
///     Ok(())
/// }
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "L: Serialize", deserialize = "T: Pod, L: Deserialize<'de>"))]
#[doc(alias = "Synchronized")]
pub struct Value<T, L = RLock> {
    /// The value.
    raw: RawValue<T>,
    /// Its lock.
    lock: L,
}

/// What is held under the lock, or was left by a dead holder.
type Held<'a, T, L, R> = Result<R, Abandoned<SharedGuard<'a, RawValue<T>, L>>>;

impl<T: Pod> Value<T> {
    /// Makes memory that holds `value`, and a lock for it. All of it is provided
    /// now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if the system has no
    /// memory or no file descriptors for it, or this process may not make files of
    /// this size (`ulimit -f`).
    pub fn new(value: T) -> Result<Self> {
        Ok(Self::with_lock(RawValue::new(value)?, RLock::new()?))
    }
}

impl<T: Pod, L: AnyLock> Value<T, L> {
    /// Puts a lock beside a value: all who use the value with this lock exclude each
    /// other. The lock may be that of other things too.
    #[must_use]
    #[doc(alias = "synchronized")]
    pub fn with_lock(raw: RawValue<T>, lock: L) -> Self {
        Self { raw, lock }
    }

    /// Another handle of the same value and lock.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { raw: self.raw.try_clone()?, lock: self.lock.try_clone()? })
    }

    /// Acquires the lock, for what is more than one operation. Waits while another
    /// holds it; its release and its end wake the waiter.
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if the last holder ended with it: it holds the guard.
    pub fn lock(&self) -> Held<'_, T, L, SharedGuard<'_, RawValue<T>, L>> {
        let guard = |lock| SharedGuard::new(&self.raw, lock);
        self.lock.lock().map(guard).map_err(|abandoned| abandoned.map(guard))
    }

    /// Acquires the lock if that needs no waiting: `None` if another holds it.
    ///
    /// # Errors
    ///
    /// As [`lock`](Value::lock).
    pub fn try_lock(&self) -> Held<'_, T, L, Option<SharedGuard<'_, RawValue<T>, L>>> {
        let guard = |lock| SharedGuard::new(&self.raw, lock);
        self.lock.try_lock().map(|got| got.map(guard)).map_err(|abandoned| abandoned.map(guard))
    }

    /// Acquires the lock, waiting for at most `timeout`: `None` if another held it
    /// all the time.
    ///
    /// # Errors
    ///
    /// As [`lock`](Value::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Held<'_, T, L, Option<SharedGuard<'_, RawValue<T>, L>>> {
        let guard = |lock| SharedGuard::new(&self.raw, lock);
        let got = self.lock.lock_timeout(timeout);
        got.map(|got| got.map(guard)).map_err(|abandoned| abandoned.map(guard))
    }

    /// Copies the value under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Value::lock).
    pub fn get(&self) -> Held<'_, T, L, T> {
        Ok(self.lock()?.get())
    }

    /// Changes the value under the lock.
    ///
    /// # Errors
    ///
    /// As [`lock`](Value::lock). Nothing is changed then.
    pub fn set(&self, value: T) -> Held<'_, T, L, ()> {
        self.lock()?.set(value);
        Ok(())
    }

    /// Changes the value under the lock to what `change` makes of it, and returns
    /// that.
    ///
    /// # Errors
    ///
    /// As [`lock`](Value::lock). Nothing is changed then.
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Held<'_, T, L, T> {
        Ok(self.lock()?.update(change))
    }

    /// The value, to be used without the lock.
    #[must_use]
    #[doc(alias = "get_obj")]
    pub fn raw(&self) -> &RawValue<T> {
        &self.raw
    }

    /// Its lock.
    #[must_use]
    pub fn get_lock(&self) -> &L {
        &self.lock
    }
}
