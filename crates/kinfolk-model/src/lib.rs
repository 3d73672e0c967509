//! A model of the library's shared state.
//!
//! The library's own sources of locks and queues are compiled here, on words whose
//! accesses loom puts into every order that the memory model allows, on a small
//! machine that has processes, their sleep and their death. What they must keep in
//! all of these orders, also if a process is killed before any of its steps, is
//! in the scenarios of [`sync`] and [`queue`]; the tests run them.
//!
//! What is smaller than in the library is in `sync.rs` and `queue.rs`: the number of
//! participants, the size of a ring, and that nobody looks twice before it sleeps.

// The tests in the library's sources do not belong here.
#![cfg(not(test))]

// The scenarios do not use all of the sources, nor does anybody see their types.
#[allow(dead_code, unreachable_pub)]
#[path = "../../kinfolk/src/error.rs"]
mod error;
mod machine;
pub mod queue;
pub mod sync;
mod sys;

pub(crate) use error::{Error, ErrorKind, Result};
