//! The sending end of a queue.
#![allow(unsafe_code)] // Messages that are written where they stay.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::End;
use super::mark::Mark;
use super::ring::{LONGEST, Piece, Ring, broken};
use super::waiting::Event;
use crate::sync::signal::Naps;
use crate::sys::sides;
use crate::wire::codec;
use crate::{Error, ErrorKind, Result};

/// The sending end of a queue of `T`.
///
/// It can be used by several threads, cloned, and sent to other processes inside
/// any value. Messages of one sender stay in order.
///
/// A sender that is killed has sent a whole message or none. A sender that waits
/// for room is woken by a receiver, and by the end of the last receiver, killed
/// ones included: that is an error of kind [`ErrorKind::Disconnected`].
pub struct Sender<T> {
    /// The end.
    pub(super) end: Arc<End>,
    /// What is sent.
    types: PhantomData<fn(T)>,
}

impl<T> Sender<T> {
    /// Makes a sender.
    pub(super) fn new(end: Arc<End>) -> Self {
        Self { end, types: PhantomData }
    }

    /// Another sender of the same queue.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self::new(Arc::new(self.end.try_clone()?)))
    }

    /// The number of messages in the queue, at this moment.
    #[must_use]
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.end.ring.len()
    }

    /// Whether the queue is empty, at this moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.ring.is_empty()
    }

    /// The most messages in the queue.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.ring.capacity()
    }

    /// Closes this end. Dropping it does the same.
    pub fn close(self) {
        drop(self);
    }
}

impl<T: Serialize> Sender<T> {
    /// Sends a value. Waits while the queue is full.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if no receiver is left;
    /// [`ErrorKind::Serialize`] if the value cannot be serialised, or has a file
    /// descriptor in it, which cannot travel through memory;
    /// [`ErrorKind::TooLong`] if it is larger than the queue allows. Nothing is
    /// sent then.
    #[doc(alias = "put")]
    pub fn send(&self, value: &T) -> Result<()> {
        while !self.send_until(value, None)? {}
        Ok(())
    }

    /// Sends a value if there is room; returns whether there was.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send).
    pub fn try_send(&self, value: &T) -> Result<bool> {
        self.send_until(value, Some(Instant::now()))
    }

    /// As [`send`](Sender::send), for at most `timeout`; `false` if there was no
    /// room in time, and nothing was sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send).
    pub fn send_timeout(&self, value: &T, timeout: Duration) -> Result<bool> {
        self.send_until(value, Instant::now().checked_add(timeout))
    }

    /// Sends many values, in order, waiting while the queue is full. As many as
    /// there is room for become visible at once.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send); those before the one that failed may have been
    /// sent.
    pub fn send_many(&self, values: &[T]) -> Result<()> {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(values.len());
        for value in values {
            encoded(value, |one| {
                bytes.extend_from_slice(one);
                Ok(())
            })?;
            ends.push(bytes.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let messages: Vec<&[u8]> =
            starts.zip(&ends).map(|(start, end)| &bytes[start..*end]).collect();
        self.push_many(&messages, None).map(drop)
    }

    /// Sends bytes as one message, without encoding them.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send).
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        while self.push_one(bytes, None)?.is_none() {}
        Ok(())
    }

    /// As [`send_bytes`](Sender::send_bytes) if there is room; returns whether there
    /// was.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send).
    pub fn try_send_bytes(&self, bytes: &[u8]) -> Result<bool> {
        Ok(self.push_one(bytes, Some(Instant::now()))?.is_some())
    }

    /// As [`send_bytes`](Sender::send_bytes), for at most `timeout`; `false` if there was
    /// no room in time, and nothing was sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send).
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<bool> {
        Ok(self.push_one(bytes, Instant::now().checked_add(timeout))?.is_some())
    }

    /// Sends a value until then.
    fn send_until(&self, value: &T, deadline: Option<Instant>) -> Result<bool> {
        encoded(value, |bytes| Ok(self.push_one(bytes, deadline)?.is_some()))
    }

    /// Waits until nothing is in the queue or on lease: every message has been
    /// received, and those on lease are [`done`](crate::queue::Lease::done).
    /// Woken by that; the death of a holder of a lease gives its message back, and
    /// the wait goes on.
    pub fn join(&self) {
        self.join_until(None);
    }

    /// As [`join`](Sender::join), for at most `timeout`; returns whether it came so
    /// far.
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.join_until(Instant::now().checked_add(timeout))
    }
}

impl<T> Sender<T> {
    /// Waits until all is settled, or until then.
    fn join_until(&self, deadline: Option<Instant>) -> bool {
        let mut naps = Naps::long();
        while !self.end.ring.is_settled() {
            let Some(nap) = naps.next(deadline) else { return false };
            self.end.ring.sleep_until_settled(nap);
        }
        true
    }

    /// Adds messages of any sizes, waiting for room; returns how many there was room
    /// for until then.
    pub(super) fn push_many(&self, messages: &[&[u8]], deadline: Option<Instant>) -> Result<usize> {
        let mut total = 0;
        for group in messages.chunk_by(|a, b| a.len() <= LONGEST && b.len() <= LONGEST) {
            let mut left: Vec<Piece<'_>> = group.iter().map(|bytes| Piece::Bytes(bytes)).collect();
            while !left.is_empty() {
                let sent = match left[..] {
                    [Piece::Bytes(large)] if large.len() > LONGEST => {
                        self.push_one(large, deadline)?.map(|()| 1)
                    }
                    _ => self.push(&left, deadline)?,
                };
                match sent {
                    Some(sent) => total += left.drain(..sent).count(),
                    None if deadline.is_some() => return Ok(total),
                    None => {}
                }
            }
        }
        Ok(total)
    }

    /// Adds a message of any size, waiting for room; `None` if there was none
    /// until then.
    #[inline]
    pub(super) fn push_one(&self, bytes: &[u8], deadline: Option<Instant>) -> Result<Option<()>> {
        if bytes.len() <= LONGEST {
            return Ok(self.push(&[Piece::Bytes(bytes)], deadline)?.map(drop));
        }
        let write = |index| self.end.ring.write_extent(index, bytes);
        self.push_large(bytes.len(), write, deadline)
    }

    /// Sends a message of so many bytes, more than the ring has room for, which `write`
    /// writes where they stay. Nothing is sent if it fails.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send), and what `write` fails with.
    ///
    /// # Safety
    ///
    /// No other process that shares the queue reads or writes the message before it is
    /// sent. This library does not.
    pub(crate) unsafe fn send_with(
        &self,
        length: usize,
        write: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let write = |index| {
            let (place, length) = self.end.ring.extent(index)?;
            // SAFETY: an extent of this process, which no record names yet.
            let room = unsafe { self.end.ring.memory().slice_mut(place, length) };
            write(room.ok_or_else(broken)?)
        };
        self.push_large(length, write, None).map(drop)
    }

    /// Adds a message of so many bytes that the ring has no room for, likewise: `write`
    /// writes it into an extent.
    fn push_large(
        &self,
        length: usize,
        write: impl FnOnce(usize) -> Result<()>,
        deadline: Option<Instant>,
    ) -> Result<Option<()>> {
        let ring = &self.end.ring;
        if length > ring.arena_size() {
            let most = ring.arena_size();
            return Err(Error::new(
                ErrorKind::TooLong,
                format!(
                    "a message of {length} bytes, where the queue takes {most}: make the queue \
                     with more bytes"
                ),
            ));
        }
        let freed = Cell::new(0);
        let attempt = |look: bool| {
            freed.set(ring.freed());
            match ring.allocate(length)? {
                None if look && !self.look_for_receivers()? && ring.sweep()? => {
                    ring.allocate(length)
                }
                allocated => Ok(allocated),
            }
        };
        let sleep = |ring: &Ring, nap| ring.sleep_for_extent(freed.get(), nap);
        let Some(index) = self.end.wait(deadline, Event::Extent, attempt, sleep)? else {
            return Ok(None);
        };
        let extent = Unsent { ring, index };
        write(index)?;
        let sent = self.push(&[Piece::Extent(index)], deadline)?;
        if sent.is_some() {
            std::mem::forget(extent);
        }
        Ok(sent.map(drop))
    }

    /// Adds messages, waiting for room; `None` if there was none until then.
    #[inline]
    fn push(&self, messages: &[Piece<'_>], deadline: Option<Instant>) -> Result<Option<usize>> {
        let ring = &self.end.ring;
        let head = Cell::new(Mark::default());
        let attempt = |look: bool| {
            // Only after these does it sleep.
            if look {
                head.set(ring.head());
            }
            match ring.push(messages, || sides::ring(&self.end.bell))? {
                0 => {
                    if look {
                        self.look_for_receivers()?;
                    }
                    Ok(None)
                }
                sent => Ok(Some(sent)),
            }
        };
        let sleep = |ring: &Ring, nap| ring.sleep_for_space(head.get(), nap);
        self.end.wait(deadline, Event::Space, attempt, sleep)
    }

    /// Makes sure that there is a receiver; `false` means that there is.
    fn look_for_receivers(&self) -> Result<bool> {
        if self.end.other_is_gone()? {
            return Err(Error::new(ErrorKind::Disconnected, "no receiver of the queue is left"));
        }
        Ok(false)
    }
}

/// An extent that is free again if no message comes of it.
struct Unsent<'a> {
    /// The queue.
    ring: &'a Ring,
    /// Its number.
    index: usize,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.ring.free(self.index);
    }
}

/// Encodes a value that has no descriptor in it.
fn encoded<T: Serialize, R>(value: &T, send: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
    let mut room = [0; codec::SMALL];
    if let Some(length) = codec::encode_plain(value, &mut room) {
        return send(&room[..length]);
    }
    codec::encode_with(value, 0, |bytes, handles| {
        if handles.is_empty() {
            return send(bytes);
        }
        Err(Error::new(
            ErrorKind::Serialize,
            format!(
                "a {} has {} file descriptors in it, which cannot travel through a queue: send it \
                 over a pipe, or to the process as an argument",
                std::any::type_name::<T>(),
                handles.len()
            ),
        ))
    })
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.end.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        End::deserialize(deserializer).map(|end| Self::new(Arc::new(end)))
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Sender, {} of {} messages>", self.len(), self.capacity())
    }
}
