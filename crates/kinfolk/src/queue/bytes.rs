//! A queue of bytes whose handles are both of its ends.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bounded::Options;
use super::end::End;
use super::receiver::Receiver;
use super::ring::Ring;
use super::sender::Sender;
use super::view::View;
use crate::sync::object::Object;
use crate::{Error, ErrorKind, Result};

/// A queue of messages that are encoded elsewhere. Each handle both sends and
/// receives, so no side is ever gone: who waits for a message waits until one
/// comes, and a fork's copy is as good as the original.
///
/// A kill leaves it as it does a [`Sender`] and a [`Receiver`]: a message is whole
/// or was never sent, and a receiver takes those with it that it was receiving.
///
/// It can be waited for, with [`wait`](crate::wait()): it is ready when there is a
/// message, which another may receive first. (A sender that was killed in the middle
/// has made it ready for nothing.) Another poller must ask for its descriptor before
/// each of its waits.
///
/// ```
/// use std::time::Duration;
/// use kinfolk::queue::{ByteQueue, Options};
///
/// let queue = ByteQueue::new(Options::new(10))?;
/// assert!(queue.send_timeout(b"a message", Duration::ZERO)?);
/// let message = queue.recv_timeout(Duration::ZERO)?.expect("it is there");
/// assert_eq!(message.into_vec()?, b"a message");
/// # Ok::<(), kinfolk::Error>(())
/// ```
pub struct ByteQueue {
    /// Both ends, as one that sends.
    sender: Sender<()>,
    /// The same, as one that receives.
    receiver: Receiver<()>,
}

impl ByteQueue {
    /// Makes a queue.
    ///
    /// # Errors
    ///
    /// As [`with_options`](super::with_options).
    pub fn new(options: Options) -> Result<Self> {
        Ok(Self::of_end(End::of_both_sides(options.ring()?)?))
    }

    /// Makes a handle of what [`fds`](ByteQueue::fds) gave to this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the first is not
    /// the memory of a queue, or of another pid namespace.
    pub fn from_fds([memory, bell]: [OwnedFd; 2]) -> Result<Self> {
        let refuse = |reason| Error::new(ErrorKind::InvalidInput, reason);
        let ring = Ring(Object::open(memory).map_err(refuse)?);
        Ok(Self::of_end(End::joined(ring, bell)))
    }

    /// The memory and the bell, for a process that inherits them.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.sender.end.ring.memory().as_fd(), self.sender.end.bell.as_fd()]
    }

    /// Sends a message, waiting for room for at most `timeout`; returns whether there
    /// was any.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLong`] if it is larger than the
    /// queue allows; or if there is no memory for it.
    pub fn send_timeout(&self, message: &[u8], timeout: Duration) -> Result<bool> {
        Ok(self.sender.push_one(message, deadline(timeout))?.is_some())
    }

    /// Sends messages, in order, waiting for room for at most `timeout`; returns how
    /// many were sent. As many as there is room for become visible at once.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](ByteQueue::send_timeout); those before the one that failed
    /// have been sent.
    pub fn send_many_timeout(&self, messages: &[&[u8]], timeout: Duration) -> Result<usize> {
        self.sender.push_many(messages, deadline(timeout))
    }

    /// Receives a message, waiting for at most `timeout`; `None` if none came.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if the memory was
    /// overwritten.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<View<'_>>> {
        self.receiver.view_until(deadline(timeout))
    }

    /// Receives all messages that there are, at most `most`, waiting for one for at
    /// most `timeout`. They leave the queue at once.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](ByteQueue::recv_timeout), and
    /// [`ErrorKind::Exhausted`] if there is no memory for
    /// any: a large one stays then.
    pub fn recv_many_timeout(&self, most: usize, timeout: Duration) -> Result<Vec<Vec<u8>>> {
        self.receiver.bytes_until(most, deadline(timeout))
    }

    /// The number of messages in the queue, at this moment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sender.end.ring.len()
    }

    /// Whether the queue is empty, at this moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sender.end.ring.is_empty()
    }

    /// The most messages in the queue.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.sender.end.ring.capacity()
    }

    /// Both sides of it, as those that a pool has.
    pub(crate) fn into_sides(self) -> (Sender<()>, Receiver<()>) {
        (self.sender, self.receiver)
    }

    /// Makes a handle.
    fn of_end(end: End) -> Self {
        let end = Arc::new(end);
        Self { sender: Sender::new(Arc::clone(&end)), receiver: Receiver::new(end) }
    }
}

/// To wait for: readable when there is a message.
impl AsFd for ByteQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.listen();
        self.sender.end.bell.as_fd()
    }
}

impl fmt::Debug for ByteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<ByteQueue, {} of {} messages>", self.len(), self.capacity())
    }
}

/// When a time from now is over; a wait without end asks nobody whether to end.
fn deadline(timeout: Duration) -> Option<Instant> {
    /// A century.
    const LONG: Duration = Duration::from_secs(100 * 366 * 86_400);
    let now = Instant::now();
    now.checked_add(timeout.min(LONG)).or(Some(now))
}
