//! What a process knows of itself and of its parent.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use super::authkey::AuthKey;
use super::preparation::Preparation;
use crate::sync;
use crate::sys;
use crate::{Error, ErrorKind, Result};

/// This process, once [`init`](crate::init) or its parent made it known.
static CURRENT: RwLock<Option<Identity>> = RwLock::new(None);

/// How many children this process has named; private to the process.
static ORDINAL: AtomicU32 = AtomicU32::new(0);

/// What makes up a process of the family.
#[derive(Clone)]
struct Identity {
    /// The name.
    name: String,
    /// The ordinals from the main process down; empty there.
    path: Vec<u32>,
    /// Whether it is ended when its parent exits.
    daemon: bool,
    /// The key.
    authkey: AuthKey,
    /// The parent, except in the main process.
    parent: Option<ParentProcess>,
}

/// Returns the process that runs this code.
///
/// In a process that has not called [`init`](crate::init) it is a main process
/// without a key: [`authkey`](CurrentProcess::authkey) makes one.
#[must_use]
pub fn current_process() -> CurrentProcess {
    CurrentProcess { _private: () }
}

/// Returns the process that started this one, or `None` in the main process.
#[must_use]
pub fn parent_process() -> Option<ParentProcess> {
    read(|identity| identity.parent.clone()).flatten()
}

/// Returns the number of processors that this process may use.
///
/// It follows the affinity mask and control group, where `os.cpu_count` of the
/// reference counts the machine's.
#[must_use]
#[doc(alias = "process_cpu_count")]
pub fn cpu_count() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The process that runs this code.
#[derive(Debug)]
pub struct CurrentProcess {
    /// Made by [`current_process`] only.
    _private: (),
}

impl CurrentProcess {
    /// The name: `MainProcess`, or what the parent gave, by default
    /// `Process-1:2` for the second child of the first.
    #[must_use]
    pub fn name(&self) -> String {
        current_name()
    }

    /// The process id.
    #[must_use]
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Whether this process is ended when its parent exits.
    #[must_use]
    pub fn daemon(&self) -> bool {
        read(|identity| identity.daemon).unwrap_or(false)
    }

    /// The authentication key: this process's children inherit it.
    ///
    /// # Panics
    ///
    /// If there is no key yet and the system gives no random bytes.
    #[must_use]
    pub fn authkey(&self) -> AuthKey {
        if let Some(key) = read(|identity| identity.authkey.clone()) {
            return key;
        }
        become_main().expect("the system gives random bytes");
        read(|identity| identity.authkey.clone()).expect("the identity was just made")
    }

    /// Replaces the authentication key, for this process and the children it
    /// starts from now on.
    pub fn set_authkey(&self, key: AuthKey) {
        let mut current = write();
        if let Some(identity) = current.as_mut() {
            identity.authkey = key;
        } else {
            *current = Some(Identity::main(key));
        }
    }
}

/// The process that started this one.
#[derive(Debug, Clone)]
pub struct ParentProcess {
    /// Its name.
    name: String,
    /// Its process id.
    pid: u32,
    /// A pipe whose other end it holds as long as it lives.
    lifeline: Arc<OwnedFd>,
}

impl ParentProcess {
    /// The parent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parent's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the parent is alive.
    ///
    /// Only a process told to outlive its parent ever sees `false`: the others
    /// end with it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !sys::poll::ready(self.as_fd(), Some(Instant::now())).unwrap_or(false)
    }

    /// A file descriptor that becomes ready when the parent ends, for
    /// [`wait`](crate::wait) or any poller.
    #[must_use]
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl AsFd for ParentProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lifeline.as_fd()
    }
}

impl Identity {
    /// The identity of a main process.
    fn main(authkey: AuthKey) -> Self {
        Self {
            name: "MainProcess".to_owned(),
            path: Vec::new(),
            daemon: false,
            authkey,
            parent: None,
        }
    }
}

/// The name of this process.
pub(crate) fn current_name() -> String {
    read(|identity| identity.name.clone()).unwrap_or_else(|| "MainProcess".to_owned())
}

/// Whether this process is a main process or a child by now.
pub(super) fn is_known() -> bool {
    read(|_| ()).is_some()
}

/// Makes this process a main process, unless it is known already.
pub(super) fn become_main() -> Result<()> {
    let mut current = write();
    if current.is_none() {
        let main = Identity::main(AuthKey::random()?);
        sync::name_this_process(&main.name);
        *current = Some(main);
    }
    Ok(())
}

/// Makes this process the child that its parent prepared.
pub(super) fn become_child(preparation: &Preparation, lifeline: OwnedFd) {
    ORDINAL.store(0, Ordering::Relaxed);
    sync::name_this_process(&preparation.name);
    *write() = Some(Identity {
        name: preparation.name.clone(),
        path: preparation.path.clone(),
        daemon: preparation.daemon,
        authkey: AuthKey::from_bytes(&preparation.authkey),
        parent: Some(ParentProcess {
            name: preparation.parent_name.clone(),
            pid: preparation.parent_pid,
            lifeline: Arc::new(lifeline),
        }),
    });
}

/// Numbers a new child: its path of ordinals, and the name that follows from it.
///
/// # Errors
///
/// If [`init`](crate::init) was not called.
pub(super) fn next_child() -> Result<(Vec<u32>, String)> {
    let Some(mut path) = read(|identity| identity.path.clone()) else {
        return Err(Error::new(
            ErrorKind::NotInitialised,
            "starting a process needs `let _family = kinfolk::init();` as the first line of main \
             (in a test file, the line `kinfolk::test_init!();`)",
        ));
    };
    path.push(ORDINAL.fetch_add(1, Ordering::Relaxed) + 1);
    let numbers: Vec<String> = path.iter().map(ToString::to_string).collect();
    let name = format!("Process-{}", numbers.join(":"));
    Ok((path, name))
}

/// Calls `fork` while no other thread is at the identity: so the fork finds it whole,
/// and not locked for ever by a thread that it does not have.
pub(super) fn across_fork<T>(fork: impl FnOnce() -> T) -> T {
    let _identity = write();
    fork()
}

/// Looks at the identity. Nothing panics while it is locked, so a poisoned lock
/// cannot be; the fallback keeps even that harmless.
fn read<T>(look: impl FnOnce(&Identity) -> T) -> Option<T> {
    CURRENT.read().unwrap_or_else(std::sync::PoisonError::into_inner).as_ref().map(look)
}

/// Locks the identity for a change.
fn write() -> std::sync::RwLockWriteGuard<'static, Option<Identity>> {
    CURRENT.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}
