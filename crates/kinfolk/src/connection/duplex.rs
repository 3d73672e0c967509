//! One end of a pipe, or of a connection between programs.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{BufferTooShort, RecvIntoError};
use super::parts::Parts;
use super::stream::Stream;
use crate::sys::fork_guard::PrivateFd;
use crate::sys::{poll, socket};
use crate::wire::codec;
use crate::wire::frame::{self, Care, HEADER, Payload, Placed, Wait};
use crate::wire::handle::Handle;
use crate::{Error, ErrorKind, Result};

/// One end of a [`pipe`](crate::pipe), or of a connection that a
/// [`Listener`](crate::Listener) accepted or a [`Client`](crate::Client) made: sends
/// values of type `S`, receives values of type `R`, and raw bytes both ways.
///
/// A blocked receiver is woken by a message, and by the end of the last process
/// that holds the other side, killed ones included: that is an error of kind
/// [`ErrorKind::Disconnected`], after all messages sent before. A blocked sender
/// is woken by room in the socket's buffer, and likewise.
///
/// # Pipes
///
/// A message of any size is sent whole or not at all, whenever the sender is
/// killed, and received by exactly one receiver. So an end may be used by
/// several threads, and sent to several processes, without a lock; messages of
/// one sender stay in order. A receiver that is killed loses at most the message
/// that it had received.
///
/// A fork of this process finds its pipes disconnected, except those that were
/// given to it.
///
/// # Between programs
///
/// The end of a stream has one owner, whose threads use it one after the other. It
/// cannot be sent to another process, nor values with file descriptors in them through
/// it. A process that is killed while it sends leaves the beginning of a message: that
/// is an error of kind [`ErrorKind::Truncated`] at the other side, and the end of the
/// connection, as is all that makes no sense in it. Over TCP, a sender's end may cost what it
/// sent last, and whoever is on the way can end a connection between two messages, sealed ones
/// too: who must know that all has arrived has the other side say that it was the last.
pub struct Connection<S, R> {
    /// What carries the messages.
    transport: Transport,
    /// What goes out and comes in.
    types: PhantomData<fn(S) -> R>,
}

/// What carries messages.
enum Transport {
    /// An end of a SEQPACKET pair.
    Pipe(PrivateFd),
    /// A stream.
    Stream(Box<Stream>),
}

impl<S, R> Connection<S, R> {
    /// Wraps an end of a SEQPACKET pair.
    pub(super) fn from_socket(socket: OwnedFd) -> Self {
        Self { transport: Transport::Pipe(PrivateFd::connection(socket)), types: PhantomData }
    }

    /// Wraps a stream.
    pub(super) fn from_stream(stream: Stream) -> Self {
        Self { transport: Transport::Stream(Box::new(stream)), types: PhantomData }
    }

    /// Whether this is an end of a pipe.
    pub(super) fn is_pipe(&self) -> bool {
        matches!(self.transport, Transport::Pipe(_))
    }

    /// The parts of a stream, for one thread alone; `None` of a pipe.
    pub(crate) fn into_parts(self) -> Option<Parts> {
        match self.transport {
            Transport::Pipe(_) => None,
            Transport::Stream(stream) => Some(stream.into_parts()),
        }
    }

    /// Closes this end. Dropping it does the same.
    pub fn close(self) {
        drop(self);
    }

    /// Waits until a message can be received or the other side is gone; `false`
    /// if `timeout` passed first. Between programs the beginning of a message counts: a
    /// receive may have to wait for the rest of it.
    ///
    /// # Errors
    ///
    /// If the system refuses to wait; [`ErrorKind::Disconnected`] of a TCP peer that gives no
    /// sign of life any more.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        match &self.transport {
            Transport::Pipe(pipe) => poll::ready(pipe.as_fd(), Wait::of(timeout).deadline())
                .map_err(|error| Error::io(error, "waiting for a message")),
            Transport::Stream(stream) => stream.poll(Wait::of(timeout)),
        }
    }

    /// Sends bytes as one message.
    ///
    /// # Errors
    ///
    /// As [`send`](Connection::send).
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        while !self.send_bytes_until(bytes, Wait::Forever)? {}
        Ok(())
    }

    /// As [`send_bytes`](Connection::send_bytes), for at most `timeout`; `false` if there
    /// was no room in time, and nothing was sent.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](Connection::send_timeout).
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<bool> {
        self.send_bytes_until(bytes, Wait::of(timeout))
    }

    /// Sends bytes until then.
    pub(super) fn send_bytes_until(&self, bytes: &[u8], wait: Wait) -> Result<bool> {
        match &self.transport {
            Transport::Pipe(pipe) => frame::send(pipe.as_fd(), bytes, &[], wait),
            Transport::Stream(stream) => stream.send_bytes(bytes, wait),
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
        self.bytes(Care::Fast)
    }

    /// As [`recv_bytes`](Connection::recv_bytes), for at most `timeout`; `None` if nothing
    /// came.
    ///
    /// # Errors
    ///
    /// As [`recv_bytes`](Connection::recv_bytes).
    pub fn recv_bytes_timeout(&self, timeout: Duration) -> Result<Option<Vec<u8>>> {
        self.bytes_until(Care::Fast, Wait::of(timeout))
    }

    /// As [`recv_bytes`](Connection::recv_bytes), of a message of at most
    /// `maximum` bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLong`] if the next message is longer: it stays in the
    /// queue, for a call with a larger maximum. Between programs that is the library's
    /// queue, which [`poll`](Connection::poll) looks at and [`wait`](crate::wait()) does
    /// not. Else as [`recv`](Connection::recv).
    pub fn recv_bytes_max(&self, maximum: usize) -> Result<Vec<u8>> {
        self.bytes(Care::Keep { maximum })
    }

    /// As [`recv_bytes_max`](Connection::recv_bytes_max), for at most `timeout`; `None` if
    /// nothing came.
    ///
    /// # Errors
    ///
    /// As [`recv_bytes_max`](Connection::recv_bytes_max).
    pub fn recv_bytes_max_timeout(
        &self,
        maximum: usize,
        timeout: Duration,
    ) -> Result<Option<Vec<u8>>> {
        self.bytes_max_until(maximum, Wait::of(timeout))
    }

    /// Receives a message of at most `maximum` bytes until then.
    pub(super) fn bytes_max_until(&self, maximum: usize, wait: Wait) -> Result<Option<Vec<u8>>> {
        self.bytes_until(Care::Keep { maximum }, wait)
    }

    /// Receives a message into `buffer`, with one system call and without a copy,
    /// and returns its size in bytes.
    ///
    /// # Errors
    ///
    /// [`RecvIntoError::BufferTooShort`] holds a message that did not fit. Else
    /// as [`recv_bytes`](Connection::recv_bytes).
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        loop {
            if let Some(size) = self.bytes_into_until(buffer, Wait::Forever)? {
                return Ok(size);
            }
        }
    }

    /// As [`recv_bytes_into`](Connection::recv_bytes_into), for at most `timeout`; `None` if
    /// nothing came.
    ///
    /// # Errors
    ///
    /// As [`recv_bytes_into`](Connection::recv_bytes_into).
    pub fn recv_bytes_into_timeout(
        &self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<Option<usize>, RecvIntoError> {
        self.bytes_into_until(buffer, Wait::of(timeout))
    }

    /// Receives a message into `buffer` until then.
    fn bytes_into_until(
        &self,
        buffer: &mut [u8],
        wait: Wait,
    ) -> Result<Option<usize>, RecvIntoError> {
        let beside = match &self.transport {
            Transport::Pipe(pipe) => match frame::recv_into(pipe.as_fd(), buffer, wait)? {
                Some(Placed::Inside(size)) => return Ok(Some(size)),
                Some(Placed::Beside(payload)) => Some(into_vec(payload)?),
                None => None,
            },
            Transport::Stream(_) => self.bytes_until(Care::KEEP, wait)?,
        };
        let Some(beside) = beside else { return Ok(None) };
        match buffer.get_mut(..beside.len()) {
            Some(place) => {
                place.copy_from_slice(&beside);
                Ok(Some(place.len()))
            }
            None => Err(RecvIntoError::BufferTooShort(BufferTooShort(beside))),
        }
    }

    /// Receives a message as bytes.
    fn bytes(&self, care: Care) -> Result<Vec<u8>> {
        loop {
            if let Some(bytes) = self.bytes_until(care, Wait::Forever)? {
                return Ok(bytes);
            }
        }
    }

    /// Receives a message as bytes until then.
    fn bytes_until(&self, care: Care, wait: Wait) -> Result<Option<Vec<u8>>> {
        let pipe = match &self.transport {
            Transport::Pipe(pipe) => pipe.as_fd(),
            Transport::Stream(stream) => return stream.recv_vec(care.maximum(), wait),
        };
        match frame::recv(pipe, care, wait)? {
            Some(message) => into_vec(message.payload).map(Some),
            None => Ok(None),
        }
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
        while !self.send_until(value, Wait::Forever)? {}
        Ok(())
    }

    /// As [`send`](Connection::send), for at most `timeout`; `false` if there was
    /// no room in time, and nothing was sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Connection::send). [`ErrorKind::Timeout`] between programs, if the
    /// time passed in the middle of a message: the connection is closed then.
    pub fn send_timeout(&self, value: &S, timeout: Duration) -> Result<bool> {
        self.send_until(value, Wait::of(timeout))
    }

    /// Sends a value until then.
    fn send_until(&self, value: &S, wait: Wait) -> Result<bool> {
        let pipe = match &self.transport {
            Transport::Pipe(pipe) => pipe.as_fd(),
            Transport::Stream(stream) => return stream.send_value(value, wait),
        };
        let mut room = [0; HEADER + codec::SMALL];
        if let Some(length) = codec::encode_plain(value, &mut room[HEADER..]) {
            return frame::send_framed(pipe, &mut room[..HEADER + length], &[], wait);
        }
        codec::encode_with(value, HEADER, |frame, handles| {
            frame::send_framed(pipe, frame, handles, wait)
        })
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
        loop {
            if let Some(value) = self.recv_until(Wait::Forever)? {
                return Ok(value);
            }
        }
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
        self.recv_until(Wait::of(timeout))
    }

    /// Receives a value until then.
    fn recv_until(&self, wait: Wait) -> Result<Option<R>> {
        let pipe = match &self.transport {
            Transport::Pipe(pipe) => pipe.as_fd(),
            Transport::Stream(stream) => return stream.recv_value(wait),
        };
        if codec::is_plain::<R>() {
            return frame::recv_plain(pipe, wait, codec::decode_plain);
        }
        match frame::recv(pipe, Care::of::<R>(), wait)? {
            Some(message) => codec::decode(&message.payload, message.handles).map(Some),
            None => Ok(None),
        }
    }
}

impl<S, R> AsFd for Connection<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.transport {
            Transport::Pipe(pipe) => pipe.as_fd(),
            Transport::Stream(stream) => stream.as_fd(),
        }
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

/// An end of a pipe travels inside a value, as a handle; the sender keeps its own. One
/// of a stream does not.
impl<S, R> Serialize for Connection<S, R> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        if !self.is_pipe() {
            let reason = "a connection of a Listener or Client has one owner and cannot be sent: \
                          connect or accept in the process that is to use it";
            codec::note(reason);
            return Err(Z::Error::custom(reason));
        }
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

    /// Two files to send along.
    fn files() -> [OwnedFd; 2] {
        [0, 1].map(|_| File::open("/dev/null").unwrap().into())
    }

    /// Packets of no message, with this many files each.
    const HOSTILE: [(&[u8], usize); 8] = [
        (&[0], 0),
        (&[0, 0, 0], 0),
        (&[7, 0, 0, 0], 0),
        (&[0, 1, 0, 0], 0),
        (&[0, 0, 9, 0], 0),
        (&[0, 0, 1, 0, 1], 2),
        (&[1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0], 1),
        (&[1, 0, 0, 0], 0),
    ];

    /// Sends the hostile packets, receives each, and then a value.
    fn receive_hostile<T>(value: T)
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let (a, b) = pipe::<(), T>().unwrap();
        let files = files();
        for (bytes, count) in HOSTILE {
            let fds: Vec<_> = files[..count].iter().map(|file| file.as_fd()).collect();
            socket::send(b.as_fd(), &[bytes, &[]], &fds, true).unwrap();
            assert_eq!(a.recv().unwrap_err().kind(), ErrorKind::Protocol, "{bytes:?}");
        }
        b.send(&value).unwrap();
        assert_eq!(a.recv().unwrap(), value);
    }

    #[test]
    fn hostile_packets_are_errors() {
        receive_hostile(7_u64);
        receive_hostile("seven".to_owned());
    }

    #[test]
    fn files_that_nobody_announced_are_refused_or_closed_unseen() {
        let (a, b) = pipe::<(), String>().unwrap();
        let files = files();
        let fds = files.each_ref().map(|file| file.as_fd());
        socket::send(b.as_fd(), &[&[0, 0, 0, 0, 0]], &fds, true).unwrap();
        assert_eq!(a.recv().unwrap_err().kind(), ErrorKind::Protocol);

        // A small plain value is received by a call that takes no files.
        let (a, b) = pipe::<(), u64>().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        socket::send(b.as_fd(), &[&[0, 0, 0, 0, 1]], &[writer.as_fd()], true).unwrap();
        drop(writer);
        assert_eq!(a.recv().unwrap(), 1);
        assert_eq!(std::io::read_to_string(reader).unwrap(), "", "closed");
    }
}
