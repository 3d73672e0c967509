//! A recursive lock.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::owner::{AcquireError, Owner, Ownership, Taken, guarded, this_thread};
use super::ready::{Ready, proxy};
use crate::manager::caller::{Caller, Session};
use crate::manager::gate::{Gate, Patience};
use crate::manager::object::Call;
use crate::{Error, ErrorKind, Result};

/// The object.
pub(crate) struct RLock(Arc<Gate<Ownership>>);

/// What a thread asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// To hold it, within a time.
    Acquire(u64, Option<Duration>),
    /// To release it once.
    Release(u64),
    /// Whether it is held.
    IsLocked,
}

impl RLock {
    /// Acquires it for a thread, once more if that holds it; `None` if another held it all the
    /// time.
    pub(crate) fn acquire(
        &self,
        caller: &Arc<Caller>,
        owner: Owner,
        patience: Patience,
    ) -> Result<Option<Taken>> {
        if let Some(again) = self.0.lock().take_again(owner) {
            return Ok(Some(again));
        }
        self.0.wait(caller, patience, |lock| &mut lock.line, |lock| lock.take(owner))
    }

    /// How it is taken back that a thread has acquired it, which never learned that.
    pub(crate) fn undo(&self, owner: Owner, taken: Taken) -> impl FnOnce() + 'static {
        let gate = Arc::clone(&self.0);
        move || gate.lock().undo(owner, taken)
    }

    /// Releases it once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if this thread does not hold it.
    pub(crate) fn release(&self, owner: Owner) -> Result<()> {
        let mut lock = self.0.lock();
        if !lock.is_held_by(owner) {
            return Err(not_held());
        }
        lock.release_once();
        Ok(())
    }
}

/// The error of who does not hold a lock.
pub(super) fn not_held() -> Error {
    Error::new(ErrorKind::InvalidInput, "this thread does not hold the lock")
}

impl Ready for RLock {
    const CLASS: &'static str = "RLock";
    type Arguments = ();

    fn make((): ()) -> Result<Self> {
        Ok(Self(Arc::default()))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        match call.borrowed::<Ask>()? {
            Ask::Acquire(thread, timeout) => {
                call.note_holding();
                let owner = Owner::of(call.caller(), thread);
                let taken = self.acquire(call.caller(), owner, Patience::of(timeout))?;
                if let Some(taken) = taken.clone() {
                    call.undo_by(self.undo(owner, taken));
                }
                call.answer_plainly(&taken)
            }
            Ask::Release(thread) => {
                self.release(Owner::of(call.caller(), thread))?;
                call.answer_plainly(&())
            }
            Ask::IsLocked => call.answer_plainly(&self.0.lock().is_held()),
        }
    }

    fn give_up(&self, session: &Session) {
        self.0.lock().give_up(session);
    }
}

proxy! {
    /// A recursive lock in a manager: the thread that holds it may acquire it again.
    ///
    /// If its process dies, killed or not, the next one gets it and is told by
    /// [`Abandoned`](crate::Abandoned).
    RLockProxy of RLock
}

/// What acquiring a lock for some time comes to: `None` if another held it all the time.
type Acquired<G> = Result<Option<G>, AcquireError<G>>;

impl RLockProxy {
    /// Acquires the lock, once more if this thread holds it. Waits while another holds it; its
    /// release and its process's death wake the waiter.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Abandoned`] holds the guard, if the last holder died with the lock;
    /// [`AcquireError::Failed`] as all calls: see [`manager`](crate::manager#calls).
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<RLockProxyGuard<'_>, AcquireError<RLockProxyGuard<'_>>> {
        loop {
            if let Some(guard) = self.acquire(None)? {
                return Ok(guard);
            }
        }
    }

    /// Acquires the lock if that needs no waiting: `None` if another holds it.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    pub fn try_lock(&self) -> Acquired<RLockProxyGuard<'_>> {
        self.acquire(Some(Duration::ZERO))
    }

    /// Acquires the lock, waiting for at most `timeout`: `None` if another held it all the time.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Acquired<RLockProxyGuard<'_>> {
        self.acquire(Some(timeout))
    }

    /// Whether somebody holds it, at this moment.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> Result<bool> {
        self.reference.ask(&Ask::IsLocked)
    }

    /// Acquires it within a time.
    fn acquire(&self, timeout: Option<Duration>) -> Acquired<RLockProxyGuard<'_>> {
        let ask = Ask::Acquire(this_thread(), timeout);
        let taken: Option<Taken> = AcquireError::of(self.reference.hold(&ask))?;
        let guard = || RLockProxyGuard { lock: self, thread: PhantomData };
        taken.map(|taken| guarded(taken, guard())).transpose()
    }
}

/// Holds a [`RLockProxy`]'s lock, and releases it once when dropped. It belongs to its thread.
#[must_use = "the lock is released at once if its guard is not kept"]
pub struct RLockProxyGuard<'a> {
    /// What is held.
    lock: &'a RLockProxy,
    /// It stays in its thread.
    thread: PhantomData<*const ()>,
}

impl Drop for RLockProxyGuard<'_> {
    fn drop(&mut self) {
        self.lock.reference.let_go(&Ask::Release(this_thread()));
    }
}

impl fmt::Debug for RLockProxyGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RLockProxyGuard")
    }
}
