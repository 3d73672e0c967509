//! File descriptors inside values.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec;

/// Something that owns a file descriptor, on its way to another process inside
/// a value: a file, a socket, an [`OwnedFd`].
///
/// Sending duplicates the descriptor: the sender keeps its own until it drops
/// it. What arrives is what was sent only if the peer is honest: a `Handle` of
/// a listener may hold a file.
///
/// A handle can be serialised only by this library, on its way through a
/// connection or to a process; any other serializer gets an error.
///
/// ```
/// use std::fs::File;
/// use kinfolk::{Handle, pipe};
///
/// let (a, b) = pipe::<Handle<File>, ()>()?;
/// a.send(&Handle::from(File::open("/dev/null").unwrap()))?;
/// let file: File = b.recv()?.into_inner();
/// # Ok::<(), kinfolk::Error>(())
/// ```
pub struct Handle<T> {
    /// What owns the descriptor.
    inner: T,
}

impl<T> Handle<T> {
    /// What owns the descriptor.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsFd> From<T> for Handle<T> {
    fn from(inner: T) -> Self {
        Self { inner }
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Handle<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: AsFd> AsFd for Handle<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: fmt::Debug> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.inner).finish()
    }
}

impl<T: AsFd> Serialize for Handle<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.inner, serializer)
    }
}

impl<'de, T: From<OwnedFd>> Deserialize<'de> for Handle<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { inner: deserialize(deserializer)? })
    }
}

/// The name under which a handle stands in serde's data model. What calls
/// itself so is not a number of the user's.
const NAME: &str = "kinfolk::Handle";

/// Duplicates a descriptor into the value being encoded.
pub(super) fn serialize<T: AsFd, S: Serializer>(
    owner: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let fd = owner.as_fd().try_clone_to_owned().map_err(|error| {
        let refusal = S::Error::custom(format_args!("a handle cannot be duplicated: {error}"));
        codec::note_system(error);
        refusal
    })?;
    let place = codec::collect(fd).ok_or_else(|| {
        let reason = "a handle can only be serialised by kinfolk, on its way to another process";
        codec::note(reason);
        S::Error::custom(reason)
    })?;
    serializer.serialize_newtype_struct(NAME, &place)
}

/// Claims a descriptor of the value being decoded.
pub(super) fn deserialize<'de, T: From<OwnedFd>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    /// Reads the place of a handle.
    struct Place<T>(PhantomData<T>);
    impl<'de, T: From<OwnedFd>> serde::de::Visitor<'de> for Place<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a handle received by kinfolk")
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
            let place = u32::deserialize(inner)?;
            codec::claim(place).map(T::from).ok_or_else(|| {
                let reason = "a handle was claimed that did not arrive, or was claimed before";
                codec::note(reason);
                D::Error::custom(reason)
            })
        }
    }
    deserializer.deserialize_newtype_struct(NAME, Place(PhantomData))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::Handle;
    use crate::wire::codec::{decode, encode};

    fn pipe() -> Handle<OwnedFd> {
        Handle::from(OwnedFd::from(std::io::pipe().unwrap().0))
    }

    #[test]
    fn each_handle_is_claimed_once() {
        let encoded = encode(&vec![pipe(), pipe()]).unwrap();
        assert_eq!(encoded.handles.len(), 2);
        let mut bytes = encoded.bytes;
        *bytes.last_mut().unwrap() = 0;
        let error = decode::<Vec<Handle<OwnedFd>>>(&bytes, encoded.handles).unwrap_err();
        assert!(error.to_string().contains("claimed before"), "{error}");
    }

    #[test]
    fn a_foreign_serializer_is_refused() {
        let error = postcard::to_stdvec(&pipe()).unwrap_err();
        assert_eq!(error, postcard::Error::SerdeSerCustom);
    }

    #[test]
    fn a_length_without_content_allocates_nothing_and_is_an_error() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(decode::<Vec<u64>>(&huge, Vec::new()).is_err());
        assert!(decode::<String>(&huge, Vec::new()).is_err());
    }

    #[test]
    fn bytes_after_the_value_are_an_error() {
        let error = decode::<u8>(&[1, 2], Vec::new()).unwrap_err();
        assert!(error.to_string().contains("1 bytes follow"), "{error}");
    }

    #[test]
    fn an_untagged_enum_is_an_error_that_says_why() {
        #[derive(Debug, serde::Serialize, serde::Deserialize)]
        #[serde(untagged)]
        enum Untagged {
            Number(u8),
        }
        let bytes = encode(&Untagged::Number(1)).unwrap().bytes;
        let error = decode::<Untagged>(&bytes, Vec::new()).unwrap_err();
        assert!(error.to_string().contains("self-describing"), "{error}");
    }
}
