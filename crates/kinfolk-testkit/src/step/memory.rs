//! The shared memory of a scenario, and whether it has changed.
#![allow(unsafe_code)] // Memory that another process writes to, and maps of it.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ptr::NonNull;

/// How much of each object is looked at, in bytes: more than all but the messages
/// of a queue, and the first of those.
const FRONT: usize = 40 << 10;

/// The shared memory, as it was when it was last looked at.
#[derive(Debug)]
pub(super) struct Memory {
    /// Of each object.
    fronts: Vec<Front>,
    /// The states that it has been in, each with the number of system calls
    /// before: a kill in one of them is as a kill in the same one earlier.
    seen: BTreeSet<u64>,
    /// The number of system calls.
    calls: u64,
}

/// The front of an object.
#[derive(Debug)]
struct Front {
    /// Where it is mapped.
    start: NonNull<u8>,
    /// What was there.
    was: Vec<u8>,
}

impl Memory {
    /// Looks at all objects that this process has mapped now, as long as it has.
    pub(super) fn new() -> Self {
        let mut files = BTreeSet::new();
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let fronts = maps.lines().filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (from, to) = fields.next()?.split_once('-')?;
            let (offset, file) = (fields.nth(1)?, fields.nth(1)?);
            let name = fields.next()?;
            let is_new = name.starts_with("/memfd:kinfolk-") && offset == "00000000";
            if !is_new || !files.insert(file.to_owned()) {
                return None;
            }
            let start = usize::from_str_radix(from, 16).ok()?;
            let size = usize::from_str_radix(to, 16).ok()? - start;
            let start = NonNull::new(std::ptr::with_exposed_provenance_mut(start))?;
            Some(Front { start, was: vec![0; size.min(FRONT)] })
        });
        let mut memory = Self { fronts: fronts.collect(), seen: BTreeSet::new(), calls: 0 };
        memory.is_new(false);
        memory
    }

    /// Whether the memory, after one more instruction, is in a state that it has
    /// not been in; `called` says whether that was a system call that others may
    /// find out.
    pub(super) fn is_new(&mut self, called: bool) -> bool {
        self.calls += u64::from(called);
        // Each of them is looked at, whatever the others are.
        let changed =
            self.fronts.iter_mut().filter_map(|front| front.changed().then_some(())).count();
        if changed == 0 && !called && !self.seen.is_empty() {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        self.calls.hash(&mut hasher);
        for front in &self.fronts {
            front.was.hash(&mut hasher);
        }
        self.seen.insert(hasher.finish())
    }
}

impl Front {
    /// Looks again: whether it is not as it was.
    fn changed(&mut self) -> bool {
        let size = self.was.len();
        let (there, was) = (self.start.as_ptr().cast(), self.was.as_mut_ptr().cast());
        // SAFETY: mapped, by the caller of `new`, and of this size; the C library
        // looks at it, to which other processes may write.
        if unsafe { libc::memcmp(there, was, size) } == 0 {
            return false;
        }
        // SAFETY: as above; `was` is of this size and apart from it.
        unsafe { libc::memcpy(was, there, size) };
        true
    }
}
