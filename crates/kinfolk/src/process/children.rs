//! The children of this process: who is alive, and who must still be reaped.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::child::Child;
use crate::sys::per_process::PerProcess;
use crate::wait::WaitSet;

/// The children of this process.
static CHILDREN: PerProcess<Children> =
    PerProcess::new(|| Children { alive: Vec::new(), detached: None });

/// The children of a process.
struct Children {
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

/// Locks the table.
fn lock() -> MutexGuard<'static, Children> {
    CHILDREN.lock()
}
