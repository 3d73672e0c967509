//! The children of this process: who is alive, and who must still be reaped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::child::Child;
use crate::sys::fork_guard;
use crate::wait::WaitSet;

/// The children of this process.
static CHILDREN: Mutex<Option<Children>> = Mutex::new(None);

/// The children of the process `owner`.
struct Children {
    /// Whose children they are: a fork of it has none of them.
    owner: u32,
    /// All that were not seen to end.
    alive: Vec<Arc<Child>>,
    /// Those among them whose handle was dropped; `None` while there are none.
    detached: Option<WaitSet<Arc<Child>>>,
}

/// Returns the children of this process that are alive, those included whose
/// handle was dropped. Reaps those that have ended.
#[must_use]
pub fn active_children() -> Vec<Arc<Child>> {
    let known = lock().alive.clone();
    let alive = known.into_iter().filter(|child| child.is_alive()).collect();
    // Lets go of those that were just found to have ended.
    reap_detached();
    alive
}

/// Adds a child, and reaps those that ended with nobody looking.
pub(super) fn add(child: &Arc<Child>) {
    reap_detached();
    lock().alive.push(Arc::clone(child));
}

/// Removes a child that has ended.
pub(super) fn remove(child: &Child) {
    let mut children = lock();
    if let Some(place) = children.alive.iter().position(|known| std::ptr::eq(&**known, child)) {
        let child = children.alive.swap_remove(place);
        // Dropped outside the lock: a child's drop may come back here.
        drop(children);
        drop(child);
    }
}

/// Remembers to reap a child whose handle is gone.
pub(super) fn detach(child: Arc<Child>) {
    let mut children = lock();
    if children.detached.is_none() {
        children.detached = WaitSet::new().ok();
    }
    if let Some(detached) = children.detached.as_mut() {
        // Without a place in the set the child is reaped at exit.
        let _ = detached.insert(child);
    }
}

/// Reaps the detached children that have ended.
pub(super) fn reap_detached() {
    let ended: Vec<Arc<Child>> = {
        let mut children = lock();
        let Some(detached) = children.detached.as_mut() else { return };
        let keys = detached.wait(Some(Duration::ZERO)).unwrap_or_default();
        let ended = keys.into_iter().filter_map(|key| detached.remove(key)).collect();
        if detached.is_empty() {
            children.detached = None;
        }
        ended
    };
    for child in ended {
        let _ = child.exitcode();
    }
}

/// Locks the table; in a fork of the process that filled it, it is emptied.
fn lock() -> Locked {
    let mut guard = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    let me = fork_guard::process_id();
    if guard.as_ref().is_none_or(|children| children.owner != me) {
        *guard = Some(Children { owner: me, alive: Vec::new(), detached: None });
    }
    Locked(guard)
}

/// The locked table, filled.
struct Locked(MutexGuard<'static, Option<Children>>);

impl std::ops::Deref for Locked {
    type Target = Children;

    fn deref(&self) -> &Children {
        self.0.as_ref().expect("`lock` fills the table")
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Children {
        self.0.as_mut().expect("`lock` fills the table")
    }
}
