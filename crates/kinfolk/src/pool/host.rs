//! Workers that somebody else starts, who is asked for them and tells of their ends.
//!
//! A start may need what another thread of the host has, which may wait for the pool:
//! so the pool, whose state is locked then, only notes that it wants a worker, and
//! rings.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, GRACE, Phase, Starts};
use super::driver::{LONGEST_WAIT, Shared, needs_thread};
use super::lane::Lane;
use super::locked::Locked;
use crate::sys::sides;
use crate::{Error, ExitStatus, Result};

/// What the host is asked for.
pub(super) struct Asked {
    /// The numbers of the workers that are wanted, and were not handed in.
    wanted: BTreeSet<u64>,
    /// Those of them that the host does not know of.
    news: Vec<u64>,
    /// Tells the host.
    bell: OwnedFd,
}

impl Asked {
    /// Nothing.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub(super) fn new() -> Result<Self> {
        let bell = sides::bell().map_err(|error| Error::io(error, "making a pool"))?;
        Ok(Self { wanted: BTreeSet::new(), news: Vec::new(), bell })
    }

    /// How many workers are wanted, and were not handed in.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Another handle of the bell.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(super) fn bell(&self) -> Result<OwnedFd> {
        self.bell.try_clone().map_err(|error| Error::io(error, "making a pool"))
    }

    /// Asks for a worker of this number.
    pub(super) fn ask(&mut self, number: u64) {
        self.wanted.insert(number);
        self.news.push(number);
        self.ring();
    }

    /// Has the host look.
    pub(super) fn ring(&self) {
        sides::ring(&self.bell);
    }

    /// Wants none any more.
    fn clear(&mut self) {
        self.wanted.clear();
        self.news.clear();
        self.ring();
    }
}

impl AsFd for Asked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Core {
    /// What the host is asked for, if there is one.
    fn asked(&mut self) -> Option<&mut Asked> {
        match &mut self.start {
            Starts::Host(asked) => Some(asked),
            Starts::Here(_) => None,
        }
    }

    /// The numbers of the workers that the host is to start, and does not know of.
    pub(super) fn take_asked(&mut self) -> Vec<u64> {
        // Also who failed to start is to be tried again some time.
        self.dispatch();
        let Some(asked) = self.asked() else { return Vec::new() };
        sides::silence(&asked.bell);
        std::mem::take(&mut asked.news)
    }

    /// Wants no workers any more.
    pub(super) fn ask_no_more(&mut self) {
        if let Some(asked) = self.asked() {
            asked.clear();
        }
    }

    /// Takes a worker that the host has started; `false` if it is not wanted any more.
    pub(super) fn hand_in(&mut self, lane: Lane) -> bool {
        if !self.asked().is_some_and(|asked| asked.wanted.remove(&lane.number)) {
            return false;
        }
        self.lanes.push(lane);
        self.news = true;
        self.dispatch();
        true
    }

    /// Notes that the host could not start a worker.
    pub(super) fn start_failed(&mut self, number: u64, reason: &str) {
        if !self.asked().is_some_and(|asked| asked.wanted.remove(&number)) {
            return;
        }
        if self.lanes.is_empty() {
            self.not_begun(&format!("a worker cannot be started: {reason}"));
        } else {
            // The others do it; it is tried again soon.
            self.try_again = Instant::now().checked_add(GRACE);
            self.news = true;
        }
        self.dispatch();
    }

    /// Lets go of a worker of the host's that has ended so.
    pub(super) fn ended_at_host(&mut self, number: u64, status: ExitStatus) {
        if let Some(place) = self.lanes.iter().position(|lane| lane.number == number) {
            self.take_leave(place, status);
            // It is not in what is waited for.
            self.news = true;
        }
        self.dispatch();
    }

    /// Whether nothing is to be done, and nothing will be.
    pub(super) fn is_over(&self) -> bool {
        self.phase != Phase::Open && self.lanes.is_empty() && self.queue.is_empty()
    }
}

impl Shared {
    /// Does what the pool's own thread does, on a thread of the host's: waits for the
    /// workers when nobody else does. Returns the number of a job that is done and was
    /// to be told; `None` when the pool is over.
    ///
    /// # Errors
    ///
    /// In a fork of the process that made the pool.
    pub(super) fn serve(self: &Arc<Self>) -> Result<Option<u64>> {
        let mut core = self.lock()?;
        loop {
            if let Some(number) = core.told.pop_front() {
                return Ok(Some(number));
            } else if core.is_over() {
                return Ok(None);
            } else if needs_thread(&core) && !core.driven {
                core = self.step(core, None);
            } else if core.has_news_to_tell() {
                drop(core);
                core = Locked::new(self.core());
            } else {
                core = core.wait(&self.work, LONGEST_WAIT);
            }
        }
    }
}
