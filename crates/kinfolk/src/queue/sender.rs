//! The sending end of a queue.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::End;
use super::ring::Ring;
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
    end: End,
    /// What is sent.
    types: PhantomData<fn(T)>,
}

impl<T> Sender<T> {
    /// Makes a sender.
    pub(super) fn new(end: End) -> Self {
        Self { end, types: PhantomData }
    }

    /// Another sender of the same queue.
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
        encoded(value, |bytes| self.try_push(&[bytes], true).map(|sent| sent.is_some()))
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
        let mut left = &messages[..];
        while !left.is_empty() {
            if let Some(sent) = self.push(left, None)? {
                left = &left[sent..];
            }
        }
        Ok(())
    }

    /// Sends bytes as one message, without encoding them.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send).
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        while self.push(&[bytes], None)?.is_none() {}
        Ok(())
    }

    /// Sends a value until then.
    fn send_until(&self, value: &T, deadline: Option<Instant>) -> Result<bool> {
        encoded(value, |bytes| self.push(&[bytes], deadline).map(|sent| sent.is_some()))
    }

    /// Adds messages, waiting for room; `None` if there was none until then.
    fn push(&self, messages: &[&[u8]], deadline: Option<Instant>) -> Result<Option<usize>> {
        let attempt = |look| self.try_push(messages, look);
        self.end.wait(deadline, attempt, Ring::sleep_for_space)
    }

    /// Adds messages if there is room, looking for receivers if there is not, and
    /// `look` says so.
    fn try_push(&self, messages: &[&[u8]], look: bool) -> Result<Option<usize>> {
        match self.end.ring.push(messages, || sides::ring(&self.end.bell))? {
            0 if look && self.end.other_is_gone()? => {
                Err(Error::new(ErrorKind::Disconnected, "no receiver of the queue is left"))
            }
            0 => Ok(None),
            sent => Ok(Some(sent)),
        }
    }
}

/// Encodes a value that has no descriptor in it.
fn encoded<T: Serialize, R>(value: &T, send: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
    codec::encode_with(value, |bytes, handles| {
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
        End::deserialize(deserializer).map(Self::new)
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Sender, {} of {} messages>", self.len(), self.capacity())
    }
}
