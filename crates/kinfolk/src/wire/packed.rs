//! Values in memory, between two sides that know their type, without descriptors.
//!
//! | value | bytes |
//! |---|---|
//! | of a plain type | `FIXED` and what [`fixed`] writes, or else `OTHER` and postcard's |
//! | of another type | postcard's |

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::{codec, fixed};
use crate::{Error, ErrorKind, Result};

/// What follows are the bytes of a value of fixed size.
const FIXED: u8 = 0;
/// What follows are postcard's.
const OTHER: u8 = 1;

/// Writes a value to the beginning of `room`, and returns its length; `None` if there
/// is no room for it.
///
/// # Errors
///
/// If the value's type does not want to, or there is a descriptor in it.
#[inline]
pub(crate) fn write<T: Serialize>(value: &T, room: &mut [u8]) -> Result<Option<usize>> {
    if !codec::is_plain::<T>() {
        return write_other(value, room);
    }
    let Some((form, content)) = room.split_first_mut() else { return Ok(None) };
    if let Some(length) = fixed::write(value, content) {
        *form = FIXED;
        return Ok(Some(1 + length));
    }
    *form = OTHER;
    Ok(write_other(value, content)?.map(|length| 1 + length))
}

/// As [`write`], by postcard.
fn write_other<T: Serialize>(value: &T, room: &mut [u8]) -> Result<Option<usize>> {
    match without_handles::<T, _>(|| postcard::to_slice(value, room).map(|all| all.len()))? {
        Err(postcard::Error::SerializeBufferFull) => Ok(None),
        Err(error) => Err(codec::not_serialised(error)),
        Ok(length) => Ok(Some(length)),
    }
}

/// The length of a value that [`fill`] writes.
///
/// # Errors
///
/// As [`write`].
pub(crate) fn length<T: Serialize>(value: &T) -> Result<usize> {
    let length = without_handles::<T, _>(|| postcard::experimental::serialized_size(value))?;
    Ok(usize::from(codec::is_plain::<T>()) + length.map_err(codec::not_serialised)?)
}

/// Writes a value that is as long as `room`.
///
/// # Errors
///
/// As [`write`], and if it is not.
pub(crate) fn fill<T: Serialize>(value: &T, room: &mut [u8]) -> Result<()> {
    let content = match room {
        [form, content @ ..] if codec::is_plain::<T>() => {
            *form = OTHER;
            content
        }
        room => room,
    };
    if write_other(value, content)? == Some(content.len()) {
        return Ok(());
    }
    let text = "the value has another length each time that it is serialised";
    Err(Error::new(ErrorKind::Serialize, text))
}

/// Appends a value of any length to `bytes`, or nothing.
///
/// # Errors
///
/// As [`write`].
pub(crate) fn append<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<()> {
    let start = bytes.len();
    if codec::is_plain::<T>() {
        bytes.push(OTHER);
    }
    let appended = codec::append(value, bytes);
    if appended.is_err() {
        bytes.truncate(start);
    }
    appended
}

/// Reads a value.
///
/// # Errors
///
/// If the bytes are not exactly one value of this type.
#[inline]
pub(crate) fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T> {
    if !codec::is_plain::<T>() {
        return codec::decode(bytes, Vec::new());
    }
    match bytes.split_first() {
        Some((&FIXED, content)) => fixed::read(content).ok_or_else(no_value),
        Some((&OTHER, content)) => codec::decode(content, Vec::new()),
        _ => Err(no_value()),
    }
}

/// Bytes that are of another type.
#[cold]
fn no_value() -> Error {
    Error::new(ErrorKind::Deserialize, "the bytes are no value of its type")
}

/// Runs `encode` for a value of a type.
///
/// # Errors
///
/// If there is a descriptor in it.
fn without_handles<T, R>(encode: impl FnOnce() -> R) -> Result<R> {
    let (encoded, handles): (R, Vec<OwnedFd>) = codec::collecting(encode)?;
    if handles.is_empty() { Ok(encoded) } else { Err(codec::has_handles::<T>()) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize, Serializer};

    use super::{append, fill, length, read, write};
    use crate::{ErrorKind, Handle};

    /// A value comes back in every form.
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        let mut room = [7; 64];
        let written = write(&value, &mut room).unwrap().unwrap();
        assert_eq!(read::<T>(&room[..written]).unwrap(), value);
        assert_eq!(read::<T>(&room[..=written]).unwrap_err().kind(), ErrorKind::Deserialize);
        assert!(write(&value, &mut []).unwrap().is_none());
        let mut filled = vec![0; length(&value).unwrap()];
        fill(&value, &mut filled).unwrap();
        assert_eq!(read::<T>(&filled).unwrap(), value);
        let mut appended = vec![9];
        append(&value, &mut appended).unwrap();
        assert_eq!(appended[1..], filled);
    }

    /// A plain type, some of whose values have no fixed size.
    #[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
    #[serde(from = "String")]
    struct Letter(char);

    impl From<String> for Letter {
        fn from(text: String) -> Self {
            Self(text.chars().next().unwrap_or_default())
        }
    }

    impl Serialize for Letter {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&self.0)
        }
    }

    #[test]
    fn values_come_back() {
        check(u64::MAX);
        check((1.5, Some('x')));
        check(Letter('y'));
        check("text".to_owned());
        check(vec![1, 2, 3]);
    }

    #[test]
    fn what_has_a_descriptor_is_refused() {
        let handle = Handle::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        assert_eq!(write(&handle, &mut [0; 64]).unwrap_err().kind(), ErrorKind::Serialize);
        assert_eq!(length(&handle).unwrap_err().kind(), ErrorKind::Serialize);
        let mut bytes = vec![9];
        assert_eq!(append(&handle, &mut bytes).unwrap_err().kind(), ErrorKind::Serialize);
        assert_eq!(bytes, [9]);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        assert_eq!(read::<u8>(&[]).unwrap_err().kind(), ErrorKind::Deserialize);
        assert_eq!(read::<u8>(&[2, 0]).unwrap_err().kind(), ErrorKind::Deserialize);
        assert_eq!(fill(&1_u64, &mut [0; 9]).unwrap_err().kind(), ErrorKind::Serialize);
    }
}
