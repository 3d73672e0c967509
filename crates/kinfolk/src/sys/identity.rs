//! Who holds something in shared memory, and whether it still lives.
#![allow(unsafe_code)] // A page that a fork wipes.

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use rustix::process::{Pid, test_kill_process};

use super::procfs;

/// A process, told from every other one of this boot: by its id, and by when it
/// started, in clock ticks, for the id may be used again.
///
/// Never 0, and bit 31 is never set: words of shared memory use them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64);

/// The bits of the process id: Linux gives none above 2^22.
const PID: u64 = (1 << 22) - 1;
/// The number of the start time's bits below bit 31.
const LOW: u32 = 9;

impl Identity {
    /// This process, without a system call but in the first call, and in the
    /// first one of a forked child.
    #[inline]
    pub(crate) fn mine() -> Self {
        let word = WORD.load(Ordering::Acquire);
        // SAFETY: a static, or a page that is mapped for good.
        let known = unsafe { &*word }.load(Ordering::Relaxed);
        if known != 0 { Self(known) } else { Self::learn_mine() }
    }

    /// Asks who this process is, and remembers it.
    #[cold]
    fn learn_mine() -> Self {
        static KNOWN: OnceLock<&AtomicU64> = OnceLock::new();
        let mine = Self::read_mine();
        let known = *KNOWN.get_or_init(wiped_by_fork);
        known.store(mine.0, Ordering::Relaxed);
        WORD.store(std::ptr::from_ref(known).cast_mut(), Ordering::Release);
        mine
    }

    /// Asks the system who this process is.
    fn read_mine() -> Self {
        let pid = rustix::process::getpid().as_raw_pid();
        // Without /proc start times are not known, and ids alone tell.
        let started = procfs::stat(pid).ok().flatten().map_or(0, |stat| stat.started);
        Self::new(pid, started)
    }

    /// The process with this id that started then.
    fn new(pid: i32, started: u64) -> Self {
        let low = started & ((1 << LOW) - 1);
        Self(u64::from(pid.unsigned_abs()) & PID | low << 22 | started >> LOW << 32)
    }

    /// What a word of shared memory says; `None` if it cannot be.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        (bits & PID != 0 && bits & (1 << 31) == 0).then_some(Self(bits))
    }

    /// As a word of shared memory has it.
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The process id.
    pub(crate) fn pid(self) -> u32 {
        (self.0 & PID) as u32
    }

    /// Whether the process lives: as the system says it, and so neither a closed
    /// descriptor nor the end of a thread nor a reused id makes a living one
    /// dead. What cannot be found out is alive.
    pub(crate) fn is_alive(self) -> bool {
        if self == Self::mine() {
            return true;
        }
        let Ok(pid) = i32::try_from(self.pid()) else { return false };
        match procfs::stat(pid) {
            Ok(Some(stat)) => {
                // Who could not find out when it started has its id alone.
                let same = self.0 & !PID == 0 || Self::new(pid, stat.started) == self;
                !stat.ended && (stat.started == 0 || same)
            }
            // None, or one that a mount of /proc hides.
            Ok(None) => exists(pid) && procfs::hides_processes(),
            Err(_) => exists(pid),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid())
    }
}

/// Whether there is a process of this id.
fn exists(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    match test_kill_process(pid) {
        Ok(()) => true,
        Err(error) => io::Error::from(error).raw_os_error() != Some(libc::ESRCH),
    }
}

/// Where the identity of this process is, or 0: in every forked child, also of a
/// raw fork. Nobody knows it before the first call.
static WORD: AtomicPtr<AtomicU64> = AtomicPtr::new((&raw const UNKNOWN).cast_mut());
/// No identity, ever.
static UNKNOWN: AtomicU64 = AtomicU64::new(0);

/// Makes a word that is 0 again after a fork.
fn wiped_by_fork() -> &'static AtomicU64 {
    let both = ProtFlags::READ | ProtFlags::WRITE;
    let size = rustix::param::page_size();
    // SAFETY: a new mapping, chosen by the kernel.
    let page = unsafe { mmap_anonymous(std::ptr::null_mut(), size, both, MapFlags::PRIVATE) };
    let page = page.expect("a page of memory");
    // SAFETY: the page was mapped above and is used by nothing yet.
    unsafe { madvise(page, size, Advice::LinuxWipeOnFork) }.expect("Linux 4.14 or later");
    // SAFETY: mapped for good, aligned, zero, and only used as this atomic.
    unsafe { &*page.cast::<AtomicU64>() }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::{Identity, procfs};

    #[test]
    fn this_process_is_alive_and_its_bits_come_back() {
        let mine = Identity::mine();
        assert_eq!(mine, Identity::read_mine());
        assert_eq!(Identity::from_bits(mine.bits()), Some(mine));
        assert_eq!(mine.pid(), std::process::id());
        assert!(mine.is_alive());
    }

    #[test]
    fn a_start_time_of_years_keeps_its_bits() {
        let late = Identity::new(4_194_303, 100 * 86_400 * 365 * 20);
        assert_eq!(Identity::from_bits(late.bits()), Some(late));
        assert_ne!(late, Identity::new(4_194_303, 100 * 86_400 * 365 * 20 + 1));
        assert_eq!(late.pid(), 4_194_303);
    }

    #[test]
    fn a_process_is_alive_until_it_has_ended_and_its_id_alone_is_not_it() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let started = procfs::stat(pid).unwrap().unwrap().started;
        let identity = Identity::new(pid, started);
        assert!(identity.is_alive());
        assert!(!Identity::new(pid, started + 1).is_alive());
        assert!(Identity::new(pid, 0).is_alive(), "its start is not known");
        drop(child.stdin.take());
        let waited = rustix::process::waitid(
            rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child)),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        );
        waited.unwrap();
        assert!(!identity.is_alive(), "ended, though not reaped");
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }
}
