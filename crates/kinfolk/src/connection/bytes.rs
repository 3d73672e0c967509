//! Ends of pipes that are plain descriptors.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

#[cfg(doc)]
use crate::ErrorKind;
use crate::sync::signal::Naps;
use crate::sys::fd::Identity;
use crate::sys::poll::{self, Direction};
use crate::sys::socket;
use crate::wire::frame::{self, Care, Payload, Wait};
use crate::{Error, Result};

/// One end of a pipe of messages that are encoded elsewhere, by a descriptor that
/// stays its owner's: a fork's copy is as good as the original, and any number of
/// processes and threads may use it.
///
/// A message is sent whole or not at all, whenever its sender is killed, and received
/// by exactly one receiver, as on a [`Connection`](crate::Connection). Every wait asks
/// what [`set_interrupt`](crate::set_interrupt) has set.
///
/// Who waits for a message looks for it again and again for a moment before sleeping,
/// unless that was in vain the last times. The wait of a thread whose descriptor another
/// one closes ends within a tenth of a second.
///
/// ```
/// use std::os::fd::AsFd;
/// use std::time::Duration;
/// use kinfolk::BytePipe;
///
/// let [a, b] = BytePipe::pair()?;
/// assert!(BytePipe::new(a.as_fd()).send_timeout(b"a message", Duration::ZERO)?);
/// let message = BytePipe::new(b.as_fd()).recv_timeout(usize::MAX, Duration::ZERO)?;
/// assert_eq!(*message.expect("it is there"), *b"a message");
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct BytePipe<'a> {
    /// The descriptor.
    socket: BorrowedFd<'a>,
}

impl BytePipe<'static> {
    /// Makes the two ends of a pipe, which are closed by an `exec`.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptors.
    pub fn pair() -> Result<[OwnedFd; 2]> {
        socket::pair().map(Into::into).map_err(|error| Error::io(error, "making a pipe"))
    }
}

impl<'a> BytePipe<'a> {
    /// The end that a descriptor is. Of any other descriptor, what is received is
    /// refused: [`is_end`](Self::is_end) tells.
    #[must_use]
    pub fn new(socket: BorrowedFd<'a>) -> Self {
        Self { socket }
    }

    /// Whether the descriptor is of the kind that ends of pipes are.
    #[must_use]
    pub fn is_end(self) -> bool {
        socket::is_seqpacket(self.socket)
    }

    /// Sends a message, waiting for room for at most `timeout`; returns whether there
    /// was any. The end of the last receiver ends the wait.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the other side is
    /// gone.
    pub fn send_timeout(self, message: &[u8], timeout: Duration) -> Result<bool> {
        let now = Wait::Until(Instant::now());
        self.until(timeout, Direction::Out, || {
            // A large one costs a copy, also in vain.
            if message.len() > LARGE && !self.has_room()? {
                return Ok(None);
            }
            let sent = frame::send(self.socket, message, &[], now)?;
            Ok(sent.then_some(()))
        })
        .map(|sent| sent.is_some())
    }

    /// Receives a message of at most `maximum` bytes, waiting for at most `timeout`;
    /// `None` if none came. The end of the last sender ends the wait. Handles in it are
    /// closed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the other side is
    /// gone and all that it sent has been received;
    /// [`ErrorKind::TooLong`] and
    /// [`ErrorKind::Exhausted`] leave the message in the
    /// pipe; [`ErrorKind::Protocol`] if it is none.
    pub fn recv_timeout(self, maximum: usize, timeout: Duration) -> Result<Option<PipeMessage>> {
        let now = Wait::Until(Instant::now());
        self.until(timeout, Direction::In, || {
            let message = frame::recv(self.socket, Care::Keep { maximum }, now)?;
            Ok(message.map(|message| PipeMessage(message.payload)))
        })
    }

    /// Waits until a message can be received or the other side is gone, for at most
    /// `timeout`; returns whether that is so.
    ///
    /// This also waits for any other descriptor to be readable.
    ///
    /// # Errors
    ///
    /// If the system refuses to wait.
    pub fn poll_timeout(self, timeout: Duration) -> Result<bool> {
        let ready = self.until(timeout, Direction::In, || {
            let ready = poll::ready(self.socket, Some(Instant::now())).map_err(waiting)?;
            Ok(ready.then_some(()))
        });
        ready.map(|ready| ready.is_some())
    }

    /// Whether a message can be sent at this moment, or never again.
    fn has_room(self) -> Result<bool> {
        poll::writable(self.socket, Some(Instant::now())).map_err(waiting)
    }

    /// Attempts something until it is done, for at most `timeout`.
    fn until<T>(
        self,
        timeout: Duration,
        direction: Direction,
        mut attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        if let Some(done) = attempt()? {
            return Ok(Some(done));
        }
        if timeout.is_zero() {
            return Ok(None);
        }
        let begin = Instant::now();
        // A time too long to be counted is none.
        let deadline = begin.checked_add(timeout).unwrap_or(begin + FOREVER);
        if let Some(moment) = patience() {
            let moment = moment.min(timeout);
            while begin.elapsed() < moment {
                // The peer may be waiting for this processor.
                std::thread::yield_now();
                if let Some(done) = attempt()? {
                    count(true);
                    return Ok(Some(done));
                }
            }
        }
        count(false);
        let file = Identity::of(self.socket).map_err(waiting)?;
        let mut naps = Naps::long();
        while let Some(nap) = naps.next(Some(deadline)) {
            poll::doze(self.socket, direction, nap).map_err(waiting)?;
            file.check(self.socket).map_err(waiting)?;
            if let Some(done) = attempt()? {
                return Ok(Some(done));
            }
        }
        Ok(None)
    }
}

impl AsFd for BytePipe<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket
    }
}

/// A message from a [`BytePipe`], where it was received: a large one is in memory that
/// it was sent in, which nobody can change.
pub struct PipeMessage(Payload);

impl Deref for PipeMessage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PipeMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<PipeMessage, {} bytes>", self.len())
    }
}

/// A message is large if it has more bytes.
const LARGE: usize = 64 << 10;

/// A time that nobody waits for.
const FOREVER: Duration = Duration::from_secs(1 << 32);

/// How long one looks again and again before sleeping.
const PATIENCE: Duration = Duration::from_micros(50);
/// After so many times in vain one does not look at all.
const VAIN: u32 = 5;
/// Of those, every so many is a try whether it is worth it again.
const RETRY: u32 = 64;

thread_local! {
    /// How often in a row this thread has looked in vain.
    static IN_VAIN: Cell<u32> = const { Cell::new(0) };
}

/// How long to look before sleeping: the shorter, the more often it was in vain.
fn patience() -> Option<Duration> {
    let vain = IN_VAIN.try_with(Cell::get).unwrap_or(0);
    let shorter = if vain.is_multiple_of(RETRY) { 0 } else { vain };
    (shorter < VAIN).then(|| PATIENCE / (1 << shorter))
}

/// Takes down whether looking was of use.
fn count(useful: bool) {
    let _ = IN_VAIN.try_with(|vain| vain.set(if useful { 0 } else { vain.get().wrapping_add(1) }));
}

/// What the system said about waiting.
fn waiting(error: std::io::Error) -> Error {
    Error::io(error, "waiting for a pipe")
}
