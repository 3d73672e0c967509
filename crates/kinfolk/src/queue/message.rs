//! Messages that are out of the ring, until they are decoded.

use super::end::End;
use super::ring::{Ring, Taken, broken};
use crate::wire::codec::SMALL;
use crate::{Error, ErrorKind, Result};

/// One message.
pub(super) struct Message {
    /// The bytes of a small one.
    small: [u8; SMALL],
    /// Where its bytes are.
    place: Place,
}

/// Where the bytes of a message are.
enum Place {
    /// There is no message.
    Nowhere,
    /// In the message's own room; so many.
    Here(usize),
    /// In a vector.
    There(Vec<u8>),
    /// In the extent of this number.
    Extent(usize),
}

impl Message {
    /// Room for a message.
    #[inline]
    pub(super) fn new() -> Self {
        Self { small: [0; SMALL], place: Place::Nowhere }
    }

    /// Keeps a message that is on its way out of the ring.
    #[inline]
    pub(super) fn keep(&mut self, ring: &Ring, taken: Taken) -> Result<()> {
        self.place = match taken {
            Taken::Bytes { place, length } => match self.small.get_mut(..length) {
                Some(small) => {
                    ring.memory().read_into(place, small).ok_or_else(broken)?;
                    Place::Here(length)
                }
                None => {
                    let mut bytes = Vec::new();
                    ring.read(place, length, &mut bytes)?;
                    Place::There(bytes)
                }
            },
            Taken::Extent(index) => Place::Extent(index),
        };
        Ok(())
    }

    /// Hands the message over.
    #[inline]
    pub(super) fn hand_over<R>(
        &self,
        end: &End,
        work: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        match &self.place {
            Place::Here(length) => work(&self.small[..*length]),
            Place::There(bytes) => work(bytes),
            &Place::Extent(index) => {
                let mut bytes = Vec::new();
                end.read_extent(index, &mut bytes)?;
                end.ring.free(index);
                work(&bytes)
            }
            Place::Nowhere => Err(Error::new(ErrorKind::Protocol, "no message was received")),
        }
    }
}

/// Many messages.
pub(super) struct Messages {
    /// The bytes of those that were in the ring.
    bytes: Vec<u8>,
    /// The messages.
    messages: Vec<Part>,
}

/// One of many.
enum Part {
    /// The next bytes, which end here.
    Bytes(usize),
    /// In the extent of this number.
    Extent(usize),
}

impl Messages {
    /// None.
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), messages: Vec::new() }
    }

    /// Their number.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Keeps a message that is on its way out of the ring.
    pub(super) fn keep(&mut self, ring: &Ring, taken: Taken) -> Result<()> {
        self.messages.push(match taken {
            Taken::Bytes { place, length } => {
                ring.read(place, length, &mut self.bytes)?;
                Part::Bytes(self.bytes.len())
            }
            Taken::Extent(index) => Part::Extent(index),
        });
        Ok(())
    }

    /// Hands each message over, in order; the first error is that of all. Without
    /// memory for one, it is left out, and an error only if there is no other.
    pub(super) fn hand_over(
        self,
        end: &End,
        mut work: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut start = 0;
        let mut handed = false;
        let mut left_out = None;
        let mut result = Ok(());
        for message in self.messages {
            let next = match message {
                Part::Bytes(end) => {
                    let bytes = &self.bytes[start..end];
                    start = end;
                    result.is_ok().then(|| work(bytes))
                }
                Part::Extent(index) => {
                    let mut bytes = Vec::new();
                    if let Err(error) = end.read_extent(index, &mut bytes) {
                        left_out = Some(error);
                        continue;
                    }
                    end.ring.free(index);
                    result.is_ok().then(|| work(&bytes))
                }
            };
            handed = true;
            result = next.unwrap_or(result);
        }
        match left_out {
            Some(error) if !handed => Err(error),
            _ => result,
        }
    }
}
