//! A lock that its holder may take again.
#![allow(unsafe_code)] // Its memory is made of atomics.

use std::ffi::CStr;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::abandoned::Abandoned;
use super::object::{Body, Object};
use super::owner::{OwnerWord, Taken};
use crate::{Error, ErrorKind, Result};

/// A recursive lock that processes share: the thread that holds it may acquire
/// it again, and must release it as often.
///
/// Only the thread that acquired it can release it: its guards do not leave it.
/// All else is as with [`Lock`](crate::Lock), [`Abandoned`] included.
///
/// ```
/// use kinfolk::RLock;
///
/// let lock = RLock::new()?;
/// let _outer = lock.lock().unwrap();
/// let _inner = lock.lock().unwrap();
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
#[doc(alias = "ReentrantMutex")]
pub struct RLock {
    /// Its memory.
    pub(super) object: Object<RLockBody>,
}

/// A recursive lock in shared memory.
pub(super) struct RLockBody {
    /// The process that holds it.
    owner: OwnerWord,
    /// The thread of it, by its number there. Written by the owner alone; what a
    /// dead owner left is overwritten by the next before it is looked at.
    thread: AtomicU64,
    /// How often it is held. As `thread`.
    depth: AtomicU64,
}

// SAFETY: words; free when they are zero.
unsafe impl Body for RLockBody {
    const NAME: &'static CStr = c"kinfolk-rlock";
    const KIND: u64 = u64::from_le_bytes(*b"kf rlck1");
}

impl RLock {
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

    /// Acquires the lock, at once if this thread holds it. Waits while another
    /// does; its release and its end wake the waiter.
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if the last holder ended with it: it holds the guard.
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<RLockGuard<'_>, Abandoned<RLockGuard<'_>>> {
        loop {
            if let Some(guard) = self.acquire(|owner| owner.take(None))? {
                return Ok(guard);
            }
        }
    }

    /// Acquires the lock if that needs no waiting: `None` if another holds it.
    ///
    /// # Errors
    ///
    /// As [`lock`](RLock::lock).
    pub fn try_lock(&self) -> Result<Option<RLockGuard<'_>>, Abandoned<RLockGuard<'_>>> {
        self.acquire(OwnerWord::try_take)
    }

    /// Acquires the lock, waiting for at most `timeout`: `None` if another held
    /// it all the time.
    ///
    /// # Errors
    ///
    /// As [`lock`](RLock::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<RLockGuard<'_>>, Abandoned<RLockGuard<'_>>> {
        let deadline = Instant::now().checked_add(timeout);
        self.acquire(|owner| owner.take(deadline))
    }

    /// Releases the lock once, in place of a guard that was forgotten.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if this thread does not hold it.
    pub fn release(&self) -> Result<()> {
        let body = self.object.body();
        if !body.owner.is_mine() || body.thread.load(Ordering::Relaxed) != thread_number() {
            let reason = "releasing a recursive lock that this thread does not hold";
            return Err(Error::new(ErrorKind::InvalidInput, reason));
        }
        self.release_once();
        Ok(())
    }

    /// Whether somebody holds it, at this moment.
    #[must_use]
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.object.body().owner.is_held()
    }

    /// Releases the lock once, if this process holds it: a fork has copied the guard,
    /// but not what it holds.
    fn release_once(&self) {
        let body = self.object.body();
        if body.owner.is_mine() && body.depth.fetch_sub(1, Ordering::Relaxed) == 1 {
            body.thread.store(0, Ordering::Relaxed);
            body.owner.release();
        }
    }

    /// Acquires the lock: again, or with `take`.
    fn acquire(
        &self,
        take: impl FnOnce(&OwnerWord) -> Option<Taken>,
    ) -> Result<Option<RLockGuard<'_>>, Abandoned<RLockGuard<'_>>> {
        let body = self.object.body();
        let thread = thread_number();
        let guard = RLockGuard { lock: self, not_send: PhantomData };
        if body.owner.is_mine() && body.thread.load(Ordering::Relaxed) == thread {
            body.depth.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(guard));
        }
        let Some(taken) = take(&body.owner) else {
            std::mem::forget(guard);
            return Ok(None);
        };
        body.depth.store(1, Ordering::Relaxed);
        body.thread.store(thread, Ordering::Relaxed);
        match taken {
            Taken::Free => Ok(Some(guard)),
            Taken::From(dead) => Err(Abandoned::new(guard, dead.pid(), self.object.name_of(dead))),
        }
    }
}

/// Holds a [`RLock`] once, and releases it once when dropped, on its thread.
#[must_use = "the lock is released at once if its guard is not kept"]
pub struct RLockGuard<'a> {
    /// What is held.
    lock: &'a RLock,
    /// Not of another thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        self.lock.release_once();
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RLockGuard")
    }
}

/// The number of this thread in this process, never that of another.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // An exit handler runs when this thread's own is gone, as one of no number.
    NUMBER.try_with(|number| *number).unwrap_or(0)
}
