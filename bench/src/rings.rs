//! The floors of the queues: rings in shared memory that no kill may meet. Who
//! finds one full or empty looks again.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::shared::{Body, InMemory, Line, spin};

/// The most numbers in a [`Numbers`].
pub(crate) const NUMBERS: u64 = 1024;

/// Vyukov's ring of numbers: many send, many receive.
#[repr(C)]
pub(crate) struct Numbers {
    /// How many were sent.
    tail: Line<AtomicU64>,
    /// How many were received.
    head: Line<AtomicU64>,
    /// The numbers.
    cells: [Cell; NUMBERS as usize],
}

/// A place for a number.
#[repr(C)]
struct Cell {
    /// In a lap that begins at a position: this position while it may be written,
    /// and 1 more while it may be read.
    turn: AtomicU64,
    /// The number.
    number: AtomicU64,
}

// SAFETY: words; of zeros, all places may be written in the first lap.
unsafe impl Body for Numbers {}

impl Numbers {
    /// Sends a number.
    #[inline]
    pub(crate) fn send(&self, number: u64) {
        let (cell, lap) = self.next(&self.tail.0, 0);
        cell.number.store(number, Ordering::Relaxed);
        cell.turn.store(lap + 1, Ordering::Release);
    }

    /// Receives a number.
    #[inline]
    pub(crate) fn receive(&self) -> u64 {
        let (cell, lap) = self.next(&self.head.0, 1);
        let number = cell.number.load(Ordering::Relaxed);
        cell.turn.store(lap + NUMBERS, Ordering::Release);
        number
    }

    /// Takes the next place, once its turn has come. Returns the begin of its lap too.
    #[inline]
    fn next(&self, counter: &AtomicU64, turn: u64) -> (&Cell, u64) {
        spin(|| {
            let position = counter.load(Ordering::Relaxed);
            let cell = &self.cells[(position % NUMBERS) as usize];
            let lap = position - position % NUMBERS;
            let taken = cell.turn.load(Ordering::Acquire) == lap + turn
                && counter
                    .compare_exchange_weak(
                        position,
                        position + 1,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    )
                    .is_ok();
            taken.then_some((cell, lap))
        })
    }
}

/// The size of a ring of bytes.
const BYTES: usize = 4 << 20;

/// A ring of bytes: one sends, one receives.
#[repr(C)]
pub(crate) struct Bytes {
    /// How many bytes were sent.
    tail: Line<AtomicU64>,
    /// How many bytes were received.
    head: Line<AtomicU64>,
    /// The bytes.
    ring: UnsafeCell<[u8; BYTES]>,
}

// SAFETY: two words, and bytes that only their functions touch: the sender those
// from `tail` on, the receiver those before, which the two words keep apart.
unsafe impl Sync for Bytes {}
// SAFETY: of zeros, it is empty.
unsafe impl Body for Bytes {}

/// One end of a ring of bytes.
pub(crate) struct End {
    /// The ring.
    ring: InMemory<Bytes>,
    /// How much of it is used, in bytes: a power of two.
    size: u64,
    /// How far this end is.
    here: u64,
    /// How far the other end is at least.
    there: u64,
}

impl End {
    /// An end of a new ring, of which `size` bytes are used.
    pub(crate) fn new(ring: InMemory<Bytes>, size: usize) -> Self {
        assert!(size.is_power_of_two() && size <= BYTES, "a part of the ring");
        Self { ring, size: size as u64, here: 0, there: 0 }
    }

    /// Sends a message: its length, and its bytes.
    pub(crate) fn send(&mut self, message: &[u8]) {
        let end = self.here + 8 + message.len().next_multiple_of(8) as u64;
        assert!(end - self.here <= self.size, "a message that fits");
        if end - self.there > self.size {
            let head = &self.ring.head.0;
            self.there =
                spin(|| Some(head.load(Ordering::Acquire)).filter(|head| end - head <= self.size));
        }
        self.copy(self.here, 8, |place, from, length| {
            let bytes = message.len().to_le_bytes();
            // SAFETY: the part from `from` on of a copy of 8 bytes; the place is in
            // the ring, behind `tail`, where nobody else reads or writes.
            unsafe { ptr::copy_nonoverlapping(bytes[from..].as_ptr(), place, length) };
        });
        self.copy(self.here + 8, message.len(), |place, from, length| {
            // SAFETY: a part of the message; the place as above.
            unsafe { ptr::copy_nonoverlapping(message[from..].as_ptr(), place, length) };
        });
        self.here = end;
        self.ring.tail.0.store(end, Ordering::Release);
    }

    /// Receives a message; returns its length. What `buffer` has no room for is
    /// lost.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> usize {
        if self.there == self.here {
            let tail = &self.ring.tail.0;
            self.there =
                spin(|| Some(tail.load(Ordering::Acquire)).filter(|tail| *tail != self.here));
        }
        let mut bytes = [0; 8];
        self.copy(self.here, 8, |place, from, length| {
            // SAFETY: the part from `from` on of a copy of 8 bytes; the place is in
            // the ring, between `head` and `tail`, where nobody writes.
            unsafe { ptr::copy_nonoverlapping(place, bytes[from..].as_mut_ptr(), length) };
        });
        let length = usize::from_le_bytes(bytes);
        self.copy(self.here + 8, length.min(buffer.len()), |place, from, length| {
            // SAFETY: a part of the buffer; the place as above.
            unsafe { ptr::copy_nonoverlapping(place, buffer[from..].as_mut_ptr(), length) };
        });
        self.here += 8 + length.next_multiple_of(8) as u64;
        self.ring.head.0.store(self.here, Ordering::Release);
        length
    }

    /// Copies `length` bytes at a position in one part, or two where the ring ends:
    /// `part` gets where it is in the ring, from which byte on, and how many.
    fn copy(&self, position: u64, length: usize, mut part: impl FnMut(*mut u8, usize, usize)) {
        let offset = (position % self.size) as usize;
        let first = length.min(self.size as usize - offset);
        let ring = self.ring.ring.get().cast::<u8>();
        part(ring.wrapping_add(offset), 0, first);
        if first < length {
            part(ring, first, length - first);
        }
    }
}
