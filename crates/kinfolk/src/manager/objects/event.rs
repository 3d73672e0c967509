//! An event.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ready::{Ready, proxy};
use crate::Result;
use crate::manager::caller::Caller;
use crate::manager::gate::{Gate, Patience, Sleepers};
use crate::manager::object::Call;

/// The object.
pub(crate) struct Event(Gate<State>);

/// Whether it has happened.
#[derive(Debug, Default)]
struct State {
    /// Whether it is set.
    set: bool,
    /// Who waits for that.
    sleepers: Sleepers,
}

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// Whether it is set.
    IsSet,
    /// To set it.
    Set,
    /// To take that back.
    Clear,
    /// To wait until it is set, within a time; the answer is whether it was.
    Wait(Option<Duration>),
}

/// What sleepers are told.
const SET: u8 = 1;

impl Event {
    /// Whether it is set.
    pub(crate) fn is_set(&self) -> bool {
        self.0.lock().set
    }

    /// Sets it, and wakes all that wait.
    pub(crate) fn set(&self) {
        let mut state = self.0.lock();
        state.set = true;
        state.sleepers.tell(usize::MAX, SET);
    }

    /// Takes that back.
    pub(crate) fn clear(&self) {
        self.0.lock().set = false;
    }

    /// Waits until it is set; `false` if it was not in time.
    pub(crate) fn wait(&self, caller: &Arc<Caller>, patience: Patience) -> Result<bool> {
        let mut state = self.0.lock();
        if state.set {
            return Ok(true);
        }
        let sleeper = state.sleepers.enlist();
        let (mut state, told) = self.0.sleep(state, caller, patience, |_| sleeper.told());
        state.sleepers.leave(&sleeper);
        Ok(told?.is_some())
    }
}

impl Ready for Event {
    const CLASS: &'static str = "Event";
    type Arguments = ();

    fn make((): ()) -> Result<Self> {
        Ok(Self(Gate::default()))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        match call.borrowed::<Ask>()? {
            Ask::IsSet => call.answer_plainly(&self.is_set()),
            Ask::Set => {
                self.set();
                call.answer_plainly(&())
            }
            Ask::Clear => {
                self.clear();
                call.answer_plainly(&())
            }
            Ask::Wait(timeout) => {
                let set = self.wait(call.caller(), Patience::of(timeout))?;
                call.answer_plainly(&set)
            }
        }
    }
}

proxy! {
    /// Something in a manager that happens, and that processes of any machine wait for.
    EventProxy of Event
}

impl EventProxy {
    /// Whether it is set.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls).
    pub fn is_set(&self) -> Result<bool> {
        self.reference.ask(&Ask::IsSet)
    }

    /// Sets it, and wakes all that wait.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn set(&self) -> Result<()> {
        self.reference.ask(&Ask::Set)
    }

    /// Takes it back.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn clear(&self) -> Result<()> {
        self.reference.ask(&Ask::Clear)
    }

    /// Waits until it is set.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn wait(&self) -> Result<()> {
        while !self.reference.ask::<_, bool>(&Ask::Wait(None))? {}
        Ok(())
    }

    /// As [`wait`](Self::wait), for at most `timeout`; `false` if it was not set in time.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.reference.ask(&Ask::Wait(Some(timeout)))
    }
}
