//! What a pool and its workers say to each other, in bytes.
//!
//! | message | bytes, numbers little-endian |
//! |---|---|
//! | to a worker: a chunk | where the code that runs it and the function stand (8 each), the number of its first item (4), how many (4), the items |
//! | from a worker: ready | `READY` |
//! | its initializer failed | `FAILED`, why |
//! | results | `RESULTS`, the number of the first item (4), how many (4), how long they took in nanoseconds (8), the results |
//!
//! An item, or a result, is its length and status in four bytes, and its content.

use serde::{Deserialize, Serialize};

/// The worker takes chunks.
pub(super) const READY: u8 = 0;
/// The worker cannot begin.
pub(super) const FAILED: u8 = 1;
/// Results of items.
pub(super) const RESULTS: u8 = 2;

/// The size of what is before the items of a chunk.
pub(super) const CHUNK_HEAD: usize = 24;
/// The size of what is before results.
pub(super) const RESULTS_HEAD: usize = 17;
/// The size of what is before each item or result.
pub(super) const ITEM_HEAD: usize = 4;
/// The largest item or result, in bytes.
pub(super) const LARGEST: usize = (1 << 30) - 1;

/// How an item went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    /// The content is the value.
    Done = 0,
    /// The function panicked; the content is a [`Panic`].
    Panicked = 1,
    /// The argument could not be deserialised; the content is why.
    BadArgument = 2,
    /// The result could not be serialised; the content is why.
    BadResult = 3,
}

/// What is known of a panic.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Panic {
    /// What it said.
    pub(super) message: String,
    /// Where it happened.
    pub(super) location: Option<String>,
    /// How it came there, if the environment asks for backtraces.
    pub(super) backtrace: Option<String>,
}

/// The bytes before `count` results from item `first` on, which took so long, in
/// nanoseconds.
pub(super) fn results_head(first: u32, count: u32, took: u64) -> [u8; RESULTS_HEAD] {
    let mut head = [RESULTS; RESULTS_HEAD];
    head[1..5].copy_from_slice(&first.to_le_bytes());
    head[5..9].copy_from_slice(&count.to_le_bytes());
    head[9..].copy_from_slice(&took.to_le_bytes());
    head
}

/// The number of the first item, how many, and how long they took, in nanoseconds, of
/// a message of results; `None` of another.
pub(super) fn read_results_head(message: &[u8]) -> Option<(u32, u32, u64)> {
    let (&RESULTS, mut rest) = message.split_first()? else { return None };
    Some((take_u32(&mut rest)?, take_u32(&mut rest)?, take_u64(&mut rest)?))
}

/// The bytes before a content of this length.
#[inline]
pub(super) fn item_head(length: usize, status: Status) -> [u8; ITEM_HEAD] {
    ((length & LARGEST) as u32 | (status as u32) << 30).to_le_bytes()
}

/// Takes the first item or result off `bytes`; `None` if it is not whole.
#[inline]
pub(super) fn take_item<'a>(bytes: &mut &'a [u8]) -> Option<(Status, &'a [u8])> {
    let (head, rest) = bytes.split_first_chunk::<ITEM_HEAD>()?;
    let head = u32::from_le_bytes(*head);
    let status = match head >> 30 {
        0 => Status::Done,
        1 => Status::Panicked,
        2 => Status::BadArgument,
        _ => Status::BadResult,
    };
    let (content, rest) = rest.split_at_checked(head as usize & LARGEST)?;
    *bytes = rest;
    Some((status, content))
}

/// The length of the first `count` items, if they are whole.
pub(super) fn length_of(bytes: &[u8], count: u32) -> Option<usize> {
    let mut rest = bytes;
    for _ in 0..count {
        take_item(&mut rest)?;
    }
    Some(bytes.len() - rest.len())
}

/// Takes a number of four bytes off `bytes`.
pub(super) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

/// Takes a number of eight bytes off `bytes`.
pub(super) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::{Status, item_head, length_of, take_item};

    #[test]
    fn items_come_back_and_what_is_cut_is_none() {
        let mut bytes = item_head(3, Status::Done).to_vec();
        bytes.extend(b"one");
        bytes.extend(item_head(0, Status::BadResult));
        assert_eq!(length_of(&bytes, 2), Some(11));
        assert_eq!(length_of(&bytes, 3), None);
        let mut rest = &bytes[..];
        assert_eq!(take_item(&mut rest), Some((Status::Done, &b"one"[..])));
        assert_eq!(take_item(&mut rest), Some((Status::BadResult, &b""[..])));
        assert_eq!(take_item(&mut rest), None);
        assert_eq!(take_item(&mut &bytes[..6]), None);
    }
}
