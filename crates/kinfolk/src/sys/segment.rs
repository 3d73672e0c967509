//! Memory with a name: a file of `/dev/shm`.
//!
//! Who uses a name is the kernel's to say: it grants a lease on a file that is
//! open and mapped nowhere else, in no process of any kind. What nobody uses was
//! left.
#![allow(unsafe_code)] // Leases.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, fchmod, fcntl_getfl, flock, fstat,
    ftruncate, linkat, open, stat, unlink,
};
use rustix::io::Errno;

use super::available;
use super::memory::{Shared, provide, set_size};

/// Where the names are.
const FOLDER: &str = "/dev/shm";
/// Whose memory it is, and nobody else's.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Chooses the signal of a lease; `libc` lacks it.
const F_SETSIG: i32 = 10;

/// How often to look again at what another process is about to leave.
const LOOKS: u32 = 20;
/// How often to wait for a name that is being reclaimed.
const PATIENCE: u32 = 2_000;
/// The time between two looks.
const NAP: Duration = Duration::from_millis(1);

/// Memory that has, or had, a name.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The file and its mapping. Whoever may write to the file may shrink it, so
    /// the mapping is not touched here: the file is read and written to.
    memory: Shared,
}

impl Segment {
    /// Makes memory of zeros under a name.
    ///
    /// A name that is new appears with all of its memory, at once. One that was
    /// left is used again in place:
    ///
    /// | state of a left name | leaves it by | if killed here |
    /// |---|---|---|
    /// | used by nobody | creator: opens it, and leases it | used by nobody |
    /// | leased: others wait, or find it in use | creator: empties it, gives it size and memory, ends the lease | used by nobody, with less memory |
    /// | in use | the last user goes | – |
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody uses the name, or it belongs to another user; or if
    /// there is no memory for it.
    pub(crate) fn create(name: &str, size: usize) -> io::Result<Self> {
        available::check(size)?;
        let path = path(name)?;
        // Each round that fails has seen another process make or unlink the name.
        for _ in 0..PATIENCE {
            let reclaimed = match open_existing(&path) {
                Ok(left) => reclaim(&left, size)?.then_some(left),
                Err(Errno::NOENT) => make(&path, size)?,
                Err(Errno::AGAIN) => return Err(Errno::BUSY.into()),
                Err(error) => return Err(error.into()),
            };
            if let Some(fd) = reclaimed {
                return Ok(Self { memory: Shared::map(fd, size)? });
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Maps the memory that has a name.
    ///
    /// # Errors
    ///
    /// If there is none, or it is empty, or no memory for what it left out.
    pub(crate) fn attach(name: &str) -> io::Result<Self> {
        let path = path(name)?;
        for _ in 0..PATIENCE {
            match open_existing(&path) {
                Ok(fd) => {
                    let size = checked_size(fd.as_fd())?;
                    if !is_provided(&fstat(&fd)?) {
                        available::check(size)?;
                        provide(fd.as_fd(), 0, size)?;
                    }
                    return Ok(Self { memory: Shared::map(fd, size)? });
                }
                Err(Errno::AGAIN) => std::thread::sleep(NAP),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Maps memory whose descriptor another process sent.
    ///
    /// # Errors
    ///
    /// If it is no file of `/dev/shm`, or has less memory than its size says.
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        let refuse = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        let size = checked_size(fd.as_fd())?;
        let found = fstat(&fd)?;
        if found.st_dev != stat(FOLDER)?.st_dev {
            return Err(refuse("it is no file of /dev/shm"));
        }
        if !is_provided(&found) {
            return Err(refuse("it is not filled"));
        }
        if fcntl_getfl(&fd)?.intersection(OFlags::RWMODE | OFlags::APPEND) != OFlags::RDWR {
            return Err(refuse("it was not opened for reading and writing"));
        }
        Ok(Self { memory: Shared::map(fd, size)? })
    }

    /// Removes the name, if it is still this memory's.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not.
    pub(crate) fn unlink(&self, name: &str) -> io::Result<()> {
        let path = path(name)?;
        let (there, mine) = (stat(&path)?, fstat(self.memory.as_fd())?);
        if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino) {
            return Err(Errno::NOENT.into());
        }
        Ok(unlink(&path)?)
    }

    /// Its size in bytes, when it was mapped.
    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }

    /// Where it is mapped.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.memory.as_ptr()
    }

    /// Reads bytes that are inside.
    ///
    /// # Errors
    ///
    /// If somebody has shrunk the file.
    pub(crate) fn read(&self, place: usize, mut to: &mut [u8]) -> io::Result<()> {
        let mut place = place as u64;
        while !to.is_empty() {
            let count =
                rustix::io::retry_on_intr(|| rustix::io::pread(&self.memory, &mut *to, place))?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to = &mut to[count..];
            place += count as u64;
        }
        Ok(())
    }

    /// Writes bytes that are inside.
    ///
    /// # Errors
    ///
    /// If somebody has shrunk the file and there is no memory, or this process
    /// may not write to files of this size.
    pub(crate) fn write(&self, place: usize, mut bytes: &[u8]) -> io::Result<()> {
        let mut place = place as u64;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        if limit.is_some_and(|limit| place + bytes.len() as u64 > limit) {
            return Err(Errno::FBIG.into());
        }
        while !bytes.is_empty() {
            let count =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.memory, bytes, place))?;
            bytes = &bytes[count..];
            place += count as u64;
        }
        Ok(())
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Removes the names with this beginning whose memory's maker has ended: it holds its file
/// locked from before it has the name. Who is attached stays so.
pub(crate) fn unlink_left(beginning: &str) {
    for entry in std::fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(beginning)) else { continue };
        let Ok(path) = path(name) else { continue };
        let Ok(file) = open_existing(&path) else { continue };
        let is_left = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && fstat(&file).is_ok_and(|found| found.st_nlink > 0);
        if is_left {
            let _ = unlink(&path);
        }
    }
}

/// The path of a name.
fn path(name: &str) -> io::Result<String> {
    let unusable = name.is_empty() || name.len() > 250 || name.contains(['/', '\0']);
    if unusable || name == "." || name == ".." {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(format!("{FOLDER}/{name}"))
}

/// Opens a file that is there. Does not wait for a lease on it.
fn open_existing(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    open(path, flags, Mode::empty())
}

/// Makes a file with all of its memory, and then gives it the name; `None` if
/// that exists by now.
fn make(path: &str, size: usize) -> io::Result<Option<OwnedFd>> {
    let fd = open(FOLDER, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, PRIVATE)?;
    flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    fill(fd.as_fd(), size)?;
    let unnamed = format!("/proc/self/fd/{}", fd.as_raw_fd());
    match linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(Some(fd)),
        Err(Errno::EXIST) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Uses a file again that was left. Returns `false` if it has lost its name.
fn reclaim(left: &OwnedFd, size: usize) -> io::Result<bool> {
    let found = fstat(left)?;
    let is_ours = found.st_uid == rustix::process::geteuid().as_raw();
    if !is_ours || FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Errno::BUSY.into());
    }
    // Of those who find it left, one goes on; its creator holds this all its life.
    if flock(left, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(Errno::BUSY.into());
    }
    let Some(_lease) = Lease::take(left.as_fd())? else { return Err(Errno::BUSY.into()) };
    if fstat(left)?.st_nlink == 0 {
        return Ok(false);
    }
    ftruncate(left, 0)?;
    fchmod(left, PRIVATE)?;
    fill(left.as_fd(), size)?;
    Ok(true)
}

/// Gives an empty file its size and all of its memory.
fn fill(fd: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    set_size(fd, size)?;
    provide(fd, 0, size)
}

/// The size of a file that can be memory.
fn checked_size(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let refuse = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let found = fstat(fd)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(refuse("it is not shared memory"));
    }
    usize::try_from(found.st_size)
        .ok()
        .filter(|size| (1..=isize::MAX as usize).contains(size))
        .ok_or_else(|| refuse("it is empty: not made yet, or left unfinished"))
}

/// Whether all of a file's memory is there.
fn is_provided(stat: &Stat) -> bool {
    stat.st_blocks.saturating_mul(512) >= stat.st_size
}

/// That a file is open nowhere else. Who opens it waits, or is refused.
struct Lease<'a> {
    /// The file.
    fd: BorrowedFd<'a>,
}

impl<'a> Lease<'a> {
    /// Takes the lease; `None` if the file is open elsewhere.
    ///
    /// # Errors
    ///
    /// If the system does not grant leases.
    fn take(fd: BorrowedFd<'a>) -> io::Result<Option<Self>> {
        // Who opens the file must not end this process by the signal for it:
        // this one is ignored where nobody asked for it.
        control(fd, F_SETSIG, libc::SIGURG)?;
        for _ in 0..LOOKS {
            match control(fd, libc::F_SETLEASE, libc::F_WRLCK) {
                Ok(()) => return Ok(Some(Self { fd })),
                // Somebody uses it, or only looks whether it was left.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(NAP);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let _ = control(self.fd, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

/// Sets something of a file that is a number.
fn control(fd: BorrowedFd<'_>, what: i32, value: i32) -> io::Result<()> {
    // SAFETY: these take a number, and no memory.
    match unsafe { libc::fcntl(fd.as_raw_fd(), what, value) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
