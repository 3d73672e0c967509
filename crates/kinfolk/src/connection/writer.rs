//! Messages into a stream.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::encryption::Sealer;
use crate::sys::{stream, tcp};
use crate::wire::frame::Wait;
use crate::wire::stream::{LONG_HEADER, write_header};

/// The largest payload that is copied behind its header, in bytes: that costs less than a
/// system call that gathers the two.
const COPIED: usize = 256;

/// What came of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of it was sent.
    Whole,
    /// Nothing was, in time.
    Nothing,
    /// The time passed in the middle.
    Part,
}

/// The sending direction of a stream.
#[derive(Debug)]
pub(super) struct Writer {
    /// What seals it, if it is sealed.
    sealer: Option<Sealer>,
    /// When it was last looked whether the peer is still there.
    looked: Instant,
}

impl Writer {
    /// Writes messages, sealed or as they are.
    pub(super) fn new(sealer: Option<Sealer>) -> Self {
        Self { sealer, looked: Instant::now() }
    }

    /// Looks, now and then, whether the peer is still there: who only sends, and never so
    /// much that it waits, would not learn of it.
    fn look(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        if self.looked.elapsed() < tcp::LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        tcp::check(socket)
    }

    /// Sends a message that stands in `frame` behind [`LONG_HEADER`] bytes of room.
    pub(super) fn send_framed(
        &mut self,
        socket: BorrowedFd<'_>,
        frame: &mut [u8],
        wait: Wait,
    ) -> io::Result<Sent> {
        self.look(socket)?;
        if let Some(sealer) = &mut self.sealer {
            return sealer
                .seal(&frame[LONG_HEADER..], |records| send_all(socket, records, &[], wait));
        }
        let length = frame.len() - LONG_HEADER;
        let mut header = [0; LONG_HEADER];
        let start = LONG_HEADER - write_header(&mut header, length);
        frame[start..LONG_HEADER].copy_from_slice(&header[start..]);
        send_all(socket, &frame[start..], &[], wait)
    }

    /// Sends bytes as a message.
    pub(super) fn send_bytes(
        &mut self,
        socket: BorrowedFd<'_>,
        bytes: &[u8],
        wait: Wait,
    ) -> io::Result<Sent> {
        self.look(socket)?;
        if let Some(sealer) = &mut self.sealer {
            return sealer.seal(bytes, |records| send_all(socket, records, &[], wait));
        }
        let mut header = [0; LONG_HEADER];
        let start = LONG_HEADER - write_header(&mut header, bytes.len());
        if bytes.len() > COPIED {
            return send_all(socket, &header[start..], bytes, wait);
        }
        let mut frame = [0; LONG_HEADER + COPIED];
        let end = LONG_HEADER + bytes.len();
        frame[start..LONG_HEADER].copy_from_slice(&header[start..]);
        frame[LONG_HEADER..end].copy_from_slice(bytes);
        send_all(socket, &frame[start..end], &[], wait)
    }
}

/// Sends two parts, the second after the first.
pub(super) fn send_all(
    socket: BorrowedFd<'_>,
    mut first: &[u8],
    mut second: &[u8],
    wait: Wait,
) -> io::Result<Sent> {
    let mut begun = false;
    while !(first.is_empty() && second.is_empty()) {
        match stream::send(socket, first, second, matches!(wait, Wait::Forever)) {
            Ok(sent) => {
                begun = true;
                let of_first = sent.min(first.len());
                first = &first[of_first..];
                second = &second[sent - of_first..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !tcp::writable(socket, wait.deadline())? {
                    return Ok(if begun { Sent::Part } else { Sent::Nothing });
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Sent::Whole)
}
