//! The state of a pool, while a thread has it to itself.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::core::Core;
use crate::log::{self, HeldBack};

/// The state, locked. The library's own events are told when it is not locked any more:
/// who hears of them may use the pool.
pub(super) struct Locked<'a> {
    /// The state. Before what is held back, so that it is unlocked first.
    core: MutexGuard<'a, Core>,
    /// Events since it was locked.
    held_back: HeldBack,
}

impl<'a> Locked<'a> {
    /// Locks the state.
    pub(super) fn new(core: &'a Mutex<Core>) -> Self {
        let held_back = log::hold_back();
        Self { core: core.lock().unwrap_or_else(PoisonError::into_inner), held_back }
    }

    /// Whether there are events to be told: one unlocks it before one waits.
    pub(super) fn has_news_to_tell(&self) -> bool {
        !self.held_back.is_empty()
    }

    /// Unlocks it until `changed` is told something, or for so long. The caller looks
    /// again.
    pub(super) fn wait(self, changed: &Condvar, limit: Duration) -> Self {
        let Self { core, held_back } = self;
        let core = changed.wait_timeout(core, limit).unwrap_or_else(PoisonError::into_inner).0;
        Self { core, held_back }
    }
}

impl Deref for Locked<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}
