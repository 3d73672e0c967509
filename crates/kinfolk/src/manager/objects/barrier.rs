//! A barrier.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ready::{Ready, proxy};
use crate::manager::caller::Caller;
use crate::manager::gate::{Gate, Patience, Sleepers};
use crate::manager::object::Call;
use crate::{BrokenBarrier, Error, ErrorKind, Result};

/// The object.
pub(crate) struct Barrier {
    /// How many must come.
    parties: usize,
    /// Who has come.
    gate: Gate<State>,
}

/// Who has come.
#[derive(Debug, Default)]
struct State {
    /// Whether nobody can pass any more.
    broken: bool,
    /// Who waits.
    sleepers: Sleepers,
}

/// What sleepers are told: all have come.
const PASSED: u8 = 1;
/// What sleepers are told: one of them does not come any more.
const BROKEN: u8 = 2;

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// To pass, within a time; the answer is its place, or `None` if the barrier is broken.
    Wait(Option<Duration>),
    /// To break it.
    Abort,
    /// To make it whole.
    Reset,
    /// How many must come.
    Parties,
    /// How many wait.
    Waiting,
    /// Whether it is broken.
    IsBroken,
}

impl Barrier {
    /// Waits for the others; the place among them, or `None` if the barrier is broken.
    pub(crate) fn wait(&self, caller: &Arc<Caller>, patience: Patience) -> Result<Option<usize>> {
        let mut state = self.gate.lock();
        if state.broken {
            return Ok(None);
        }
        let place = state.sleepers.len();
        if place + 1 >= self.parties {
            state.sleepers.tell(usize::MAX, PASSED);
            return Ok(Some(place));
        }
        let sleeper = state.sleepers.enlist();
        let (mut state, told) = self.gate.sleep(state, caller, patience, |_| sleeper.told());
        // Told meanwhile, it has passed, in time or not.
        let told = match told {
            Err(error) if sleeper.told().is_none() => {
                state.break_up();
                return Err(error);
            }
            _ => sleeper.told(),
        };
        match told {
            Some(PASSED) => Ok(Some(place)),
            Some(_) => Ok(None),
            None => {
                state.break_up();
                Ok(None)
            }
        }
    }

    /// Breaks it.
    pub(crate) fn abort(&self) {
        self.gate.lock().break_up();
    }

    /// Makes it whole; those who wait find it broken.
    pub(crate) fn reset(&self) {
        let mut state = self.gate.lock();
        state.break_up();
        state.broken = false;
    }

    /// How many must come, how many wait, and whether it is broken.
    pub(crate) fn look(&self) -> (usize, usize, bool) {
        let state = self.gate.lock();
        (self.parties, state.sleepers.len(), state.broken)
    }
}

impl State {
    /// Nobody can pass any more.
    fn break_up(&mut self) {
        self.broken = true;
        self.sleepers.tell(usize::MAX, BROKEN);
    }
}

impl Ready for Barrier {
    const CLASS: &'static str = "Barrier";
    type Arguments = usize;

    fn make(parties: usize) -> Result<Self> {
        if parties == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "a barrier is for at least one party"));
        }
        Ok(Self { parties, gate: Gate::default() })
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        match call.borrowed::<Ask>()? {
            Ask::Wait(timeout) => {
                let place = self.wait(call.caller(), Patience::of(timeout))?;
                call.answer_plainly(&place)
            }
            Ask::Abort => {
                self.abort();
                call.answer_plainly(&())
            }
            Ask::Reset => {
                self.reset();
                call.answer_plainly(&())
            }
            Ask::Parties => call.answer_plainly(&self.parties),
            Ask::Waiting => call.answer_plainly(&self.look().1),
            Ask::IsBroken => call.answer_plainly(&self.look().2),
        }
    }
}

proxy! {
    /// A barrier in a manager: processes of any machine that go on together.
    ///
    /// If one that waits dies, killed or not, the barrier breaks: the others learn that it does
    /// not come any more.
    BarrierProxy of Barrier
}

impl BarrierProxy {
    /// Waits until all parties wait; the result is the place among them, from 0 on, in the
    /// order in which they came.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls). Inside of the result
    /// [`BrokenBarrier`], if another has died, given up or called [`abort`](Self::abort).
    pub fn wait(&self) -> Result<Result<usize, BrokenBarrier>> {
        self.wait_within(None)
    }

    /// As [`wait`](Self::wait), for at most `timeout`, which breaks the barrier when it is over.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Result<usize, BrokenBarrier>> {
        self.wait_within(Some(timeout))
    }

    /// Breaks the barrier: who waits, and whoever will, finds it broken.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn abort(&self) -> Result<()> {
        self.reference.ask(&Ask::Abort)
    }

    /// Makes the barrier as new; who waits at this moment finds it broken.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn reset(&self) -> Result<()> {
        self.reference.ask(&Ask::Reset)
    }

    /// How many must come.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn parties(&self) -> Result<usize> {
        self.reference.ask(&Ask::Parties)
    }

    /// How many wait, at this moment.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> Result<usize> {
        self.reference.ask(&Ask::Waiting)
    }

    /// Whether it is broken.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> Result<bool> {
        self.reference.ask(&Ask::IsBroken)
    }

    /// Waits within a time.
    fn wait_within(&self, timeout: Option<Duration>) -> Result<Result<usize, BrokenBarrier>> {
        let place: Option<usize> = self.reference.ask(&Ask::Wait(timeout))?;
        Ok(place.ok_or(BrokenBarrier))
    }
}
