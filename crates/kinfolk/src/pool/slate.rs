//! What a worker has done of its chunk, where its parent finds it when it dies.
#![allow(unsafe_code)] // Its memory is made of atomics.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::protocol::RESULTS_HEAD;
use crate::sync::object::{Body, Object};
use crate::{Error, ErrorKind, Result};

/// The room for a message of results, in bytes.
pub(super) const ROOM: usize = 64 << 10;

/// The results of a worker that it has not sent yet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Slate(Object<SlateBody>);

/// A slate in shared memory. The worker alone writes, its parent reads when it is dead.
struct SlateBody {
    /// Results of which items are written: the number of the first, and how many, in
    /// the upper and the lower half.
    ///
    /// | change, by the worker | if killed before | if killed after |
    /// |---|---|---|
    /// | after it has sent results: → the next first one, none | the parent has them already, and takes them once | nothing is written |
    /// | after it has written a result: one more | the item was running | it is done |
    word: AtomicU64,
}

// SAFETY: a word; without results when it is zero.
unsafe impl Body for SlateBody {
    const NAME: &'static CStr = c"kinfolk-slate";
    const KIND: u64 = u64::from_le_bytes(*b"kf slat1");
}

impl Slate {
    /// Makes a slate.
    ///
    /// # Errors
    ///
    /// If there is no memory or no file descriptor for it.
    pub(super) fn new() -> Result<Self> {
        let object = Object::<SlateBody>::with_room(ROOM)?;
        let place = Object::<SlateBody>::ROOM;
        object.memory().provide(place, ROOM).map_err(|error| {
            crate::Error::io(error, "providing memory for the results of a worker")
        })?;
        Ok(Self(object))
    }

    /// Another handle of it.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub(super) fn try_clone(&self) -> Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Its memory, for a process that inherits it.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.memory().as_fd()
    }

    /// Makes a handle of what [`fd`](Self::fd) gave to this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it is not the memory of a slate.
    pub(super) fn from_fd(fd: OwnedFd) -> Result<Self> {
        let refuse = |reason| Error::new(ErrorKind::InvalidInput, reason);
        Ok(Self(Object::open(fd).map_err(refuse)?))
    }

    /// Opens it, to write on; `None` if it has no room.
    ///
    /// # Safety
    ///
    /// This process is the worker that the slate is for, and opens it once.
    pub(super) unsafe fn open(&self) -> Option<Page<'_>> {
        // SAFETY: the worker alone writes, as the caller promises, and its parent reads
        // when it is dead.
        let room = unsafe { self.0.memory().slice_mut(Object::<SlateBody>::ROOM, ROOM)? };
        Some(Page { word: &self.0.body().word, room })
    }

    /// What a dead worker has written: the number of the first item, how many, and
    /// the message in which their results are, without its head.
    pub(super) fn read(&self) -> (u32, u32, Vec<u8>) {
        let word = self.0.body().word.load(Ordering::Acquire);
        let mut bytes = Vec::new();
        let (place, length) = (Object::<SlateBody>::ROOM + RESULTS_HEAD, ROOM - RESULTS_HEAD);
        let read = self.0.memory().read(place, length, &mut bytes);
        let count = if read.is_some() { word as u32 } else { 0 };
        ((word >> 32) as u32, count, bytes)
    }
}

/// A slate that is written on.
pub(super) struct Page<'a> {
    /// What is written.
    word: &'a AtomicU64,
    /// A message of results, on its way: room for its head, and the results.
    pub(super) room: &'a mut [u8],
}

impl Page<'_> {
    /// Says of how many items from `first` on the results are in the room.
    #[inline]
    pub(super) fn note(&self, first: u32, count: u32) {
        self.word.store(u64::from(first) << 32 | u64::from(count), Ordering::Release);
    }
}
