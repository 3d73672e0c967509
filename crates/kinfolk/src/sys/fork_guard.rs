//! File descriptors that must not stay usable in a forked child, and knowing
//! that this process is one.
//!
//! A fork copies all descriptors. Would the child keep the parent's end of a
//! lifeline or of a pipe, the other side would never learn that the parent is
//! gone. So the numbers of such descriptors stand in a table, and a handler of
//! `pthread_atfork` replaces each in the child, in place, by a socket whose
//! other side is closed: its owner in the child's memory still owns a
//! descriptor of that number, and finds it disconnected.
#![allow(unsafe_code)] // pthread_atfork, and a guard that crosses its handlers.

use std::cell::{Cell, UnsafeCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// What a private descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The library itself: a lifeline, a channel, a forkserver's socket.
    Library,
    /// A user's connection.
    Connection,
    /// A user's connection that has one owner: a fork's closure does not carry it.
    Stream,
}

/// The private descriptors of this process. Locked across a fork by the handlers.
static TABLE: Mutex<BTreeMap<RawFd, Kind>> = Mutex::new(BTreeMap::new());

/// The id of this process; 0 before it was asked. Written by the first who asks
/// and by a forked child, always with the truth, so order does not matter.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between this process and the program that was executed: a
/// number that no ancestor with this memory had, as a process id may have been.
/// Written by a forked child while it has one thread, so order does not matter.
static FORKS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Whether this thread's fork carries a closure, whose connections stay usable.
    static CARRY_CONNECTIONS: Cell<bool> = const { Cell::new(false) };
}

/// A descriptor that is of no use in a forked child.
#[derive(Debug)]
pub(crate) struct PrivateFd(Option<OwnedFd>);

impl PrivateFd {
    /// Guards a descriptor of the library.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self::of_kind(fd, Kind::Library)
    }

    /// Guards a descriptor of a user's connection.
    pub(crate) fn connection(fd: OwnedFd) -> Self {
        Self::of_kind(fd, Kind::Connection)
    }

    /// Guards a descriptor of a user's connection that cannot be shared.
    pub(crate) fn stream(fd: OwnedFd) -> Self {
        Self::of_kind(fd, Kind::Stream)
    }

    /// Guards a descriptor.
    fn of_kind(fd: OwnedFd, kind: Kind) -> Self {
        process_id();
        lock().insert(fd.as_raw_fd(), kind);
        Self(Some(fd))
    }
}

impl AsFd for PrivateFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect("only drop takes it").as_fd()
    }
}

impl Drop for PrivateFd {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take() {
            // Closed while the table is locked: else another thread could be
            // given the number, guard it, and lose the entry here.
            let mut table = lock();
            table.remove(&fd.as_raw_fd());
            drop(fd);
        }
    }
}

/// The id of this process, without a system call.
pub(crate) fn process_id() -> u32 {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        // SAFETY: the handlers are functions of this image, which is not
        // unloaded, and do what is allowed in them: see each.
        unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
        PROCESS.store(std::process::id(), Ordering::Relaxed);
    });
    PROCESS.load(Ordering::Relaxed)
}

/// How many forks lie between this process and the program that was executed.
pub(crate) fn forks() -> u32 {
    process_id();
    FORKS.load(Ordering::Relaxed)
}

/// Runs `fork` in a way that leaves the connections usable in the child.
pub(super) fn carrying_connections<T>(fork: impl FnOnce() -> T) -> T {
    CARRY_CONNECTIONS.set(true);
    let forked = fork();
    CARRY_CONNECTIONS.set(false);
    forked
}

/// Disconnects this process from all its connections: for its exit.
pub(crate) fn sever_connections() {
    let mut table = lock();
    sever(&table, false, |kind| kind != Kind::Library);
    table.retain(|_, kind| *kind == Kind::Library);
}

/// Disconnects what [`PrivateFd`]s a raw clone has copied.
pub(super) fn sever_after_clone() {
    know_this_process();
    let mut table = lock();
    sever(&table, true, |_| true);
    table.clear();
}

/// Replaces the descriptors of the chosen kinds; `alone` if this process has no other
/// thread. Allocates nothing.
fn sever(table: &BTreeMap<RawFd, Kind>, alone: bool, chosen: impl Fn(Kind) -> bool) {
    let numbers = || table.iter().filter(|(_, kind)| chosen(**kind)).map(|(number, _)| *number);
    let count = numbers().count();
    if count == 0 {
        return;
    }
    let mut dead = dead_end();
    if dead.is_err() && alone && count > 1 {
        // No descriptor is free: two of those to be replaced make room.
        for number in numbers().take(2) {
            // SAFETY: touches no memory. The number is a `PrivateFd`'s, which gets
            // another descriptor below before anybody else can get the number.
            unsafe { libc::close(number) };
        }
        dead = dead_end();
    }
    let Ok(dead) = dead.map(IntoRawFd::into_raw_fd) else { return };
    for number in numbers().filter(|number| *number != dead) {
        // SAFETY: dup3 touches no memory; the number is owned by a `PrivateFd`,
        // which owns whatever it leads to, before and after.
        unsafe { libc::dup3(dead, number, libc::O_CLOEXEC) };
    }
    if numbers().all(|number| number != dead) {
        // SAFETY: touches no memory; made above, and nobody's.
        unsafe { libc::close(dead) };
    }
}

/// A socket whose other side is closed.
fn dead_end() -> io::Result<OwnedFd> {
    let (end, _) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok(end)
}

/// Takes down, in a new child, which process it is.
fn know_this_process() {
    // SAFETY: getpid has no preconditions.
    PROCESS.store(unsafe { libc::getpid() }.unsigned_abs(), Ordering::Relaxed);
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Locks the table.
fn lock() -> MutexGuard<'static, BTreeMap<RawFd, Kind>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The table's guard while a fork is under way.
struct AcrossFork(UnsafeCell<Option<MutexGuard<'static, BTreeMap<RawFd, Kind>>>>);

// SAFETY: only touched by the handlers of a fork, which run on the forking
// thread between the locking of the table in `prepare` and its unlocking in
// `parent` or `child`: the table's lock excludes every other thread.
unsafe impl Sync for AcrossFork {}

/// The one place for the guard.
static ACROSS_FORK: AcrossFork = AcrossFork(UnsafeCell::new(None));

/// Before a fork: locks the table, so that the child finds it whole.
extern "C" fn prepare() {
    let guard = lock();
    // SAFETY: the table is locked, so this thread alone is between the handlers.
    unsafe { *ACROSS_FORK.0.get() = Some(guard) };
}

/// After a fork, in the parent.
extern "C" fn parent() {
    // SAFETY: as in `prepare`; the guard is still held.
    let guard = unsafe { (*ACROSS_FORK.0.get()).take() };
    drop(guard);
}

/// After a fork, in the child: severs what is the parent's.
extern "C" fn child() {
    know_this_process();
    // SAFETY: as in `prepare`; the guard is still held, and this is the child's
    // only thread.
    let guard = unsafe { (*ACROSS_FORK.0.get()).take() };
    if let Some(mut table) = guard {
        let carry = CARRY_CONNECTIONS.try_with(Cell::get).unwrap_or(false);
        sever(&table, true, |kind| !(carry && kind == Kind::Connection));
        table.retain(|_, kind| carry && *kind == Kind::Connection);
    }
}
