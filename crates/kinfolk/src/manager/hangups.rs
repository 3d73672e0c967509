//! The connections of a server, and noticing at once that a client is gone, whatever the
//! connection's thread is doing.

use std::collections::HashMap;
use std::io::PipeWriter;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::caller::Caller;
use super::table::{Dropped, Table};
use crate::sys::poll::Watch;
use crate::{Error, Result};

/// How many hangups are taken at a time.
const MANY: usize = 64;

/// The number of the pipe whose closing ends the watching thread.
const STOP: u64 = u64::MAX;

/// The connections, and the system's word on whether their clients are still there.
#[derive(Debug)]
pub(super) struct Hangups {
    /// The system's word.
    watch: Watch,
    /// The connections, by their numbers.
    callers: Mutex<HashMap<u64, Arc<Caller>>>,
}

impl Hangups {
    /// Without connections.
    pub(super) fn new() -> Result<Self> {
        let watch =
            Watch::new().map_err(|error| Error::io(error, "watching a manager's clients"))?;
        Ok(Self { watch, callers: Mutex::default() })
    }

    /// Starts a thread that lets go of clients that are gone, and tidies the table up each
    /// `period`. It ends when the other end of the pipe that this returns is dropped.
    pub(super) fn run(
        self: &Arc<Self>,
        table: &Arc<Table>,
        period: Duration,
    ) -> Result<PipeWriter> {
        let failed = |error| Error::io(error, "starting a manager's thread");
        let (stopped, stop) = std::io::pipe().map_err(failed)?;
        self.watch.add(stopped.as_fd(), STOP).map_err(failed)?;
        let (hangups, table) = (Arc::clone(self), Arc::clone(table));
        let work = move || {
            let _stopped = stopped;
            let mut next = Instant::now() + period;
            while hangups.look(&table, next) {
                if next <= Instant::now() {
                    drop_aside(table.tidy(Instant::now()));
                    next = Instant::now() + period;
                }
            }
        };
        std::thread::Builder::new().name("kinfolk-hangups".into()).spawn(work).map_err(failed)?;
        Ok(stop)
    }

    /// Waits for hangups until then; `false` at the end.
    fn look(&self, table: &Table, until: Instant) -> bool {
        // It cannot fail: the set and the memory for its events are there.
        let gone = self.watch.wait(MANY, Some(until)).unwrap_or_default();
        let mut dropped = Dropped::default();
        for number in &gone {
            let caller = self.lock().get(number).cloned();
            if let Some(caller) = caller {
                caller.hang_up();
                dropped = dropped.and(caller.leave(table));
            }
        }
        drop_aside(dropped);
        !gone.contains(&STOP)
    }

    /// Takes a connection down.
    pub(super) fn enter(&self, caller: &Arc<Caller>) -> Result<()> {
        self.lock().insert(caller.number(), Arc::clone(caller));
        self.watch
            .add_hangup(caller.as_fd(), caller.number())
            .map_err(|error| Error::io(error, "watching a client"))
    }

    /// Forgets a connection.
    pub(super) fn exit(&self, caller: &Caller) {
        // Fails only if it was never added.
        let _ = self.watch.remove(caller.as_fd());
        self.lock().remove(&caller.number());
    }

    /// Ends all connections.
    pub(super) fn hang_up_all(&self) {
        let callers: Vec<_> = self.lock().values().cloned().collect();
        for caller in callers {
            caller.hang_up();
        }
    }

    /// Locks the connections.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Caller>>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops objects on a thread of their own: a destructor may take its time, or wait for what
/// the watching thread alone lets go of.
fn drop_aside(dropped: Dropped) {
    if !dropped.is_empty() {
        // Without a thread they are dropped here.
        let _ = std::thread::Builder::new().spawn(move || drop(dropped));
    }
}
