//! That a lock's last holder died.

use std::fmt;

/// The lock was taken over from a process that ended without releasing it. It
/// *is* held: what it protects may be half changed, and is the heir's to repair.
///
/// [`into_inner`](Abandoned::into_inner) gives the guard.
pub struct Abandoned<G> {
    /// What holds the lock now.
    guard: G,
    /// The process that ended.
    pid: u32,
    /// Its name.
    name: Option<String>,
}

impl<G> Abandoned<G> {
    /// Says who has left what is held now.
    pub(crate) fn new(guard: G, pid: u32, name: Option<String>) -> Self {
        Self { guard, pid, name }
    }

    /// The same of what the guard becomes.
    pub(crate) fn map<H>(self, change: impl FnOnce(G) -> H) -> Abandoned<H> {
        Abandoned { guard: change(self.guard), pid: self.pid, name: self.name }
    }

    /// The process id of the one that ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name of the one that ended, if it is known.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The guard: the lock is held.
    #[must_use]
    pub fn into_inner(self) -> G {
        self.guard
    }
}

impl<G> fmt::Display for Abandoned<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, .. } = self;
        let name = name.as_deref().unwrap_or("a process");
        write!(
            f,
            "{name} (pid {pid}) ended while it held the lock: what it protects may be half changed"
        )
    }
}

impl<G> fmt::Debug for Abandoned<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Abandoned").field("pid", &self.pid).field("name", &self.name).finish()
    }
}

impl<G> std::error::Error for Abandoned<G> {}
