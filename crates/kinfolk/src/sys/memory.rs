//! Memory that crosses between processes as a file descriptor.
#![allow(unsafe_code)] // Mappings.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create,
};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use rustix::process::{Resource, getrlimit};

use super::available;
use super::fd::off_the_streams;

/// The size of a [`SharedPage`], in bytes.
const PAGE: usize = 4096;

/// So many bytes are copied sooner than it takes to call for it.
const FEW: usize = 32;

/// The seals of finished content: neither its size nor a byte changes again.
const FINISHED: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Writes `parts` into a new memory file that cannot change afterwards.
///
/// # Errors
///
/// If there is no memory for it, or this process may not make files of this size,
/// or the system itself goes on using its pages: then it cannot be sealed.
pub(crate) fn sealed(parts: &[&[u8]]) -> io::Result<OwnedFd> {
    /// How many files are tried.
    const FILES: usize = 3;
    check_size(parts.iter().map(|part| part.len()).sum())?;
    for _ in 0..FILES {
        let mut file = File::from(memory_file(c"kinfolk-message")?);
        for part in parts {
            file.write_all(part)?;
        }
        if finish(file.as_fd())? {
            return Ok(file.into());
        }
    }
    let reason = "the system keeps using the pages of a memory file, which cannot be sealed then";
    Err(io::Error::new(io::ErrorKind::ResourceBusy, reason))
}

/// Seals a finished file; `false` if it stays in use.
fn finish(file: BorrowedFd<'_>) -> io::Result<bool> {
    /// How often it is tried. The kernel itself waits for about 0.15 s each time.
    const TRIES: usize = 5;
    for _ in 0..TRIES {
        match fcntl_add_seals(file, FINISHED) {
            Ok(()) => return Ok(true),
            // Whoever looks at all pages, as reclaim does, holds some for a moment.
            Err(Errno::BUSY) => std::thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Writes bytes into a memory file that may still change.
#[cfg(any(fuzzing, test))]
pub(crate) fn unsealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memory_file(c"kinfolk-open")?);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// Gives a file its size.
///
/// # Errors
///
/// If this process may not make files of this size.
pub(super) fn set_size(fd: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    check_size(size)?;
    Ok(rustix::fs::ftruncate(fd, size as u64)?)
}

/// Checks that this process may make files of this size: the system would send a
/// signal for it, which ends a process.
fn check_size(size: usize) -> io::Result<()> {
    if getrlimit(Resource::Fsize).current.is_some_and(|limit| size as u64 > limit) {
        return Err(Errno::FBIG.into());
    }
    Ok(())
}

/// Makes the system provide the memory of a range of a file now.
pub(super) fn provide(fd: BorrowedFd<'_>, start: usize, length: usize) -> io::Result<()> {
    /// As much at once as a signal in between does not make futile.
    const STEP: usize = 16 << 20;
    let end = start.checked_add(length).ok_or(io::ErrorKind::InvalidInput)?;
    for place in (start..end).step_by(STEP) {
        let step = STEP.min(end - place) as u64;
        let provide = || rustix::fs::fallocate(fd, FallocateFlags::empty(), place as u64, step);
        rustix::io::retry_on_intr(provide)?;
    }
    Ok(())
}

/// Makes an empty memory file.
fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    off_the_streams(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

/// Content that another process finished: readable memory that cannot change.
#[derive(Debug)]
pub(crate) struct Map {
    /// Where it is mapped; nowhere if it is empty.
    start: NonNull<u8>,
    /// Its size in bytes.
    size: usize,
}

impl Map {
    /// Maps content made by [`sealed`] in any process.
    ///
    /// # Errors
    ///
    /// If it may still change, or has less memory behind it than its size says:
    /// a size alone must not make the receiver spend memory.
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        let refuse = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        let seals = fcntl_get_seals(&fd).map_err(|_| refuse("it is not a memory file"))?;
        if !seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE) {
            return Err(refuse("it is not sealed"));
        }
        let file = File::from(fd).metadata_and_file()?;
        let (metadata, file) = file;
        if metadata.blocks().saturating_mul(512) < metadata.len() {
            return Err(refuse("it is not filled"));
        }
        let size = usize::try_from(metadata.len()).map_err(|_| refuse("it is too large"))?;
        if size == 0 {
            return Ok(Self { start: NonNull::dangling(), size });
        }
        // SAFETY: a new mapping, chosen by the kernel; the file's seals keep it
        // from shrinking or changing under the mapping.
        let start = unsafe {
            mmap(std::ptr::null_mut(), size, ProtFlags::READ, MapFlags::SHARED, &file, 0)?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, size })
    }
}

/// A file with what is known of it.
trait WithMetadata: Sized {
    /// Reads the metadata and keeps the file.
    fn metadata_and_file(self) -> io::Result<(std::fs::Metadata, Self)>;
}

impl WithMetadata for File {
    fn metadata_and_file(self) -> io::Result<(std::fs::Metadata, Self)> {
        Ok((self.metadata()?, self))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `size` bytes are mapped from `start` as long as `self` lives,
        // and sealed against change; an empty map has a dangling, aligned start.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if self.size > 0 {
            // SAFETY: mapped in `open` with this size; the borrows of its
            // content end before it is dropped.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
        }
    }
}

// SAFETY: read-only memory of the process, owned by this value.
unsafe impl Send for Map {}
// SAFETY: nobody writes to it.
unsafe impl Sync for Map {}

/// Memory that processes share, of a size that never changes: all that hold its
/// file may write to it at any time.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The memory file.
    fd: OwnedFd,
    /// Where it is mapped.
    start: NonNull<u8>,
    /// Its size in bytes.
    size: usize,
}

/// A type that can be looked at in memory which others write to.
///
/// # Safety
///
/// It consists of atomics alone, so that every content is a valid value and a
/// write by another process is no data race; and it needs no more than the
/// alignment of a page.
pub(crate) unsafe trait Layout {}

// SAFETY: atomics.
unsafe impl<const N: usize> Layout for [AtomicI32; N] {}

/// An atomic that memory is copied by.
///
/// # Safety
///
/// As for [`Layout`], and its alignment is its size.
unsafe trait Unit: Sized {
    /// Copies bytes into units. There are as many of both.
    fn put(units: &[Self], bytes: &[u8]);
    /// Copies units into bytes. There are as many of both.
    fn get(units: &[Self], to: &mut [u8]);
}

/// Makes an atomic a [`Unit`].
macro_rules! unit {
    ($($atomic:ty, $plain:ty;)*) => {$(
        // SAFETY: an atomic, and no target of this library aligns it by less.
        unsafe impl Unit for $atomic {
            #[inline]
            fn put(units: &[Self], bytes: &[u8]) {
                for (unit, bytes) in units.iter().zip(bytes.as_chunks().0) {
                    unit.store(<$plain>::from_ne_bytes(*bytes), Ordering::Relaxed);
                }
            }

            #[inline]
            fn get(units: &[Self], to: &mut [u8]) {
                for (unit, to) in units.iter().zip(to.as_chunks_mut().0) {
                    *to = unit.load(Ordering::Relaxed).to_ne_bytes();
                }
            }
        }
    )*};
}

unit! {
    AtomicU8, u8;
    AtomicU16, u16;
    AtomicU32, u32;
    AtomicU64, u64;
}

impl Shared {
    /// Makes memory of zeros. The system provides it as it is touched:
    /// [`provide`](Self::provide) makes sure of it.
    pub(crate) fn new(name: &CStr, size: usize) -> io::Result<Self> {
        let fd = memory_file(name)?;
        set_size(fd.as_fd(), size)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::open(fd)
    }

    /// Makes memory of zeros, all of it there: touching it cannot fail.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub(crate) fn filled(name: &CStr, size: usize) -> io::Result<Self> {
        available::check(size)?;
        let memory = Self::new(name, size)?;
        memory.provide(0, size)?;
        Ok(memory)
    }

    /// Maps memory that another process made.
    ///
    /// # Errors
    ///
    /// If it could shrink under the mapping.
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        let refuse = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        let seals = fcntl_get_seals(&fd).map_err(|_| refuse("it is not a memory file"))?;
        if !seals.contains(SealFlags::SHRINK | SealFlags::SEAL) || seals.contains(SealFlags::WRITE)
        {
            return Err(refuse("it is not sealed as shared memory is"));
        }
        let size = usize::try_from(rustix::fs::fstat(&fd)?.st_size)
            .ok()
            .filter(|size| *size > 0)
            .ok_or_else(|| refuse("it is empty or too large"))?;
        Self::map(fd, size)
    }

    /// Maps the first bytes of a file.
    pub(super) fn map(fd: OwnedFd, size: usize) -> io::Result<Self> {
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, chosen by the kernel, touched by nothing yet.
        let start = unsafe { mmap(std::ptr::null_mut(), size, both, MapFlags::SHARED, &fd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { fd, start, size })
    }

    /// Its size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.size
    }

    /// Makes the system provide the memory of a range now: touching it later
    /// cannot fail.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub(crate) fn provide(&self, start: usize, length: usize) -> io::Result<()> {
        provide(self.as_fd(), start, length)
    }

    /// Whether all of the memory is there: no use of it makes the system provide
    /// more, so a size alone has not made its receiver spend any.
    pub(crate) fn is_provided(&self) -> bool {
        let blocks = rustix::fs::fstat(&self.fd).map_or(0, |stat| stat.st_blocks);
        usize::try_from(blocks).is_ok_and(|blocks| blocks.saturating_mul(512) >= self.size)
    }

    /// Where it is mapped.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Copies bytes into the memory, which others may do at the same time: each
    /// byte is then of one or the other. `None`, and nothing, if that is outside.
    #[inline]
    pub(crate) fn store(&self, place: usize, bytes: &[u8]) -> Option<()> {
        let (head, words, tail) = self.atoms(place, bytes.len())?;
        let (first, rest) = bytes.split_at(head.len());
        let (middle, last) = rest.split_at(size_of_val(words));
        AtomicU8::put(head, first);
        AtomicU64::put(words, middle);
        AtomicU8::put(tail, last);
        Some(())
    }

    /// As [`store`](Self::store), but no `unit` bytes (2, 4 or 8; with another
    /// number it is the same) are ever of both. The place is a multiple of it.
    #[inline]
    pub(crate) fn store_units(&self, place: usize, bytes: &[u8], unit: usize) -> Option<()> {
        match unit {
            2 => AtomicU16::put(self.units(place, bytes.len())?, bytes),
            4 => AtomicU32::put(self.units(place, bytes.len())?, bytes),
            8 => AtomicU64::put(self.units(place, bytes.len())?, bytes),
            _ => self.store(place, bytes)?,
        }
        Some(())
    }

    /// As [`load`](Self::load), by [units](Self::store_units).
    #[inline]
    pub(crate) fn load_units(&self, place: usize, to: &mut [u8], unit: usize) -> Option<()> {
        match unit {
            2 => AtomicU16::get(self.units(place, to.len())?, to),
            4 => AtomicU32::get(self.units(place, to.len())?, to),
            8 => AtomicU64::get(self.units(place, to.len())?, to),
            _ => self.load(place, to)?,
        }
        Some(())
    }

    /// Copies bytes of the memory into `to`, which others may change at the same
    /// time. `None`, and nothing, if they are outside.
    #[inline]
    pub(crate) fn load(&self, place: usize, to: &mut [u8]) -> Option<()> {
        let (head, words, tail) = self.atoms(place, to.len())?;
        let (first, rest) = to.split_at_mut(head.len());
        let (middle, last) = rest.split_at_mut(size_of_val(words));
        AtomicU8::get(head, first);
        AtomicU64::get(words, middle);
        AtomicU8::get(tail, last);
        Some(())
    }

    /// A range as atomic units; `None` if it is outside, or not of whole ones.
    fn units<U: Unit>(&self, place: usize, length: usize) -> Option<&[U]> {
        self.check(place, length)?;
        if !place.is_multiple_of(size_of::<U>()) || !length.is_multiple_of(size_of::<U>()) {
            return None;
        }
        // SAFETY: inside of the mapping, as checked.
        let start = unsafe { self.start.add(place) }.cast::<U>();
        // SAFETY: mapped as long as `self` lives, aligned as checked, for the mapping
        // begins at a page; any content is a valid atomic.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), length / size_of::<U>()) })
    }

    /// A range as atomics: bytes up to a whole word, words, and the bytes after.
    #[inline]
    fn atoms(
        &self,
        place: usize,
        length: usize,
    ) -> Option<(&[AtomicU8], &[AtomicU64], &[AtomicU8])> {
        self.check(place, length)?;
        // SAFETY: inside of the mapping, as checked.
        let start = unsafe { self.start.add(place) };
        // SAFETY: mapped as long as `self` lives; an atomic byte has no alignment,
        // any content, and may be written to by anybody.
        let bytes =
            unsafe { std::slice::from_raw_parts(start.cast::<AtomicU8>().as_ptr(), length) };
        // SAFETY: eight atomic bytes in a place aligned for it are an atomic word.
        Some(unsafe { bytes.align_to() })
    }

    /// The word at a place; `None` if it is outside, or not aligned.
    #[inline]
    pub(crate) fn word(&self, place: usize) -> Option<&AtomicU64> {
        let inside = place.checked_add(size_of::<AtomicU64>())? <= self.size;
        if !inside || !place.is_multiple_of(size_of::<AtomicU64>()) {
            return None;
        }
        // SAFETY: inside of the mapping, as checked.
        let word = unsafe { self.start.add(place) };
        // SAFETY: mapped as long as `self` lives, aligned as checked.
        Some(unsafe { word.cast().as_ref() })
    }

    /// Copies bytes into the memory; `None`, and nothing, if that is outside.
    #[inline]
    pub(crate) fn write(&self, place: usize, bytes: &[u8]) -> Option<()> {
        if bytes.len() <= FEW {
            return self.store(place, bytes);
        }
        self.check(place, bytes.len())?;
        // SAFETY: inside of the mapping, as checked.
        let to = unsafe { self.start.add(place) };
        // SAFETY: `to` has room, and is no memory of `bytes`, which is Rust's.
        // Another process may write there too: then the content is of no use to
        // anybody, and nobody is promised one.
        unsafe { to.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Some(())
    }

    /// Appends bytes of the memory to `to`; `None`, and nothing, if they are
    /// outside or there is no memory for them.
    #[inline]
    pub(crate) fn read(&self, place: usize, length: usize, to: &mut Vec<u8>) -> Option<()> {
        self.check(place, length)?;
        to.try_reserve(length).ok()?;
        // SAFETY: inside of the mapping, as checked.
        let from = unsafe { self.start.add(place) };
        let room = to.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: there is room, as reserved; as for `write`.
        unsafe { room.copy_from_nonoverlapping(from.as_ptr(), length) };
        // SAFETY: written above.
        unsafe { to.set_len(to.len() + length) };
        Some(())
    }

    /// Copies bytes of the memory to `to`; `None`, and nothing, if they are outside.
    #[inline]
    pub(crate) fn read_into(&self, place: usize, to: &mut [u8]) -> Option<()> {
        if to.len() <= FEW {
            return self.load(place, to);
        }
        self.check(place, to.len())?;
        // SAFETY: inside of the mapping, as checked.
        let from = unsafe { self.start.add(place) };
        // SAFETY: as for `write`.
        unsafe { to.as_mut_ptr().copy_from_nonoverlapping(from.as_ptr(), to.len()) };
        Some(())
    }

    /// Bytes of the memory where they are; `None` if that is outside.
    ///
    /// # Safety
    ///
    /// Nobody, in any process, writes to them while the slice is used.
    pub(crate) unsafe fn slice(&self, place: usize, length: usize) -> Option<&[u8]> {
        self.check(place, length)?;
        // SAFETY: inside of the mapping, as checked.
        let start = unsafe { self.start.add(place) };
        // SAFETY: mapped as long as `self` lives, initialised as all of a file is,
        // and written to by nobody, as the caller promises.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
    }

    /// Bytes of the memory where they are, to be written; `None` if that is outside.
    ///
    /// # Safety
    ///
    /// Nobody else, in any process, reads or writes them while the slice is used.
    #[expect(clippy::mut_from_ref, reason = "the memory is not the mapping's own")]
    pub(crate) unsafe fn slice_mut(&self, place: usize, length: usize) -> Option<&mut [u8]> {
        self.check(place, length)?;
        // SAFETY: inside of the mapping, as checked.
        let start = unsafe { self.start.add(place) };
        // SAFETY: mapped as long as `self` lives, initialised as all of a file is,
        // and used by nobody else, as the caller promises.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) })
    }

    /// Copies bytes inside of the memory, to where they do not overlap.
    pub(crate) fn copy(&self, from: usize, to: usize, length: usize) -> Option<()> {
        self.check(from, length)?;
        self.check(to, length)?;
        if from.abs_diff(to) < length {
            return None;
        }
        // SAFETY: inside of the mapping, as checked.
        let source = unsafe { self.start.add(from) };
        // SAFETY: likewise.
        let target = unsafe { self.start.add(to) };
        // SAFETY: both are mapped and do not overlap, as checked.
        unsafe { target.as_ptr().copy_from_nonoverlapping(source.as_ptr(), length) };
        Some(())
    }

    /// Whether a range is inside.
    #[inline]
    fn check(&self, place: usize, length: usize) -> Option<()> {
        (place.checked_add(length)? <= self.size).then_some(())
    }

    /// The beginning of the memory as a `T`.
    ///
    /// # Panics
    ///
    /// If the memory is too small for it.
    #[inline]
    pub(crate) fn view<T: Layout>(&self) -> &T {
        assert!(size_of::<T>() <= self.size, "the memory is too small");
        // SAFETY: mapped as long as `self` lives, large enough by the assertion,
        // aligned as a page is; any content is a valid `T`.
        unsafe { self.start.cast::<T>().as_ref() }
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped in `open` with this size; the views' borrows have ended.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}

// SAFETY: shared memory, looked at through atomics.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// A page of words that two processes share.
#[derive(Debug)]
pub(crate) struct SharedPage(Shared);

impl SharedPage {
    /// Makes a page of zeros.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Shared::new(c"kinfolk-page", PAGE)?))
    }

    /// Maps a page that another process made. Forks of this one do not have it.
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        let shared = Shared::open(fd)?;
        if shared.len() != PAGE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: mapped above, with this size.
        unsafe { madvise(shared.as_ptr().cast(), PAGE, Advice::LinuxDontFork)? };
        Ok(Self(shared))
    }

    /// A word of the page.
    ///
    /// # Panics
    ///
    /// If the page has no such word.
    pub(crate) fn word(&self, place: usize) -> &AtomicI32 {
        &self.0.view::<[AtomicI32; PAGE / size_of::<AtomicI32>()]>()[place]
    }
}

impl AsFd for SharedPage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn sealed_content_comes_back() {
        let map = Map::open(sealed(&[b"one ", b"two"]).unwrap()).unwrap();
        assert_eq!(&*map, b"one two");
        assert_eq!(&*Map::open(sealed(&[]).unwrap()).unwrap(), b"");
    }

    #[test]
    fn a_file_in_use_is_sealed_once_it_is_free() {
        let file = unsealed(b"content").unwrap();
        let both = ProtFlags::READ | ProtFlags::WRITE;
        let null = std::ptr::null_mut();
        // SAFETY: a new mapping, chosen by the kernel.
        let start = unsafe { mmap(null, PAGE, both, MapFlags::SHARED, &file, 0) }.unwrap();
        assert!(!finish(file.as_fd()).unwrap());
        // SAFETY: mapped above, and used by nobody.
        unsafe { munmap(start, PAGE) }.unwrap();
        assert!(finish(file.as_fd()).unwrap());
        assert_eq!(&*Map::open(file).unwrap(), b"content");
    }

    #[test]
    fn what_may_change_or_is_hollow_is_refused() {
        let open = memory_file(c"test").unwrap();
        assert!(Map::open(open).unwrap_err().to_string().contains("not sealed"));
        let hollow = memory_file(c"test").unwrap();
        rustix::fs::ftruncate(&hollow, 1 << 40).unwrap();
        fcntl_add_seals(&hollow, FINISHED).unwrap();
        assert!(Map::open(hollow).unwrap_err().to_string().contains("not filled"));
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        assert!(Map::open(pipe).unwrap_err().to_string().contains("not a memory file"));
    }

    #[test]
    fn bytes_at_any_place_come_back() {
        let memory = Shared::filled(c"test", 64).unwrap();
        let bytes: Vec<u8> = (1..=40).collect();
        for place in 0..=24 {
            for length in 0..=40 {
                memory.store(0, &[0; 64]).unwrap();
                memory.store(place, &bytes[..length]).unwrap();
                let (mut part, mut all) = (vec![0; length], [0; 64]);
                memory.load(place, &mut part).unwrap();
                memory.load(0, &mut all).unwrap();
                assert_eq!(part, bytes[..length]);
                assert!(all[..place].iter().chain(&all[place + length..]).all(|byte| *byte == 0));
            }
        }
        assert!(memory.load(60, &mut [0; 5]).is_none());
        assert!(memory.store(usize::MAX, &[0]).is_none());
    }

    #[test]
    fn units_come_back_and_are_whole_and_inside() {
        let memory = Shared::filled(c"test", 64).unwrap();
        let bytes: Vec<u8> = (1..=48).collect();
        for unit in [1, 2, 4, 8] {
            memory.store(0, &[0; 64]).unwrap();
            memory.store_units(8, &bytes, unit).unwrap();
            let (mut same, mut all) = ([0; 48], [0; 64]);
            memory.load_units(8, &mut same, unit).unwrap();
            memory.load(0, &mut all).unwrap();
            assert_eq!((&same[..], &all[8..56]), (&bytes[..], &bytes[..]));
            assert!(memory.store_units(64, &bytes[..unit], unit).is_none());
            assert!(memory.load_units(usize::MAX, &mut [0; 8][..unit], unit).is_none());
        }
        assert!(memory.store_units(4, &bytes[..8], 8).is_none(), "not at a unit");
        assert!(memory.store_units(0, &bytes[..6], 4).is_none(), "not whole units");
    }

    #[test]
    fn a_page_is_shared_by_its_mappings() {
        let page = SharedPage::new().unwrap();
        let other = SharedPage::open(page.as_fd().try_clone_to_owned().unwrap()).unwrap();
        page.word(3).store(7, Ordering::Relaxed);
        assert_eq!(other.word(3).load(Ordering::Relaxed), 7);
    }
}
