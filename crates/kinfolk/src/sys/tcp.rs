//! Peers of TCP that give no sign of life any more: their machine or the way to it is gone.
//!
//! The system asks idle peers for signs by itself. While something that was sent is not
//! acknowledged it does not, and would go on for a quarter of an hour; its option for that
//! (`TCP_USER_TIMEOUT`) also ends peers that live and do not read. So waits look themselves.
#![allow(unsafe_code)] // The system's account of a connection.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};

use super::poll;

/// How often a wait looks whether the peer still gives signs, if it does not block in the call
/// that sends or receives.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The longest silence that the system can count as below, in seconds.
const LONGEST: u64 = 65_532;

/// How often the system asks an idle peer.
const ASKED: u32 = 3;

/// How many tries of the system in a row must have had no answer. One may be under way: a
/// peer that does not read is asked more and more seldom.
const TRIES: u8 = 2;

/// Sends small messages at once, and has a peer counted as lost that has given no sign for
/// `silence`.
pub(crate) fn tune(socket: BorrowedFd<'_>, silence: Duration) -> io::Result<()> {
    let silence = silence.as_secs().min(LONGEST);
    let between = (silence / (2 * u64::from(ASKED))).max(1);
    let idle = silence.saturating_sub(u64::from(ASKED) * between).max(1);
    let (idle, between) = (Duration::from_secs(idle), Duration::from_secs(between));
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, idle)?;
    sockopt::set_tcp_keepintvl(socket, between)?;
    sockopt::set_tcp_keepcnt(socket, ASKED)?;
    // Calls that block return to look.
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, Some(between))?;
    Ok(sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, Some(between))?)
}

/// Whether a socket is one of TCP.
pub(crate) fn is_tcp(socket: BorrowedFd<'_>) -> bool {
    sockopt::socket_domain(socket).is_ok_and(|family| family != AddressFamily::UNIX)
}

/// Looks whether the peer still gives signs of life; a unix socket's does.
///
/// # Errors
///
/// `TimedOut` if it has given none for the time of [`tune`], and does not answer.
pub(crate) fn check(socket: BorrowedFd<'_>) -> io::Result<()> {
    let Some(account) = account(socket) else { return Ok(()) };
    if account.tcpi_retransmits.max(account.tcpi_probes) < TRIES {
        return Ok(());
    }
    let silent = account.tcpi_last_ack_recv.min(account.tcpi_last_data_recv);
    let asked = sockopt::tcp_keepintvl(socket)? * sockopt::tcp_keepcnt(socket)?;
    if Duration::from_millis(silent.into()) < sockopt::tcp_keepidle(socket)? + asked {
        return Ok(());
    }
    Err(Errno::TIMEDOUT.into())
}

/// As [`poll::ready`], and looks for signs of life.
///
/// # Errors
///
/// As [`check`].
pub(crate) fn ready(socket: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    wait(socket, deadline, poll::ready)
}

/// As [`poll::writable`], and looks for signs of life.
///
/// # Errors
///
/// As [`check`].
pub(crate) fn writable(socket: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    wait(socket, deadline, poll::writable)
}

/// Waits, and looks on the way.
fn wait(
    socket: BorrowedFd<'_>,
    deadline: Option<Instant>,
    ready: fn(BorrowedFd<'_>, Option<Instant>) -> io::Result<bool>,
) -> io::Result<bool> {
    loop {
        let look = Instant::now() + LOOK;
        let until = deadline.map_or(look, |deadline| deadline.min(look));
        if ready(socket, Some(until))? {
            return Ok(true);
        }
        check(socket)?;
        if deadline == Some(until) {
            return Ok(false);
        }
    }
}

/// What the system says of a connection; nothing of one that is not TCP.
fn account(socket: BorrowedFd<'_>) -> Option<libc::tcp_info> {
    let mut account = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to the place, which has as many.
    let said = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            account.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    // SAFETY: numbers, of which zeros are some, where the kernel wrote none.
    (said == 0).then(|| unsafe { account.assume_init() })
}
