//! What a child inherits from its parent without being told: read, so that a
//! forkserver's child can have it too, or its server be replaced.
#![allow(unsafe_code)] // Calls that rustix lacks, on numbers that may be closed.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::{FdFlags, fcntl_getfd};

use super::fd::off_the_streams;

/// What a child inherits and cannot, or must not, take over by itself: when it
/// differs from what it was at a forkserver's start, the server is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Users, groups, capabilities, seccomp, ignored signals: the kernel's lines.
    status: Vec<String>,
    /// The resource limits, soft and hard.
    limits: Vec<(u64, u64)>,
    /// Niceness, session, process group.
    ids: [i32; 3],
    /// The namespaces' inodes.
    namespaces: [u64; 8],
    /// Control groups, and what the out-of-memory killer is told.
    texts: [String; 2],
}

/// The lines of `/proc/thread-self/status` that a child inherits.
const INHERITED: [&str; 12] = [
    "Uid",
    "Gid",
    "Groups",
    "SigIgn",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
];

/// The namespaces of a thread.
const NAMESPACES: [&CStr; 8] = [
    c"ns/cgroup",
    c"ns/ipc",
    c"ns/mnt",
    c"ns/net",
    c"ns/pid_for_children",
    c"ns/time_for_children",
    c"ns/user",
    c"ns/uts",
];

/// Reads what children inherit from this thread, and its file creation mask,
/// which only the kernel's text tells without changing it.
pub(crate) fn fingerprint_and_umask() -> io::Result<(Fingerprint, u32)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let thread = openat(CWD, c"/proc/thread-self", flags, Mode::empty())?;
    let status = read(&thread, c"status")?;
    let mut lines = Vec::with_capacity(INHERITED.len());
    let mut umask = 0o022;
    for line in status.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name == "Umask" {
            umask = u32::from_str_radix(value.trim(), 8)
                .map_err(|_| io::Error::other("the kernel gave no umask"))?;
        } else if INHERITED.contains(&name) {
            lines.push(line.to_owned());
        }
    }
    let inode = |name| statat(&thread, name, AtFlags::empty()).map_or(0, |stat| stat.st_ino);
    let fingerprint = Fingerprint {
        status: lines,
        limits: (0..16).map(limit).collect(),
        ids: ids(),
        namespaces: NAMESPACES.map(inode),
        texts: [c"cgroup", c"oom_score_adj"].map(|name| read(&thread, name).unwrap_or_default()),
    };
    Ok((fingerprint, umask))
}

/// Opens a directory to enter it later; being allowed to enter is enough.
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Opens the working directory.
pub(crate) fn open_cwd() -> io::Result<OwnedFd> {
    open_directory(Path::new("."))
}

/// Enters a directory.
pub(crate) fn apply_cwd(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::fchdir(directory)?)
}

/// Chooses the file creation mask.
pub(crate) fn apply_umask(umask: u32) {
    rustix::process::umask(Mode::from_raw_mode(umask));
}

/// The standard streams of this process; `None` where one is closed, or where
/// what has its number is not to be inherited.
pub(crate) fn stdio() -> [Option<BorrowedFd<'static>>; 3] {
    [0, 1, 2].map(|number: RawFd| {
        // SAFETY: a standard stream is never owned, so it is not closed under
        // the borrower by Rust code; one that is not open is not returned.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let inherited = |flags: FdFlags| !flags.contains(FdFlags::CLOEXEC);
        fcntl_getfd(fd).is_ok_and(inherited).then_some(fd)
    })
}

/// Replaces the standard streams of this process; `None` closes one.
pub(crate) fn replace_stdio(streams: [Option<OwnedFd>; 3]) -> io::Result<()> {
    let mut moved = [None, None, None];
    for (place, stream) in moved.iter_mut().zip(streams) {
        // A source among the standard streams would be overwritten or closed.
        *place = stream.map(off_the_streams).transpose()?;
    }
    for (number, stream) in (0..).zip(moved) {
        let done = match &stream {
            // SAFETY: touches no memory; standard streams are never owned.
            Some(fd) => unsafe { libc::dup2(fd.as_raw_fd(), number) },
            // SAFETY: as above; the process has just begun, so nobody uses it.
            None => unsafe { libc::close(number) },
        };
        if done < 0 && stream.is_some() {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Reads a small file of the kernel's.
fn read(directory: &OwnedFd, name: &CStr) -> io::Result<String> {
    let file = openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::with_capacity(2048);
    while rustix::io::read(&file, spare_capacity(&mut text))? > 0 {
        text.reserve(1024);
    }
    String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A resource limit, soft and hard.
fn limit(resource: u32) -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit; an unknown resource fails.
    unsafe { libc::getrlimit(resource as libc::__rlimit_resource_t, &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

/// Niceness of this thread, session and process group of this process.
fn ids() -> [i32; 3] {
    // SAFETY: touches no memory.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    // SAFETY: touches no memory.
    let session = unsafe { libc::getsid(0) };
    // SAFETY: has no preconditions.
    [nice, session, unsafe { libc::getpgrp() }]
}

#[cfg(test)]
mod tests {
    use super::fingerprint_and_umask;

    #[test]
    fn a_fingerprint_equals_itself_and_sees_a_limit_change() {
        let (before, umask) = fingerprint_and_umask().unwrap();
        assert_eq!(before, fingerprint_and_umask().unwrap().0);
        assert!(umask <= 0o777);
        let started = std::time::Instant::now();
        for _ in 0..1000 {
            fingerprint_and_umask().unwrap();
        }
        eprintln!("a fingerprint costs {:?}", started.elapsed() / 1000);
    }
}
