//! A block of shared memory.
#![allow(unsafe_code)] // Slices of memory that the caller vouches for.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys::memory::Shared;
use crate::sys::segment::Segment;
use crate::wire::codec;
use crate::{Error, ErrorKind, Handle, Result};

/// The name of anonymous memory in `/proc`.
const ANONYMOUS: &CStr = c"kinfolk-shared-memory";

/// A block of bytes that processes share, of a size that is fixed.
///
/// It travels inside values as a handle, whatever its size: a copy in another
/// process is the same memory. The memory itself goes with its last user, killed
/// or not.
///
/// [`new`](SharedMemory::new) makes it without a name. [`create`](SharedMemory::create)
/// gives it one, by which processes [`attach`](SharedMemory::attach) that are no
/// relatives, those that use Python's `multiprocessing.shared_memory` too. A name
/// stays until [`unlink`](SharedMemory::unlink), also when all who used it were
/// killed; the next `create` reclaims a name that nobody uses.
///
/// All memory is provided when it is made. A full system is an error then, and
/// nothing later.
///
/// Any process may write at any time. [`read`](SharedMemory::read) and
/// [`write`](SharedMemory::write) are sound nevertheless, and may meet a write
/// half done; a [`Lock`](crate::Lock) beside the memory is what prevents that.
///
/// ```standalone_crate
/// use kinfolk::{Process, SharedMemory};
///
/// fn fill(memory: SharedMemory) {
///     memory.write(4, b"hello").expect("it is inside");
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let memory = SharedMemory::new(100_000_000)?;
///     Process::spawn(fill, memory.try_clone()?)?.join()?;
///     let mut bytes = [0; 5];
///     memory.read(4, &mut bytes)?;
///     assert_eq!(&bytes, b"hello");
///     Ok(())
/// }
/// ```
pub struct SharedMemory {
    /// Where it is.
    kind: Kind,
}

/// The two kinds of memory.
enum Kind {
    /// Without a name: sealed, so that nobody can shrink it.
    Anonymous(Shared),
    /// With a name.
    Named(Segment, String),
}

impl SharedMemory {
    /// Makes memory of zeros without a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for no bytes, [`ErrorKind::Exhausted`] if the
    /// system has no memory or no file descriptor for it, or this process may not
    /// make files of this size (`ulimit -f`).
    pub fn new(size: usize) -> Result<Self> {
        check_size(size)?;
        let failed = |error| Error::io(error, format!("making {size} bytes of shared memory"));
        Ok(Self { kind: Kind::Anonymous(Shared::filled(ANONYMOUS, size).map_err(failed)?) })
    }

    /// Makes memory of zeros with a name, a file name of at most 250 bytes. It
    /// appears whole, at once.
    ///
    /// A name that exists is reclaimed if no process has it open or mapped, which
    /// the kernel says: users of this library or any other, of any language, in
    /// any pid namespace, count until they have ended. What the memory held is
    /// gone then.
    ///
    /// A Python process that attaches (before 3.13, or without `track=False`)
    /// removes the name when it ends; who is attached keeps the memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] if a living process uses the name or it belongs to
    /// another user; as [`new`](SharedMemory::new) otherwise. If there is no
    /// memory for a name that was left, it stays, empty. Where the system grants
    /// no leases on files, a name that exists is an error.
    pub fn create(name: &str, size: usize) -> Result<Self> {
        check_size(size)?;
        let failed = |error| named(error, "creating", name);
        let segment = Segment::create(name, size).map_err(failed)?;
        Ok(Self { kind: Kind::Named(segment, name.to_owned()) })
    }

    /// Attaches the memory that has a name. Whoever made it may have rounded its
    /// size up.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is none; [`ErrorKind::InUse`] if it is
    /// being reclaimed for seconds; if it is empty, or there is no memory for
    /// what its creator did not provide.
    pub fn attach(name: &str) -> Result<Self> {
        let failed = |error| named(error, "attaching", name);
        let segment = Segment::attach(name).map_err(failed)?;
        Ok(Self { kind: Kind::Named(segment, name.to_owned()) })
    }

    /// Another handle of the same memory.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor, or no address space for it.
    pub fn try_clone(&self) -> Result<Self> {
        let failed = |error| Error::io(error, "cloning a handle of shared memory");
        let fd = self.as_fd().try_clone_to_owned().map_err(failed)?;
        Self::open(fd, self.name().map(str::to_owned)).map_err(failed)
    }

    /// Its name, if it was made with one. It may be unlinked by now.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Anonymous(_) => None,
            Kind::Named(_, name) => Some(name),
        }
    }

    /// Its size in bytes.
    #[must_use]
    #[doc(alias = "len")]
    pub fn size(&self) -> usize {
        match &self.kind {
            Kind::Anonymous(memory) => memory.len(),
            Kind::Named(segment, _) => segment.len(),
        }
    }

    /// Copies the bytes from `offset` on into `to`. If another writes there at
    /// the same time, some of them are old and some new.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if they are not all inside. Named memory can be
    /// shrunk by other users of its file: that is an error too, not a signal.
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        self.check(offset, to.len())?;
        match &self.kind {
            Kind::Anonymous(memory) => memory.load(offset, to).ok_or_else(|| outside(self.size())),
            Kind::Named(segment, name) => {
                segment.read(offset, to).map_err(|error| named(error, "reading", name))
            }
        }
    }

    /// Copies `bytes` to `offset`. A kill leaves some of them old and some new.
    ///
    /// # Errors
    ///
    /// As [`read`](SharedMemory::read); and for named memory, if this process may
    /// not write so far into files (`ulimit -f`).
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.check(offset, bytes.len())?;
        match &self.kind {
            Kind::Anonymous(memory) => {
                memory.store(offset, bytes).ok_or_else(|| outside(self.size()))
            }
            Kind::Named(segment, name) => {
                segment.write(offset, bytes).map_err(|error| named(error, "writing", name))
            }
        }
    }

    /// Where it is mapped in this process, as long as `self` lives.
    ///
    /// Of named memory: the file can be shrunk by whoever may write to it, and
    /// then touching what is gone is a signal.
    #[must_use]
    #[doc(alias = "buf")]
    pub fn as_ptr(&self) -> *mut u8 {
        match &self.kind {
            Kind::Anonymous(memory) => memory.as_ptr(),
            Kind::Named(segment, _) => segment.as_ptr(),
        }
    }

    /// All of it, without a copy. The borrow keeps it mapped.
    ///
    /// # Safety
    ///
    /// Nobody, in any process, writes to the memory while the slice lives, nor
    /// shrinks the file of named memory.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped as long as `self` lives; by contract nobody writes.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.size()) }
    }

    /// All of it, to be changed in place. The borrow keeps it mapped.
    ///
    /// # Safety
    ///
    /// Nobody else, in any process and by any handle, reads or writes the memory
    /// while the slice lives, nor shrinks the file of named memory.
    #[must_use]
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: mapped as long as `self` lives; by contract nobody else looks.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), self.size()) }
    }

    /// Ends this handle, as dropping it does. The name stays.
    pub fn close(self) {}

    /// Removes the name. Who is attached stays so, and the memory goes with the
    /// last of them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it has no name, [`ErrorKind::NotFound`] if
    /// the name is gone, or another memory's by now.
    pub fn unlink(&self) -> Result<()> {
        match &self.kind {
            Kind::Anonymous(_) => Err(Error::new(
                ErrorKind::InvalidInput,
                "unlinking shared memory that has no name: it goes with its last user",
            )),
            Kind::Named(segment, name) => {
                segment.unlink(name).map_err(|error| named(error, "unlinking", name))
            }
        }
    }

    /// Removes the names with this beginning whose makers have ended.
    pub(crate) fn unlink_left(beginning: &str) {
        crate::sys::segment::unlink_left(beginning);
    }

    /// Checks that a range is inside.
    fn check(&self, offset: usize, length: usize) -> Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(outside(self.size())),
        }
    }

    /// Maps memory of which there is a descriptor.
    fn open(fd: OwnedFd, name: Option<String>) -> io::Result<Self> {
        let kind = match name {
            Some(name) => Kind::Named(Segment::open(fd)?, name),
            None => {
                let memory = Shared::open(fd)?;
                if !memory.is_provided() {
                    let reason = "it is not filled".to_owned();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
                Kind::Anonymous(memory)
            }
        };
        Ok(Self { kind })
    }
}

impl AsFd for SharedMemory {
    /// The memory's file.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Anonymous(memory) => memory.as_fd(),
            Kind::Named(segment, _) => segment.as_fd(),
        }
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("name", &self.name())
            .field("size", &self.size())
            .finish()
    }
}

impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// A descriptor that is lent.
        struct Fd<'a>(BorrowedFd<'a>);
        impl Serialize for Fd<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::fd::serialize(&self.0, serializer)
            }
        }
        (self.name(), Fd(self.as_fd())).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (name, fd) = <(Option<String>, Handle<OwnedFd>)>::deserialize(deserializer)?;
        Self::open(fd.into_inner(), name).map_err(|error| {
            let reason = format!("a handle was to be shared memory, but {error}");
            codec::note(&reason);
            D::Error::custom(reason)
        })
    }
}

/// Checks a size that memory is to have.
fn check_size(size: usize) -> Result<()> {
    if (1..=isize::MAX as usize).contains(&size) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, format!("shared memory cannot have {size} bytes")))
}

/// A range is not inside.
fn outside(size: usize) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("the range is not inside of the {size} bytes"))
}

/// What failed on memory with a name.
fn named(error: io::Error, doing: &str, name: &str) -> Error {
    let what = format!("{doing} the shared memory {name:?}");
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format!("{what}: there is none of this name"))
        }
        io::ErrorKind::ResourceBusy => Error::new(
            ErrorKind::InUse,
            format!("{what}: a living process uses the name, or it is another user's"),
        ),
        io::ErrorKind::InvalidInput => Error::new(
            ErrorKind::InvalidInput,
            format!("{what}: a name is a file name of at most 250 bytes"),
        ),
        _ => Error::io(error, what),
    }
}
