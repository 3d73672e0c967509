//! Receiving a whole message with one system call, whatever its size.
#![allow(unsafe_code)] // Buffers that are initialised by being received into.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::net::RecvFlags;

use super::socket::{MOST_FDS, is_passing, limit};

/// The largest message that is received for certain, in bytes; a peer that may
/// force larger buffers can send larger ones, which are cut.
const LARGEST: usize = 8 << 20;

/// What came with a message.
#[derive(Debug)]
pub(crate) struct Received {
    /// The size of the message in bytes.
    pub(crate) size: usize,
    /// Whether the message was larger than all the room for it.
    pub(crate) cut: bool,
    /// The descriptors that came with it.
    pub(crate) fds: Vec<OwnedFd>,
    /// Whether descriptors were lost, because this process has no free one.
    pub(crate) lost_fds: bool,
}

/// Receives the next message: its beginning into `head`, then what fits into
/// `body`, and the rest of it into the vector that is returned.
pub(crate) fn recv(
    socket: BorrowedFd<'_>,
    head: &mut [u8],
    body: &mut [u8],
    wait: bool,
) -> io::Result<(Received, Vec<u8>)> {
    let mut rest = Vec::new();
    let received = landing(socket, |landing| {
        let received = recvmsg(socket, [uninit(head), uninit(body), landing], wait)?;
        let beyond = received.size.saturating_sub(head.len() + body.len()).min(landing.len());
        // SAFETY: the kernel has filled as much of the landing place.
        rest.extend_from_slice(unsafe { init(landing, beyond) });
        Ok(received)
    })?;
    Ok((received, rest))
}

/// What is copied out of the landing place rather than received in two places, in
/// bytes.
const COPIED: usize = 4096;

/// Receives the next message: its beginning into `head`, all else appended to
/// `body`; into its spare capacity, if that is large, without a copy.
pub(crate) fn recv_vec(
    socket: BorrowedFd<'_>,
    head: &mut [u8],
    body: &mut Vec<u8>,
    wait: bool,
) -> io::Result<Received> {
    landing(socket, |landing| {
        let room = body.spare_capacity_mut();
        if room.len() < COPIED {
            let received = recvmsg(socket, [landing], wait)?;
            // SAFETY: the kernel has filled as much of the landing place.
            let filled = unsafe { init(landing, received.size.min(landing.len())) };
            let (first, rest) = filled.split_at(head.len().min(filled.len()));
            head[..first.len()].copy_from_slice(first);
            body.try_reserve_exact(rest.len())?;
            body.extend_from_slice(rest);
            return Ok(received);
        }
        let (first, second) = (head.len(), room.len());
        let received = recvmsg(socket, [uninit(head), room, landing], wait)?;
        let inside = received.size.saturating_sub(first).min(second);
        let beyond = received.size.saturating_sub(first + second).min(landing.len());
        // SAFETY: the kernel has filled as much of the spare capacity.
        unsafe { body.set_len(body.len() + inside) };
        // SAFETY: the kernel has filled as much of the landing place.
        body.extend_from_slice(unsafe { init(landing, beyond) });
        Ok(received)
    })
}

/// Receives the next message and hands it to `work`, and whether it was larger than
/// the room for it. The system closes descriptors that come with it.
pub(crate) fn recv_plain<T>(
    socket: BorrowedFd<'_>,
    wait: bool,
    work: impl FnOnce(&[u8], bool) -> T,
) -> io::Result<T> {
    landing(socket, |landing| {
        let flags = if wait { RecvFlags::TRUNC } else { RecvFlags::TRUNC | RecvFlags::DONTWAIT };
        let room = landing.len();
        loop {
            match rustix::net::recv(socket, &mut *landing, flags) {
                Ok(((message, _), size)) => break Ok(work(message, size > room)),
                Err(error) if is_passing(&error.into()) => {}
                Err(error) => break Err(error.into()),
            }
        }
    })
}

thread_local! {
    /// Where messages land that nobody has made room for. Untouched pages of it cost
    /// nothing.
    static LANDING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with this thread's room for what nobody has made room for.
fn landing<T>(
    socket: BorrowedFd<'_>,
    work: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<T>,
) -> io::Result<T> {
    // An exit handler runs when this thread's own is gone.
    let mut place = LANDING.try_with(RefCell::take).unwrap_or_default();
    if place.capacity() == 0 {
        place.try_reserve_exact(limit(socket).max(LARGEST))?;
    }
    let result = work(place.spare_capacity_mut());
    let _ = LANDING.try_with(|kept| kept.replace(place));
    result
}

/// Leaves this thread's room as it is: for the thread that ends its process, which
/// the system frees faster.
pub(crate) fn leave_landing() {
    let _ = LANDING.try_with(|kept| std::mem::forget(kept.take()));
}

/// Receives the next message into `buffers`, one after the other.
fn recvmsg<const N: usize>(
    socket: BorrowedFd<'_>,
    buffers: [&mut [MaybeUninit<u8>]; N],
    wait: bool,
) -> io::Result<Received> {
    let room = buffers.iter().map(|buffer| buffer.len()).sum();
    let mut slices = buffers
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() });
    // Words, because control messages are aligned as their header is.
    let mut space = [MaybeUninit::<usize>::uninit(); CONTROL];
    // SAFETY: a header of zeros is one without name, buffers and control space.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = slices.as_mut_ptr();
    header.msg_iovlen = slices.len();
    let no_wait = if wait { 0 } else { libc::MSG_DONTWAIT };
    let flags = libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC | no_wait;
    let size = loop {
        header.msg_control = space.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&space);
        // SAFETY: the buffers and the control space are exclusively borrowed, as
        // long as the header says, and need not be initialised to be written.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        if let Ok(size) = usize::try_from(received) {
            break size;
        }
        let error = io::Error::last_os_error();
        if !is_passing(&error) {
            return Err(error);
        }
    };
    let lost_fds = header.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(Received { size, cut: size > room, fds: take_fds(&header), lost_fds })
}

/// The room for the control message of the most descriptors, in words.
const CONTROL: usize = {
    // SAFETY: arithmetic.
    let bytes = unsafe { libc::CMSG_SPACE((MOST_FDS * size_of::<RawFd>()) as u32) };
    (bytes as usize).div_ceil(size_of::<usize>())
};

/// Takes over the descriptors in the control messages that were received.
fn take_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: `recvmsg` has written the header and the control messages, whose
    // length it states.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: not null, it points to a control message in the space above.
    while let Some(head) = unsafe { message.as_ref() } {
        if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: arithmetic inside of the message.
            let data = unsafe { libc::CMSG_DATA(head) };
            let length = head.cmsg_len - (data.addr() - message.addr());
            // SAFETY: the message has as many descriptors, aligned as its header.
            let numbers = unsafe {
                std::slice::from_raw_parts(data.cast::<RawFd>(), length / size_of::<RawFd>())
            };
            // SAFETY: each is new in this process, nobody's, and taken here once.
            fds.extend(numbers.iter().map(|&fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
        // SAFETY: as for the first.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    fds
}

/// Memory as memory that need not be initialised.
fn uninit(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: of the same layout; `recvmsg` above only ever writes bytes to it.
    unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) }
}

/// The first `size` bytes.
///
/// # Safety
///
/// They must be initialised.
unsafe fn init(bytes: &[MaybeUninit<u8>], size: usize) -> &[u8] {
    // SAFETY: of the same layout, and initialised as the caller says.
    unsafe { &*(std::ptr::from_ref(&bytes[..size]) as *const [u8]) }
}
