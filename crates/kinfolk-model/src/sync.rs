//! The model of the library's `sync`.

// As in `lib.rs`.
#![allow(dead_code, unreachable_pub)]

#[path = "../../kinfolk/src/sync/abandoned.rs"]
mod abandoned;
#[path = "../../kinfolk/src/sync/barrier.rs"]
mod barrier;
#[path = "../../kinfolk/src/sync/condition.rs"]
mod condition;
#[path = "../../kinfolk/src/sync/event.rs"]
mod event;
#[path = "../../kinfolk/src/sync/interrupt.rs"]
mod interrupt;
#[path = "../../kinfolk/src/sync/lock.rs"]
mod lock;
#[path = "sync/object.rs"]
pub(crate) mod object;
#[allow(clippy::reversed_empty_ranges)] // Nobody looks twice.
#[path = "../../kinfolk/src/sync/owner.rs"]
pub(crate) mod owner;
#[path = "sync/scenarios.rs"]
pub mod scenarios;
#[path = "../../kinfolk/src/sync/semaphore.rs"]
mod semaphore;
#[path = "../../kinfolk/src/sync/signal.rs"]
pub(crate) mod signal;

/// How often a taker looks at a word before it sleeps.
const LOOKS: u32 = 0;
/// The most that take part in one object.
const PARTICIPANTS: usize = 3;
