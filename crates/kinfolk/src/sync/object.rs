//! A thing of shared memory: the page it is in, and how it travels.
#![allow(unsafe_code)] // Memory that is made of atomics.

use std::ffi::CStr;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::identity::Identity;
use crate::sys::memory::{Layout, Shared};
use crate::sys::procfs;
use crate::wire::codec;
use crate::wire::handle::Handle;
use crate::{Error, Result};

/// The number of processes whose names an object keeps.
const NAMES: usize = 30;
/// The size of a name, in words.
const NAME: usize = 7;

/// What an object has in shared memory.
///
/// # Safety
///
/// As for [`Layout`]; and zeros are the state in which it begins.
pub(crate) unsafe trait Body: 'static {
    /// What it is, for errors and in `/proc`.
    const NAME: &'static CStr;
    /// A number that no other kind of object has.
    const KIND: u64;
}

/// A mapped object.
pub(crate) struct Object<B> {
    /// Its memory.
    memory: Shared,
    /// What is in it.
    body: PhantomData<fn() -> B>,
}

/// An object's memory.
#[repr(C, align(128))]
struct Page<B> {
    /// What kind of object it is. Written before any other process knows of it.
    kind: AtomicU64,
    /// The pid namespace of its users, in which alone their ids have a meaning.
    /// Written with the kind.
    namespace: AtomicU64,
    /// The names of its users.
    names: [NameSlot; NAMES],
    /// What it is for.
    body: B,
}

/// The name of a process.
///
/// | `process` | leaves it by | if killed here |
/// |---|---|---|
/// | 0 | a process: → itself, and then writes its name | an unfinished name of a dead process |
/// | a dead process | likewise | likewise |
struct NameSlot {
    /// Whose name it is.
    process: AtomicU64,
    /// The name, cut to its size.
    name: [AtomicU64; NAME],
}

// SAFETY: atomics and a body, which is made of atomics.
unsafe impl<B: Body> Layout for Page<B> {}

impl<B: Body> Object<B> {
    /// Makes an object of zeros.
    ///
    /// # Errors
    ///
    /// If there is no memory or no file descriptor for it.
    pub(super) fn new() -> Result<Self> {
        Self::with_room(0)
    }

    /// Makes an object of zeros, with room for more bytes behind it. These are
    /// the caller's to provide.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(crate) fn with_room(room: usize) -> Result<Self> {
        let what = B::NAME.to_string_lossy();
        let failed = |error| Error::io(error, format!("making a {what}"));
        let memory = Shared::new(B::NAME, Self::ROOM + room).map_err(failed)?;
        // The memory is there, or this is an error: touching it never is one.
        memory.provide(0, Self::ROOM).map_err(failed)?;
        let object = Self { memory, body: PhantomData };
        let page = object.page();
        page.kind.store(B::KIND, Ordering::Relaxed);
        page.namespace.store(procfs::pid_namespace().map_err(failed)?, Ordering::Relaxed);
        object.note_name();
        Ok(object)
    }

    /// Maps an object that another process made.
    pub(crate) fn open(fd: OwnedFd) -> Result<Self, String> {
        let what = B::NAME.to_string_lossy();
        let refuse =
            |reason: &dyn fmt::Display| format!("a handle was to be a {what}, but {reason}");
        let memory = Shared::open(fd).map_err(|error| refuse(&error))?;
        if memory.len() < Self::ROOM {
            return Err(refuse(&"is too small"));
        }
        // Whoever made it may have left pages out, and touching one could fail.
        memory.provide(0, Self::ROOM).map_err(|error| refuse(&error))?;
        let object = Self { memory, body: PhantomData };
        let page = object.page();
        if page.kind.load(Ordering::Relaxed) != B::KIND {
            return Err(refuse(&"is not one"));
        }
        let here = procfs::pid_namespace().map_err(|error| refuse(&error))?;
        if page.namespace.load(Ordering::Relaxed) != here {
            return Err(refuse(
                &"is of another pid namespace, whose processes cannot be told from here",
            ));
        }
        object.note_name();
        Ok(object)
    }

    /// Where the room behind it begins: at a page.
    pub(crate) const ROOM: usize = size_of::<Page<B>>().next_multiple_of(4096);

    /// All of its memory.
    #[inline]
    pub(crate) fn memory(&self) -> &Shared {
        &self.memory
    }

    /// Another handle of the same object.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let failed = |error| Error::io(error, "cloning a handle of shared memory");
        let fd = self.memory.as_fd().try_clone_to_owned().map_err(failed)?;
        Ok(Self { memory: Shared::open(fd).map_err(failed)?, body: PhantomData })
    }

    /// What it is for.
    #[inline]
    pub(crate) fn body(&self) -> &B {
        &self.page().body
    }

    /// Its memory.
    #[inline]
    fn page(&self) -> &Page<B> {
        self.memory.view()
    }

    /// The name of a process that used this object, if it is known.
    pub(super) fn name_of(&self, process: Identity) -> Option<String> {
        let is_its = |slot: &&NameSlot| slot.process.load(Ordering::Acquire) == process.bits();
        let slot = self.page().names.iter().find(is_its)?;
        let words = slot.name.each_ref().map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let bytes: Vec<u8> = words.into_iter().flatten().take_while(|byte| *byte != 0).collect();
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Notes the name of this process, where there is room.
    fn note_name(&self) {
        let mine = Identity::mine().bits();
        let names = &self.page().names;
        if names.iter().any(|slot| slot.process.load(Ordering::Relaxed) == mine) {
            return;
        }
        let is_dead = |id: u64| Identity::from_bits(id).is_some_and(|process| !process.is_alive());
        let claim = |usable: &dyn Fn(u64) -> bool| {
            names.iter().find(|slot| {
                let seen = slot.process.load(Ordering::Relaxed);
                usable(seen)
                    && slot
                        .process
                        .compare_exchange(seen, mine, Ordering::AcqRel, Ordering::Relaxed)
                        .is_ok()
            })
        };
        let Some(slot) = claim(&|id| id == 0).or_else(|| claim(&is_dead)) else { return };
        let name = OWN_NAME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = name.as_bytes().chunks(8);
        for word in &slot.name {
            let mut part = [0; 8];
            let given = bytes.next().unwrap_or_default();
            part[..given.len()].copy_from_slice(given);
            word.store(u64::from_le_bytes(part), Ordering::Relaxed);
        }
    }
}

/// The name under which this process is known to those it shares with.
static OWN_NAME: Mutex<String> = Mutex::new(String::new());

/// Gives this process the name under which it is known to those it shares with.
pub(crate) fn name_this_process(name: &str) {
    name.clone_into(&mut OWN_NAME.lock().unwrap_or_else(PoisonError::into_inner));
}

impl<B: Body> fmt::Debug for Object<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&B::NAME.to_string_lossy())
    }
}

impl<B: Body> Serialize for Object<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::fd::serialize(&self.memory.as_fd(), serializer)
    }
}

impl<'de, B: Body> Deserialize<'de> for Object<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fd = Handle::<OwnedFd>::deserialize(deserializer)?.into_inner();
        Self::open(fd).map_err(|reason| {
            codec::note(&reason);
            D::Error::custom(reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd as _, OwnedFd};
    use std::sync::atomic::Ordering;

    use crate::Lock;
    use crate::sync::object::{Body, Object, Page};
    use crate::sys::memory::Shared;
    use crate::wire::codec::{decode, encode};
    use crate::wire::handle::Handle;

    struct Other;
    // SAFETY: nothing.
    unsafe impl Body for Other {
        const NAME: &'static std::ffi::CStr = c"kinfolk-other";
        const KIND: u64 = 7;
    }

    /// Why a descriptor is refused as a lock.
    fn refusal(fd: impl Into<OwnedFd>) -> String {
        let encoded = encode(&Handle::from(fd.into())).unwrap();
        decode::<Lock>(&encoded.bytes, encoded.handles).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_lock_is_refused_as_one() {
        assert!(refusal(File::open("/dev/null").unwrap()).contains("not a memory file"));
        let small = Shared::new(c"test", 64).unwrap();
        assert!(refusal(small.as_fd().try_clone_to_owned().unwrap()).contains("too small"));
        let empty = Shared::new(c"test", 1 << 16).unwrap();
        assert!(refusal(empty.as_fd().try_clone_to_owned().unwrap()).contains("is not one"));
        let other = Object::<Other>::new().unwrap();
        let fd = other.memory.as_fd().try_clone_to_owned().unwrap();
        assert!(refusal(fd).contains("is not one"));
    }

    #[test]
    fn an_object_of_another_pid_namespace_is_refused() {
        let object = Object::<Other>::new().unwrap();
        object.memory.view::<Page<Other>>().namespace.store(1, Ordering::Relaxed);
        let encoded = encode(&object).unwrap();
        let error = decode::<Object<Other>>(&encoded.bytes, encoded.handles).unwrap_err();
        assert!(error.to_string().contains("another pid namespace"), "{error}");
    }
}
