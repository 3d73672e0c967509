//! Semaphores.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ready::{Ready, proxy};
use crate::manager::caller::{Caller, Session};
use crate::manager::gate::{Gate, Line, Patience};
use crate::manager::object::Call;
use crate::{Error, ErrorKind, Result};

/// The object.
pub(crate) struct Semaphore(pub(crate) Permits);

/// The object that never has more permits than it began with.
pub(crate) struct BoundedSemaphore(pub(crate) Permits);

/// The permits of either.
#[derive(Clone)]
pub(crate) struct Permits(Arc<Gate<State>>);

/// Who has how many permits.
#[derive(Debug)]
struct State {
    /// Those that nobody holds.
    value: u64,
    /// Those that it began with.
    first: u64,
    /// Whether it never has more.
    bounded: bool,
    /// Those that clients hold.
    held: HashMap<u64, u64>,
    /// Who waits for one.
    line: Line,
}

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// A permit, within a time; the answer is whether there was one.
    Acquire(Option<Duration>),
    /// To release one.
    Release,
    /// How many nobody holds.
    Value,
}

impl State {
    /// Takes a permit for a client.
    fn take(&mut self, session: u64) -> Option<()> {
        self.value = self.value.checked_sub(1)?;
        *self.held.entry(session).or_default() += 1;
        Some(())
    }

    /// Releases a permit: the client's own, else another's, else a new one.
    fn release(&mut self, session: u64) {
        let holder = if self.held.contains_key(&session) {
            Some(session)
        } else {
            self.held.keys().next().copied()
        };
        if let Some(holder) = holder
            && let Some(count) = self.held.get_mut(&holder)
        {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&holder);
            }
        }
        self.value = self.value.saturating_add(1);
        self.line.wake();
    }
}

impl Permits {
    /// So many.
    fn new(first: u64, bounded: bool) -> Self {
        let state =
            State { value: first, first, bounded, held: HashMap::new(), line: Line::default() };
        Self(Arc::new(Gate::new(state)))
    }

    /// Acquires one for a client; `false` if there was none in time.
    pub(crate) fn acquire(&self, caller: &Arc<Caller>, patience: Patience) -> Result<bool> {
        let session = caller.session().number;
        let acquired =
            self.0.wait(caller, patience, |state| &mut state.line, |state| state.take(session))?;
        Ok(acquired.is_some())
    }

    /// Releases so many, or none: the client's own, then others', then new ones.
    pub(crate) fn release(&self, session: u64, count: u64) -> Result<()> {
        let mut state = self.0.lock();
        if state.bounded && count > state.first.saturating_sub(state.value) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{count} more than the semaphore lacks of its {} permits", state.first),
            ));
        }
        for _ in 0..count {
            state.release(session);
        }
        Ok(())
    }

    /// How it is taken back that a client has acquired one, which never learned that.
    pub(crate) fn undo(&self, session: u64) -> impl FnOnce() + 'static {
        let gate = Arc::clone(&self.0);
        move || {
            let mut state = gate.lock();
            // Unless it was given up with all that the client held.
            if state.held.contains_key(&session) {
                state.release(session);
            }
        }
    }

    /// How many nobody holds.
    pub(crate) fn value(&self) -> u64 {
        self.0.lock().value
    }

    /// Does what a call asks.
    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        let session = call.caller().session().number;
        match call.borrowed::<Ask>()? {
            Ask::Acquire(timeout) => {
                call.note_holding();
                let acquired = self.acquire(call.caller(), Patience::of(timeout))?;
                if acquired {
                    call.undo_by(self.undo(session));
                }
                call.answer_plainly(&acquired)
            }
            Ask::Release => {
                self.release(session, 1)?;
                call.answer_plainly(&())
            }
            Ask::Value => call.answer_plainly(&self.value()),
        }
    }

    /// A client has ended: its permits return, but there are no more for it than at first.
    fn give_up(&self, session: &Session) {
        let mut state = self.0.lock();
        if let Some(count) = state.held.remove(&session.number) {
            let most = state.first.max(state.value);
            state.value = state.value.saturating_add(count).min(most);
            state.line.wake();
        }
    }
}

impl Ready for Semaphore {
    const CLASS: &'static str = "Semaphore";
    type Arguments = u64;

    fn make(first: u64) -> Result<Self> {
        Ok(Self(Permits::new(first, false)))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        self.0.call(call)
    }

    fn give_up(&self, session: &Session) {
        self.0.give_up(session);
    }
}

impl Ready for BoundedSemaphore {
    const CLASS: &'static str = "BoundedSemaphore";
    type Arguments = u64;

    fn make(first: u64) -> Result<Self> {
        Ok(Self(Permits::new(first, true)))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        self.0.call(call)
    }

    fn give_up(&self, session: &Session) {
        self.0.give_up(session);
    }
}

proxy! {
    /// A number of permits in a manager, for processes of any machine.
    ///
    /// The permits that a process held when it died return, but never more than there were at
    /// first: a semaphore that begins with none, used to signal, gets none back.
    SemaphoreProxy of Semaphore
}

proxy! {
    /// A [`SemaphoreProxy`] whose object never has more permits than it began with: releasing one
    /// too many is an error.
    BoundedSemaphoreProxy of BoundedSemaphore
}

/// The methods of both proxies.
macro_rules! methods {
    ($name:ident) => {
        impl $name {
            /// Acquires a permit. Waits until there is one: a release and the death of a holder
            /// wake the waiter.
            ///
            /// # Errors
            ///
            /// As all calls: see [`manager`](crate::manager#calls).
            pub fn acquire(&self) -> Result<PermitProxy<'_>> {
                loop {
                    if let Some(permit) = self.acquire_within(None)? {
                        return Ok(permit);
                    }
                }
            }

            /// Acquires a permit if there is one.
            ///
            /// # Errors
            ///
            /// As all calls.
            pub fn try_acquire(&self) -> Result<Option<PermitProxy<'_>>> {
                self.acquire_within(Some(Duration::ZERO))
            }

            /// Acquires a permit, waiting for at most `timeout`: `None` if there was none.
            ///
            /// # Errors
            ///
            /// As all calls.
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<PermitProxy<'_>>> {
                self.acquire_within(Some(timeout))
            }

            /// Releases a permit: one of this process, or if it has none, one that another
            /// holds, or if nobody does, a new one.
            ///
            /// # Errors
            ///
            /// As all calls; [`ErrorKind::InvalidInput`] if it is bounded and there are as many
            /// as at first.
            pub fn release(&self) -> Result<()> {
                self.reference.ask(&Ask::Release)
            }

            /// The number of permits that nobody holds, at this moment.
            ///
            /// # Errors
            ///
            /// As all calls.
            #[doc(alias = "get_value")]
            pub fn value(&self) -> Result<u64> {
                self.reference.ask(&Ask::Value)
            }

            /// Acquires a permit within a time.
            fn acquire_within(&self, timeout: Option<Duration>) -> Result<Option<PermitProxy<'_>>> {
                let acquired: bool = self.reference.hold(&Ask::Acquire(timeout))?;
                Ok(acquired.then_some(()).map(|()| PermitProxy { semaphore: &self.reference }))
            }
        }
    };
}

methods!(SemaphoreProxy);
methods!(BoundedSemaphoreProxy);

/// Holds a permit of a manager's semaphore, and releases it when dropped.
#[must_use = "the permit is released at once if it is not kept"]
pub struct PermitProxy<'a> {
    /// The semaphore.
    semaphore: &'a crate::manager::Reference,
}

impl PermitProxy<'_> {
    /// Keeps the permit until this process ends, or somebody releases one.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for PermitProxy<'_> {
    fn drop(&mut self) {
        self.semaphore.let_go(&Ask::Release);
    }
}

impl fmt::Debug for PermitProxy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PermitProxy")
    }
}
