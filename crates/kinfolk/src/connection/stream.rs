//! A connection over a stream: unix or TCP, with one owner.

use std::os::fd::{AsFd, BorrowedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::parts::Parts;
use super::reader::Reader;
use super::turn::Turn;
use super::writer::{Sent, Writer};
use crate::sys::fork_guard::{self, PrivateFd};
use crate::sys::{stream, tcp};
use crate::wire::codec;
use crate::wire::frame::Wait;
#[cfg(feature = "pickle")]
use crate::wire::pickle;
use crate::wire::stream::LONG_HEADER;
use crate::{Error, ErrorKind, Result};

/// The two directions of a stream, each used by one thread at a time.
///
/// Killed in the middle of a message, a process leaves the beginning of it in the
/// stream: the other side closes the connection then, for nothing in it can be told
/// apart any more.
#[derive(Debug)]
pub(super) struct Stream {
    /// The socket, which blocks.
    socket: PrivateFd,
    /// What comes in.
    reader: Turn<Reader>,
    /// What goes out.
    writer: Turn<Writer>,
    /// How values are encoded.
    codec: Codec,
    /// Which process has it: what [`fork_guard::forks`] says there.
    owner: u32,
}

/// How values are encoded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Codec {
    /// In the codec of the library.
    #[default]
    Own,
    /// As Python's pickles.
    #[cfg(feature = "pickle")]
    Pickle,
}

impl Stream {
    /// Wraps a connected socket, whose handshake is over.
    pub(super) fn new(socket: PrivateFd, reader: Reader, writer: Writer) -> Self {
        let owner = fork_guard::forks();
        let (reader, writer) = (Turn::new(reader), Turn::new(writer));
        Self { socket, reader, writer, codec: Codec::Own, owner }
    }

    /// The parts, for one thread alone.
    pub(super) fn into_parts(self) -> Parts {
        Parts::new(self.socket, self.reader.into_inner(), self.writer.into_inner())
    }

    /// The same, with values that are encoded so.
    pub(super) fn with_codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// Sends a value.
    ///
    /// # Errors
    ///
    /// As [`send_framed`](Self::send_framed), and [`ErrorKind::Serialize`].
    pub(super) fn send_value<T: Serialize>(&self, value: &T, wait: Wait) -> Result<bool> {
        match self.codec {
            Codec::Own => self.send_own(value, wait),
            #[cfg(feature = "pickle")]
            Codec::Pickle => self.send_bytes(&pickle::to_vec(value)?, wait),
        }
    }

    /// Sends a value in the codec of the library.
    fn send_own<T: Serialize>(&self, value: &T, wait: Wait) -> Result<bool> {
        let mut room = [0; LONG_HEADER + codec::SMALL];
        if let Some(length) = codec::encode_plain(value, &mut room[LONG_HEADER..]) {
            return self.send_framed(&mut room[..LONG_HEADER + length], wait);
        }
        codec::encode_with(value, LONG_HEADER, |frame, handles| match handles {
            [] => self.send_framed(frame, wait),
            _ => Err(Error::new(
                ErrorKind::Serialize,
                format!(
                    "a {} has file descriptors in it, which cannot go through a connection \
                     between programs: send them over a pipe",
                    std::any::type_name::<T>()
                ),
            )),
        })
    }

    /// Receives a value.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and [`ErrorKind::Deserialize`].
    pub(super) fn recv_value<T: DeserializeOwned>(&self, wait: Wait) -> Result<Option<T>> {
        self.recv(
            usize::MAX,
            wait,
            match self.codec {
                Codec::Own => codec::decode_plain,
                #[cfg(feature = "pickle")]
                Codec::Pickle => pickle::from_slice,
            },
        )
    }

    /// Sends a message that stands in `frame` behind room for its header; `false` if it
    /// could not begin in time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] if the time passed in the middle of it: that closes the
    /// connection. [`ErrorKind::Disconnected`] if the other side is gone.
    pub(super) fn send_framed(&self, frame: &mut [u8], wait: Wait) -> Result<bool> {
        self.send(wait, |writer, socket| writer.send_framed(socket, frame, wait))
    }

    /// As [`send_framed`](Self::send_framed), of bytes without room before them.
    pub(super) fn send_bytes(&self, bytes: &[u8], wait: Wait) -> Result<bool> {
        self.send(wait, |writer, socket| writer.send_bytes(socket, bytes, wait))
    }

    /// Sends in this thread's turn.
    fn send(
        &self,
        wait: Wait,
        work: impl FnOnce(&mut Writer, BorrowedFd<'_>) -> std::io::Result<Sent>,
    ) -> Result<bool> {
        self.check_owner()?;
        let Some(mut writer) = self.writer.take(wait) else { return Ok(false) };
        match work(&mut writer, self.as_fd()) {
            Ok(Sent::Whole) => Ok(true),
            Ok(Sent::Nothing) => Ok(false),
            Ok(Sent::Part) => {
                stream::shutdown(self.as_fd());
                Err(Error::new(
                    ErrorKind::Timeout,
                    "the time passed in the middle of sending a message, and the connection is \
                     closed: give it more time, or send smaller messages",
                ))
            }
            Err(error) => {
                stream::shutdown(self.as_fd());
                Err(Error::io(error, "sending a message"))
            }
        }
    }

    /// Receives a message of at most `maximum` bytes and hands it to `work`; `None` if
    /// none came whole in time: what has come of it is kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLong`] leaves the message to a call with a larger maximum, unless
    /// it is over the limit of the connection: that closes it, as do
    /// [`ErrorKind::Truncated`], [`ErrorKind::Protocol`] and [`ErrorKind::Disconnected`].
    pub(super) fn recv<T>(
        &self,
        maximum: usize,
        wait: Wait,
        work: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        self.in_turn(wait, |reader| {
            if !reader.fill(self.as_fd(), maximum, wait)? {
                return Ok(None);
            }
            let message = reader.take();
            let done = work(&message);
            reader.reuse(message);
            done.map(Some)
        })
    }

    /// As [`recv`](Self::recv), and gives the message away.
    pub(super) fn recv_vec(&self, maximum: usize, wait: Wait) -> Result<Option<Vec<u8>>> {
        self.in_turn(wait, |reader| {
            let whole = reader.fill(self.as_fd(), maximum, wait)?;
            Ok(whole.then(|| reader.take()))
        })
    }

    /// Receives in this thread's turn.
    fn in_turn<T>(
        &self,
        wait: Wait,
        work: impl FnOnce(&mut Reader) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        self.check_owner()?;
        let Some(mut reader) = self.reader.take(wait) else { return Ok(None) };
        let received = work(&mut reader);
        if reader.is_closed() {
            stream::shutdown(self.as_fd());
        }
        received
    }

    /// Waits until some of a message can be received, or the other side is gone.
    pub(super) fn poll(&self, wait: Wait) -> Result<bool> {
        self.check_owner()?;
        // While another thread receives, there is nothing for this one.
        let Some(reader) = self.reader.take(wait) else { return Ok(false) };
        if reader.is_whole() {
            return Ok(true);
        }
        drop(reader);
        tcp::ready(self.as_fd(), wait.deadline())
            .map_err(|error| Error::io(error, "waiting for a message"))
    }

    /// Refuses a fork of the process that has the stream.
    fn check_owner(&self) -> Result<()> {
        if self.owner == fork_guard::forks() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotOwner,
            "a connection of a Listener or Client has one owner, and this process is a fork of \
             it: connect or accept in the process that is to use it",
        ))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
