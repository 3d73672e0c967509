//! The ring of bytes of a queue, which no kill leaves in between.
//!
//! Senders exclude each other by one word, receivers by another; the two sides
//! share no lock. A message becomes visible by one store of `tail` and is taken
//! by one store of `head`. Each is a position, in units of 8 bytes, and a number
//! of messages.
//!
//! | killed | state | who comes next |
//! |---|---|---|
//! | a sender before it stores `tail` | bytes behind `tail`, which nobody reads | overwrites them |
//! | after | the message is in | wakes a receiver that sleeps, or it wakes by itself |
//! | while the ring grows | copies in its new half, which nobody reads | begins anew |
//! | a receiver before it stores `head` | the message is in the queue | receives it |
//! | after | the message is lost with its receiver | goes on; wakes a sender |
#![allow(unsafe_code)] // Its memory is made of atomics.

use std::collections::BTreeSet;
use std::ffi::CStr;

use super::FIRST;
use super::arena::{Arena, Take};
use super::mark::{MOST, Mark};
use crate::sync::object::{Body, Object};
use crate::sync::owner::{OwnerWord, Section};
use crate::sync::signal::Signal;
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::memory::Shared;
use crate::{Error, ErrorKind, Result};

/// The size of a unit, in bytes.
const UNIT: usize = 8;
/// The largest size of a ring, in bytes, as a power of two.
const LAST: u32 = 32;
/// A record's first word: this many units are of no use, for the ring ends.
const SKIP: u64 = 1 << 63;
/// A record's only word: the message is in an extent of this number.
const EXTENT: u64 = 1 << 62;

/// The longest message in the ring, in bytes: half of the first ring. Others go
/// into an extent.
pub(super) const LONGEST: usize = (1 << (FIRST - 1)) - UNIT;

/// A queue in shared memory.
#[repr(C)]
pub(super) struct RingBody {
    /// The most messages in it. Written before others know of it.
    capacity: AtomicU64,
    /// Its size in bytes, as a power of two. Changed by a sender in both sections.
    size: AtomicU64,
    /// Its largest size. Written before others know of it.
    largest: AtomicU64,
    /// Whether somebody waits for the bell. Set in the senders' section, by a receiver
    /// that has silenced the bell if there is no message; reset there by a sender that
    /// rings, before it stores `tail`, and by who gives a message back, before that can
    /// be seen: so no kill comes between a message and its bell. If one comes
    /// between the reset or the silence and what follows, who enters the section next
    /// sets it again.
    pub(super) armed: AtomicU32,
    /// What senders share.
    pub(super) sending: Side,
    /// Behind the last message: see the table above.
    pub(super) tail: Line<AtomicU64>,
    /// What receivers share.
    receiving: Side,
    /// Before the first message: see the table above.
    pub(super) head: Line<AtomicU64>,
    /// Told when there is a message.
    pub(super) data: Line<Signal>,
    /// Told when there is room.
    pub(super) space: Line<Signal>,
    /// Told when a message is settled.
    pub(super) settled: Line<Signal>,
    /// The memory behind the ring.
    arena: Arena,
}

/// What the ends of one side share.
#[repr(C, align(128))]
pub(super) struct Side {
    /// Who changes this side's position.
    pub(super) section: OwnerWord,
    /// The other side's position, as it was once: it has only gone on since.
    pub(super) other: AtomicU64,
}

/// Something on lines of its own.
#[repr(C, align(128))]
pub(super) struct Line<T>(pub(super) T);

// SAFETY: words; zeros are an empty queue that nothing fits into.
unsafe impl Body for RingBody {
    const NAME: &'static CStr = c"kinfolk-queue";
    const KIND: u64 = u64::from_le_bytes(*b"kf queu1");
}

/// A message on its way into the ring.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    /// These bytes, at most [`LONGEST`].
    Bytes(&'a [u8]),
    /// In the extent of this number.
    Extent(usize),
}

/// A message on its way out of the ring.
#[derive(Debug, Clone, Copy)]
pub(super) enum Taken {
    /// Still in the ring: to be copied before another may write there.
    Bytes {
        /// Where it is in the memory.
        place: usize,
        /// Its length in bytes.
        length: usize,
    },
    /// In the extent of this number, which is this process's now.
    Extent(usize),
}

/// A mapped queue.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Ring(pub(super) Object<RingBody>);

impl Ring {
    /// Makes a queue of at most `capacity` messages in at most `bytes` bytes.
    pub(super) fn new(capacity: usize, bytes: usize) -> Result<Self> {
        let refuse = |reason: String| Error::new(ErrorKind::InvalidInput, reason);
        let largest = bytes.checked_next_power_of_two().map_or(LAST + 1, usize::trailing_zeros);
        if !(FIRST..=LAST).contains(&largest) {
            return Err(refuse(format!(
                "a queue has {} to {} bytes, not {bytes}",
                1_u64 << FIRST,
                1_u64 << LAST
            )));
        }
        if capacity == 0 || capacity as u64 > MOST {
            return Err(refuse(format!(
                "a queue has room for 1 to {MOST} messages, not {capacity}"
            )));
        }
        let arena = (bytes as u64).next_multiple_of(4096);
        let ring = Self(Object::with_room((1 << largest) + arena as usize)?);
        ring.provide(Object::<RingBody>::ROOM, 1 << FIRST)?;
        let body = ring.body();
        body.arena.size.store(arena, Ordering::Relaxed);
        body.capacity.store(capacity as u64, Ordering::Relaxed);
        body.largest.store(largest.into(), Ordering::Relaxed);
        body.size.store(FIRST.into(), Ordering::Release);
        Ok(ring)
    }

    /// Another mapping of the same queue.
    pub(super) fn try_clone(&self) -> Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Adds as many of the messages as there is room for, at once: none of them
    /// is seen before all are. Returns their number. `ring_bell` is called first
    /// if somebody waits for the bell.
    ///
    /// # Errors
    ///
    /// If the system has no memory for a larger ring.
    #[inline]
    pub(super) fn push(&self, messages: &[Piece<'_>], ring_bell: impl FnOnce()) -> Result<usize> {
        let body = self.body();
        let section = self.enter_sending();
        let after_death = section.after_death;
        let start = Mark(body.tail.0.load(Ordering::Relaxed));
        let mut end = start;
        let mut added = 0;
        for message in messages {
            match self.write(end, *message) {
                Ok(Some(next)) => end = next,
                Ok(None) => break,
                Err(_) if added > 0 => break,
                Err(error) => return Err(error),
            }
            added += 1;
        }
        if added > 0 {
            self.ring_if_armed(ring_bell);
            body.tail.0.store(end.0, Ordering::Release);
        }
        drop(section);
        if added > 0 || after_death {
            body.data.0.wake_one();
        }
        Ok(added)
    }

    /// Calls `ring_bell` if somebody waits for the bell. In the senders' section, before
    /// what it rings for can be seen.
    #[inline]
    pub(super) fn ring_if_armed(&self, ring_bell: impl FnOnce()) {
        let armed = &self.body().armed;
        if armed.load(Ordering::SeqCst) != 0 && armed.swap(0, Ordering::SeqCst) != 0 {
            ring_bell();
        }
    }

    /// Enters the senders' section.
    pub(super) fn enter_sending(&self) -> Section<'_> {
        let body = self.body();
        let section = body.sending.section.enter();
        if section.after_death {
            // The dead one may have been about to ring the bell.
            body.armed.store(1, Ordering::SeqCst);
        }
        section
    }

    /// Writes a message at a mark, and returns the mark behind it; `None` if
    /// there is no room. In the senders' section.
    #[inline]
    fn write(&self, at: Mark, message: Piece<'_>) -> Result<Option<Mark>> {
        let body = self.body();
        let (first, bytes) = match message {
            Piece::Bytes(bytes) => (bytes.len() as u64, bytes),
            Piece::Extent(index) => (EXTENT | index as u64, &[][..]),
        };
        let need = 1 + bytes.len().div_ceil(UNIT) as u64;
        loop {
            let units = self.units();
            let offset = at.position() & (units - 1);
            let skip = if offset + need > units { units - offset } else { 0 };
            // More than half might never fit, where the ring happens to end.
            let fits =
                |head: Mark| need <= units / 2 && at.units_since(head) + skip + need <= units;
            let counts =
                |head: Mark| at.messages_since(head) < body.capacity.load(Ordering::Relaxed);
            let mut head = Mark(body.sending.other.load(Ordering::Relaxed));
            if !fits(head) || !counts(head) {
                head = Mark(body.head.0.load(Ordering::Acquire));
                body.sending.other.store(head.0, Ordering::Relaxed);
            }
            if !counts(head) {
                return Ok(None);
            }
            if fits(head) {
                if skip > 0 {
                    let word = self.word(place(at.position(), units))?;
                    word.store(SKIP | skip, Ordering::Relaxed);
                }
                let start = place(at.position() + skip, units);
                self.word(start)?.store(first, Ordering::Relaxed);
                self.memory().write(start + UNIT, bytes).ok_or_else(broken)?;
                return Ok(Some(at.plus(skip + need, 1)));
            }
            if !self.grow(at)? {
                return Ok(None);
            }
        }
    }

    /// Doubles the ring, up to `tail`; `false` if it is as large as it may be.
    /// In the senders' section.
    #[cold]
    fn grow(&self, tail: Mark) -> Result<bool> {
        let body = self.body();
        let size = self.size();
        if size >= self.largest() {
            return Ok(false);
        }
        let bytes = 1_usize << size;
        self.provide(Object::<RingBody>::ROOM + bytes, bytes)?;
        let section = self.enter_receiving();
        let head = Mark(body.head.0.load(Ordering::Relaxed));
        // What is in the ring belongs into its old or new half. Copied to the new
        // one, it is in both, and the old one is as it was.
        let ring = Object::<RingBody>::ROOM;
        if tail.units_since(head) > 0 {
            self.memory().copy(ring, ring + bytes, bytes).ok_or_else(broken)?;
        }
        body.size.store(u64::from(size) + 1, Ordering::Release);
        drop(section);
        Ok(true)
    }

    /// Takes up to `most` messages at once, in order, and hands each to `each`,
    /// which copies those in the ring. Returns their number; `None` if there is a
    /// message, but no extent to put it on lease in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if the memory was overwritten, and what `each` fails
    /// with for the first: the messages stay, as do those from one on with which it
    /// fails later.
    #[inline]
    pub(super) fn pop(
        &self,
        most: usize,
        take: Take,
        mut each: impl FnMut(Taken) -> Result<()>,
    ) -> Result<Option<usize>> {
        let body = self.body();
        let section = self.enter_receiving();
        let after_death = section.after_death;
        let start = Mark(body.head.0.load(Ordering::Relaxed));
        let mut tail = Mark(body.receiving.other.load(Ordering::Acquire));
        if tail.messages_since(start) == 0 || tail.messages_since(start) > MOST {
            tail = Mark(body.tail.0.load(Ordering::Acquire));
            body.receiving.other.store(tail.0, Ordering::Release);
        }
        let available = tail.messages_since(start);
        let mut end = start;
        let mut taken = 0;
        while taken < most.min(available as usize) {
            let record = self.record(end, tail)?;
            let message = match record.content {
                Content::Extent(index) => {
                    self.take_extent(index, record.end, take)?;
                    Taken::Extent(index)
                }
                Content::Bytes { place, length } if take == Take::OnLease => {
                    let Some(index) = self.lend(place, length)? else { break };
                    self.take_extent(index, record.end, take)?;
                    Taken::Extent(index)
                }
                Content::Bytes { place, length } => Taken::Bytes { place, length },
            };
            match each(message) {
                Ok(()) => {}
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
            end = record.end;
            taken += 1;
        }
        if taken > 0 {
            body.head.0.store(end.0, Ordering::Release);
        }
        drop(section);
        if taken > 0 || after_death {
            body.space.0.wake_one();
            if available == taken as u64 {
                self.tell_of_settling();
            }
        }
        // Another may take what is left: also if this one was woken for it, and
        // cannot.
        if available > taken as u64 {
            body.data.0.wake_one();
        }
        Ok((taken > 0 || available == 0).then_some(taken))
    }

    /// Enters the receivers' section. Who died in it holds no lease on what is
    /// still in the ring.
    #[inline]
    fn enter_receiving(&self) -> Section<'_> {
        let section = self.body().receiving.section.enter();
        if section.after_death {
            self.revoke_leases();
        }
        section
    }

    /// Copies a message of the ring into an extent, for a lease; `None` if there
    /// is none.
    #[cold]
    fn lend(&self, place: usize, length: usize) -> Result<Option<usize>> {
        let Some(index) = self.allocate(length)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = self.read(place, length, &mut bytes);
        let copied = read.and_then(|()| self.write_extent(index, &bytes));
        copied.inspect_err(|_| self.free(index))?;
        Ok(Some(index))
    }

    /// Appends bytes of its memory to `to`.
    #[inline]
    pub(super) fn read(&self, place: usize, length: usize, to: &mut Vec<u8>) -> Result<()> {
        self.memory().read(place, length, to).ok_or_else(no_memory)
    }

    /// Looks at the record at a mark: it is inside of the ring and of what was
    /// sent, whatever another process has written. In the receivers' section.
    #[inline]
    fn record(&self, at: Mark, tail: Mark) -> Result<Record> {
        let units = self.units();
        let mut mark = at;
        let mut start = place(mark.position(), units);
        let mut first = self.word(start)?.load(Ordering::Relaxed);
        if first & SKIP != 0 {
            let skip = first & !SKIP;
            if skip >= tail.units_since(at) {
                return Err(broken());
            }
            mark = mark.plus(skip, 0);
            start = place(mark.position(), units);
            first = self.word(start)?.load(Ordering::Relaxed);
        }
        if first & EXTENT != 0 {
            let index = usize::try_from(first & !EXTENT).map_err(|_| broken())?;
            return Ok(Record { content: Content::Extent(index), end: mark.plus(1, 1) });
        }
        let need = first.div_ceil(UNIT as u64).saturating_add(1);
        let offset = mark.position() & (units - 1);
        if need > tail.units_since(mark) || offset + need > units {
            return Err(broken());
        }
        let length = usize::try_from(first).map_err(|_| broken())?;
        let content = Content::Bytes { place: start + UNIT, length };
        Ok(Record { content, end: mark.plus(need, 1) })
    }

    /// The extents that records name, and where the ring begins.
    pub(super) fn named_extents(&self) -> Result<(Mark, BTreeSet<usize>)> {
        let body = self.body();
        let _section = self.enter_receiving();
        let head = self.head();
        let tail = Mark(body.tail.0.load(Ordering::Acquire));
        let mut named = BTreeSet::new();
        let mut at = head;
        while at.messages_since(head) < tail.messages_since(head).min(MOST) {
            let record = self.record(at, tail)?;
            if let Content::Extent(index) = record.content {
                named.insert(index);
            }
            at = record.end;
        }
        Ok((head, named))
    }

    /// Where the ring begins.
    #[inline]
    pub(super) fn head(&self) -> Mark {
        Mark(self.body().head.0.load(Ordering::SeqCst))
    }

    /// The number of messages.
    pub(super) fn len(&self) -> usize {
        let body = self.body();
        let head = Mark(body.head.0.load(Ordering::SeqCst));
        let tail = Mark(body.tail.0.load(Ordering::SeqCst));
        // Between the two, both may have gone on.
        usize::try_from(tail.messages_since(head).min(MOST)).unwrap_or(usize::MAX)
    }

    /// Whether there is no message.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most messages.
    pub(super) fn capacity(&self) -> usize {
        usize::try_from(self.body().capacity.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Its shared memory.
    #[inline]
    pub(super) fn body(&self) -> &RingBody {
        self.0.body()
    }

    /// Its size as a power of two, whatever another process has written.
    #[inline]
    fn size(&self) -> u32 {
        let size = u32::try_from(self.body().size.load(Ordering::Acquire)).unwrap_or(LAST);
        size.clamp(FIRST, LAST)
    }

    /// Its largest size, likewise.
    fn largest(&self) -> u32 {
        let largest = u32::try_from(self.body().largest.load(Ordering::Relaxed)).unwrap_or(FIRST);
        largest.clamp(FIRST, LAST)
    }

    /// Its size in units.
    #[inline]
    pub(super) fn units(&self) -> u64 {
        (1 << self.size()) / UNIT as u64
    }

    /// The word at a place of the memory.
    #[inline]
    pub(super) fn word(&self, place: usize) -> Result<&AtomicU64> {
        self.0.memory().word(place).ok_or_else(broken)
    }

    /// Its shared memory as bytes.
    #[inline]
    pub(super) fn memory(&self) -> &Shared {
        self.0.memory()
    }

    /// Its arena.
    #[inline]
    pub(super) fn arena(&self) -> &Arena {
        &self.body().arena
    }

    /// Where the arena begins in the memory.
    pub(super) fn arena_start(&self) -> usize {
        Object::<RingBody>::ROOM + (1 << self.largest())
    }

    /// The size of the arena, in bytes: it ends in the memory, whatever another
    /// process has written.
    pub(super) fn arena_size(&self) -> usize {
        let size = usize::try_from(self.arena().size.load(Ordering::Relaxed)).unwrap_or(0);
        size.min(self.memory().len().saturating_sub(self.arena_start()))
    }

    /// Makes the system provide a range of the memory.
    pub(super) fn provide(&self, start: usize, length: usize) -> Result<()> {
        let provided = self.0.memory().provide(start, length);
        provided.map_err(|error| Error::io(error, format!("providing {length} bytes for a queue")))
    }
}

/// Where the unit at a position is in the memory of a ring of so many.
#[inline]
pub(super) fn place(position: u64, units: u64) -> usize {
    Object::<RingBody>::ROOM + (position & (units - 1)) as usize * UNIT
}

/// A message in the ring.
struct Record {
    /// What it is.
    content: Content,
    /// The mark behind it.
    end: Mark,
}

/// What a message is.
enum Content {
    /// Bytes at this place of the memory.
    Bytes {
        /// Where they begin.
        place: usize,
        /// Their number.
        length: usize,
    },
    /// In the extent of this number.
    Extent(usize),
}

/// A message that there is no memory for.
#[cold]
pub(super) fn no_memory() -> Error {
    Error::new(ErrorKind::Exhausted, "no memory for the next message; it stays in the queue")
}

/// The memory holds what no sender writes.
#[cold]
pub(super) fn broken() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the memory of a queue was overwritten: it cannot be used any more",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use kinfolk_testkit::Numbers;

    use super::{LONGEST, Object, Piece, Ring, RingBody, Take, Taken, no_memory};

    /// Uses the queue in every way that does not wait.
    fn use_all(ring: &Ring, numbers: &mut Numbers) {
        let bytes = vec![7; numbers.place(LONGEST)];
        let _ = ring.push(&[Piece::Bytes(&bytes), Piece::Bytes(&[])], || ());
        if let Ok(Some(index)) = ring.allocate(100_000) {
            let _ = ring.write_extent(index, &[1; 100_000]);
            let _ = ring.push(&[Piece::Extent(index)], || ());
        }
        let take = if numbers.place(2) == 0 { Take::ToRead } else { Take::OnLease };
        let mut room = Vec::new();
        let mut extents = Vec::new();
        let _ = ring.pop(3, take, |taken| {
            match taken {
                Taken::Extent(index) => extents.push(index),
                Taken::Bytes { place, length } => {
                    ring.memory().read(place, length, &mut room).unwrap();
                }
            }
            Ok(())
        });
        extents.extend(ring.take_returned(take, true));
        for index in extents {
            let _ = ring.read_extent(index, &mut Vec::new(), || ());
            if numbers.place(2) == 0 { ring.free(index) } else { ring.give_back(index, || ()) }
        }
        let _ = (ring.len(), ring.capacity(), ring.unsettled(), ring.is_settled());
        ring.arm(|| ());
        let _ = ring.sweep();
    }

    #[test]
    fn a_message_that_cannot_be_copied_for_a_lease_takes_no_extent() {
        let ring = Ring::new(1, 1 << 16).unwrap();
        assert!(ring.lend(usize::MAX, 8).is_err());
        assert_eq!(ring.allocate(1 << 16).unwrap(), Some(0));
    }

    #[test]
    fn a_message_that_cannot_be_copied_stays_and_those_before_it_do_not() {
        let ring = Ring::new(10, 1 << 16).unwrap();
        for byte in 0..3 {
            ring.push(&[Piece::Bytes(&[byte])], || ()).unwrap();
        }
        let mut copied = 0;
        let mut two = |_| {
            copied += 1;
            if copied == 3 { Err(no_memory()) } else { Ok(()) }
        };
        assert_eq!(ring.pop(3, Take::ToRead, &mut two).unwrap(), Some(2));
        assert_eq!(ring.len(), 1);
        assert!(ring.pop(3, Take::ToRead, |_| Err(no_memory())).is_err());
        assert_eq!(ring.len(), 1);
    }

    #[test]
    fn no_content_of_the_memory_makes_it_panic() {
        let mut numbers = Numbers::new(0x7175_6575_6521);
        for _ in 0..500 {
            let ring = Ring::new(1000, 1 << 20).unwrap();
            for _ in 0..numbers.place(4) {
                use_all(&ring, &mut numbers);
            }
            for _ in 0..=numbers.place(30) {
                // The words in front, the extents, the ring.
                let end = [1 << 12, Object::<RingBody>::ROOM, 1 << 17][numbers.place(3)];
                let place = numbers.place(end / 8) * 8;
                let value = match numbers.place(4) {
                    0 => u64::MAX,
                    1 => numbers.place(100) as u64,
                    2 => 1 << numbers.place(53),
                    _ => numbers.word(),
                };
                ring.memory().word(place).unwrap().store(value, Ordering::Relaxed);
            }
            // Who writes there keeps all others out; that is no new power.
            let body = ring.body();
            for section in [&body.sending.section, &body.receiving.section] {
                section.release_for_any();
            }
            body.arena.release_section();
            for _ in 0..3 {
                use_all(&ring, &mut numbers);
            }
        }
    }
}
