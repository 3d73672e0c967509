//! The system calls that the floors are made of.

use std::ffi::CStr;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
    sockopt,
};

use crate::bench::Result;

/// The send buffer asked for, which the system's limit may cut: the library's.
const SEND_BUFFER: usize = 4 << 20;

/// The seals of content that neither grows, shrinks nor changes again.
const FINISHED: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Makes a connected SEQPACKET pair.
pub(crate) fn seqpacket() -> Result<(OwnedFd, OwnedFd)> {
    let (a, b) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    for end in [&a, &b] {
        sockopt::set_socket_send_buffer_size(end, SEND_BUFFER)?;
    }
    Ok((a, b))
}

/// Whether a socket admits messages of `size` bytes.
pub(crate) fn admits(size: usize) -> Result<bool> {
    let (a, _b) = seqpacket()?;
    match send(&a, &vec![0; size], SendFlags::NOSIGNAL) {
        Ok(_) => Ok(true),
        Err(Errno::MSGSIZE | Errno::NOBUFS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Fills a memory file, seals it, and passes it in a message that says its size.
pub(crate) fn send_memory(socket: BorrowedFd<'_>, content: &[u8]) -> Result<()> {
    pass(socket, sealed(content)?.as_fd(), content.len())
}

/// Makes a memory file with this content, sealed.
pub(crate) fn sealed(content: &[u8]) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"bench", flags)?);
    file.write_all(content)?;
    // The kernel says "busy" while anything of its own looks at the pages.
    while let Err(error) = fcntl_add_seals(&file, FINISHED) {
        if error != Errno::BUSY {
            return Err(error.into());
        }
    }
    Ok(file.into())
}

/// Passes a memory file in a message that says its size.
pub(crate) fn pass(socket: BorrowedFd<'_>, file: BorrowedFd<'_>, size: usize) -> Result<()> {
    let fds = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let size = size.to_le_bytes();
    sendmsg(socket, &[IoSlice::new(&size)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a memory file and copies its content out; `None` at the end.
pub(crate) fn recv_memory(socket: BorrowedFd<'_>) -> Result<Option<Vec<u8>>> {
    recv_mapped(socket, <[u8]>::to_vec)
}

/// Receives a memory file and does something with its content where it is mapped;
/// `None` at the end.
pub(crate) fn recv_mapped<R>(
    socket: BorrowedFd<'_>,
    work: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>> {
    let mut size = [0; size_of::<usize>()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut size)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let file = control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .ok_or("a message without memory")?;
    map(file.as_fd(), usize::from_le_bytes(size), work).map(Some)
}

/// Maps the first `size` bytes of a file that this program has filled and sealed.
fn map<R>(file: BorrowedFd<'_>, size: usize, work: impl FnOnce(&[u8]) -> R) -> Result<R> {
    // SAFETY: a new mapping, at a place chosen by the kernel.
    let start = unsafe { mmap(ptr::null_mut(), size, ProtFlags::READ, MapFlags::SHARED, file, 0)? };
    // SAFETY: `size` bytes are mapped there until `munmap` below; the sender has
    // written as many and sealed the file, so that it neither shrinks nor changes.
    let result = work(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), size) });
    // SAFETY: mapped above with this size; the borrow of it has ended.
    unsafe { munmap(start, size)? };
    Ok(result)
}

/// How long a process has run on a processor.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let mut clock = 0;
    // SAFETY: `clock` is exclusively borrowed for the call.
    let error = unsafe { libc::clock_getcpuclockid(libc::pid_t::try_from(pid)?, &raw mut clock) };
    if error != 0 {
        return Err(std::io::Error::from_raw_os_error(error).into());
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is exclusively borrowed for the call.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

/// Forks a child that exits at once, and waits for it.
pub(crate) fn fork_exit_wait() -> Result<()> {
    // SAFETY: the child calls `_exit` only, which is async-signal-safe, so other
    // threads of this process do not matter.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(std::io::Error::last_os_error().into()),
        // SAFETY: always sound: it does not return and runs no handler.
        0 => unsafe { libc::_exit(0) },
        pid => wait(pid),
    }
}

/// Executes a program with one argument, and waits for it.
pub(crate) fn spawn_wait(program: &CStr, argument: &CStr) -> Result<()> {
    let argv = [program.as_ptr().cast_mut(), argument.as_ptr().cast_mut(), ptr::null_mut()];
    // SAFETY: nobody changes the environment while a floor is measured.
    let environment = unsafe { environ }.cast_const();
    let mut pid = 0;
    // SAFETY: the program and the arguments are terminated strings, their list
    // ends with a null, and all outlive the call, which changes none of them.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            ptr::null(),
            ptr::null(),
            argv.as_ptr(),
            environment,
        )
    };
    if error != 0 {
        return Err(std::io::Error::from_raw_os_error(error).into());
    }
    wait(pid)
}

unsafe extern "C" {
    /// The environment of this process, for C.
    static mut environ: *mut *mut libc::c_char;
}

/// Waits for a child that must end with status 0.
fn wait(pid: libc::pid_t) -> Result<()> {
    // SAFETY: a structure of integers, for which zeros are values.
    let mut status: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `status` is exclusively borrowed for the call.
    let waited =
        unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut status, libc::WEXITED) };
    if waited != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: filled in by `waitid`, for the end of a child.
    let code = unsafe { status.si_status() };
    if status.si_code != libc::CLD_EXITED || code != 0 {
        return Err(format!("a child ended with {code}").into());
    }
    Ok(())
}
