//! Memory that processes share: words of zeros.
#![allow(unsafe_code)] // A view of them as a structure.

use std::cell::UnsafeCell;
use std::io;

use super::atomic::{AtomicU64, Ordering};

/// The size of a word.
const WORD: usize = size_of::<AtomicU64>();

/// Memory that processes share. Bytes in it are accessed as words: messages of the
/// model have whole ones.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Its words; aligned as a structure of lines wants it.
    lines: Vec<Line>,
}

/// A line of zeros.
#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Line(UnsafeCell<[u64; 16]>);

// SAFETY: looked at as words only, whose processes run on one thread.
unsafe impl Sync for Shared {}

impl Shared {
    /// Makes memory of zeros.
    pub(crate) fn new(size: usize) -> Self {
        let count = size.div_ceil(size_of::<Line>());
        Self { lines: std::iter::repeat_with(Line::default).take(count).collect() }
    }

    /// Its size in bytes.
    pub(crate) fn len(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// There is always memory.
    #[expect(clippy::unnecessary_wraps, reason = "as in the library")]
    pub(crate) fn provide(&self, _start: usize, _length: usize) -> io::Result<()> {
        Ok(())
    }

    /// The word at a place; `None` if it is outside, or not aligned.
    pub(crate) fn word(&self, place: usize) -> Option<&AtomicU64> {
        let fits = place.is_multiple_of(WORD) && place.checked_add(WORD)? <= self.len();
        fits.then(|| &self.words()[place / WORD])
    }

    /// Copies bytes into the memory; `None`, and nothing, if that is outside.
    pub(crate) fn write(&self, place: usize, bytes: &[u8]) -> Option<()> {
        let words = self.range(place, bytes.len())?;
        for (word, bytes) in words.iter().zip(bytes.as_chunks().0) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        Some(())
    }

    /// Appends bytes of the memory to `to`; `None`, and nothing, if they are
    /// outside.
    pub(crate) fn read(&self, place: usize, length: usize, to: &mut Vec<u8>) -> Option<()> {
        for word in self.range(place, length)? {
            to.extend(word.load(Ordering::Relaxed).to_ne_bytes());
        }
        Some(())
    }

    /// Copies bytes inside of the memory, to where they do not overlap.
    pub(crate) fn copy(&self, from: usize, to: usize, length: usize) -> Option<()> {
        for (from, to) in self.range(from, length)?.iter().zip(self.range(to, length)?) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        Some(())
    }

    /// The beginning of the memory as a `T`.
    pub(crate) fn view<T>(&self) -> &T {
        assert!(size_of::<T>() <= self.len() && align_of::<T>() <= align_of::<Line>());
        // SAFETY: large enough and aligned, as asserted; the caller's `T` consists
        // of words, which are cells.
        unsafe { &*self.lines.as_ptr().cast::<T>() }
    }

    /// The words of a range.
    fn range(&self, place: usize, length: usize) -> Option<&[AtomicU64]> {
        assert!(place.is_multiple_of(WORD) && length.is_multiple_of(WORD), "whole words");
        self.words().get(place / WORD..place.checked_add(length)? / WORD)
    }

    /// All of its words.
    fn words(&self) -> &[AtomicU64] {
        let count = self.len() / WORD;
        // SAFETY: the lines are so many words, aligned.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), count) }
    }
}
