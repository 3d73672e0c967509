//! A condition, with its lock.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::owner::{AcquireError, Owner, Ownership, Taken, guarded, this_thread};
use super::ready::{Ready, proxy};
use super::rlock::not_held;
use crate::manager::caller::{Caller, Session};
use crate::manager::gate::{Gate, Patience, Sleepers};
use crate::manager::object::Call;
use crate::{Error, Result};

/// The object.
pub(crate) struct Condition(Arc<Gate<State>>);

/// Its lock, and who waits.
#[derive(Debug, Default)]
struct State {
    /// The lock, which is recursive.
    lock: Ownership,
    /// Who waits to be notified.
    sleepers: Sleepers,
}

/// What sleepers are told.
const NOTIFIED: u8 = 1;

/// What a thread asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// To hold the lock, within a time.
    Acquire(u64, Option<Duration>),
    /// To release it once.
    Release(u64),
    /// To be notified, within a time; the answer is whether it was, and how it holds the lock.
    Wait(u64, Option<Duration>),
    /// To notify so many.
    Notify(u64, usize),
}

impl Condition {
    /// Acquires the lock for a thread, once more if that holds it.
    pub(crate) fn acquire(
        &self,
        caller: &Arc<Caller>,
        owner: Owner,
        patience: Patience,
    ) -> Result<Option<Taken>> {
        if let Some(again) = self.0.lock().lock.take_again(owner) {
            return Ok(Some(again));
        }
        let take = |state: &mut State| state.lock.take(owner);
        self.0.wait(caller, patience, |state| &mut state.lock.line, take)
    }

    /// Releases the lock once.
    pub(crate) fn release(&self, owner: Owner) -> Result<()> {
        let mut state = self.0.lock();
        if !state.lock.is_held_by(owner) {
            return Err(not_held());
        }
        state.lock.release_once();
        Ok(())
    }

    /// Releases the lock, waits, and acquires it again: whether it was notified in time, and
    /// how the lock was taken.
    pub(crate) fn wait(
        &self,
        caller: &Arc<Caller>,
        owner: Owner,
        patience: Patience,
    ) -> Result<(bool, Taken)> {
        let mut state = self.0.lock();
        if !state.lock.is_held_by(owner) {
            return Err(not_held());
        }
        let depth = state.lock.release_all();
        let sleeper = state.sleepers.enlist();
        let (mut state, told) = self.0.sleep(state, caller, patience, |_| sleeper.told());
        let notified = sleeper.told().is_some();
        state.sleepers.leave(&sleeper);
        drop(state);
        let again = told.and_then(|_| self.acquire(caller, owner, Patience::Forever));
        let mut state = self.0.lock();
        match again {
            Ok(Some(taken)) => {
                state.lock.set_depth(owner, depth);
                Ok((notified, taken))
            }
            failed => {
                // It has not gone on: another may.
                state.sleepers.tell(usize::from(notified), NOTIFIED);
                Err(failed.err().unwrap_or_else(not_held))
            }
        }
    }

    /// Notifies so many.
    pub(crate) fn notify(&self, owner: Owner, count: usize) -> Result<()> {
        let mut state = self.0.lock();
        if !state.lock.is_held_by(owner) {
            return Err(not_held());
        }
        state.sleepers.tell(count, NOTIFIED);
        Ok(())
    }
}

impl Ready for Condition {
    const CLASS: &'static str = "Condition";
    type Arguments = ();

    fn make((): ()) -> Result<Self> {
        Ok(Self(Arc::default()))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        let caller = call.caller();
        let of = |thread| Owner::of(caller, thread);
        match call.borrowed::<Ask>()? {
            Ask::Acquire(thread, timeout) => {
                call.note_holding();
                let owner = of(thread);
                let taken = self.acquire(caller, owner, Patience::of(timeout))?;
                if let Some(taken) = taken.clone() {
                    let gate = Arc::clone(&self.0);
                    call.undo_by(move || gate.lock().lock.undo(owner, taken));
                }
                call.answer_plainly(&taken)
            }
            Ask::Release(thread) => {
                self.release(of(thread))?;
                call.answer_plainly(&())
            }
            Ask::Wait(thread, timeout) => {
                let owner = of(thread);
                let waited = self.wait(caller, owner, Patience::of(timeout))?;
                let (gate, (notified, taken)) = (Arc::clone(&self.0), waited.clone());
                call.undo_by(move || {
                    let mut state = gate.lock();
                    state.lock.set_depth(owner, 1);
                    state.lock.undo(owner, taken);
                    state.sleepers.tell(usize::from(notified), NOTIFIED);
                });
                call.answer_plainly(&waited)
            }
            Ask::Notify(thread, count) => {
                self.notify(of(thread), count)?;
                call.answer_plainly(&())
            }
        }
    }

    fn give_up(&self, session: &Session) {
        self.0.lock().lock.give_up(session);
    }
}

proxy! {
    /// A condition in a manager that processes of any machine wait for, with its lock, which is
    /// recursive.
    ///
    /// A waiter that dies, killed or not, swallows no notification. If the holder of the lock
    /// dies, the next one gets it and is told by [`Abandoned`](crate::Abandoned).
    ///
    /// ```standalone_crate
    /// fn main() -> kinfolk::Result<()> {
    ///     let _family = kinfolk::init();
    ///     let manager = kinfolk::Manager::start()?;
    ///     let (condition, ready) = (manager.condition()?, manager.value(&false)?);
    ///     std::thread::scope(|scope| {
    ///         scope.spawn(|| {
    ///             let guard = condition.lock().unwrap();
    ///             ready.set(&true).unwrap();
    ///             guard.notify_all().unwrap();
    ///         });
    ///         let guard = condition.lock().unwrap();
    ///         let _guard = guard.wait_while(|| Ok(!ready.get()?)).unwrap();
    ///     });
    ///     Ok(())
    /// }
    /// ```
    ConditionProxy of Condition
}

impl ConditionProxy {
    /// Acquires the lock, once more if this thread holds it.
    ///
    /// # Errors
    ///
    /// As [`RLockProxy::lock`](super::super::RLockProxy::lock).
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<ConditionProxyGuard<'_>, AcquireError<ConditionProxyGuard<'_>>> {
        loop {
            if let Some(guard) = self.acquire(None)? {
                return Ok(guard);
            }
        }
    }

    /// Acquires the lock, waiting for at most `timeout`: `None` if another held it all the time.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<ConditionProxyGuard<'_>>, AcquireError<ConditionProxyGuard<'_>>> {
        self.acquire(Some(timeout))
    }

    /// Acquires the lock within a time.
    fn acquire(
        &self,
        timeout: Option<Duration>,
    ) -> Result<Option<ConditionProxyGuard<'_>>, AcquireError<ConditionProxyGuard<'_>>> {
        let ask = Ask::Acquire(this_thread(), timeout);
        let taken: Option<Taken> = AcquireError::of(self.reference.hold(&ask))?;
        let guard = || ConditionProxyGuard { condition: self, thread: PhantomData };
        taken.map(|taken| guarded(taken, guard())).transpose()
    }
}

/// Holds the lock of a [`ConditionProxy`], and releases it once when dropped. It belongs to its
/// thread.
#[must_use = "the lock is released at once if its guard is not kept"]
pub struct ConditionProxyGuard<'a> {
    /// Whose lock is held.
    condition: &'a ConditionProxy,
    /// It stays in its thread.
    thread: PhantomData<*const ()>,
}

impl ConditionProxyGuard<'_> {
    /// Releases the lock, however often it is held, waits for a notification, and acquires it
    /// as often.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Abandoned`] holds the guard, if the last holder died with the lock;
    /// [`AcquireError::Failed`] as all calls: see [`manager`](crate::manager#calls).
    pub fn wait(self) -> Result<Self, AcquireError<Self>> {
        self.wait_within(None).map(|(guard, _)| guard)
    }

    /// As [`wait`](Self::wait), for at most `timeout`, not counting the time that acquiring the
    /// lock takes; the second value is whether it was notified.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Result<(Self, bool), AcquireError<Self>> {
        self.wait_within(Some(timeout))
    }

    /// Waits as long as `condition` holds, looking at it under the lock, first at once and then
    /// after each notification.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and what `condition` says.
    #[doc(alias = "wait_for")]
    pub fn wait_while(
        mut self,
        mut condition: impl FnMut() -> Result<bool>,
    ) -> Result<Self, AcquireError<Self>> {
        while AcquireError::of(condition())? {
            self = self.wait()?;
        }
        Ok(self)
    }

    /// Notifies the one that waits longest.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn notify_one(&self) -> Result<()> {
        self.notify(1)
    }

    /// Notifies all that wait.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn notify_all(&self) -> Result<()> {
        self.notify(usize::MAX)
    }

    /// Notifies `count` waiters, those that wait longest.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn notify(&self, count: usize) -> Result<()> {
        self.condition.reference.ask(&Ask::Notify(this_thread(), count))
    }

    /// Waits within a time.
    fn wait_within(self, timeout: Option<Duration>) -> Result<(Self, bool), AcquireError<Self>> {
        let ask = Ask::Wait(this_thread(), timeout);
        // Without the lock, releasing it has no effect.
        let waited: Result<(bool, Taken), Error> = self.condition.reference.ask(&ask);
        let (notified, taken) = AcquireError::of(waited)?;
        guarded(taken, self).map(|guard| (guard, notified))
    }
}

impl Drop for ConditionProxyGuard<'_> {
    fn drop(&mut self) {
        self.condition.reference.let_go(&Ask::Release(this_thread()));
    }
}

impl fmt::Debug for ConditionProxyGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConditionProxyGuard")
    }
}
