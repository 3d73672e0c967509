//! A process of a scenario that runs freely.

use super::trace::{self, Ended, Pid};
use crate::look::state;

/// A forked process, killed if it is not waited for.
#[derive(Debug)]
pub(super) struct Actor(Pid);

impl Actor {
    /// Starts it.
    pub(super) fn start(work: impl FnOnce()) -> Self {
        Self(trace::fork(work))
    }

    /// Waits until it sleeps, or has ended.
    pub(super) fn wait_until_asleep(&self) {
        while !is_asleep(self.0) {
            std::thread::yield_now();
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// In words, if it failed or does not end.
    pub(super) fn finish(self, who: &str) -> Result<(), String> {
        match trace::wait_for_end(self.0) {
            Some(Ended::Well) => {
                std::mem::forget(self);
                Ok(())
            }
            Some(Ended::Badly(how)) => {
                std::mem::forget(self);
                Err(format!("the {who} failed: {how}"))
            }
            None => Err(format!("the {who} hangs")),
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        trace::kill(self.0);
    }
}

/// Whether a process sleeps, is stopped, or has ended.
pub(super) fn is_asleep(pid: Pid) -> bool {
    state(pid.unsigned_abs()).is_none_or(|state| state != 'R')
}
