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

use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sync::object::{Body, Object};
use crate::sync::owner::OwnerWord;
use crate::sync::signal::Signal;
use crate::{Error, ErrorKind, Result};

/// The size of a unit, in bytes.
const UNIT: usize = 8;
/// The first size of a ring, in bytes.
const FIRST: u32 = 16;
/// The largest size of a ring, in bytes, as a power of two.
const LAST: u32 = 32;
/// The most messages of a queue.
pub(super) const MOST: u64 = COUNT / 2;

/// The bits of a number of messages.
const COUNT: u64 = (1 << 24) - 1;
/// The bits of a position.
const POSITION: u64 = (1 << 40) - 1;

/// A record's first word: this many units are of no use, for the ring ends.
const SKIP: u64 = 1 << 63;

/// A queue in shared memory.
#[repr(C)]
pub(super) struct RingBody {
    /// The most messages in it. Written before others know of it.
    capacity: AtomicU64,
    /// Its size in bytes, as a power of two. Changed by a sender in both sections.
    size: AtomicU64,
    /// Its largest size. Written before others know of it.
    largest: AtomicU64,
    /// Whether somebody waits for the bell. Set by a receiver, which then passes
    /// through the senders' section; reset by a sender that rings, before it
    /// stores `tail`: so no kill comes between a message and its bell.
    armed: AtomicU32,
    /// What senders share.
    sending: Side,
    /// Behind the last message: see the table above.
    tail: Line<AtomicU64>,
    /// What receivers share.
    receiving: Side,
    /// Before the first message: see the table above.
    head: Line<AtomicU64>,
    /// Told when there is a message.
    data: Line<Signal>,
    /// Told when there is room.
    space: Line<Signal>,
}

/// What the ends of one side share.
#[repr(C, align(128))]
struct Side {
    /// Who changes this side's position.
    section: OwnerWord,
    /// The other side's position, as it was once: it has only gone on since.
    other: AtomicU64,
}

/// Something on lines of its own.
#[repr(C, align(128))]
struct Line<T>(T);

// SAFETY: words; zeros are an empty queue that nothing fits into.
unsafe impl Body for RingBody {
    const NAME: &'static CStr = c"kinfolk-queue";
    const KIND: u64 = u64::from_le_bytes(*b"kf queu1");
}

/// A position and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark(u64);

impl Mark {
    /// The position, in units.
    fn position(self) -> u64 {
        self.0 >> 24
    }

    /// This many units and messages further.
    fn plus(self, units: u64, messages: u64) -> Self {
        let position = self.position().wrapping_add(units) & POSITION;
        Self(position << 24 | (self.0.wrapping_add(messages) & COUNT))
    }

    /// The units from `earlier` to here.
    fn units_since(self, earlier: Self) -> u64 {
        self.position().wrapping_sub(earlier.position()) & POSITION
    }

    /// The messages from `earlier` to here.
    fn messages_since(self, earlier: Self) -> u64 {
        self.0.wrapping_sub(earlier.0) & COUNT
    }
}

/// A mapped queue.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Ring(Object<RingBody>);

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
        let ring = Self(Object::with_room(1 << largest)?);
        ring.provide(0, 1 << FIRST)?;
        let body = ring.body();
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
    /// [`ErrorKind::TooLong`] if the first could never be added.
    pub(super) fn push(&self, messages: &[&[u8]], ring_bell: impl FnOnce()) -> Result<usize> {
        let body = self.body();
        let section = body.sending.section.enter();
        let after_death = section.after_death;
        let start = Mark(body.tail.0.load(Ordering::Relaxed));
        let mut end = start;
        let mut added = 0;
        for message in messages {
            match self.write(end, message) {
                Ok(Some(next)) => end = next,
                Ok(None) => break,
                Err(_) if added > 0 => break,
                Err(error) => return Err(error),
            }
            added += 1;
        }
        if added > 0 {
            if body.armed.load(Ordering::SeqCst) != 0 && body.armed.swap(0, Ordering::SeqCst) != 0 {
                ring_bell();
            }
            body.tail.0.store(end.0, Ordering::Release);
        }
        drop(section);
        if added > 0 || after_death {
            body.data.0.wake_one();
        }
        Ok(added)
    }

    /// Writes a message at a mark, and returns the mark behind it; `None` if
    /// there is no room. In the senders' section.
    fn write(&self, at: Mark, message: &[u8]) -> Result<Option<Mark>> {
        let body = self.body();
        let need = 1 + message.len().div_ceil(UNIT) as u64;
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
                    self.word(at.position())?.store(SKIP | skip, Ordering::Relaxed);
                }
                let place = at.position() + skip;
                self.word(place)?.store(message.len() as u64, Ordering::Relaxed);
                let bytes = self.place(place + 1);
                self.0.memory().write(bytes, message).ok_or_else(broken)?;
                return Ok(Some(at.plus(skip + need, 1)));
            }
            if !self.grow(at)? {
                let most = (1_u64 << self.largest()) / 2 - UNIT as u64;
                if message.len() as u64 > most {
                    let length = message.len();
                    return Err(Error::new(
                        ErrorKind::TooLong,
                        format!(
                            "a message of {length} bytes, where the queue takes {most}: make the queue with more bytes"
                        ),
                    ));
                }
                return Ok(None);
            }
        }
    }

    /// Doubles the ring, up to `tail`; `false` if it is as large as it may be.
    /// In the senders' section.
    fn grow(&self, tail: Mark) -> Result<bool> {
        let body = self.body();
        let size = self.size();
        if size >= self.largest() {
            return Ok(false);
        }
        let bytes = 1_usize << size;
        self.provide(bytes, bytes)?;
        let section = body.receiving.section.enter();
        let head = Mark(body.head.0.load(Ordering::Relaxed));
        // What is in the ring belongs into its old or new half. Copied to the new
        // one, it is in both, and the old one is as it was.
        let ring = Object::<RingBody>::ROOM;
        if tail.units_since(head) > 0 {
            self.0.memory().copy(ring, ring + bytes, bytes).ok_or_else(broken)?;
        }
        body.size.store(u64::from(size) + 1, Ordering::Release);
        drop(section);
        Ok(true)
    }

    /// Takes up to `most` messages at once, in order, each appended to `to` and
    /// followed by a call of `each`. Returns their number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if the memory was overwritten, and
    /// [`ErrorKind::Exhausted`] if there is none for the messages, which stay.
    pub(super) fn pop(
        &self,
        most: usize,
        to: &mut Vec<u8>,
        mut each: impl FnMut(&Vec<u8>),
    ) -> Result<usize> {
        let body = self.body();
        let section = body.receiving.section.enter();
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
            end = self.read(end, tail, to)?;
            each(to);
            taken += 1;
        }
        if taken > 0 {
            body.head.0.store(end.0, Ordering::Release);
        }
        drop(section);
        if taken > 0 || after_death {
            body.space.0.wake_one();
            if available > taken as u64 {
                body.data.0.wake_one();
            }
        }
        Ok(taken)
    }

    /// Reads the message at a mark, and returns the mark behind it. In the
    /// receivers' section.
    fn read(&self, at: Mark, tail: Mark, to: &mut Vec<u8>) -> Result<Mark> {
        let units = self.units();
        let mut place = at;
        let first = self.word(place.position())?.load(Ordering::Relaxed);
        let first = if first & SKIP == 0 {
            first
        } else {
            let skip = first & !SKIP;
            if skip > tail.units_since(at) {
                return Err(broken());
            }
            place = place.plus(skip, 0);
            self.word(place.position())?.load(Ordering::Relaxed)
        };
        let need = first.div_ceil(UNIT as u64).saturating_add(1);
        let offset = place.position() & (units - 1);
        if need > tail.units_since(place) || offset + need > units {
            return Err(broken());
        }
        let length = usize::try_from(first).map_err(|_| broken())?;
        let bytes = self.place(place.position() + 1);
        self.0.memory().read(bytes, length, to).ok_or_else(|| {
            Error::new(
                ErrorKind::Exhausted,
                "no memory for the next message; it stays in the queue",
            )
        })?;
        Ok(place.plus(need, 1))
    }

    /// Sleeps until there may be a message.
    pub(super) fn sleep_for_data(&self, nap: std::time::Duration) {
        self.body().data.0.sleep(nap, || !self.is_empty());
    }

    /// Sleeps until there may be room.
    pub(super) fn sleep_for_space(&self, nap: std::time::Duration) {
        let body = self.body();
        let head = body.sending.other.load(Ordering::SeqCst);
        body.space.0.sleep(nap, || body.head.0.load(Ordering::SeqCst) != head);
    }

    /// Wakes all who sleep: one side is gone.
    pub(super) fn wake_all(&self) {
        self.body().data.0.wake_all();
        self.body().space.0.wake_all();
    }

    /// Makes the next sender ring the bell. Returns whether there are messages
    /// already.
    pub(super) fn arm(&self) -> bool {
        let body = self.body();
        body.armed.store(1, Ordering::SeqCst);
        // A sender that did not see this has stored `tail` when it leaves.
        drop(body.sending.section.enter());
        !self.is_empty()
    }

    /// Waits for the sender that is adding a message, if one is: it may have rung
    /// the bell already. Returns whether there was one.
    pub(super) fn let_sender_finish(&self) -> bool {
        let section = &self.body().sending.section;
        let busy = section.is_held();
        if busy {
            drop(section.enter());
        }
        busy
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
    fn body(&self) -> &RingBody {
        self.0.body()
    }

    /// Its size as a power of two, whatever another process has written.
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
    fn units(&self) -> u64 {
        (1 << self.size()) / UNIT as u64
    }

    /// Where the unit at a position is in the memory.
    fn place(&self, position: u64) -> usize {
        Object::<RingBody>::ROOM + (position & (self.units() - 1)) as usize * UNIT
    }

    /// The word at a position.
    fn word(&self, position: u64) -> Result<&AtomicU64> {
        self.0.memory().word(self.place(position)).ok_or_else(broken)
    }

    /// Makes the system provide a range of the ring.
    fn provide(&self, start: usize, length: usize) -> Result<()> {
        let start = Object::<RingBody>::ROOM + start;
        let provided = self.0.memory().provide(start, length);
        provided.map_err(|error| Error::io(error, format!("providing {length} bytes for a queue")))
    }
}

/// The memory holds what no sender writes.
#[cold]
fn broken() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the memory of a queue was overwritten: it cannot be used any more",
    )
}
