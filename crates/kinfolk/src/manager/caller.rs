//! A client, as a thread of the server sees it.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::Thread;

use super::link::Plug;
use super::object::Object;
use super::table::{Dropped, Table};

/// One connection of a client, and the thread that serves it.
pub(crate) struct Caller {
    /// The client.
    session: Arc<Session>,
    /// The number of the connection.
    number: u64,
    /// What ends the connection.
    plug: Plug,
    /// The thread.
    thread: Thread,
    /// Whether the client is gone, or to go. Set once, by whoever learns of it, who then wakes
    /// the thread; private to the process, so a kill leaves nothing.
    gone: AtomicBool,
    /// Whether the session counts this connection no longer. Set once, by whoever takes it
    /// off; private to the process.
    left: AtomicBool,
}

impl Caller {
    /// A client that this thread serves.
    pub(super) fn new(session: Arc<Session>, number: u64, plug: Plug) -> Self {
        let thread = std::thread::current();
        let (gone, left) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { session, number, plug, thread, gone, left }
    }

    /// The client.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The number of the connection.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the client is gone, or to go.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Ends what the thread waits for: the client is gone, or the server ends.
    pub(super) fn hang_up(&self) {
        self.gone.store(true, Ordering::Release);
        self.plug.pull();
        self.thread.unpark();
    }

    /// Takes the connection off the session, which ends with its last one. What a call that is
    /// still under way takes afterwards is taken back, because the client is gone then.
    pub(super) fn leave(&self, table: &Table) -> Dropped {
        if self.left.swap(true, Ordering::AcqRel) {
            return Dropped::default();
        }
        table.leave(&self.session)
    }
}

impl AsFd for Caller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.plug.as_fd()
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("session", &self.session)
            .field("number", &self.number)
            .finish()
    }
}

/// A client process: its connections are one session, which ends with the last of them.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its number; no other ever has it.
    pub(crate) number: u64,
    /// The process id that it says.
    pub(crate) pid: u32,
    /// The name that it says.
    pub(crate) name: String,
    /// Where it holds something, a lock or a permit, by the object's number.
    holdings: Mutex<HashMap<u64, Weak<dyn Object>>>,
}

impl Session {
    /// A client that holds nothing.
    pub(super) fn new(number: u64, pid: u32, name: String) -> Self {
        Self { number, pid, name, holdings: Mutex::default() }
    }

    /// Notes that it may hold something of an object, which it gives up at its end.
    pub(super) fn note_holding(&self, number: u64, object: &Arc<dyn Object>) {
        let mut holdings = self.holdings.lock().unwrap_or_else(PoisonError::into_inner);
        if holdings.len() == holdings.capacity() {
            holdings.retain(|_, object| object.strong_count() > 0);
        }
        holdings.entry(number).or_insert_with(|| Arc::downgrade(object));
    }

    /// Gives up all that it holds.
    pub(super) fn give_up(&self) {
        let mut holdings = self.holdings.lock().unwrap_or_else(PoisonError::into_inner);
        let held: Vec<_> = holdings.drain().filter_map(|(_, object)| object.upgrade()).collect();
        drop(holdings);
        for object in held {
            object.give_up(self);
        }
    }
}
