//! What a sender and a receiver have in common.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ring::Ring;
use super::waiting::Event;
use crate::sync::signal::Naps;
use crate::sys::fork_guard::PrivateFd;
use crate::sys::sides;
use crate::wire::handle::Handle;
use crate::{Error, Result};

/// How often one looks before it asks for the time.
const LOOKS: u32 = 32;
/// Looking in vain so often in a row is enough: a peer that was asleep answers the
/// sooner the sooner this processor is free.
const VAIN: u32 = 5;
/// How long one looks before it sleeps: an active peer answers in less than a sleep
/// takes.
const PATIENCE: Duration = Duration::from_micros(50);
/// From then on every so many waits one looks again, for the peer may have become
/// active.
const RETRY: u32 = 64;

/// One end of a queue.
#[derive(Debug)]
pub(super) struct End {
    /// The messages.
    pub(super) ring: Ring,
    /// Tells whether the other side is gone, and them of this one; of an end that is
    /// both sides there is none.
    side: Option<PrivateFd>,
    /// Rung for receivers that wait for many.
    pub(super) bell: OwnedFd,
    /// How often in a row it has looked in vain before it slept.
    vain: AtomicU32,
}

impl End {
    /// Makes both ends: the sending one, the receiving one.
    pub(super) fn pair(ring: Ring) -> Result<(Self, Self)> {
        let failed = |error| Error::io(error, "making a queue");
        let (read, write) = sides::pair().map_err(failed)?;
        let bell = sides::bell().map_err(failed)?;
        let other_bell = bell.try_clone().map_err(failed)?;
        let other = ring.try_clone()?;
        Ok((Self::new(ring, write, bell), Self::new(other, read, other_bell)))
    }

    /// Makes an end that is both sides: none is ever gone.
    pub(super) fn of_both_sides(ring: Ring) -> Result<Self> {
        let bell = sides::bell().map_err(|error| Error::io(error, "making a queue"))?;
        Ok(Self::joined(ring, bell))
    }

    /// Makes an end that is both sides of its parts.
    pub(super) fn joined(ring: Ring, bell: OwnedFd) -> Self {
        Self { ring, side: None, bell, vain: AtomicU32::new(0) }
    }

    /// Makes an end of its parts.
    fn new(ring: Ring, side: OwnedFd, bell: OwnedFd) -> Self {
        let side = Some(PrivateFd::connection(side));
        Self { ring, side, bell, vain: AtomicU32::new(0) }
    }

    /// Another handle of the same end.
    pub(super) fn try_clone(&self) -> Result<Self> {
        let failed = |error| Error::io(error, "cloning an end of a queue");
        let side = self.side().map(|side| side.try_clone_to_owned()).transpose().map_err(failed)?;
        let bell = self.bell.try_clone().map_err(failed)?;
        let ring = self.ring.try_clone()?;
        Ok(match side {
            Some(side) => Self::new(ring, side, bell),
            None => Self::joined(ring, bell),
        })
    }

    /// The descriptor that stands for this side.
    pub(super) fn side(&self) -> Option<BorrowedFd<'_>> {
        self.side.as_ref().map(PrivateFd::as_fd)
    }

    /// Whether nobody is left on the other side.
    pub(super) fn other_is_gone(&self) -> Result<bool> {
        let Some(side) = self.side() else { return Ok(false) };
        sides::other_is_gone(side)
            .map_err(|error| Error::io(error, "looking for the other side of a queue"))
    }

    /// Gives a message of an extent of this process back to the queue.
    pub(super) fn give_back(&self, index: usize) {
        self.ring.give_back(index, || sides::ring(&self.bell));
    }

    /// Appends the message of an extent of this process to `to`.
    ///
    /// # Errors
    ///
    /// As [`Ring::read_extent`].
    pub(super) fn read_extent(&self, index: usize, to: &mut Vec<u8>) -> Result<()> {
        self.ring.read_extent(index, to, || sides::ring(&self.bell))
    }

    /// Tries again and again: at once, after events for a moment, and after each
    /// sleep. `None` if the deadline passed first: if it has passed already, without
    /// that moment.
    #[inline]
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        event: Event,
        mut attempt: impl FnMut(bool) -> Result<Option<T>>,
        sleep: impl Fn(&Ring, Duration),
    ) -> Result<Option<T>> {
        match attempt(false)? {
            None => self.wait_for_event(deadline, event, attempt, sleep),
            done => Ok(done),
        }
    }

    /// Waits after the first attempt.
    #[inline(never)]
    fn wait_for_event<T>(
        &self,
        deadline: Option<Instant>,
        event: Event,
        mut attempt: impl FnMut(bool) -> Result<Option<T>>,
        sleep: impl Fn(&Ring, Duration),
    ) -> Result<Option<T>> {
        if deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let vain = self.vain.load(Ordering::Relaxed);
            let mut moment = Moment::after(vain);
            while let Some(moment) = &mut moment {
                let state = self.ring.state(event);
                if let Some(done) = attempt(false)? {
                    if vain > 0 {
                        self.vain.store(0, Ordering::Relaxed);
                    }
                    return Ok(Some(done));
                }
                if !moment.look(|| self.ring.state(event) != state) {
                    break;
                }
            }
            self.vain.store(vain.wrapping_add(1), Ordering::Relaxed);
        }
        let mut naps = Naps::long();
        loop {
            if let Some(done) = attempt(true)? {
                return Ok(Some(done));
            }
            let Some(nap) = naps.next(deadline) else { return Ok(None) };
            sleep(&self.ring, nap);
        }
    }
}

/// The moment in which one looks before it sleeps.
struct Moment {
    /// How long it is.
    length: Duration,
    /// When it began, once it has asked for the time.
    begin: Option<Instant>,
}

impl Moment {
    /// After so many in a row that were in vain: the more, the shorter.
    fn after(vain: u32) -> Option<Self> {
        let shorter = if vain.is_multiple_of(RETRY) { 0 } else { vain };
        (shorter < VAIN).then(|| Self { length: PATIENCE / (1 << shorter), begin: None })
    }

    /// Looks until something has changed; `false` if the moment is over first.
    #[inline]
    fn look(&mut self, changed: impl Fn() -> bool) -> bool {
        loop {
            for _ in 0..LOOKS {
                if changed() {
                    return true;
                }
                std::hint::spin_loop();
            }
            let now = Instant::now();
            if now.duration_since(*self.begin.get_or_insert(now)) >= self.length {
                return false;
            }
            // The peer may be waiting for this processor.
            std::thread::yield_now();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        drop(self.side.take());
        // If it was the last of its side, the other one must look.
        self.ring.wake_all();
    }
}

impl Serialize for End {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A sender and a receiver have a side each.
        let side = self.side().ok_or_else(|| S::Error::custom("a queue of both sides"))?;
        (&self.ring, Lent(side), Lent(self.bell.as_fd())).serialize(serializer)
    }
}

/// A descriptor on its way.
struct Lent<'a>(BorrowedFd<'a>);

impl Serialize for Lent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::fd::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Parts = (Ring, Handle<OwnedFd>, Handle<OwnedFd>);
        let (ring, side, bell) = Parts::deserialize(deserializer)?;
        Ok(Self::new(ring, side.into_inner(), bell.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{End, Event, Ring};

    #[test]
    fn who_does_not_wait_does_not_look_again_and_again() {
        let (end, _other) = End::pair(Ring::new(1, 1 << 16).unwrap()).unwrap();
        let mut looks = 0;
        let attempt = |_| {
            looks += 1;
            Ok(None::<()>)
        };
        let done = end.wait(Some(Instant::now()), Event::Space, attempt, |_, _| ());
        assert!(done.unwrap().is_none());
        assert!(looks <= 2, "it looks {looks} times");
    }
}
