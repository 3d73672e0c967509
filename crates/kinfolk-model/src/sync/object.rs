//! A thing of shared memory: here the memory of one program.
#![allow(unsafe_code)] // The trait of the library's sources.

use std::ffi::CStr;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Result;
use crate::sys::identity::Identity;
use crate::sys::memory::Shared;

/// What an object has in shared memory.
///
/// # Safety
///
/// It consists of words.
pub(crate) unsafe trait Body: 'static {
    /// What it is.
    const NAME: &'static CStr;
    /// A number that no other kind of object has.
    const KIND: u64;
}

/// A mapped object.
pub(crate) struct Object<B> {
    /// Its memory.
    memory: Arc<Shared>,
    /// What is in it.
    body: PhantomData<fn() -> B>,
}

#[expect(clippy::unnecessary_wraps, reason = "as in the library")]
impl<B: Body> Object<B> {
    /// Makes an object of zeros.
    pub(crate) fn new() -> Result<Self> {
        Self::with_room(0)
    }

    /// Makes an object of zeros, with room for more bytes behind it.
    pub(crate) fn with_room(room: usize) -> Result<Self> {
        Ok(Self { memory: Arc::new(Shared::new(Self::ROOM + room)), body: PhantomData })
    }

    /// Where the room behind it begins.
    pub(crate) const ROOM: usize = size_of::<B>().next_multiple_of(128);

    /// All of its memory.
    pub(crate) fn memory(&self) -> &Shared {
        &self.memory
    }

    /// Another handle of the same object.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self { memory: self.memory.clone(), body: PhantomData })
    }

    /// What it is for.
    pub(crate) fn body(&self) -> &B {
        self.memory.view()
    }

    /// Nobody has a name.
    #[expect(clippy::unused_self, reason = "as in the library")]
    pub(crate) fn name_of(&self, _process: Identity) -> Option<String> {
        None
    }
}

impl<B: Body> fmt::Debug for Object<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&B::NAME.to_string_lossy())
    }
}

impl<B: Body> Serialize for Object<B> {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("nothing travels in the model"))
    }
}

impl<'de, B: Body> Deserialize<'de> for Object<B> {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("nothing travels in the model"))
    }
}
