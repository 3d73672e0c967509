//! A lock between processes.
#![allow(unsafe_code)] // Its memory is made of atomics.

use std::ffi::CStr;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::abandoned::Abandoned;
use super::object::{Body, Object};
use super::owner::{OwnerWord, Taken};
use crate::sys::identity::Identity;
use crate::{Error, ErrorKind, Result};

/// A lock that processes share, and threads.
///
/// It travels inside values: a copy in another process is the same lock. It is
/// not recursive: who holds it and asks again waits for itself.
///
/// If the process that holds it ends, killed or not, the next one gets it and is
/// told by [`Abandoned`]. A waiter that is killed leaves no trace. A stopped
/// holder holds it still.
///
/// ```standalone_crate
/// use kinfolk::{Lock, Process};
///
/// fn print(lock: Lock) {
///     let _guard = lock.lock().expect("nobody is killed here");
///     println!("one at a time");
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let lock = Lock::new()?;
///     let one = Process::spawn(print, lock.try_clone()?)?;
///     let two = Process::spawn(print, lock)?;
///     one.join()?;
///     two.join()
/// }
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
#[doc(alias = "Mutex")]
pub struct Lock {
    /// Its memory.
    pub(super) object: Object<LockBody>,
}

/// A lock in shared memory.
pub(super) struct LockBody {
    /// Who holds it.
    owner: OwnerWord,
}

// SAFETY: a word, free when it is zero.
unsafe impl Body for LockBody {
    const NAME: &'static CStr = c"kinfolk-lock";
    const KIND: u64 = u64::from_le_bytes(*b"kf lock1");
}

impl Lock {
    /// Makes a lock that is free.
    ///
    /// # Errors
    ///
    /// If there is no memory or no file descriptor for it.
    pub fn new() -> Result<Self> {
        Ok(Self { object: Object::new()? })
    }

    /// Another handle of the same lock.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { object: self.object.try_clone()? })
    }

    /// Acquires the lock. Waits while another holds it; its release and its end
    /// wake the waiter.
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if the last holder ended with it: it holds the guard.
    #[inline]
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<LockGuard<'_>, Abandoned<LockGuard<'_>>> {
        loop {
            if let Some(guard) = self.lock_until(None)? {
                return Ok(guard);
            }
        }
    }

    /// Acquires the lock if that needs no waiting: `None` if another holds it.
    ///
    /// # Errors
    ///
    /// As [`lock`](Lock::lock).
    pub fn try_lock(&self) -> Result<Option<LockGuard<'_>>, Abandoned<LockGuard<'_>>> {
        self.guard(self.object.body().owner.try_take())
    }

    /// Acquires the lock, waiting for at most `timeout`: `None` if another held
    /// it all the time.
    ///
    /// # Errors
    ///
    /// As [`lock`](Lock::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<LockGuard<'_>>, Abandoned<LockGuard<'_>>> {
        self.lock_until(Instant::now().checked_add(timeout))
    }

    /// Releases the lock, whoever holds it: another thread or process too, as the
    /// reference allows. A guard that held it releases nothing later, unless its
    /// process has acquired the lock again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if nobody holds it.
    #[doc(alias = "force_unlock")]
    pub fn release(&self) -> Result<()> {
        if self.object.body().owner.release_for_any() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidInput, "releasing a lock that nobody holds"))
    }

    /// Whether somebody holds it, at this moment.
    #[must_use]
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.object.body().owner.is_held()
    }

    /// Acquires the lock until then.
    #[inline]
    fn lock_until(
        &self,
        deadline: Option<Instant>,
    ) -> Result<Option<LockGuard<'_>>, Abandoned<LockGuard<'_>>> {
        self.guard(self.object.body().owner.take(deadline))
    }

    /// What was taken, as a guard.
    #[inline]
    fn guard(
        &self,
        taken: Option<Taken>,
    ) -> Result<Option<LockGuard<'_>>, Abandoned<LockGuard<'_>>> {
        match taken {
            None => Ok(None),
            Some(Taken::Free) => Ok(Some(LockGuard { lock: self })),
            Some(Taken::From(dead)) => Err(self.inherited(dead)),
        }
    }

    /// What was taken from a dead holder.
    #[cold]
    fn inherited(&self, dead: Identity) -> Abandoned<LockGuard<'_>> {
        Abandoned::new(LockGuard { lock: self }, dead.pid(), self.object.name_of(dead))
    }
}

/// Holds a [`Lock`], and releases it when dropped.
#[must_use = "the lock is released at once if its guard is not kept"]
pub struct LockGuard<'a> {
    /// What is held.
    lock: &'a Lock,
}

impl<'a> LockGuard<'a> {
    /// What is held.
    pub(super) fn lock(&self) -> &'a Lock {
        self.lock
    }

    /// Leaves the lock held on purpose, also after the end of this process, until
    /// somebody calls [`Lock::release`].
    pub fn leave_held(self) {
        self.lock.object.body().owner.leave_held();
        std::mem::forget(self);
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.object.body().owner.release();
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockGuard")
    }
}
