//! The beginning and the end of a process of the family.

use std::sync::Once;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::child::Child;
use super::start::forkserver;
use super::{bootstrap, children, current};
use crate::sys;
use crate::sys::fork_guard;

/// How long children that were sent SIGTERM at exit have until SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// What happens to the children when this process exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AtExit {
    /// Daemons are terminated, the others joined: the default.
    Join = 0,
    /// All are terminated.
    Terminate = 1,
    /// Nothing is done: their lifelines end them when this process is gone.
    Leave = 2,
}

/// The [`AtExit`] in force. Private to the process.
static POLICY: AtomicU8 = AtomicU8::new(AtExit::Join as u8);

/// The process whose exit handler is registered: a fork of it must not run it.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Registers the exit handler once.
static REGISTERED: Once = Once::new();

/// Makes this process a main process of the library: the first line of `main`.
///
/// In a child process it does not return: it calls the function that the child
/// was started for, and exits. So what stands before it in `main` runs in every
/// child too, and should be nothing.
///
/// ```standalone_crate
/// fn main() {
///     let _family = kinfolk::init();
/// }
/// ```
///
/// # Panics
///
/// If the system gives no random bytes for the authentication key.
#[allow(clippy::needless_doctest_main)] // Its place in `main` is the point.
pub fn init() -> Family {
    // A child that calls it from its function is known already.
    if !current::is_known() {
        bootstrap::enter_if_child();
    }
    current::become_main().expect("the system gives random bytes for the authentication key");
    watch();
    Family { _private: () }
}

/// Has this process end or join its children when it exits.
pub(super) fn watch() {
    OWNER.store(fork_guard::process_id(), Ordering::Relaxed);
    REGISTERED.call_once(|| {
        // Without the backstop the lifelines still end the children.
        let _ = sys::process::at_exit(at_exit);
    });
}

/// The guard that [`init`] returns: when it is dropped, at the end of `main` or
/// by a panic, daemons are terminated and other children are joined.
///
/// What a child waits for must be gone by then, or it cannot end: drop this
/// process's connections before, by declaring them after the guard. Connections
/// that are still open are closed first. `std::process::exit`, which drops
/// nothing, has the same effect through an exit handler. A process that aborts
/// or is killed ends its children through their lifelines.
#[derive(Debug)]
#[must_use = "dropping the guard ends or joins the children"]
pub struct Family {
    /// Made by `init` only.
    _private: (),
}

impl Family {
    /// Chooses what happens to the children at exit.
    pub fn at_exit(&self, policy: AtExit) {
        POLICY.store(policy as u8, Ordering::Relaxed);
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if OWNER.load(Ordering::Relaxed) == fork_guard::process_id() {
            finish();
        }
    }
}

/// The exit handler.
extern "C" fn at_exit() {
    if OWNER.load(Ordering::Relaxed) == fork_guard::process_id() {
        finish();
    }
}

/// Ends or joins the children, as chosen. Repeatable.
pub(super) fn finish() {
    let policy = POLICY.load(Ordering::Relaxed);
    if policy != AtExit::Leave as u8 {
        // A child that waits for this process's end of a pipe can go on.
        fork_guard::sever_connections();
        let family = || children::active_children().into_iter().filter(|child| !child.outlive);
        let (ended, joined): (Vec<_>, Vec<_>) =
            family().partition(|child| child.daemon() || policy == AtExit::Terminate as u8);
        for child in &ended {
            let _ = child.terminate();
        }
        for child in &joined {
            let _ = child.wait();
        }
        let deadline = Instant::now() + GRACE;
        for child in &ended {
            end(child, deadline);
        }
    }
    forkserver::stop();
}

/// Waits for a terminated child until `deadline`, then kills it.
fn end(child: &Child, deadline: Instant) {
    if let Ok(None) = child.wait_until(Some(deadline)) {
        let _ = child.kill();
        child.cut_lifeline();
        let _ = child.wait();
    }
}
