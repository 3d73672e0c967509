//! A lock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::owner::{AcquireError, Owner, Ownership, Taken, guarded};
use super::ready::{Ready, proxy};
use crate::manager::caller::{Caller, Session};
use crate::manager::gate::{Gate, Patience};
use crate::manager::object::Call;
use crate::{Error, ErrorKind, Result};

/// The object.
pub(crate) struct Lock(Arc<Gate<Ownership>>);

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// To hold it, within a time.
    Acquire(Option<Duration>),
    /// To release it, if this client holds it.
    ReleaseOwn,
    /// To release it, whoever holds it.
    Release,
    /// Whether it is held.
    IsLocked,
}

impl Lock {
    /// Acquires it for a client; `None` if another held it all the time.
    pub(crate) fn acquire(
        &self,
        caller: &Arc<Caller>,
        patience: Patience,
    ) -> Result<Option<Taken>> {
        let owner = Owner::of(caller, 0);
        self.0.wait(caller, patience, |lock| &mut lock.line, |lock| lock.take(owner))
    }

    /// How it is taken back that a client has acquired it, which never learned that.
    pub(crate) fn undo(&self, owner: Owner, taken: Taken) -> impl FnOnce() + 'static {
        let gate = Arc::clone(&self.0);
        move || gate.lock().undo(owner, taken)
    }

    /// Releases it, whoever holds it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if nobody does.
    pub(crate) fn release(&self) -> Result<()> {
        let mut lock = self.0.lock();
        if !lock.is_held() {
            return Err(free());
        }
        lock.release_once();
        Ok(())
    }
}

/// The error of a release too many.
pub(super) fn free() -> Error {
    Error::new(ErrorKind::InvalidInput, "releasing a lock that nobody holds")
}

impl Ready for Lock {
    const CLASS: &'static str = "Lock";
    type Arguments = ();

    fn make((): ()) -> Result<Self> {
        Ok(Self(Arc::default()))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        match call.borrowed::<Ask>()? {
            Ask::Acquire(timeout) => {
                call.note_holding();
                let taken = self.acquire(call.caller(), Patience::of(timeout))?;
                if let Some(taken) = taken.clone() {
                    call.undo_by(self.undo(Owner::of(call.caller(), 0), taken));
                }
                call.answer_plainly(&taken)
            }
            Ask::ReleaseOwn => {
                let mut lock = self.0.lock();
                if lock.is_held_by_client(call.caller().session().number) {
                    lock.release_once();
                }
                drop(lock);
                call.answer_plainly(&())
            }
            Ask::Release => {
                self.release()?;
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
    /// A lock in a manager, for processes of any machine. It is not recursive.
    ///
    /// It belongs to the process that acquires it. If that dies, killed or not, the next one
    /// gets it and is told by [`Abandoned`](crate::Abandoned). For processes of one machine and
    /// family, [`Lock`](crate::Lock) is a thousand times faster.
    ///
    /// ```standalone_crate
    /// fn main() -> kinfolk::Result<()> {
    ///     let _family = kinfolk::init();
    ///     let manager = kinfolk::Manager::start()?;
    ///     let lock = manager.lock()?;
    ///     let guard = lock.lock().expect("nobody dies here");
    ///     assert!(lock.try_lock().unwrap().is_none());
    ///     drop(guard);
    ///     Ok(())
    /// }
    /// ```
    LockProxy of Lock
}

/// What acquiring a lock for some time comes to: `None` if another held it all the time.
type Acquired<G> = Result<Option<G>, AcquireError<G>>;

impl LockProxy {
    /// Acquires the lock. Waits while another holds it; its release and its death wake the
    /// waiter.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Abandoned`] holds the guard, if the last holder died with the lock;
    /// [`AcquireError::Failed`] as all calls: see [`manager`](crate::manager#calls).
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<LockProxyGuard<'_>, AcquireError<LockProxyGuard<'_>>> {
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
    pub fn try_lock(&self) -> Acquired<LockProxyGuard<'_>> {
        self.acquire(Some(Duration::ZERO))
    }

    /// Acquires the lock, waiting for at most `timeout`: `None` if another held it all the time.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Acquired<LockProxyGuard<'_>> {
        self.acquire(Some(timeout))
    }

    /// Releases the lock, whoever holds it: another process too, as the reference allows.
    ///
    /// # Errors
    ///
    /// As all calls; [`ErrorKind::InvalidInput`] if nobody holds it.
    #[doc(alias = "force_unlock")]
    pub fn release(&self) -> Result<()> {
        self.reference.ask(&Ask::Release)
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
    fn acquire(&self, timeout: Option<Duration>) -> Acquired<LockProxyGuard<'_>> {
        let taken: Option<Taken> = AcquireError::of(self.reference.hold(&Ask::Acquire(timeout)))?;
        taken.map(|taken| guarded(taken, LockProxyGuard { lock: self })).transpose()
    }
}

/// Holds a [`LockProxy`]'s lock, and releases it when dropped.
#[must_use = "the lock is released at once if its guard is not kept"]
pub struct LockProxyGuard<'a> {
    /// What is held.
    lock: &'a LockProxy,
}

impl Drop for LockProxyGuard<'_> {
    fn drop(&mut self) {
        self.lock.reference.let_go(&Ask::ReleaseOwn);
    }
}

impl fmt::Debug for LockProxyGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockProxyGuard")
    }
}
