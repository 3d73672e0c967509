//! Locks and what is built of them, between processes.
//!
//! Each is a page of shared memory, which the system frees with its last user;
//! it travels inside values, as a handle. Who holds what is named by process id
//! and start time, so the system decides who is dead.
//!
//! Used by the rooms above; uses `wire` and `sys`.

mod abandoned;
mod any;
mod barrier;
mod condition;
mod descriptor;
mod event;
pub(crate) mod interrupt;
mod lock;
pub(crate) mod object;
pub(crate) mod owner;
mod rlock;
mod semaphore;
pub(crate) mod signal;

pub use abandoned::Abandoned;
pub use any::AnyLock;
pub use barrier::{Barrier, BrokenBarrier};
pub use condition::{Condition, Enlisted};
pub use event::Event;
pub use interrupt::set_interrupt;
pub use lock::{Lock, LockGuard};
pub(crate) use object::name_this_process;
pub use rlock::{RLock, RLockGuard};
pub use semaphore::{BoundedSemaphore, Permit, Semaphore};

/// How often a taker looks at a word before it sleeps.
const LOOKS: u32 = 100;
/// The most that take part in one object: holders of permits, waiters, parties.
const PARTICIPANTS: usize = 1000;
