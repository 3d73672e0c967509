//! One end of a pipe.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{BufferTooShort, RecvIntoError};
use crate::sys::fork_guard::PrivateFd;
use crate::sys::{poll, socket};
use crate::wire::codec;
use crate::wire::frame::{self, Care, Message, Payload, Placed, Wait};
use crate::wire::handle::Handle;
use crate::{Error, ErrorKind, Result};

/// One end of a [`pipe`](crate::pipe): sends values of type `S`, receives values
/// of type `R`, and raw bytes both ways.
///
/// A message of any size is sent whole or not at all, whenever the sender is
/// killed, and received by exactly one receiver. So an end may be used by
/// several threads, and sent to several processes, without a lock; messages of
/// one sender stay in order. A receiver that is killed loses at most the message
/// that it had received.
///
/// A blocked receiver is woken by a message, and by the end of the last process
/// that holds the other side, killed ones included: that is an error of kind
/// [`ErrorKind::Disconnected`], after all messages sent before. A blocked sender
/// is woken by room in the socket's buffer, and likewise.
///
/// A fork of this process finds its connections disconnected, except those that
/// were given to it.
pub struct Connection<S, R> {
    /// The socket.
    socket: PrivateFd,
    /// What goes out and comes in.
    types: PhantomData<fn(S) -> R>,
}

impl<S, R> Connection<S, R> {
    /// Wraps an end of a SEQPACKET pair.
    pub(super) fn from_socket(socket: OwnedFd) -> Self {
        Self { socket: PrivateFd::connection(socket), types: PhantomData }
    }

    /// Closes this end. Dropping it does the same.
    pub fn close(self) {
        drop(self);
    }

    /// Waits until a message can be received or the other side is gone; `false`
    /// if `timeout` passed first.
    ///
    /// # Errors
    ///
    /// If the system refuses to wait.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        poll::ready(self.as_fd(), Instant::now().checked_add(timeout))
            .map_err(|error| Error::io(error, "waiting for a message"))
    }
}

impl<S: Serialize, R> Connection<S, R> {
    /// Sends a value. Blocks while the socket's buffer is full.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the other side is gone,
    /// [`ErrorKind::Serialize`] if the value cannot be serialised: nothing is
    /// sent then.
    pub fn send(&self, value: &S) -> Result<()> {
        codec::encode_with(value, |bytes, handles| {
            frame::send(self.as_fd(), bytes, handles, Wait::Forever)
        })?;
        Ok(())
    }

    /// As [`send`](Connection::send), for at most `timeout`; `false` if there was
    /// no room in time, and nothing was sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Connection::send).
    pub fn send_timeout(&self, value: &S, timeout: Duration) -> Result<bool> {
        codec::encode_with(value, |bytes, handles| {
            frame::send(self.as_fd(), bytes, handles, until(timeout))
        })
    }

    /// Sends bytes as one message.
    ///
    /// # Errors
    ///
    /// As [`send`](Connection::send).
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        frame::send(self.as_fd(), bytes, &[], Wait::Forever)?;
        Ok(())
    }
}

impl<S, R: DeserializeOwned> Connection<S, R> {
    /// Receives a value. Blocks until there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the other side is gone;
    /// [`ErrorKind::Deserialize`] and [`ErrorKind::Protocol`] if what came is no
    /// such value, and the message is lost; [`ErrorKind::Exhausted`] if there is
    /// no memory or file descriptor for it, and the message stays in the queue.
    pub fn recv(&self) -> Result<R> {
        let message = self.message(Care::of::<R>())?;
        codec::decode(&message.payload, message.handles)
    }

    /// Receives a value if there is one.
    ///
    /// # Errors
    ///
    /// As [`recv`](Connection::recv).
    pub fn try_recv(&self) -> Result<Option<R>> {
        self.recv_timeout(Duration::ZERO)
    }

    /// As [`recv`](Connection::recv), for at most `timeout`; `None` if nothing came.
    ///
    /// # Errors
    ///
    /// As [`recv`](Connection::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<R>> {
        match frame::recv(self.as_fd(), Care::of::<R>(), until(timeout))? {
            Some(message) => codec::decode(&message.payload, message.handles).map(Some),
            None => Ok(None),
        }
    }

    /// Receives a message as bytes, with one system call; handles in it are closed.
    ///
    /// # Errors
    ///
    /// As [`recv`](Connection::recv), but a message over the socket's limit is
    /// lost if this process has no file descriptor left for its memory:
    /// [`recv_bytes_max`](Connection::recv_bytes_max) looks first, and leaves it
    /// in the queue.
    pub fn recv_bytes(&self) -> Result<Vec<u8>> {
        into_vec(self.message(Care::Fast)?.payload)
    }

    /// As [`recv_bytes`](Connection::recv_bytes), of a message of at most
    /// `maximum` bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLong`] if the next message is longer: it stays in the
    /// queue, for a call with a larger maximum. Else as [`recv`](Connection::recv).
    pub fn recv_bytes_max(&self, maximum: usize) -> Result<Vec<u8>> {
        into_vec(self.message(Care::Keep { maximum })?.payload)
    }

    /// Receives a message into `buffer`, with one system call and without a copy,
    /// and returns its size in bytes.
    ///
    /// # Errors
    ///
    /// [`RecvIntoError::BufferTooShort`] holds a message that did not fit. Else
    /// as [`recv_bytes`](Connection::recv_bytes).
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        match frame::recv_into(self.as_fd(), buffer)? {
            Placed::Inside(size) => Ok(size),
            Placed::Beside(payload) => match buffer.get_mut(..payload.len()) {
                Some(place) => {
                    place.copy_from_slice(&payload);
                    Ok(place.len())
                }
                None => Err(RecvIntoError::BufferTooShort(BufferTooShort(into_vec(payload)?))),
            },
        }
    }

    /// Receives a message.
    fn message(&self, care: Care) -> Result<Message> {
        loop {
            if let Some(message) = frame::recv(self.as_fd(), care, Wait::Forever)? {
                return Ok(message);
            }
        }
    }
}

impl<S, R> AsFd for Connection<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S, R> AsRawFd for Connection<S, R> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<S, R> fmt::Debug for Connection<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Connection, fd {}>", self.as_fd().as_raw_fd())
    }
}

/// A connection travels inside a value, as a handle; the sender keeps its own.
impl<S, R> Serialize for Connection<S, R> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        crate::fd::serialize(&self.as_fd(), serializer)
    }
}

impl<'de, S, R> Deserialize<'de> for Connection<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let socket = Handle::<OwnedFd>::deserialize(deserializer)?.into_inner();
        if !socket::is_seqpacket(socket.as_fd()) {
            let reason = "a handle was to be a connection, but is not one";
            codec::note(reason);
            return Err(D::Error::custom(reason));
        }
        Ok(Self::from_socket(socket))
    }
}

/// The end of a timeout.
fn until(timeout: Duration) -> Wait {
    Instant::now().checked_add(timeout).map_or(Wait::Forever, Wait::Until)
}

/// The bytes of a message.
fn into_vec(payload: Payload) -> Result<Vec<u8>> {
    payload.into_vec().ok_or_else(|| Error::new(ErrorKind::Exhausted, "no memory for the message"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::os::fd::OwnedFd;

    use super::Connection;
    use crate::sys::socket;
    use crate::wire::codec::{decode, encode};
    use crate::wire::handle::Handle;
    use crate::{ErrorKind, pipe};

    #[test]
    fn what_is_not_a_connection_is_refused_as_one() {
        let file = encode(&Handle::from(File::open("/dev/null").unwrap())).unwrap();
        let error = decode::<Connection<(), ()>>(&file.bytes, file.handles).unwrap_err();
        assert!(error.to_string().contains("is not one"), "{error}");
    }

    #[test]
    fn hostile_packets_are_errors_and_leak_nothing() {
        let (a, b) = pipe::<(), u64>().unwrap();
        let file = || OwnedFd::from(File::open("/dev/null").unwrap());
        let files = [file(), file()];
        let hostile: [(&[u8], usize); 8] = [
            (&[0], 0),
            (&[0, 0, 0], 0),
            (&[7, 0, 0, 0], 0),
            (&[0, 1, 0, 0], 0),
            (&[0, 0, 9, 0], 0),
            (&[0, 0, 0, 0, 1], 2),
            (&[1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0], 1),
            (&[1, 0, 0, 0], 0),
        ];
        for (bytes, count) in hostile {
            let fds: Vec<_> = files[..count].iter().map(|file| file.as_fd()).collect();
            socket::send(b.as_fd(), &[bytes, &[]], &fds, true).unwrap();
            let error = a.recv_bytes_u64();
            assert_eq!(error, ErrorKind::Protocol, "{bytes:?}");
        }
        b.send(&7).unwrap();
    }

    impl Connection<(), u64> {
        /// The kind of error that receiving is.
        fn recv_bytes_u64(&self) -> ErrorKind {
            self.recv().unwrap_err().kind()
        }
    }
}
