//! Waiting for file descriptors.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;

/// Waits until `fd` can be read or its other side is gone; `false` if that is
/// not so at the deadline. Without a deadline it waits for as long as it takes.
pub(crate) fn ready(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    one(fd, PollFlags::IN, deadline)
}

/// Waits until `fd` can be written or its other side is gone.
pub(crate) fn writable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    one(fd, PollFlags::OUT, deadline)
}

/// Waits for one descriptor.
fn one(fd: BorrowedFd<'_>, events: PollFlags, deadline: Option<Instant>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    poll(&mut fds, deadline)?;
    Ok(!fds[0].revents().is_empty())
}

/// Waits until one of `fds` can be read or its other side is gone, or the
/// deadline. Returns the places of all that are ready.
pub(crate) fn readable(
    fds: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> io::Result<Vec<usize>> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    poll(&mut polled, deadline)?;
    let ready = polled.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty());
    Ok(ready.map(|(place, _)| place).collect())
}

/// Polls; goes on after signals until the deadline.
fn poll(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    loop {
        match rustix::event::poll(fds, left(deadline).as_ref()) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if fds.iter().any(|fd| fd.revents().contains(PollFlags::NVAL)) {
        return Err(Errno::BADF.into());
    }
    Ok(())
}

/// The time until a deadline, as the kernel wants it.
fn left(deadline: Option<Instant>) -> Option<Timespec> {
    let left = deadline?.saturating_duration_since(Instant::now());
    // One that does not fit is as good as none.
    Timespec::try_from(left).ok()
}

/// A set of descriptors that the kernel watches, each under a number.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The epoll instance.
    epoll: OwnedFd,
}

impl Watch {
    /// Makes an empty set.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Adds a descriptor; `false` if it is of a kind that is always ready.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<bool> {
        let data = epoll::EventData::new_u64(number);
        match epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN) {
            Ok(()) => Ok(true),
            Err(Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a descriptor.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits until some are ready or the deadline. Returns the numbers of up to
    /// `most` that are ready.
    pub(crate) fn wait(&self, most: usize, deadline: Option<Instant>) -> io::Result<Vec<u64>> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(most.max(1));
        loop {
            let buffer = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, buffer, left(deadline).as_ref()) {
                Ok(_) => return Ok(events.iter().map(|event| event.data.u64()).collect()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
