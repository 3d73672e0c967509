//! A list in shared memory, in the layout of Python's.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::item::{CHANGING, ListItem, Packing, wrong};
use super::memory::SharedMemory;
use crate::wire::codec;
use crate::{Error, ErrorKind, Result};

/// The size of a number of the layout.
const WORD: usize = 8;

/// A list of a fixed length in shared memory, of items that can change within the
/// room they have: that of Python's `multiprocessing.shared_memory.ShareableList`,
/// with which it shares lists by name.
///
/// ```text
/// length n · n + 1 offsets of the items' room · the items · n formats · n numbers
/// ```
///
/// It travels inside values, as its [`SharedMemory`] does. The name stays until
/// [`SharedMemory::unlink`]. Whatever another process has written there is an item
/// or an error.
///
/// Nothing guards it: a [`Lock`](crate::Lock) beside it does. Without one, who reads
/// an item while another changes it gets the old, the new, an error, or a mixture of
/// both. If a process is killed while it changes an item, reading that item is an
/// error, until it is changed again.
///
/// Two things are mended. Text and bytes that do not fit are always an error, and
/// come back with the NULs that they end in: these have a format (`5sx` for 5 bytes)
/// that a stock CPython reads and overwrites well, but which it strips of the NULs,
/// as it does with all. CPython itself cuts text that is not ASCII when it creates a
/// list, sometimes inside of a character: reading that is an error.
///
/// ```
/// use kinfolk::{ListItem, ShareableList};
///
/// let list = ShareableList::new(&["one".into(), 2.into(), 3.5.into(), ().into()])?;
/// list.set(0, "another")?;
/// assert_eq!(list.get(0)?, ListItem::Text("another".to_owned()));
/// assert_eq!(list.index(&2.into())?, Some(1));
/// assert!(list.set(0, "longer than the room").is_err());
/// # Ok::<(), kinfolk::Error>(())
/// ```
pub struct ShareableList {
    /// Its memory.
    memory: SharedMemory,
    /// The number of items, as it was when it was opened.
    length: usize,
    /// The size of the items' room, as it was when it was opened.
    room: usize,
}

impl ShareableList {
    /// Makes a list without a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for an item of more than 9,999,991 bytes, or of
    /// more than 999,999 that ends in NUL; as [`SharedMemory::new`] otherwise.
    pub fn new(items: &[ListItem]) -> Result<Self> {
        let image = image(items)?;
        Self::fill(SharedMemory::new(image.len())?, &image)
    }

    /// Makes a list with a name. Who attaches it before this has returned gets an
    /// error, or, with CPython, an empty list.
    ///
    /// # Errors
    ///
    /// As [`new`](ShareableList::new) and [`SharedMemory::create`].
    pub fn create(name: &str, items: &[ListItem]) -> Result<Self> {
        let image = image(items)?;
        let memory = SharedMemory::create(name, image.len())?;
        let clone = memory.try_clone();
        Self::fill(memory, &image).inspect_err(|_| {
            let _ = clone.and_then(|memory| memory.unlink());
        })
    }

    /// Attaches the list that has a name, made by this library or by Python.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Deserialize`] if it is not a list, or not finished; as
    /// [`SharedMemory::attach`] otherwise.
    pub fn attach(name: &str) -> Result<Self> {
        Self::open(SharedMemory::attach(name)?)
    }

    /// Another handle of the same list.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor, or no address space for it.
    pub fn try_clone(&self) -> Result<Self> {
        let Self { length, room, .. } = *self;
        Ok(Self { memory: self.memory.try_clone()?, length, room })
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies an item.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is none at `index`;
    /// [`ErrorKind::Deserialize`] if what is there is no item.
    pub fn get(&self, index: usize) -> Result<ListItem> {
        let (place, room) = self.place(index)?;
        let packing = self.packing(index)?;
        if packing.len() > room {
            return Err(wrong(&format!("it has {} bytes in a room of {room}", packing.len())));
        }
        let mut bytes = vec![0; packing.len()];
        self.memory.read(place, &mut bytes)?;
        packing.unpack(bytes)
    }

    /// Changes an item, to another kind too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is none at `index`, or the item does not
    /// fit in the room of that one, or as with [`new`](ShareableList::new): then the
    /// old one is there still. [`ErrorKind::Deserialize`] if the list's offsets are
    /// wrong.
    pub fn set(&self, index: usize, item: impl Into<ListItem>) -> Result<()> {
        let (place, room) = self.place(index)?;
        let (packing, bytes) = item.into().pack(room)?;
        // Killed in between, it leaves no item.
        self.memory.write(self.code(index), &[CHANGING])?;
        self.memory.write(place, &bytes)?;
        self.memory.write(self.format_of(index), &packing.format())?;
        self.memory.write(self.code(index), &[packing.code()])
    }

    /// Copies one item after the other.
    pub fn iter(&self) -> impl Iterator<Item = Result<ListItem>> + '_ {
        (0..self.length).map(|index| self.get(index))
    }

    /// The number of items that are equal to `item`.
    ///
    /// # Errors
    ///
    /// As [`get`](ShareableList::get).
    pub fn count(&self, item: &ListItem) -> Result<usize> {
        self.iter().try_fold(0, |count, each| Ok(count + usize::from(each? == *item)))
    }

    /// The place of the first item that is equal to `item`.
    ///
    /// # Errors
    ///
    /// As [`get`](ShareableList::get).
    pub fn index(&self, item: &ListItem) -> Result<Option<usize>> {
        for (index, each) in self.iter().enumerate() {
            if each? == *item {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The formats of all items, one after the other, as Python's `struct` has them.
    ///
    /// # Errors
    ///
    /// As [`get`](ShareableList::get).
    pub fn format(&self) -> Result<String> {
        let mut formats = String::new();
        for index in 0..self.length {
            let format = self.packing(index)?.format();
            formats.extend(format.iter().filter(|byte| **byte != 0).map(|byte| char::from(*byte)));
        }
        Ok(formats)
    }

    /// Its memory: for the name, and to unlink it.
    #[must_use]
    #[doc(alias = "shm")]
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Writes a list into new memory. The length, by which it is one, comes last.
    fn fill(memory: SharedMemory, image: &[u8]) -> Result<Self> {
        memory.write(WORD, &image[WORD..])?;
        memory.write(0, &image[..WORD])?;
        Self::open(memory)
    }

    /// Finds the list in memory that may hold anything.
    fn open(memory: SharedMemory) -> Result<Self> {
        let refuse = |reason: &str| {
            let reason = format!("the shared memory is no list: {reason}");
            Err(Error::new(ErrorKind::Deserialize, reason))
        };
        let size = memory.size();
        if size < 2 * WORD {
            return refuse("it is too small");
        }
        let length = word(&memory, 0)?.filter(|length| *length <= size / (2 * WORD + 1));
        let Some(length) = length else { return refuse("its length is wrong") };
        if length == 0 && size > 2 * WORD {
            return refuse("it is not finished");
        }
        // Its parts before the items' room and behind it fit, as checked.
        let rest = (length + 2) * WORD + length * (WORD + 1);
        let room = match size.checked_sub(rest) {
            Some(most) => word(&memory, (length + 1) * WORD)?.filter(|room| *room <= most),
            None => None,
        };
        let Some(room) = room else { return refuse("its items are not inside") };
        Ok(Self { memory, length, room })
    }

    /// Where an item is, and its room in bytes.
    fn place(&self, index: usize) -> Result<(usize, usize)> {
        if index >= self.length {
            let reason = format!("a list of {} items has none at {index}", self.length);
            return Err(Error::new(ErrorKind::InvalidInput, reason));
        }
        let start = word(&self.memory, (index + 1) * WORD)?;
        let end = word(&self.memory, (index + 2) * WORD)?;
        match (start, end) {
            (Some(start), Some(end)) if start <= end && end <= self.room => {
                Ok(((self.length + 2) * WORD + start, end - start))
            }
            _ => Err(wrong("its offset is not inside of the list")),
        }
    }

    /// How an item is packed.
    fn packing(&self, index: usize) -> Result<Packing> {
        let (mut format, mut code) = ([0; 8], [0]);
        self.memory.read(self.format_of(index), &mut format)?;
        self.memory.read(self.code(index), &mut code)?;
        Packing::parse(format, code[0])
    }

    /// Where an item's format is.
    fn format_of(&self, index: usize) -> usize {
        (self.length + 2 + index) * WORD + self.room
    }

    /// Where the number is that belongs to an item's format.
    fn code(&self, index: usize) -> usize {
        self.format_of(self.length) + index
    }
}

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareableList")
            .field("name", &self.memory.name())
            .field("len", &self.length)
            .finish()
    }
}

impl Serialize for ShareableList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.memory.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShareableList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let memory = SharedMemory::deserialize(deserializer)?;
        Self::open(memory).map_err(|error| {
            let reason = format!("a handle was to be a shareable list, but {error}");
            codec::note(&reason);
            D::Error::custom(reason)
        })
    }
}

/// A number of the layout; `None` if it is below zero.
fn word(memory: &SharedMemory, place: usize) -> Result<Option<usize>> {
    let mut bytes = [0; WORD];
    memory.read(place, &mut bytes)?;
    Ok(usize::try_from(i64::from_ne_bytes(bytes)).ok())
}

/// All of a list of these items, as it is in memory.
fn image(items: &[ListItem]) -> Result<Vec<u8>> {
    let rooms = items.iter().map(ListItem::room).collect::<Result<Vec<_>>>()?;
    let room: usize = rooms.iter().sum();
    let mut image = Vec::with_capacity((items.len() + 2) * WORD + room + items.len() * (WORD + 1));
    image.extend_from_slice(&(items.len() as i64).to_ne_bytes());
    let mut offset = 0;
    image.extend_from_slice(&0_i64.to_ne_bytes());
    for room in &rooms {
        offset += room;
        image.extend_from_slice(&(offset as i64).to_ne_bytes());
    }
    let (mut formats, mut codes) = (Vec::new(), Vec::new());
    for (item, room) in items.iter().zip(&rooms) {
        let (packing, bytes) = item.pack(*room)?;
        let end = image.len() + room;
        image.extend_from_slice(&bytes);
        image.resize(end, 0);
        formats.extend_from_slice(&packing.format());
        codes.push(packing.code());
    }
    image.append(&mut formats);
    image.append(&mut codes);
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::{ShareableList, SharedMemory};
    use crate::wire::codec::{decode, encode};

    #[test]
    fn memory_that_is_no_list_is_refused_on_arrival() {
        let encoded = encode(&SharedMemory::new(100).unwrap()).unwrap();
        let error = decode::<ShareableList>(&encoded.bytes, encoded.handles).unwrap_err();
        assert!(error.to_string().contains("to be a shareable list, but"), "{error}");
        let list = ShareableList::new(&[1.into()]).unwrap();
        let encoded = encode(list.memory()).unwrap();
        let list = decode::<ShareableList>(&encoded.bytes, encoded.handles).unwrap();
        assert_eq!(list.get(0).unwrap(), 1.into());
    }
}
