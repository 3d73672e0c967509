//! Who holds a lock, and what the next one is told when that one dies.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::manager::caller::{Caller, Session};
use crate::manager::gate::Line;
use crate::{Abandoned, Error};

/// A thread of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The client.
    pub(crate) session: u64,
    /// Its thread, by the number that the client gave it.
    pub(crate) thread: u64,
}

impl Owner {
    /// A thread of the caller's client.
    pub(crate) fn of(caller: &Caller, thread: u64) -> Self {
        Self { session: caller.session().number, thread }
    }
}

/// A process that has ended with a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dead {
    /// Its process id.
    pid: u32,
    /// Its name.
    name: String,
}

/// That a lock is held now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Who left it, if its last holder has ended with it.
    pub(crate) from: Option<Dead>,
}

/// A lock: who holds it, and who waits.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    /// Who holds it, and how often.
    holder: Option<(Owner, u64)>,
    /// Who has ended with it, until the next holder is told.
    dead: Option<Dead>,
    /// Who waits for it.
    pub(crate) line: Line,
}

impl Ownership {
    /// Takes it for one, if nobody holds it.
    pub(crate) fn take(&mut self, owner: Owner) -> Option<Taken> {
        if self.holder.is_some() {
            return None;
        }
        self.holder = Some((owner, 1));
        Some(Taken { from: self.dead.take() })
    }

    /// Takes it once more for who holds it.
    pub(crate) fn take_again(&mut self, owner: Owner) -> Option<Taken> {
        match &mut self.holder {
            Some((holder, depth)) if *holder == owner => {
                *depth += 1;
                Some(Taken { from: None })
            }
            _ => None,
        }
    }

    /// Takes back that it was taken: its holder never learned it.
    pub(crate) fn undo(&mut self, owner: Owner, taken: Taken) {
        if self.is_held_by(owner) {
            self.dead = taken.from.or(self.dead.take());
            self.release_once();
        }
    }

    /// Whether somebody holds it.
    pub(crate) fn is_held(&self) -> bool {
        self.holder.is_some()
    }

    /// Whether one holds it.
    pub(crate) fn is_held_by(&self, owner: Owner) -> bool {
        self.holder.is_some_and(|(holder, _)| holder == owner)
    }

    /// Whether a client holds it.
    pub(crate) fn is_held_by_client(&self, session: u64) -> bool {
        self.holder.is_some_and(|(holder, _)| holder.session == session)
    }

    /// Releases it once; if it is free then, the next one may take it.
    pub(crate) fn release_once(&mut self) {
        if let Some((_, depth)) = &mut self.holder {
            *depth -= 1;
            if *depth == 0 {
                self.holder = None;
                self.line.wake();
            }
        }
    }

    /// Releases it, however often it is held; returns that.
    pub(crate) fn release_all(&mut self) -> u64 {
        let depth = self.holder.take().map_or(0, |(_, depth)| depth);
        self.line.wake();
        depth
    }

    /// Sets how often one holds it, if it still does.
    pub(crate) fn set_depth(&mut self, owner: Owner, to: u64) {
        if let Some((holder, depth)) = &mut self.holder
            && *holder == owner
        {
            *depth = to;
        }
    }

    /// A client has ended: if it held this, the next holder is told.
    pub(crate) fn give_up(&mut self, session: &Session) {
        if self.is_held_by_client(session.number) {
            self.dead = Some(Dead { pid: session.pid, name: session.name.clone() });
            self.release_all();
        }
    }
}

/// The number of this thread, for the manager.
pub(super) fn this_thread() -> u64 {
    /// How many threads have a number. Private to the process, so a kill leaves nothing.
    static THREADS: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static MINE: Cell<u64> = const { Cell::new(0) };
    }
    MINE.with(|mine| {
        if mine.get() == 0 {
            mine.set(THREADS.fetch_add(1, Ordering::Relaxed));
        }
        mine.get()
    })
}

/// Why no lock of a manager was acquired, or how it was.
pub enum AcquireError<G> {
    /// It *is* held, by the guard inside: its last holder died with it.
    Abandoned(Abandoned<G>),
    /// It is not held: the call has failed.
    Failed(Error),
}

impl<G> AcquireError<G> {
    /// The guard of a lock that is held, whoever left it.
    ///
    /// # Errors
    ///
    /// The call's, if it is not held.
    pub fn into_guard(self) -> Result<G, Error> {
        match self {
            Self::Abandoned(abandoned) => Ok(abandoned.into_inner()),
            Self::Failed(error) => Err(error),
        }
    }

    /// What has failed, of a lock that is not held.
    pub(super) fn of<T>(result: Result<T, Error>) -> Result<T, Self> {
        result.map_err(Self::Failed)
    }
}

/// What was taken, as a guard.
pub(super) fn guarded<G>(taken: Taken, guard: G) -> Result<G, AcquireError<G>> {
    match taken.from {
        None => Ok(guard),
        Some(Dead { pid, name }) => {
            Err(AcquireError::Abandoned(Abandoned::new(guard, pid, Some(name))))
        }
    }
}

impl<G> fmt::Display for AcquireError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abandoned(abandoned) => abandoned.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<G> fmt::Debug for AcquireError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abandoned(abandoned) => abandoned.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<G> std::error::Error for AcquireError<G> {}
