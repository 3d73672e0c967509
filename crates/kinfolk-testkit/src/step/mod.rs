//! Killing a process after any of its instructions, and looking at what it left.
//!
//! A [`Scenario`] has a victim, which is stopped after every instruction of what
//! it does and killed after one of them, peers that sleep in the meantime, and a
//! survivor, which must go on and find everything whole. A [`Proof`] plays
//! scenarios again and again, with a kill in another place each time.
//!
//! All of them are forks of the process that holds the proof, made without the
//! handlers of `pthread_atfork`: they share its descriptors and mappings as two
//! ends in one process do. That process has one thread. Linux on `x86_64` only.

mod actor;
mod memory;
mod notes;
mod proof;
mod scenario;
mod trace;

pub use notes::Me;
pub use proof::Proof;
pub use scenario::{Scenario, Start};
pub use trace::is_allowed;
