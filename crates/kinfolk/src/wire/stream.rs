//! Messages on a stream, framed as Python's `multiprocessing.connection` does.
//!
//! | bytes | |
//! |---|---|
//! | 0 .. 4 | the length of the payload, signed, big-endian; -1 if it is over 0x7fff_ffff |
//! | 4 .. 12 | only after -1: the length, unsigned, big-endian |
//! | then | the payload |

use crate::{Error, ErrorKind, Result};

/// The size of the header of a message up to [`SHORT`].
pub(crate) const HEADER: usize = 4;
/// The size of any other header.
pub(crate) const LONG_HEADER: usize = 12;
/// The largest payload with a short header, in bytes.
const SHORT: usize = 0x7fff_ffff;

/// Writes the header of a payload of this length to the end of `room`, and returns
/// its size.
pub(crate) fn write_header(room: &mut [u8; LONG_HEADER], length: usize) -> usize {
    if length <= SHORT {
        room[LONG_HEADER - HEADER..].copy_from_slice(&(length as u32).to_be_bytes());
        return HEADER;
    }
    room[..HEADER].copy_from_slice(&(-1_i32).to_be_bytes());
    room[HEADER..].copy_from_slice(&(length as u64).to_be_bytes());
    LONG_HEADER
}

/// What the beginning of a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// The header is not whole: it has this many bytes.
    Needs(usize),
    /// The length of the payload.
    Length(u64),
}

/// Reads a header, or the beginning of one.
///
/// # Errors
///
/// [`ErrorKind::Protocol`] if it is none.
pub(crate) fn read_header(bytes: &[u8]) -> Result<Head> {
    let Some((short, rest)) = bytes.split_first_chunk() else { return Ok(Head::Needs(HEADER)) };
    match i32::from_be_bytes(*short) {
        -1 => Ok(rest
            .first_chunk()
            .map_or(Head::Needs(LONG_HEADER), |length| Head::Length(u64::from_be_bytes(*length)))),
        length => u64::try_from(length).map(Head::Length).map_err(|_| {
            Error::new(ErrorKind::Protocol, "refused a message: its length is negative")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADER, Head, LONG_HEADER, read_header, write_header};
    use crate::ErrorKind;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 16_384, 0x7fff_ffff, 0x8000_0000, 1 << 40] {
            let mut room = [0; LONG_HEADER];
            let size = write_header(&mut room, length);
            let header = &room[LONG_HEADER - size..];
            assert_eq!(read_header(header).unwrap(), Head::Length(length as u64));
            for cut in 0..size {
                let needs = if cut < HEADER { HEADER } else { size };
                assert_eq!(read_header(&header[..cut]).unwrap(), Head::Needs(needs));
            }
        }
    }

    #[test]
    fn a_negative_length_is_refused() {
        let error = read_header(&[0x80, 0, 0, 0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }
}
