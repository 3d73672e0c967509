//! The receiving end of a queue.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::End;
use super::ring::Ring;
use crate::sys::poll::Watch;
use crate::sys::sides;
use crate::wire::codec;
use crate::{Error, ErrorKind, Result};

/// The receiving end of a queue of `T`.
///
/// It can be used by several threads, cloned, and sent to other processes inside
/// any value; each message is received once.
///
/// A receiver that is killed loses at most the messages of the one call that it
/// was in. A receiver that waits is woken by a message, and by the end of the last
/// sender, killed ones included: that is an error of kind
/// [`ErrorKind::Disconnected`], after all messages sent before.
///
/// It can be waited for, with [`wait`](crate::wait()) and
/// [`WaitSet`](crate::WaitSet): it is ready when there is a message, and when
/// there is no sender. (One more case: a sender that was killed in the middle has
/// made it ready for nothing.) Another poller must ask for its descriptor before
/// each of its waits.
pub struct Receiver<T> {
    /// The end.
    end: End,
    /// Watches the bell and the senders' side, once it is waited for.
    watch: OnceLock<Option<Watch>>,
    /// What is received.
    types: PhantomData<fn() -> T>,
}

impl<T> Receiver<T> {
    /// Makes a receiver.
    pub(super) fn new(end: End) -> Self {
        Self { end, watch: OnceLock::new(), types: PhantomData }
    }

    /// Another receiver of the same queue.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self::new(self.end.try_clone()?))
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

impl<T: DeserializeOwned> Receiver<T> {
    /// Receives a value. Waits until there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the queue is empty and no sender is left;
    /// [`ErrorKind::Deserialize`] if the message is no such value: it is lost.
    #[doc(alias = "get")]
    pub fn recv(&self) -> Result<T> {
        loop {
            if let Some(value) = self.recv_until(None)? {
                return Ok(value);
            }
        }
    }

    /// Receives a value if there is one.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    pub fn try_recv(&self) -> Result<Option<T>> {
        with_room(|room| match self.try_pop(1, room, true)? {
            Some(()) => room.decode_one().map(Some),
            None => Ok(None),
        })
    }

    /// As [`recv`](Receiver::recv), for at most `timeout`; `None` if nothing came.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        self.recv_until(Instant::now().checked_add(timeout))
    }

    /// Receives all values that there are, at most `most`, waiting until there is
    /// one. They leave the queue at once.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv); all of them are lost if one is no such value.
    pub fn recv_many(&self, most: usize) -> Result<Vec<T>> {
        with_room(|room| {
            while self.pop(most.max(1), room, None)?.is_none() {}
            room.decode_all()
        })
    }

    /// Receives a message as bytes, without decoding it.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    pub fn recv_bytes(&self) -> Result<Vec<u8>> {
        with_room(|room| {
            while self.pop(1, room, None)?.is_none() {}
            Ok(room.take_bytes())
        })
    }

    /// Receives values until no sender is left. A message that is no such value
    /// ends the iteration too; [`recv`](Receiver::recv) tells them apart.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives a value until then.
    fn recv_until(&self, deadline: Option<Instant>) -> Result<Option<T>> {
        with_room(|room| match self.pop(1, room, deadline)? {
            Some(()) => room.decode_one().map(Some),
            None => Ok(None),
        })
    }
}

impl<T> Receiver<T> {
    /// Takes up to `most` messages, waiting for the first; `None` if there was
    /// none until then.
    fn pop(&self, most: usize, room: &mut Room, deadline: Option<Instant>) -> Result<Option<()>> {
        self.end.wait(deadline, |look| self.try_pop(most, room, look), Ring::sleep_for_data)
    }

    /// Takes up to `most` messages if there are any, looking for senders if not,
    /// and `look` says so.
    fn try_pop(&self, most: usize, room: &mut Room, look: bool) -> Result<Option<()>> {
        if self.pop_now(most, room)? {
            return Ok(Some(()));
        }
        if !look {
            return Ok(None);
        }
        let gone = self.end.other_is_gone()?;
        // The last one may have sent something before it went; another one has
        // said that it does.
        if (gone || self.end.ring.let_sender_finish()) && self.pop_now(most, room)? {
            return Ok(Some(()));
        }
        if gone {
            return Err(Error::new(
                ErrorKind::Disconnected,
                "no sender of the queue is left, and all that they sent has been received",
            ));
        }
        Ok(None)
    }

    /// Takes up to `most` messages; returns whether there were any.
    fn pop_now(&self, most: usize, room: &mut Room) -> Result<bool> {
        room.bytes.clear();
        room.ends.clear();
        let Room { bytes, ends } = room;
        Ok(self.end.ring.pop(most, bytes, |bytes| ends.push(bytes.len()))? > 0)
    }

    /// What is to be watched in place of this receiver, once.
    fn watch(&self) -> Option<&Watch> {
        let make = || {
            let watch = Watch::new().ok()?;
            watch.add(self.end.bell.as_fd(), 0).ok()?;
            watch.add(self.end.side(), 1).ok()?;
            Some(watch)
        };
        self.watch.get_or_init(make).as_ref()
    }
}

/// Where messages are until they are decoded.
#[derive(Default)]
struct Room {
    /// Their bytes.
    bytes: Vec<u8>,
    /// The end of each.
    ends: Vec<usize>,
}

impl Room {
    /// Decodes the only message.
    fn decode_one<T: DeserializeOwned>(&self) -> Result<T> {
        codec::decode(&self.bytes, Vec::new())
    }

    /// The bytes of the only message: large ones as they are, small ones copied,
    /// so that the room stays.
    fn take_bytes(&mut self) -> Vec<u8> {
        if self.bytes.len() > KEPT { std::mem::take(&mut self.bytes) } else { self.bytes.clone() }
    }

    /// Decodes the messages.
    fn decode_all<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let messages = starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end]);
        messages.map(|bytes| codec::decode(bytes, Vec::new())).collect()
    }
}

/// The largest room that a thread keeps, in bytes.
const KEPT: usize = 64 << 10;

/// Lends this thread's room.
fn with_room<R>(work: impl FnOnce(&mut Room) -> R) -> R {
    thread_local! {
        static ROOM: RefCell<Room> = RefCell::default();
    }
    // An exit handler runs when this thread's own is gone.
    let mut room = ROOM.try_with(RefCell::take).unwrap_or_default();
    let result = work(&mut room);
    room.bytes.clear();
    room.bytes.shrink_to(KEPT);
    let _ = ROOM.try_with(|kept| kept.replace(room));
    result
}

/// To wait for: readable when there is a message or no sender is left.
impl<T> AsFd for Receiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // Without a descriptor for it, the senders' side alone is watched: the
        // waiter is woken by their end, and a set says that it cannot be made.
        let Some(watch) = self.watch() else { return self.end.side() };
        if self.end.ring.is_empty() {
            sides::silence(&self.end.bell);
        }
        if self.end.ring.arm() {
            sides::ring(&self.end.bell);
        }
        watch.as_fd()
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.end.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        End::deserialize(deserializer).map(Self::new)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Receiver, {} of {} messages>", self.len(), self.capacity())
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The values of a [`Receiver`], as they come.
#[derive(Debug)]
pub struct Iter<'a, T> {
    /// Where they come from.
    receiver: &'a Receiver<T>,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}
