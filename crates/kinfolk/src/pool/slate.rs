//! What a worker has done of its chunk, where its parent finds it when it dies.
#![allow(unsafe_code)] // Its memory is made of atomics.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::sync::object::{Body, Object};

/// The room for results, in bytes.
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

    /// Forgets what is written: the next result is that of item `first`.
    pub(super) fn begin(&self, first: u32) {
        self.0.body().word.store(u64::from(first) << 32, Ordering::Release);
    }

    /// Writes the result that ends what is written by now, of `count` items from
    /// `first` on. Returns whether there was room.
    pub(super) fn add(&self, place: usize, bytes: &[u8], first: u32, count: u32) -> bool {
        if place + bytes.len() > ROOM {
            return false;
        }
        let written = self.0.memory().write(Object::<SlateBody>::ROOM + place, bytes);
        self.0.body().word.store(u64::from(first) << 32 | u64::from(count), Ordering::Release);
        written.is_some()
    }

    /// What a dead worker has written: the number of the first item, how many, and
    /// the room in which their results are.
    pub(super) fn read(&self) -> (u32, u32, Vec<u8>) {
        let word = self.0.body().word.load(Ordering::Acquire);
        let mut bytes = Vec::new();
        let read = self.0.memory().read(Object::<SlateBody>::ROOM, ROOM, &mut bytes);
        let count = if read.is_some() { word as u32 } else { 0 };
        ((word >> 32) as u32, count, bytes)
    }
}
