//! The memory behind a queue's ring: messages too large for it, and those that
//! somebody holds on lease.
//!
//! An extent is a range of whole pages. Large messages are copied into and out of
//! theirs outside of all sections: a record in the ring names the extent.

use std::time::Duration;

use super::EXTENTS;
use super::mark::Mark;
use super::ring::{Line, Ring, broken, no_memory};
use crate::Result;
use crate::sync::owner::OwnerWord;
use crate::sync::signal::Signal;
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::identity::Identity;

/// The size of a page, in bytes.
const PAGE: usize = 4096;

/// An extent's `owner`: its message is on lease.
const LEASED: u64 = 1 << 31;
/// An extent's `owner`: its message was on lease, and is given back.
const RETURNED: u64 = LEASED | 1 << 63;

/// The extents of a queue.
#[repr(C)]
pub(super) struct Arena {
    /// Who chooses a range for an extent.
    section: Line<OwnerWord>,
    /// The bytes from the start that the system has provided. Changed in the
    /// section, after they were.
    provided: AtomicU64,
    /// The size of all of it, in bytes. Written before others know of it.
    pub(super) size: AtomicU64,
    /// Whether extents may be on lease, or given back.
    pub(super) leases: AtomicU64,
    /// How often an extent has become free, or its message was given back. Counted
    /// after that.
    freed: Line<AtomicU64>,
    /// Told of that.
    pub(super) room: Signal,
    /// The extents.
    extents: [Extent; EXTENTS],
}

/// A range of pages with a message.
///
/// | `owner` | leaves it by | if killed here |
/// |---|---|---|
/// | 0: free | sender, or receiver on lease, in the arena's section: → itself, after the range | nothing has happened |
/// | a process | sender: stays, while a record in the ring names the extent | with such a record it is a message, without one it is swept |
/// | | receiver of the record, before it stores `head`: → itself | the record is still there, and the next receiver does it again |
/// | | who is done: → 0 | swept |
/// | a process and `LEASED` | holder: → 0, or `RETURNED` | any receiver takes it over, if `head` is past `end` |
/// | | the next in the receivers' section, if `head` is not: → without `LEASED` | the record is still there, and the next one does it again |
/// | `RETURNED` | receiver: → itself, with or without `LEASED` | as above |
struct Extent {
    /// Whose it is.
    owner: AtomicU64,
    /// Its first page, and 2^32 times their number. Written by who owns it.
    pages: AtomicU64,
    /// The length of its message in bytes. Likewise.
    length: AtomicU64,
    /// Of a message on lease: the position behind its record. Likewise.
    end: AtomicU64,
}

/// What a receiver does with the extents that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// Reads and frees them.
    ToRead,
    /// Holds them on lease.
    OnLease,
}

impl Take {
    /// What this process writes into an extent that it takes.
    fn word(self) -> u64 {
        let mine = Identity::mine().bits();
        if self == Self::OnLease { mine | LEASED } else { mine }
    }
}

#[cfg(test)]
impl Arena {
    /// Lets others in.
    pub(super) fn release_section(&self) {
        self.section.0.release_for_any();
    }
}

impl Ring {
    /// Takes a free extent for a message of `length` bytes; `None` if there is
    /// none.
    ///
    /// # Errors
    ///
    /// If the system has no memory for it.
    pub(super) fn allocate(&self, length: usize) -> Result<Option<usize>> {
        let arena = self.arena();
        let _section = arena.section.0.enter();
        let is_free = |extent: &Extent| extent.owner.load(Ordering::Acquire) == 0;
        let Some(index) = arena.extents.iter().position(is_free) else { return Ok(None) };
        let pages = length.div_ceil(PAGE).max(1) as u64;
        let mut used: Vec<(u64, u64)> = arena
            .extents
            .iter()
            .filter(|extent| !is_free(extent))
            .map(|extent| range(extent.pages.load(Ordering::Relaxed)))
            .collect();
        used.sort_unstable();
        // The lowest gap, which is the warmest.
        let mut start = 0;
        for (first, behind) in used {
            if first >= start + pages {
                break;
            }
            start = start.max(behind);
        }
        let behind = (start + pages) * PAGE as u64;
        if behind > self.arena_size() as u64 {
            return Ok(None);
        }
        let provided = arena.provided.load(Ordering::Relaxed);
        if behind > provided {
            let (from, to) = (usize_of(provided)?, usize_of(behind)?);
            self.provide(self.arena_start() + from, to.saturating_sub(from))?;
            arena.provided.store(behind, Ordering::Relaxed);
        }
        let extent = &arena.extents[index];
        extent.pages.store(start | pages << 32, Ordering::Relaxed);
        extent.length.store(length as u64, Ordering::Relaxed);
        extent.owner.store(Identity::mine().bits(), Ordering::Release);
        Ok(Some(index))
    }

    /// Frees an extent of this process. One of the process that this one was
    /// forked from stays.
    pub(super) fn free(&self, index: usize) {
        if self.leave(index, 0) {
            self.tell_of_room();
        }
    }

    /// Changes the owner of an extent, if that is this process. Returns whether it
    /// was.
    fn leave(&self, index: usize, new: u64) -> bool {
        let Some(extent) = self.arena().extents.get(index) else { return false };
        let seen = extent.owner.load(Ordering::Relaxed);
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        seen & !LEASED == Identity::mine().bits()
            && extent.owner.compare_exchange(seen, new, order.0, order.1).is_ok()
    }

    /// Tells who waits for an extent that one is free, or its message given back, and
    /// who waits until all is settled.
    fn tell_of_room(&self) {
        self.arena().freed.0.fetch_add(1, Ordering::Release);
        self.arena().room.wake_all();
        self.tell_of_settling();
    }

    /// How often an extent has become free, or its message was given back: to be asked
    /// for before one looks for one, and given to
    /// [`sleep_for_extent`](Self::sleep_for_extent).
    pub(super) fn freed(&self) -> u64 {
        self.arena().freed.0.load(Ordering::Acquire)
    }

    /// Sleeps until an extent has become free, or its message was given back, since
    /// there was none.
    pub(super) fn sleep_for_extent(&self, freed: u64, nap: Duration) {
        let arena = self.arena();
        arena.room.sleep(nap, || arena.freed.0.load(Ordering::SeqCst) != freed);
    }

    /// Writes the message of an extent of this process.
    pub(super) fn write_extent(&self, index: usize, bytes: &[u8]) -> Result<()> {
        let (place, length) = self.extent(index)?;
        if length != bytes.len() {
            return Err(broken());
        }
        self.memory().write(place, bytes).ok_or_else(broken)
    }

    /// Appends the message of an extent of this process to `to`.
    ///
    /// # Errors
    ///
    /// If there is no memory for it: it goes back to the queue. Or if it is broken:
    /// it is freed. So the extent is this process's no more.
    pub(super) fn read_extent(
        &self,
        index: usize,
        to: &mut Vec<u8>,
        ring_bell: impl FnOnce(),
    ) -> Result<()> {
        let (place, length) = self.extent(index).inspect_err(|_| self.free(index))?;
        self.memory().read(place, length, to).ok_or_else(|| {
            self.give_back(index, ring_bell);
            no_memory()
        })
    }

    /// Where an extent's message is in the memory, and its length: inside of the
    /// arena, whatever another process has written.
    pub(super) fn extent(&self, index: usize) -> Result<(usize, usize)> {
        let extent = self.arena().extents.get(index).ok_or_else(broken)?;
        let (first, behind) = range(extent.pages.load(Ordering::Relaxed));
        let length = usize_of(extent.length.load(Ordering::Relaxed))?;
        let (start, end) = (usize_of(first)? * PAGE, usize_of(behind)? * PAGE);
        if end > self.arena_size() || length > end.saturating_sub(start) {
            return Err(broken());
        }
        Ok((self.arena_start() + start, length))
    }

    /// Takes the extent that a record names, whose end is there. In the receivers'
    /// section, before `head` is stored.
    pub(super) fn take_extent(&self, index: usize, end: Mark, take: Take) -> Result<()> {
        let extent = self.arena().extents.get(index).ok_or_else(broken)?;
        extent.end.store(end.position(), Ordering::Relaxed);
        extent.owner.store(take.word(), Ordering::Release);
        if take == Take::OnLease {
            self.arena().leases.store(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Ends the leases of who died before `head` was stored: their records are
    /// still there. In the receivers' section, before `head` goes on.
    pub(super) fn revoke_leases(&self) {
        let head = self.head();
        for extent in &self.arena().extents {
            let seen = extent.owner.load(Ordering::Acquire);
            let Some(Lease::Held(holder)) = Lease::of(seen) else { continue };
            if !is_past(head, extent) && !holder.is_alive() {
                let order = (Ordering::AcqRel, Ordering::Relaxed);
                let _ = extent.owner.compare_exchange(seen, seen & !LEASED, order.0, order.1);
            }
        }
    }

    /// Whether messages have been on lease.
    #[inline]
    pub(super) fn has_leases(&self) -> bool {
        self.arena().leases.load(Ordering::SeqCst) != 0
    }

    /// Takes a message that was given back, or, if `ask` allows to ask the system
    /// for them, whose holder is dead.
    pub(super) fn take_returned(&self, take: Take, ask: bool) -> Option<usize> {
        if !self.has_leases() {
            return None;
        }
        let head = self.head();
        // Each is asked for once, however many leases it has.
        let mut alive = Vec::new();
        self.arena().extents.iter().position(|extent| {
            let seen = extent.owner.load(Ordering::Acquire);
            let free_to_take = match Lease::of(seen) {
                Some(Lease::Returned) => true,
                Some(Lease::Held(holder)) if ask && is_past(head, extent) => {
                    let is_alive = alive.contains(&holder) || holder.is_alive();
                    if is_alive && alive.last() != Some(&holder) {
                        alive.push(holder);
                    }
                    !is_alive
                }
                _ => false,
            };
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            free_to_take
                && extent.owner.compare_exchange(seen, take.word(), order.0, order.1).is_ok()
        })
    }

    /// Gives a message of an extent of this process back to the queue. `ring_bell` is
    /// called first if somebody waits for the bell.
    pub(super) fn give_back(&self, index: usize, ring_bell: impl FnOnce()) {
        // First: a kill in between must not leave a message that nobody looks for.
        self.arena().leases.store(1, Ordering::SeqCst);
        let section = self.enter_sending();
        self.ring_if_armed(ring_bell);
        let returned = self.leave(index, RETURNED);
        drop(section);
        if returned {
            self.tell_of_data();
            self.tell_of_room();
        }
    }

    /// Whether a message was given back that nobody has taken yet.
    pub(super) fn has_returned(&self) -> bool {
        let is_returned = |extent: &Extent| extent.owner.load(Ordering::SeqCst) == RETURNED;
        self.has_leases() && self.arena().extents.iter().any(is_returned)
    }

    /// The number of messages that are on lease or given back.
    pub(super) fn unsettled(&self) -> usize {
        let head = self.head();
        let is_unsettled = |extent: &&Extent| {
            match Lease::of(extent.owner.load(Ordering::Acquire)) {
                Some(Lease::Returned) => true,
                // Before `head` is past it, it counts in the ring.
                Some(Lease::Held(_)) => is_past(head, extent),
                None => false,
            }
        };
        if !self.has_leases() {
            return 0;
        }
        self.arena().extents.iter().filter(is_unsettled).count()
    }

    /// Frees the extents of the dead that are in no message. Returns whether
    /// there were any.
    pub(super) fn sweep(&self) -> Result<bool> {
        let extents = &self.arena().extents;
        let dead: Vec<(usize, u64)> = extents
            .iter()
            .enumerate()
            .map(|(index, extent)| (index, extent.owner.load(Ordering::Acquire)))
            .filter(|(_, owner)| {
                let process = Identity::from_bits(owner & !LEASED);
                process.is_some_and(|process| !process.is_alive())
            })
            .collect();
        if dead.is_empty() {
            return Ok(false);
        }
        // What a dead sender has put in is in the ring by now.
        let (head, named) = self.named_extents()?;
        let mut freed = false;
        for (index, owner) in dead {
            let extent = &extents[index];
            let on_lease = owner & LEASED != 0 && is_past(head, extent);
            if !on_lease && !named.contains(&index) {
                let order = (Ordering::AcqRel, Ordering::Relaxed);
                freed |= extent.owner.compare_exchange(owner, 0, order.0, order.1).is_ok();
            }
        }
        if freed {
            self.tell_of_room();
        }
        Ok(freed)
    }
}

/// What an extent's owner says of a lease.
enum Lease {
    /// This process holds it.
    Held(Identity),
    /// It was given back.
    Returned,
}

impl Lease {
    /// What a word says; `None` of one that is not on lease.
    fn of(owner: u64) -> Option<Self> {
        match owner {
            RETURNED => Some(Self::Returned),
            _ if owner & LEASED != 0 => Identity::from_bits(owner & !LEASED).map(Self::Held),
            _ => None,
        }
    }
}

/// Whether the record of an extent on lease has been taken out of the ring. (Of a
/// lease during which 4 TiB passed through the queue, this is wrong.)
fn is_past(head: Mark, extent: &Extent) -> bool {
    head.is_at_or_past(extent.end.load(Ordering::Relaxed))
}

/// The first page of a range, and the one behind its last.
fn range(pages: u64) -> (u64, u64) {
    let (first, count) = (pages & u64::from(u32::MAX), pages >> 32);
    (first, first + count)
}

/// A number of bytes that fits into memory.
fn usize_of(number: u64) -> Result<usize> {
    usize::try_from(number).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::Take;
    use crate::queue::ring::{Piece, Ring};
    use crate::sys::process;

    /// Runs `body` in a forked child, which must end with status 0.
    fn in_a_fork(body: impl FnOnce()) {
        // The child needs no lock of another thread but those that the C library
        // releases in it.
        let Some(child) = process::fork(false).unwrap() else {
            body();
            process::exit_now(1)
        };
        let pidfd = process::pidfd_open(child).unwrap();
        let reaped = process::reap(pidfd.as_fd(), true).unwrap();
        assert_eq!(reaped, Some(process::Reaped::Exited(0)));
    }

    #[test]
    fn who_dies_before_a_message_is_out_of_the_ring_holds_no_lease_on_it() {
        for length in [3, 100_000] {
            let ring = Ring::new(10, 1 << 20).unwrap();
            let bytes = vec![7; length];
            if length < 100 {
                ring.push(&[Piece::Bytes(&bytes)], || ()).unwrap();
            } else {
                let index = ring.allocate(length).unwrap().unwrap();
                ring.write_extent(index, &bytes).unwrap();
                ring.push(&[Piece::Extent(index)], || ()).unwrap();
            }
            in_a_fork(|| {
                let die = |_| process::exit_now(0);
                let _ = ring.pop(1, Take::OnLease, die);
            });
            assert_eq!(ring.take_returned(Take::OnLease, true), None, "{length}");
            assert_eq!(ring.pop(1, Take::OnLease, |_| Ok(())).unwrap(), Some(1));
            assert_eq!(ring.take_returned(Take::OnLease, true), None, "{length}: it came twice");
            assert_eq!(ring.unsettled(), 1);
        }
    }
}
