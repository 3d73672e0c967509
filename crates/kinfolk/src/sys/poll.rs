//! Waiting for file descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;

/// The longest single wait: before Linux 5.11 epoll takes no more than 24 days.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Waits until `fd` can be read or its other side is gone; `false` if that is
/// not so at the deadline. Without a deadline it waits for as long as it takes.
pub(crate) fn ready(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    one(fd, PollFlags::IN, deadline)
}

/// Waits until `fd` can be written or its other side is gone.
pub(crate) fn writable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    one(fd, PollFlags::OUT, deadline)
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Something to read.
    In,
    /// Room to write.
    Out,
}

/// Waits until `fd` is ready or its other side is gone, for at most `nap`, and only
/// until a signal comes.
pub(crate) fn doze(fd: BorrowedFd<'_>, direction: Direction, nap: Duration) -> io::Result<()> {
    let events = match direction {
        Direction::In => PollFlags::IN,
        Direction::Out => PollFlags::OUT,
    };
    let nap = Timespec::try_from(nap.min(LONGEST)).ok();
    match rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, events)], nap.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
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
            Ok(0) if goes_on(deadline) => {}
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

/// The time until a deadline, as the kernel wants it; a part of it if it is long.
fn left(deadline: Option<Instant>) -> Option<Timespec> {
    let left = deadline?.saturating_duration_since(Instant::now());
    Timespec::try_from(left.min(LONGEST)).ok()
}

/// Whether a deadline is still to come.
fn goes_on(deadline: Option<Instant>) -> bool {
    deadline.is_none_or(|deadline| Instant::now() < deadline)
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

    /// Adds a connected socket, whose number is told once when its other side is gone.
    pub(crate) fn add_hangup(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number);
        let flags = epoll::EventFlags::RDHUP | epoll::EventFlags::ONESHOT;
        Ok(epoll::add(&self.epoll, fd, data, flags)?)
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
                Ok(0) if goes_on(deadline) => {}
                Ok(_) => return Ok(events.iter().map(|event| event.data.u64()).collect()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::time::{Duration, Instant};

    use super::{Watch, readable, ready, writable};

    #[test]
    fn a_pipe_is_ready_when_written_to_and_when_its_other_side_is_gone() {
        let now = || Some(Instant::now());
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(!ready(reader.as_fd(), now()).unwrap());
        assert!(writable(writer.as_fd(), None).unwrap());
        drop(writer);
        assert!(ready(reader.as_fd(), None).unwrap());
        assert_eq!(readable(&[reader.as_fd()], None).unwrap(), [0]);
    }

    #[test]
    fn no_wait_ends_before_its_deadline() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let watch = Watch::new().unwrap();
        assert!(watch.add(reader.as_fd(), 7).unwrap());
        for microseconds in [1, 300, 1700] {
            let deadline = Instant::now() + Duration::from_micros(microseconds);
            assert!(!ready(reader.as_fd(), Some(deadline)).unwrap());
            assert!(Instant::now() >= deadline);
            let deadline = Instant::now() + Duration::from_micros(microseconds);
            assert!(watch.wait(1, Some(deadline)).unwrap().is_empty());
            assert!(Instant::now() >= deadline);
        }
    }

    #[test]
    fn a_deadline_in_years_is_one() {
        let (reader, writer) = std::io::pipe().unwrap();
        let watch = Watch::new().unwrap();
        assert!(watch.add(reader.as_fd(), 7).unwrap());
        drop(writer);
        let deadline = Instant::now().checked_add(Duration::from_secs(1 << 40));
        assert!(ready(reader.as_fd(), deadline).unwrap());
        assert_eq!(watch.wait(1, deadline).unwrap(), [7]);
    }
}
