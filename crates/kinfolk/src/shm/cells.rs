//! Values of plain data in shared memory, one after the other.
#![allow(unsafe_code)] // Memory that is made of atomics.

use std::ffi::CStr;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys::memory::{Layout, Shared};
use crate::wire::codec;
use crate::{Error, ErrorKind, Handle, Result};

/// Where the values begin.
const VALUES: usize = 64;
/// What begins with this is such memory.
const KIND: u64 = u64::from_le_bytes(*b"kf cell1");

/// A number of values, which does not change.
///
/// They are copied in units of the largest power of two, of 8 bytes at most, that
/// their size is a multiple of: by every process the same, so a value that is one
/// unit is never half of another.
pub(super) struct Cells<T> {
    /// Its memory.
    memory: Shared,
    /// The number of values.
    count: usize,
    /// What they are.
    what: PhantomData<fn() -> T>,
}

/// What the memory begins with. Written before any other process knows of it.
#[repr(C)]
struct Header {
    /// What kind of memory it is.
    kind: AtomicU64,
    /// The size of a value in bytes.
    size: AtomicU64,
    /// The alignment of a value in bytes.
    align: AtomicU64,
    /// The number of values.
    count: AtomicU64,
}

// SAFETY: atomics.
unsafe impl Layout for Header {}

impl<T: Pod> Cells<T> {
    /// The units of a value, in bytes.
    const UNIT: usize = {
        assert!(size_of::<T>() > 0, "a value of no size cannot be shared");
        let twos = size_of::<T>().trailing_zeros();
        if twos < 3 { 1 << twos } else { 8 }
    };

    /// Makes values of zeros.
    ///
    /// # Errors
    ///
    /// If there is no memory or no file descriptor for them.
    pub(super) fn new(name: &CStr, count: usize) -> Result<Self> {
        let what = || format!("making {count} shared values of {} bytes each", size_of::<T>());
        let size = memory_size::<T>(count).ok_or_else(|| {
            Error::new(ErrorKind::Exhausted, format!("{}: no memory is so large", what()))
        })?;
        let memory = Shared::filled(name, size).map_err(|error| Error::io(error, what()))?;
        let header = memory.view::<Header>();
        header.kind.store(KIND, Ordering::Relaxed);
        header.size.store(size_of::<T>() as u64, Ordering::Relaxed);
        header.align.store(align_of::<T>() as u64, Ordering::Relaxed);
        header.count.store(count as u64, Ordering::Relaxed);
        Ok(Self { memory, count, what: PhantomData })
    }

    /// Maps values that another process made. What the memory says of itself is
    /// looked at here only, and compared with its size.
    fn open(fd: OwnedFd) -> Result<Self, String> {
        let memory = Shared::open(fd).map_err(|error| error.to_string())?;
        if memory.len() < VALUES {
            return Err("it is too small".to_owned());
        }
        if !memory.is_provided() {
            return Err("it is not filled".to_owned());
        }
        let Header { kind, size, align, count } = memory.view::<Header>();
        if kind.load(Ordering::Relaxed) != KIND {
            return Err("it is not one".to_owned());
        }
        let there = (size.load(Ordering::Relaxed), align.load(Ordering::Relaxed));
        if there != (size_of::<T>() as u64, align_of::<T>() as u64) {
            return Err(format!(
                "its values have {} bytes, aligned to {}, and a {} has {}, aligned to {}",
                there.0,
                there.1,
                std::any::type_name::<T>(),
                size_of::<T>(),
                align_of::<T>(),
            ));
        }
        let count = usize::try_from(count.load(Ordering::Relaxed))
            .ok()
            .filter(|count| memory_size::<T>(*count) == Some(memory.len()))
            .ok_or("its size does not fit its number of values")?;
        Ok(Self { memory, count, what: PhantomData })
    }

    /// Another handle of the same values.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub(super) fn try_clone(&self) -> Result<Self> {
        let failed = |error| Error::io(error, "cloning a handle of shared values");
        let fd = self.memory.as_fd().try_clone_to_owned().map_err(failed)?;
        let memory = Shared::open(fd).map_err(failed)?;
        Ok(Self { memory, count: self.count, what: PhantomData })
    }

    /// The number of values.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Copies values from `first` on into `to`; `None` if they are not all there.
    #[inline]
    pub(super) fn load(&self, first: usize, to: &mut [T]) -> Option<()> {
        let place = self.place(first, to.len())?.start;
        self.memory.load_units(place, bytemuck::cast_slice_mut(to), Self::UNIT)
    }

    /// Copies values to `first` and on; `None`, and nothing, if there are not so
    /// many.
    #[inline]
    pub(super) fn store(&self, first: usize, values: &[T]) -> Option<()> {
        let place = self.place(first, values.len())?.start;
        self.memory.store_units(place, bytemuck::cast_slice(values), Self::UNIT)
    }

    /// The bytes of a range of values.
    #[inline]
    fn place(&self, first: usize, count: usize) -> Option<Range<usize>> {
        let end = first.checked_add(count).filter(|end| *end <= self.count)?;
        Some(VALUES + first * size_of::<T>()..VALUES + end * size_of::<T>())
    }

    /// Claims values from the value being decoded, if their number is `right`; they
    /// are to be `what`.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
        what: &str,
        right: impl FnOnce(usize) -> bool,
    ) -> Result<Self, D::Error> {
        let fd = Handle::<OwnedFd>::deserialize(deserializer)?.into_inner();
        let opened = Self::open(fd).and_then(|cells| match right(cells.count) {
            true => Ok(cells),
            false => Err(format!("it has {} values", cells.count)),
        });
        opened.map_err(|reason| {
            let reason = format!("a handle was to be a {what}, but {reason}");
            codec::note(&reason);
            D::Error::custom(reason)
        })
    }
}

impl<T> Serialize for Cells<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::fd::serialize(&self.memory.as_fd(), serializer)
    }
}

impl<T> fmt::Debug for Cells<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count, std::any::type_name::<T>())
    }
}

/// The size of the memory of so many values.
fn memory_size<T>(count: usize) -> Option<usize> {
    let size = count.checked_mul(size_of::<T>())?.checked_add(VALUES)?;
    (size <= isize::MAX as usize).then_some(size)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd as _, OwnedFd};
    use std::sync::atomic::Ordering;

    use bytemuck::Pod;

    use super::{Cells, Header};
    use crate::sys::memory::Shared;
    use crate::wire::codec::{decode, encode};
    use crate::{Handle, RawArray, RawValue};

    /// Why a descriptor is refused as an array.
    fn refusal<T: Pod + std::fmt::Debug>(fd: impl Into<OwnedFd>) -> String {
        let encoded = encode(&Handle::from(fd.into())).unwrap();
        decode::<RawArray<T>>(&encoded.bytes, encoded.handles).unwrap_err().to_string()
    }

    fn file(memory: &Shared) -> OwnedFd {
        memory.as_fd().try_clone_to_owned().unwrap()
    }

    #[test]
    fn units_fit_the_size_of_a_value() {
        assert_eq!((Cells::<u8>::UNIT, Cells::<u16>::UNIT, Cells::<f32>::UNIT), (1, 2, 4));
        assert_eq!((Cells::<u64>::UNIT, Cells::<u128>::UNIT), (8, 8));
        assert_eq!((Cells::<[u8; 12]>::UNIT, Cells::<[u8; 7]>::UNIT), (4, 1));
    }

    #[test]
    fn what_are_no_such_values_is_refused() {
        assert!(refusal::<u64>(File::open("/dev/null").unwrap()).contains("not a memory file"));
        let small = Shared::filled(c"test", 63).unwrap();
        assert!(refusal::<u64>(file(&small)).contains("too small"));
        let sparse = Shared::new(c"test", 1 << 40).unwrap();
        assert!(refusal::<u64>(file(&sparse)).contains("not filled"));
        let zeros = Shared::filled(c"test", 4096).unwrap();
        assert!(refusal::<u64>(file(&zeros)).contains("is not one"));
    }

    #[test]
    fn values_of_another_size_or_alignment_or_number_are_refused() {
        let array = Cells::<u64>::new(c"test", 3).unwrap();
        let said = refusal::<u32>(file(&array.memory));
        assert!(said.contains("have 8 bytes, aligned to 8, and a u32 has 4"), "{said}");
        assert!(refusal::<[u8; 8]>(file(&array.memory)).contains("aligned to 1"));
        let encoded = encode(&array).unwrap();
        let error = decode::<RawValue<u64>>(&encoded.bytes, encoded.handles).unwrap_err();
        assert!(error.to_string().contains("it has 3 values"), "{error}");
        for count in [2, 4, u64::MAX, u64::MAX / 8, 1 << 61] {
            array.memory.view::<Header>().count.store(count, Ordering::Relaxed);
            assert!(refusal::<u64>(file(&array.memory)).contains("does not fit"));
        }
    }
}
