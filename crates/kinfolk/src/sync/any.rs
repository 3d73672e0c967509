//! What the locks have in common.

use std::fmt;
use std::time::Duration;

use super::abandoned::Abandoned;
use super::lock::{Lock, LockGuard};
use super::rlock::{RLock, RLockGuard};
use crate::Result;

/// A [`Lock`] or an [`RLock`]: what a [`Value`](crate::Value) or an
/// [`Array`](crate::Array) can have.
pub trait AnyLock: sealed::Sealed + fmt::Debug {
    /// Holds it.
    type Guard<'a>: fmt::Debug
    where
        Self: 'a;

    /// Acquires it: see [`Lock::lock`].
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if the last holder ended with it: it holds the guard.
    fn lock(&self) -> Result<Self::Guard<'_>, Abandoned<Self::Guard<'_>>>;

    /// Acquires it if that needs no waiting: see [`Lock::try_lock`].
    ///
    /// # Errors
    ///
    /// As [`lock`](AnyLock::lock).
    fn try_lock(&self) -> Result<Option<Self::Guard<'_>>, Abandoned<Self::Guard<'_>>>;

    /// Acquires it, waiting for at most `timeout`: see [`Lock::lock_timeout`].
    ///
    /// # Errors
    ///
    /// As [`lock`](AnyLock::lock).
    fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<Self::Guard<'_>>, Abandoned<Self::Guard<'_>>>;

    /// Another handle of it: see [`Lock::try_clone`].
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    fn try_clone(&self) -> Result<Self>
    where
        Self: Sized;
}

/// Makes a lock one of [`AnyLock`].
macro_rules! any_lock {
    ($($lock:ident, $guard:ident;)*) => {$(
        impl sealed::Sealed for $lock {}

        impl AnyLock for $lock {
            type Guard<'a> = $guard<'a>;

            fn lock(&self) -> Result<$guard<'_>, Abandoned<$guard<'_>>> {
                self.lock()
            }

            fn try_lock(&self) -> Result<Option<$guard<'_>>, Abandoned<$guard<'_>>> {
                self.try_lock()
            }

            fn lock_timeout(
                &self,
                timeout: Duration,
            ) -> Result<Option<$guard<'_>>, Abandoned<$guard<'_>>> {
                self.lock_timeout(timeout)
            }

            fn try_clone(&self) -> Result<Self> {
                self.try_clone()
            }
        }
    )*};
}

any_lock! {
    Lock, LockGuard;
    RLock, RLockGuard;
}

/// No lock of another crate is told of dead holders.
mod sealed {
    /// See there.
    pub trait Sealed {}
}
